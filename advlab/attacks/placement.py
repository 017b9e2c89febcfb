"""Where a patch lies on an image: places drawn at random, and the patch put there.

The patch is flat and lies in the picture's plane. Its place is a center (u, v) in fractions of the
image, u to the right and v down, a scale (image pixels a patch pixel) and an angle.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ..transforms import warp


class Place(NamedTuple):
    """Where the patch lies on each of N images.

    center: (N, 2), (u, v) from 0 to 1. scale: (N,), image pixels a patch pixel. angle: (N,), in
    radians, counterclockwise as seen.
    """

    center: Tensor
    scale: Tensor
    angle: Tensor


def place(x: Tensor, pixels: Tensor, mask: Tensor, at: Place) -> Tensor:
    """A(p, x, l, t) of Brown et al. (2017): the patch over the images, differentiable in both.

    A pixel that the patch does not touch keeps its value exactly.

    :param x: (N, C, H, W).
    :param pixels: (C, h, w).
    :param mask: (1, h, w), from 0 (not a part of the patch) to 1.
    :returns: (N, C, H, W), within [0, 1] but for rounding.
    """
    if not len(x):
        return x.clone()
    layer = torch.cat((pixels * mask, mask))
    matrix = _into_patch(at, x.shape[2:], mask.shape[1:]).to(x)
    # A patch that shrinks k times is averaged once, over k × k pixels, rather than in each image.
    shrinks = (1 / at.scale).round().clamp_min(1).long()
    parts, order = [], []
    for k in shrinks.unique().tolist():
        rows = (shrinks == k).nonzero().squeeze(1)
        size = [math.ceil(side / k) for side in mask.shape[1:]]
        small = layer if k == 1 else F.adaptive_avg_pool2d(layer, size)
        parts.append(warp(small.expand(len(rows), -1, -1, -1), matrix[rows], x.shape[2:]))
        order.append(rows)
    warped = torch.cat(parts)[torch.cat(order).argsort()]
    color, cover = warped[:, :-1], warped[:, -1:]
    return x * (1 - cover) + color


def _into_patch(at: Place, frame: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """(N, 3, 3), from places in the image to places in the patch."""
    height, width = frame
    h, w = patch
    cos, sin = at.angle.cos() / at.scale, at.angle.sin() / at.scale
    matrix = torch.zeros(len(cos), 3, 3, dtype=cos.dtype, device=cos.device)
    matrix[:, 0, 0], matrix[:, 0, 1] = cos * width / w, -sin * height / w
    matrix[:, 1, 0], matrix[:, 1, 1] = sin * width / h, cos * height / h
    matrix[:, :2, 2] = 0.5 - (matrix[:, :2, :2] @ at.center[:, :, None]).squeeze(2)
    matrix[:, 2, 2] = 1
    return matrix


class Places:
    """The places that a patch may have: wholly in the image, and wholly where ``where`` allows.

    The scale is drawn uniformly between those of the two areas, the angle uniformly, and then the
    center uniformly among those that remain.

    :param frame: (H, W) of the images.
    :param mask: (1, h, w) of the patch.
    :param area: (low, high), the patch's area as a fraction of the image's.
    :param rotation: the most degrees by which it is turned, either way; 0 to 180.
    :param center: (u, v), where it always lies; it may then hang over the edge.
    :param where: (1 or N, 1, H, W), 1 where the patch may lie, 0 elsewhere. Where a region has no
        room for the largest area, the largest that fits takes its place.
    :raises ValueError: no room for the patch, or a rotation out of its range.
    """

    def __init__(
        self,
        frame: tuple[int, int],
        mask: Tensor,
        area: tuple[float, float],
        rotation: float = 0.0,
        center: tuple[float, float] | None = None,
        where: Tensor | None = None,
    ):
        if not 0 <= rotation <= 180:
            raise ValueError(f"rotation: expected degrees from 0 to 180, found {rotation!r}")
        self.frame, self.center, self.where = frame, center, where
        self.rotation = math.radians(rotation)
        self.box = torch.tensor(mask.shape[:0:-1], dtype=torch.float64) / 2
        # The farthest point of the patch: of a pixel that it covers the corner, else the center.
        at = (mask[0].cpu() > 0).nonzero().double() + 0.5 - self.box.flip(0)
        covered = (mask[0].cpu()[mask[0].cpu() > 0] >= 0.5).double()[:, None]
        self.reach = (at.abs() + covered / 2).norm(dim=1).max().item()
        pixels = mask.double().sum().item()
        self.low, self.high = (math.sqrt(a * frame[0] * frame[1] / pixels) for a in area)
        self.area = area
        if where is not None:
            self._measure(where)
        elif center is None:
            angles = torch.linspace(0, self.rotation, 91, dtype=torch.float64)
            needed = 2 * self._half(torch.full_like(angles, self.high), angles).amax(0)
            if (needed > torch.tensor(frame[::-1]) + 1e-6).any():
                raise ValueError(
                    f"area: a patch of {area[1]:.0%} of the image, turned by up to {rotation:g} "
                    f"degrees, needs {needed[0]:.1f} × {needed[1]:.1f} pixels and does not fit "
                    f"into {frame[1]} × {frame[0]}; lower area or rotation"
                )

    def _half(self, scale: Tensor, angle: Tensor) -> Tensor:
        """(N, 2), half the width and half the height of the turned patch, in image pixels."""
        cos, sin = angle.cos().abs(), angle.sin().abs()
        w, h = self.box.to(scale)
        box = torch.stack((cos * w + sin * h, sin * w + cos * h), 1)
        return scale[:, None] * box.clamp_max(self.reach)

    def _measure(self, where: Tensor) -> None:
        """How far each pixel is from the nearest that is not allowed, beyond the edge included."""
        allowed = F.pad(where[:, 0].cpu() > 0, (1, 1, 1, 1)).numpy()
        distance = torch.stack([torch.from_numpy(distance_transform_edt(a)) for a in allowed])
        self.distance = distance[:, 1:-1, 1:-1].contiguous() - 0.5
        self.fits = self.distance.amax((1, 2)) / self.reach
        short = (self.fits < self.low).nonzero().flatten().tolist()
        if short:
            raise ValueError(
                f"where: a patch of {self.area[0]:.2%} of the image does not fit into the region "
                f"of {len(short)} of {len(where)} masks (the first is {short[0]}); lower area, or "
                "leave these images out"
            )

    def draw(self, uniform: Tensor, index: Tensor | None = None) -> Place:
        """A place for each image.

        :param uniform: (N, 4), random numbers from 0 to 1.
        :param index: (N,), which of the masks is each image's; by default all in order.
        """
        like, uniform = uniform, uniform.cpu().double()
        most = torch.full_like(uniform[:, 0], self.high)
        masked = self.center is None and self.where is not None
        if masked:
            one = len(self.distance) == 1
            index = torch.arange(len(uniform)) if index is None else index.cpu()
            index = torch.zeros_like(index) if one else index
            most = torch.minimum(most, self.fits[index])
        scale = self.low + (most - self.low) * uniform[:, 0]
        angle = self.rotation * (2 * uniform[:, 1] - 1)
        size = torch.tensor(self.frame[::-1], dtype=torch.float64)
        if self.center is not None:
            center = torch.tensor(self.center, dtype=torch.float64).expand(len(uniform), 2)
        elif masked:
            # Rounding must not take away the one place that a patch of the largest scale has.
            needed = self.reach * scale[:, None, None] - 1e-9
            free = (self.distance[index] >= needed).flatten(1)
            count = free.sum(1)
            chosen = (uniform[:, 2] * count).long().clamp_max(count - 1)
            pixel = (free.cumsum(1) > chosen[:, None]).long().argmax(1)
            center = torch.stack((pixel % self.frame[1], pixel // self.frame[1]), 1) + 0.5
            center = center / size
        else:
            half = self._half(scale, angle) / size
            center = half + (1 - 2 * half).clamp_min(0) * uniform[:, 2:]
        return Place(*(t.to(like) for t in (center, scale, angle)))

    def put(self, x: Tensor, pixels: Tensor, mask: Tensor, uniform: Tensor, index=None) -> Tensor:
        """The patch on each image at a place drawn from ``uniform``; see :func:`place`."""
        placed = place(x, pixels, mask, self.draw(uniform, index))
        if self.where is None:
            return placed
        # The patch's soft edge must not leave the region either.
        where = self.where.to(x)
        where = where if index is None or len(where) == 1 else where[index]
        return torch.where(where > 0, placed, x)
