"""JPEG compression, the whole lossy part of the codec, in torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_range
from .base import Draw, Transformation, between, clip, wide
from .sensor import resize_matrix

# ITU-T T.81 (1992), annex K.1: the steps of quantization, by frequency.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# ITU-T T.871 (2011), section 7: Y, Cb, Cr from R, G, B, and back, before the offset of 128.
TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
HALF = 0.5 + 1e-5
SUBSAMPLINGS = ("4:2:0", "4:4:4")


@dataclass(frozen=True, kw_only=True)
class JPEG(Transformation):
    """A picture saved as JPEG and opened again: ITU-T T.81, as libjpeg does it.

    Color to brightness and two color differences, these at half the resolution (4:2:0); blocks of
    8 × 8 to frequencies (the cosine transform); each frequency rounded to a multiple of its step;
    and all of it back, to whole gray levels. What is left away, packing the numbers into bits,
    loses nothing.

    The gradient passes each rounding as if it were not there (straight through). The true one is 0
    almost everywhere.

    :param quality: (low, high) of a uniform draw of the quality from 1 to 100, rounded to a whole
        number (both ends half as often as the others), or one number. libjpeg's: the steps of
        annex K.1 times 50 / quality, and from 50 on times 2 − quality / 50. Even 100 rounds to
        whole levels.
    :param subsampling: ``"4:2:0"`` or ``"4:4:4"`` (colors at full resolution). A picture of one
        channel has no colors.
    :raises ValueError: a quality out of this range, another subsampling, or pictures that have
        neither 1 nor 3 channels.
    """

    quality: tuple[float, float] = (75.0, 75.0)
    subsampling: str = "4:2:0"

    def __post_init__(self):
        check_range(self, "quality", 1, 100)
        if self.subsampling not in SUBSAMPLINGS:
            raise ValueError(
                f"subsampling: found {self.subsampling!r}, expected {' or '.join(SUBSAMPLINGS)}"
            )

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        quality = wide(between(draw, x, *self.quality).round())
        levels = round_through(255 * wide(x))
        if x.shape[1] == 1:
            out = coded(levels - 128, step_table(LUMINANCE, quality)) + 128
        elif x.shape[1] == 3:
            out = self._color(levels, quality)
        else:
            raise ValueError(f"JPEG: expected 1 or 3 channels, found {x.shape[1]}")
        return clip(round_through(out) / 255).to(x.dtype)

    def _color(self, levels: Tensor, quality: Tensor) -> Tensor:
        height, width = levels.shape[-2:]
        ycc = round_through(_mix(levels, TO_YCC))
        light = coded(ycc[:, :1] - 128, step_table(LUMINANCE, quality)) + 128
        colors = ycc[:, 1:] + 128
        if self.subsampling == "4:2:0":
            colors = F.avg_pool2d(_padded(colors, 2), 2)
            # libjpeg rounds halves up in every other column, so as not to brighten the whole.
            column = torch.arange(colors.shape[-1], device=colors.device)
            colors = round_through(colors - 0.25 * (column % 2 == 0))
        colors = coded(colors - 128, step_table(CHROMINANCE, quality))
        light, colors = _levels(light), _levels(colors + 128) - 128
        if self.subsampling == "4:2:0":
            down, across = (
                resize_matrix(math.ceil(n / 2), 2 * math.ceil(n / 2), levels)[:n]
                for n in (height, width)
            )
            colors = round_through(down @ colors @ across.mT)
        return _mix(torch.cat((light, colors), 1), TO_RGB)


def coded(plane: Tensor, steps: Tensor) -> Tensor:
    """Planes with each frequency of each 8 × 8 block rounded to a multiple of its step.

    :param plane: (N, C, H, W), in gray levels around 0; padded to whole blocks by its edge.
    :param steps: (N, 64).
    """
    n, c, height, width = plane.shape
    plane = _padded(plane, 8)
    rows, columns = plane.shape[-2] // 8, plane.shape[-1] // 8
    blocks = plane.view(n, c, rows, 8, columns, 8).transpose(3, 4)
    blocks = blocks.reshape(n, c * rows * columns, 64)
    basis = cosines(plane)
    steps = steps[:, None]
    waves = round_through(8 * (blocks @ basis.mT))  # libjpeg's transform is in whole eighths
    blocks = (round_through(waves / (8 * steps)) * steps) @ basis
    plane = blocks.view(n, c, rows, columns, 8, 8).transpose(3, 4).reshape(plane.shape)
    return plane[..., :height, :width]


def cosines(like: Tensor) -> Tensor:
    """(64, 64): the two-dimensional cosine transform of a flattened 8 × 8 block, orthogonal."""
    i = torch.arange(8, device=like.device, dtype=like.dtype)
    one = torch.cos((2 * i + 1) * i[:, None] * math.pi / 16) / 2
    one[0] /= math.sqrt(2)
    return torch.kron(one, one)


def step_table(table: tuple, quality: Tensor) -> Tensor:
    """(N, 64): the steps at each quality, (N, 1, 1, 1), whole numbers from 1 to 255."""
    quality = quality.view(-1, 1)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    steps = quality.new_tensor(table).view(1, 64)
    return ((steps * percent + 50) / 100).floor().clamp(1, 255)


def round_through(x: Tensor) -> Tensor:
    """x rounded, halves away from 0 as in libjpeg; its gradient passes as if it were not."""
    # Sums of 64 pixels over a whole step are often halves, but for the last bits of float32.
    value = x.detach()
    return (value.abs() + HALF).floor().copysign(value) + (x - value)


def _levels(x: Tensor) -> Tensor:
    """Whole gray levels from 0 to 255; the gradient passes."""
    return x.detach().round().clamp(0, 255) + (x - x.detach())


def _mix(x: Tensor, matrix: tuple) -> Tensor:
    """Each pixel's channels times a 3 × 3 matrix."""
    return torch.einsum("ij,njhw->nihw", x.new_tensor(matrix), x)


def _padded(x: Tensor, multiple: int) -> Tensor:
    """Height and width made multiples of a number by repeating the last row and column."""
    right, below = -x.shape[-1] % multiple, -x.shape[-2] % multiple
    return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x
