"""What lens and sensor lose of a picture: sharpness, resolution, and the last bits to noise.

Blur and resampling are linear in the columns and in the rows: y = R_h x R_wᵀ, each R a small
matrix. Its rows sum to 1, so at the picture's edge the pixels that there are share the weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_number, check_range
from .base import Draw, Transformation, between, clip


@dataclass(frozen=True, kw_only=True)
class Blur(Transformation):
    """A lens out of focus: a Gaussian.

    :param sigma: (low, high) of a uniform draw of the standard deviation, in pixels, or one number,
        from 0 to 100. The default, 0, changes nothing.
    :raises ValueError: out of this range.
    """

    sigma: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        check_range(self, "sigma", 0, 100)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        sigma = between(draw, x, *self.sigma).clamp_min(1e-3)  # of which nothing is left at 1 pixel
        sigma = sigma.squeeze(1)
        down, across = (torch.softmax(-_squares(n, x) / (2 * sigma**2), -1) for n in x.shape[-2:])
        return clip(_mapped(x, down, across))


@dataclass(frozen=True, kw_only=True)
class Resolution(Transformation):
    """The sensor's pixels: resized down to them with anti-aliasing, and back up.

    Both ways with a triangular filter (bilinear), as wide as the coarser of the two grids.

    :param scale: sensor pixels per pixel of the picture along a side, above 0, at most 10. The
        default, 1, changes nothing; ½ loses the finest details.
    :raises ValueError: out of this range.
    """

    scale: float = 1.0

    def __post_init__(self):
        check_number(self, "scale", 1e-3, 10)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        down, across = (
            resize_matrix(pixels, n, x) @ resize_matrix(n, pixels, x)
            for n in x.shape[-2:]
            for pixels in [max(1, round(self.scale * n))]
        )
        return clip(_mapped(x, down, across))


@dataclass(frozen=True, kw_only=True)
class SensorNoise(Transformation):
    """Gaussian noise, for each pixel and channel: x + √(read² + shot² x) n, n standard normal.

    Photons arrive one by one, so a brighter pixel has more noise, by the root of its brightness
    (``shot``); the electronics add the same to all (``read``). Foi et al. (2008) fit this to raw
    sensors; here it acts on pixel values, after the camera's tone curve.

    :param shot: standard deviation due to photons at white, 0 to 1 (full scale).
    :param read: standard deviation in the dark, 0 to 1.
    :raises ValueError: out of this range.
    """

    shot: float = 0.0
    read: float = 0.0

    def __post_init__(self):
        check_number(self, "shot", 0, 1)
        check_number(self, "read", 0, 1)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        noise = draw("normal", x.shape[1:])
        if not self.shot and not self.read:
            return x
        # At black the root has no slope; below a 20th of a gray level it is held.
        return clip(x + (self.read**2 + self.shot**2 * x).clamp_min(4e-8).sqrt() * noise)


def resize_matrix(source: int, target: int, like: Tensor) -> Tensor:
    """(target, source): linear interpolation; where it shrinks, with a filter as much wider."""
    scale = source / target
    width = max(scale, 1.0)
    if source == target:
        return torch.eye(source, device=like.device, dtype=like.dtype)
    center = (_count(target, like) + 0.5) * scale
    distance = (_count(source, like) + 0.5 - center[:, None]).abs() / width
    weight = (1 - distance).clamp_min(0)
    return weight / weight.sum(1, keepdim=True)


def _mapped(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """down x acrossᵀ for each channel; the matrices (h, H) and (w, W), or one for each image."""
    # Sizes are written out: of an empty batch torch cannot tell what -1 stands for.
    (n, c, height, width), rows, columns = x.shape, down.shape[-2], across.shape[-2]
    x = (x.reshape(n, c * height, width) @ across.mT).view(n, c, height, columns)
    x = down @ x.transpose(1, 2).reshape(n, height, c * columns)
    return x.view(n, rows, c, columns).transpose(1, 2)


def _squares(n: int, like: Tensor) -> Tensor:
    """(n, n): (i − j)²."""
    place = _count(n, like)
    return (place - place[:, None]) ** 2


def _count(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, device=like.device, dtype=like.dtype)
