"""Norms, balls, steps and success: what attacks share, and nothing else.

A perturbation δ = x_adv − x is measured per image, over all of its pixels and channels:

=========  ===================  =============================================
name       size of δ            steepest step of length 1 along a gradient g
=========  ===================  =============================================
``Linf``   max \\|δᵢ\\|           sign(g)
``L2``     √Σ δᵢ²               g / ‖g‖₂
``L1``     Σ \\|δᵢ\\|             signs of the largest \\|gᵢ\\|, spread evenly
``L0``     number of pixels     –
=========  ===================  =============================================
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

NORMS = ("Linf", "L2", "L1", "L0")


def parse_norm(norm: str | float) -> str:
    """``"Linf"``, ``"L2"``, ``"L1"`` or ``"L0"``; also takes ``"linf"``, ``inf``, 2, 1, 0.

    :raises ValueError: anything else.
    """
    names = {n.lower(): n for n in NORMS} | {"inf": "Linf", "2": "L2", "1": "L1", "0": "L0"}
    key = str(norm).lower().removesuffix(".0")
    if key not in names:
        raise ValueError(f"norm: found {norm!r}, expected one of {', '.join(NORMS)}")
    return names[key]


def size(delta: Tensor, norm: str) -> Tensor:
    """The norm of each image's perturbation. ``delta``: (N, ...). Returns (N,).

    ``L0`` counts pixels, not channels: a pixel counts once when any of its channels moved.
    """
    flat = delta.flatten(1)
    if norm == "Linf":
        return flat.abs().amax(1)
    if norm in ("L2", "L1"):
        # A sum of 150,528 float32 terms is off by up to 1e-4 of itself; of float64 terms it is not.
        wide = flat if flat.device.type == "mps" else flat.double()
        return wide.norm(p=2 if norm == "L2" else 1, dim=1).to(delta.dtype)
    if norm == "L0":
        moved = delta != 0
        return (moved.any(1) if delta.ndim == 4 else moved).flatten(1).sum(1).to(delta.dtype)
    raise ValueError(f"norm: found {norm!r}, expected one of {', '.join(NORMS)}")


def step(gradient: Tensor, norm: str, room: Tensor | None = None) -> Tensor:
    """The direction of length 1 that raises the loss fastest. (N, ...) to (N, ...).

    In L1 the steepest direction is a single pixel; as in Tramèr & Boneh (2019) the step is
    shared evenly by the 1% of pixels with the largest gradients (at least one).
    An image whose gradient is zero does not move.

    :param room: in L1, how far each pixel may go before it leaves the box, in units of the step;
        what a pixel cannot take goes on to the next largest gradient.
    """
    if norm == "Linf":
        return gradient.sign()
    if norm == "L2":
        # By the largest entry first: the squares of a small gradient would be 0.
        scaled = gradient / per_image(size(gradient, "Linf"), gradient).clamp_min(_tiny(gradient))
        return scaled / per_image(size(scaled, "L2"), scaled).clamp_min(_tiny(gradient))
    if norm == "L1":
        flat = gradient.flatten(1)
        order = flat.abs().argsort(dim=1, descending=True)
        share = torch.full_like(flat, 1 / max(1, round(0.01 * flat.shape[1])))
        if room is not None:
            share = torch.minimum(share, room.flatten(1))
        share = share.gather(1, order)
        given = share.cumsum(1) - share  # to the pixels with larger gradients
        share = torch.minimum(share, (1 - given).clamp_min(0))
        return (flat.sign() * torch.empty_like(flat).scatter_(1, order, share)).view_as(gradient)
    raise ValueError(f"norm: found {norm!r}, expected Linf, L2 or L1")


def project(delta: Tensor, eps: float, norm: str) -> Tensor:
    """The nearest perturbation (in L2) of norm at most ``eps``. (N, ...) to (N, ...).

    L1 by sorting: Duchi et al. (2008), figure 1.
    """
    if norm == "Linf":
        return delta.clamp(-eps, eps)
    if norm == "L2":
        length = per_image(size(delta, "L2"), delta)
        return delta * (eps / length.clamp_min(_tiny(delta))).clamp_max(1.0)
    if norm == "L1":
        if delta.dtype in (torch.float16, torch.bfloat16):  # ranks and sums need more digits
            return project(delta.float(), eps, norm).to(delta.dtype)
        magnitude = delta.flatten(1).abs()
        ordered, _ = magnitude.sort(dim=1, descending=True)
        rank = torch.arange(1, magnitude.shape[1] + 1, device=delta.device, dtype=delta.dtype)
        threshold = (ordered.cumsum(1) - eps) / rank
        last = ((ordered > threshold) * rank).amax(1, keepdim=True).long().clamp_min(1) - 1
        shrunk = (magnitude - threshold.gather(1, last).clamp_min(0)).clamp_min(0)
        return delta.sign() * shrunk.view_as(delta)
    raise ValueError(f"norm: found {norm!r}, expected Linf, L2 or L1")


def random_in_ball(x: Tensor, eps: float, norm: str, seed: int) -> Tensor:
    """A perturbation drawn from the ball of radius ``eps``, one for each image of x.

    In L∞ uniformly from the box. In L2 and L1 a direction uniform on the sphere and a radius
    uniform on [0, ε]: of points drawn uniformly by volume, in 784 dimensions, nearly all lie at the
    edge, and an attack that starts there fools fewer images.
    """
    if norm == "Linf":
        return eps * (2 * noise(x, seed, "uniform") - 1)
    if norm not in ("L2", "L1"):
        raise ValueError(f"norm: found {norm!r}, expected Linf, L2 or L1")
    direction = noise(x, seed, "normal" if norm == "L2" else "laplace")
    radius = noise(x, seed, "uniform", shape=(1,) * (x.ndim - 1))
    return eps * radius * direction / per_image(size(direction, norm), direction)


def noise(x: Tensor, seed: int, kind: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Random numbers for each image, of one kind: a single draw from its :class:`Streams`.

    :param x: (N, ...), the images.
    :param shape: of one image's numbers; by default the image's own.
    """
    # The kind is part of the key: two kinds drawn for one image are independent.
    return Streams(x, f"{kind} {seed}").draw(kind, shape or x.shape[1:])


class Streams:
    """A stream of random numbers for each image, for attacks that draw again and again.

    A stream is seeded by ``seed`` and by the image itself, and drawn on the CPU: its numbers depend
    neither on the batch that the image came in nor on the device.

    :param x: (N, ...), the images.
    :param seed: another seed, other numbers.
    """

    def __init__(self, x: Tensor, seed: int | str):
        self._like = x
        first = zlib.crc32(str(seed).encode())
        self._sources = [
            # Of a number longer than these 32 bits torch's generator would use the lowest 32 only.
            torch.Generator().manual_seed(zlib.crc32(image.numpy().tobytes(), first))
            for image in x.detach().cpu().double().contiguous()
        ]

    def draw(self, kind: str, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
        """The next numbers of each stream, n times the shape, of the dtype and on the device of x.

        :param kind: ``"uniform"`` on [0, 1), ``"normal"``, ``"laplace"`` or ``"signs"`` (±1).
        :param rows: (n,) int64, the images to draw for; by default all.
        """
        chosen = range(len(self._sources)) if rows is None else rows.tolist()
        out = torch.empty((len(chosen), *shape), dtype=self._like.dtype)
        for index, row in zip(chosen, out, strict=True):
            draw_into(row, kind, self._sources[index])
        return out.to(self._like.device)


def draw_into(row: Tensor, kind: str, source: torch.Generator) -> None:
    """Fill a tensor with random numbers of one kind.

    :raises ValueError: another kind than those of :meth:`Streams.draw`.
    """
    if kind not in _DRAW:
        raise ValueError(f"kind: found {kind!r}, expected one of {', '.join(_DRAW)}")
    _DRAW[kind](row, source)


def _laplace(row: Tensor, source: torch.Generator) -> None:
    sign = torch.randint(0, 2, row.shape, generator=source) * 2 - 1
    row.exponential_(generator=source).mul_(sign)


_DRAW = {
    "uniform": lambda row, source: row.uniform_(generator=source),
    "normal": lambda row, source: row.normal_(generator=source),
    "laplace": _laplace,
    "signs": lambda row, source: row.random_(0, 2, generator=source).mul_(2).sub_(1),
}


def per_image(value: Tensor, like: Tensor) -> Tensor:
    """A value for each image, (N,), as (N, 1, …): to meet the images ``like``."""
    return value.view(-1, *[1] * (like.ndim - 1))


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny
