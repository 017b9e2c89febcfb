"""One perturbation for all images, against networks that give a class to every pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..backend import generator, in_batches
from ..models.contract import check_device, check_images, forward_of, frozen
from ..models.preprocessing import check_backward, differentiated
from ..models.segmentation import check_map_logits, check_maps, predict_maps

TARGETS = ("static", "hide")


@dataclass(frozen=True, kw_only=True)
class SegmentationUAP:
    """A universal perturbation against semantic segmentation. Metzen et al. (2017).

    One Ξ, added to any image x, makes the network answer with a map that the attacker wants. It
    is learned from images x⁽¹⁾ … x⁽ᵐ⁾, without their true maps. Ξ₀ = 0, and

        Ξₜ₊₁ = clip_ε(Ξₜ − α sign(1/m Σₖ ∇_Ξ J(f(x⁽ᵏ⁾ + Ξₜ), y⁽ᵏ⁾))),

        J(f(x), y) = 1/(HW) Σ wᵢⱼ · (−log softmax(f(x))ᵢⱼ[yᵢⱼ]) over the pixels ij.

    The maps y⁽ᵏ⁾ that are wanted, and the weights:

    - ``"static"``: the same map for every image, such as what the network saw a minute ago.
      w = 1.
    - ``"hide"`` (the paper's dynamic target): what the network sees now, without the class
      ``hidden``: see :func:`advlab.attacks.hide`. w = ω at the pixels to hide and 1 − ω elsewhere.

    Where the network gives a pixel its wanted class with a probability above τ, w = 0: it has what
    the attacker wants.

    Where we differ from the paper: the gradient is taken at the clipped image, since that is what
    a camera gives, and a step may use a part of the images.

    :param eps: ε ≥ 0, the budget in L∞; the paper's 10 of 256 levels is 10 / 255 here.
    :param steps: at least 1.
    :param alpha: α ≥ 0, the step size; our default is ε / 10.
    :param target: ``"static"`` or ``"hide"``.
    :param hidden: the class to hide; for ``"hide"`` only.
    :param omega: ω between 0 and 1: 0 only keeps the background, 1 only hides.
    :param tau: τ between 0 and 1; 1 lets every pixel push at all times.
    :param tile: (h, w): Ξ repeats with this period, as the paper's tiles do, so that it has fewer
        numbers to fit to the training images. By default it does not repeat.
    :param batch_size: images a step, drawn anew without replacement; by default all of them, as in
        the paper.
    :param seed: of that draw.
    :param backward: of steps in front of the network, see :class:`advlab.attacks.Attack`.
    :raises ValueError: a hyper-parameter out of its range.
    """

    eps: float = 10 / 255
    steps: int = 60
    alpha: float | None = None
    target: str = "static"
    hidden: int | None = None
    omega: float = 0.9999
    tau: float = 0.75
    tile: tuple[int, int] | None = None
    batch_size: int | None = None
    seed: int = 0
    backward: str | Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        check_backward(self.backward, unset=True)
        for name, high in (("eps", 1e30), ("alpha", 1e30), ("omega", 1), ("tau", 1)):
            value = getattr(self, name)
            if name == "alpha" and value is None:
                continue
            if not (isinstance(value, Real) and 0 <= value <= high):
                wanted = "at least 0" if high > 1 else "from 0 to 1"
                raise ValueError(f"{name}: expected a number, {wanted}, found {value!r}")
        if self.target not in TARGETS:
            raise ValueError(f"target: expected 'static' or 'hide', found {self.target!r}")
        if (self.target == "hide") != (self.hidden is not None):
            raise ValueError(
                f"hidden: expected a class for target='hide' and None for target='static', found "
                f"{self.hidden!r} for {self.target!r}"
            )
        whole = {"steps": (self.steps, 1), "seed": (self.seed, 0)}
        if self.hidden is not None:
            whole["hidden"] = (self.hidden, 0)
        if self.batch_size is not None:
            whole["batch_size"] = (self.batch_size, 1)
        if self.tile is not None:
            if len(self.tile) != 2:
                raise ValueError(f"tile: expected (height, width), found {self.tile!r}")
            whole |= {"tile's height": (self.tile[0], 1), "tile's width": (self.tile[1], 1)}
        for name, (value, least) in whole.items():
            if not (isinstance(value, Integral) and value >= least):
                raise ValueError(f"{name}: expected a whole number from {least}, found {value!r}")

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor | None = None, *, progress: bool = False
    ) -> Tensor:
        """Learn the perturbation; it is applied as ``(x + delta).clamp(0, 1)``, to any images.

        :param model: maps (N, C, H, W) in [0, 1] to logits (N, K, H, W). It is attacked in
            evaluation mode and left exactly as it was found.
        :param x: (N, C, H, W) floating point, in [0, 1]: the images to learn from, N at least 1.
        :param y: (H, W) int64, the map that is wanted, for ``"static"``; None for ``"hide"``.
        :param progress: show a progress bar.
        :returns: Ξ, (1, C, H, W), of the dtype and on the device of x.
        :raises ValueError: images, a map or answers of the model that break the contract, or
            nothing to hide: no image with a pixel of the hidden class.
        """
        check_images(x)
        check_device(model, x)
        if not len(x):
            raise ValueError("x: expected at least one image to learn from, found none")
        with torch.inference_mode(False), frozen(model), differentiated(model, self.backward):
            x = x.detach().clone()
            forward = forward_of(model)
            with torch.no_grad():
                logits = forward(x[:1])
            check_map_logits(logits, x[:1])
            wanted, weight = self._wanted(model, x, y, logits.shape[1])
            return self._learn(forward, x, wanted, weight, progress)

    def _wanted(self, model, x, y, classes) -> tuple[Tensor, Tensor]:
        """The maps (N, H, W) that the attacker wants, and each pixel's weight."""
        if self.target == "static":
            if not isinstance(y, Tensor) or y.shape != x.shape[2:]:
                found = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
                raise ValueError(
                    "y: expected for target='static' the map that is wanted, "
                    f"{tuple(x.shape[2:])}, found {found}; for example "
                    "y = predict_maps(model, x[:1])[0]"
                )
            check_maps(y[None], x[:1])
            if y.max() >= classes:
                raise ValueError(f"y: expected classes below {classes}, found {y.max().item()}")
            wanted = y.expand(len(x), *y.shape)
            return wanted, torch.ones_like(wanted, dtype=x.dtype)
        if y is not None:
            raise ValueError("y: for target='hide' the maps come from the model; leave y out")
        if self.hidden >= classes:
            raise ValueError(f"hidden: expected a class below {classes}, found {self.hidden}")
        maps = predict_maps(model, x)
        there = maps == self.hidden
        if not there.any():
            raise ValueError(
                f"nothing to hide: the model gives no pixel of the {len(x)} images the class "
                f"{self.hidden}"
            )
        weight = torch.where(there, self.omega, 1 - self.omega).to(x.dtype)
        return hide(maps, self.hidden), weight

    def _learn(self, forward, x, wanted, weight, progress) -> Tensor:
        alpha = self.eps / 10 if self.alpha is None else self.alpha
        height, width = x.shape[2:]
        h, w = self.tile or (height, width)
        tiles = (1, 1, -(-height // h), -(-width // w))
        proto = torch.zeros_like(x[:1, :, :h, :w])
        if proto.shape[2:] != (h, w):
            raise ValueError(f"tile: expected at most {height} × {width}, found {h} × {w}")

        def spread(proto: Tensor) -> Tensor:
            return proto.repeat(tiles)[:, :, :height, :width]

        def gradient(x: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
            variable = proto.detach().requires_grad_(True)
            with torch.enable_grad():
                logits = forward((x + spread(variable)).clamp(0, 1))
                loss = (weight * _push(logits, wanted, self.tau)).mean((1, 2)).sum()
                found = None
                if loss.requires_grad:
                    (found,) = torch.autograd.grad(loss, variable, allow_unused=True)
            if found is None:
                raise ValueError(
                    "model: its logits do not depend on x by any differentiable path "
                    "(detach() or no_grad() inside?)"
                )
            if not found.isfinite().all():  # sign() would make zeros of NaN
                raise ValueError("model: the gradient of the loss in x is NaN or infinite")
            return found

        random = generator(self.seed)
        for _ in tqdm(range(self.steps), desc=type(self).__name__, disable=not progress):
            rows = slice(None)
            if self.batch_size is not None:
                rows = torch.randperm(len(x), generator=random)[: self.batch_size].to(x.device)
            total = in_batches(gradient, x[rows], wanted[rows], weight[rows], batch_size=CHUNK)
            proto = proto - alpha * threat.step(total.sum(0, keepdim=True), "Linf")
            proto = threat.project(proto, self.eps, "Linf")
        return spread(proto)


# Images whose activations are in memory at a time; a step sums the gradients over all of them.
CHUNK = 32


def _push(logits: Tensor, wanted: Tensor, tau: float) -> Tensor:
    """The cross-entropy of each pixel, 0 where the wanted class has a probability above τ."""
    loss = F.cross_entropy(logits, wanted, reduction="none")
    # p > τ for some τ ≥ 1/2 means that the wanted class is also the predicted one.
    confident = (loss.detach() < -torch.tensor(tau).log()) & (logits.argmax(1) == wanted)
    return loss.masked_fill(confident, 0)


def hide(maps: Tensor, hidden: int) -> Tensor:
    """Maps without a class: each of its pixels takes the class of the nearest pixel of another.

    Near is meant in Euclidean distance, over the pixels of the same map: the dynamic target of
    Metzen et al. (2017). Of two that are equally near, either is taken.

    :param maps: (N, H, W) int64, classes that a model predicted.
    :param hidden: the class to take out.
    :returns: (N, H, W), with no pixel of the class ``hidden``.
    :raises ValueError: a map with no other class.
    """
    if not isinstance(maps, Tensor) or maps.ndim != 3 or maps.dtype != torch.int64:
        found = (tuple(maps.shape), maps.dtype) if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(f"maps: expected (N, H, W) torch.int64, found {found}")
    out = maps.clone()
    for row, there in zip(out, maps == hidden):
        if there.all():
            raise ValueError(f"maps: one has no other class than {hidden}, so nothing to take")
        if there.any():
            at = distance_transform_edt(
                there.cpu().numpy(), return_distances=False, return_indices=True
            )
            rows, columns = torch.from_numpy(at).long().to(maps.device)
            row.copy_(row[rows, columns])
    return out
