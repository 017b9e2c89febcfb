"""How much light falls on a picture, and how a camera turns light into pixel values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_range
from .base import Draw, Transformation, between, clip

MIDDLE_GRAY = 0.5
TOE = 0.01  # of a gamma curve: keeps its slope at black finite


def to_linear(x: Tensor) -> Tensor:
    """Light from pixel values, both in [0, 1]: the curve of sRGB, IEC 61966-2-1."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def from_linear(light: Tensor) -> Tensor:
    """Pixel values from light: the inverse of :func:`to_linear`; above 1 from light above 1."""
    curved = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curved)


@dataclass(frozen=True, kw_only=True)
class Exposure(Transformation):
    """More or less light: 2^stops times as much, in linear light.

    :param stops: (low, high) of a uniform draw, or one number, from −8 to 8; 1 doubles the light.
        The default changes nothing.
    :raises ValueError: out of this range.
    """

    stops: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        check_range(self, "stops", -8, 8)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        return clip(from_linear(to_linear(x) * 2 ** between(draw, x, *self.stops)))


@dataclass(frozen=True, kw_only=True)
class Brightness(Transformation):
    """The same number added to all pixel values: the "brightness" of Kurakin et al., section 4.

    :param change: (low, high) of a uniform draw, or one number, from −1 to 1 (of full scale). The
        default changes nothing.
    :raises ValueError: out of this range.
    """

    change: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        check_range(self, "change", -1, 1)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        return clip(x + between(draw, x, *self.change))


@dataclass(frozen=True, kw_only=True)
class Contrast(Transformation):
    """Pixel values drawn towards middle gray, or away from it: ½ + c (x − ½).

    A print holds less contrast than a screen: its black reflects, its white absorbs.

    :param factor: (low, high) of a uniform draw of c, or one number, from 0 to 10. The default, 1,
        changes nothing; 0 leaves a gray sheet.
    :raises ValueError: out of this range.
    """

    factor: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self):
        check_range(self, "factor", 0, 10)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        # Written so that a factor of 1 gives x to the last bit.
        return clip(x + (between(draw, x, *self.factor) - 1) * (x - MIDDLE_GRAY))


@dataclass(frozen=True, kw_only=True)
class Gamma(Transformation):
    """A tone curve: x^g with a toe, ((x + t)^g − t^g) / ((1 + t)^g − t^g), t = 0.01.

    Black stays 0 and white 1. The toe keeps the slope at black finite: without it, for g below 1 an
    attack on a black background would see infinite gradients, for g above 1 none.

    :param power: (low, high) of a uniform draw of g, or one number, from 0.1 to 10. The default, 1,
        changes nothing; above 1 is darker.
    :raises ValueError: out of this range.
    """

    power: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self):
        check_range(self, "power", 0.1, 10)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        power = between(draw, x, *self.power)
        black = TOE**power
        return clip(((x + TOE) ** power - black) / ((1 + TOE) ** power - black))


@dataclass(frozen=True, kw_only=True)
class UnevenLight(Transformation):
    """Light that falls off across the picture, from a lamp at one side.

    In linear light a pixel gets 2^(s p) times as much, where p runs from −1 to 1 across the
    picture's inscribed circle (ellipse, if it is not square) in a direction drawn uniformly: the
    middle stays as it is.

    :param stops: (low, high) of a uniform draw of s, or one number, from 0 to 8: the difference
        between the middle and the edge. The default changes nothing.
    :raises ValueError: out of this range.
    """

    stops: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        check_range(self, "stops", 0, 8)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        stops = between(draw, x, *self.stops)
        angle = between(draw, x, 0.0, 2 * math.pi)
        v, u = (
            (2 * torch.arange(n, device=x.device, dtype=x.dtype) + 1) / n - 1 for n in x.shape[-2:]
        )
        place = angle.cos() * u + angle.sin() * v[:, None]
        return clip(from_linear(to_linear(x) * 2 ** (stops * place)))
