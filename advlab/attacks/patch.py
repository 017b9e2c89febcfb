"""A patch, and how it is put on images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from ..backend import in_batches
from ..checks import check_whole
from ..images import check_images
from ..threat import Streams
from . import patch_files
from .placement import Place, Places, place


@dataclass(frozen=True, eq=False)
class Patch:
    """A patch, to be put on images.

    :param pixels: (C, h, w) floating point, in [0, 1].
    :param mask: (1, h, w), 1 where the patch is and 0 where it is not; between them at a soft edge.
    :param target: the class that it is meant to bring about; None for any but the true one.
    :raises ValueError: pixels or a mask of another form, or a target that is no class number.
    """

    pixels: Tensor
    mask: Tensor
    target: int | None = None

    def __post_init__(self):
        check_images(self.pixels[None] if self.pixels.ndim == 3 else self.pixels, "pixels")
        check_mask(self.mask)
        if self.target is not None:
            check_whole(self, "target", 0)
        if self.pixels.ndim != 3 or self.pixels.shape[1:] != self.mask.shape[1:]:
            raise ValueError(
                "pixels and mask: expected (C, h, w) and (1, h, w), found "
                f"{tuple(self.pixels.shape)} and {tuple(self.mask.shape)}"
            )

    def apply(
        self,
        x: Tensor,
        *,
        area: float | tuple[float, float],
        rotation: float = 0.0,
        where: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """The patch on each image, at a random place of its own.

        The place depends on the image and the seed alone. Without gradients, a batch at a time.

        :param x: (N, C, H, W) floating point, in [0, 1].
        :param area: the patch's area as a fraction of the image's, or (low, high); 0 puts nothing.
        :param rotation: the most degrees by which it is turned, either way; 0 to 180.
        :param where: (1 or N, 1, H, W), 1 where the patch may lie; by default anywhere.
            Where a region has no room for the largest area, the largest that fits is taken.
        :param seed: of the places.
        :returns: (N, C, H, W), in [0, 1].
        :raises ValueError: images that the patch does not fit on, or a number out of its range.
        """
        self._check(x)
        low, high = as_range(area)
        if not high:
            return x.clone()
        pixels, mask = self.pixels.to(x), self.mask.to(x)
        check_where(where, x)
        places = Places(x.shape[2:], mask, (low, high), rotation, where=where)

        def put(x: Tensor, index: Tensor) -> Tensor:
            uniform = Streams(x, seed).draw("uniform", (4,))
            return places.put(x, pixels, mask, uniform, index).clamp(0, 1)

        with torch.no_grad():
            return in_batches(put, x, torch.arange(len(x), device=x.device))

    def apply_at(
        self,
        x: Tensor,
        *,
        area: float,
        center: tuple[float, float] = (0.5, 0.5),
        rotation: float = 0.0,
    ) -> Tensor:
        """The patch on each image at one given place, differentiable in x.

        :param x: (N, C, H, W) floating point, in [0, 1].
        :param area: the patch's area as a fraction of the image's, above 0.
        :param center: (u, v), of the patch's middle: fractions of the image's width, from the left,
            and of its height, from the top. It may hang over the edge.
        :param rotation: degrees, counterclockwise as seen.
        :returns: (N, C, H, W), in [0, 1].
        :raises ValueError: images of other channels, or a number out of its range.
        """
        self._check(x)
        check_center(center)
        if not math.isfinite(rotation):
            raise ValueError(f"rotation: expected finite degrees, found {rotation!r}")
        places = Places(x.shape[2:], self.mask, as_range(area, least=1e-9), center=center)
        found = places.draw(torch.zeros(len(x), 4, dtype=x.dtype, device=x.device))
        angle = torch.full_like(found.angle, rotation).deg2rad()
        at = Place(found.center, found.scale, angle)
        return place(x, self.pixels.to(x), self.mask.to(x), at).clamp(0, 1)

    def _check(self, x: Tensor) -> None:
        check_images(x)
        if x.shape[1] != len(self.pixels):
            raise ValueError(
                f"x: expected images of {len(self.pixels)} channels, as the patch has, "
                f"found {x.shape[1]}"
            )

    def save(self, path: str | Path) -> Path:
        """Write pixels, mask and target as safetensors, all or nothing."""
        return patch_files.save(path, self.pixels, self.mask, self.target)

    @classmethod
    def load(cls, path: str | Path) -> Patch:
        """A patch that was saved.

        :raises ValueError: the file is damaged, or holds something else.
        """
        return cls(*patch_files.load(path))

    def to_png(self, path: str | Path, size: int = 512) -> Path:
        """A picture of the patch, ``size`` pixels wide, transparent where there is no patch."""
        return patch_files.to_png(path, self.pixels, self.mask, size)

    def to_pdf(self, path: str | Path, width_mm: float = 50.0) -> Path:
        """A page of A4 to print at 100%, the patch ``width_mm`` millimeters wide.

        A thin line shows where to cut, and a bar of 10 mm shows whether the printer kept the size.

        :raises ValueError: a width that the page has no room for.
        """
        return patch_files.to_pdf(path, self.pixels, self.mask, width_mm)


def circle(size: int) -> Tensor:
    """The mask of a disc, (1, size, size): at its edge, about the fraction of a pixel inside."""
    at = torch.arange(size) + 0.5 - size / 2
    return (size / 2 + 0.5 - torch.hypot(at[:, None], at[None])).clamp(0, 1)[None]


def as_range(area: float | tuple[float, float], least: float = 0.0) -> tuple[float, float]:
    """One area, or two, as (low, high).

    :raises ValueError: not from ``least`` to 1, the smaller first.
    """
    ends = _numbers((area, area) if isinstance(area, Real) else area)
    if not (len(ends) == 2 and least <= ends[0] <= ends[1] <= 1):
        raise ValueError(
            "area: expected a fraction of the image, above 0 and at most 1, or (low, high), "
            f"found {area!r}"
        )
    return ends


def check_center(center: tuple[float, float]) -> None:
    """:raises ValueError: not two numbers from 0 to 1."""
    ends = _numbers(center)
    if not (len(ends) == 2 and all(0 <= c <= 1 for c in ends)):
        raise ValueError(f"center: expected (u, v) from 0 to 1, found {center!r}")


def _numbers(values) -> tuple[float, ...]:
    """The numbers; none of them where something else stands among them."""
    try:
        return tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return ()


def check_mask(mask: Tensor) -> None:
    """:raises ValueError: not (1, h, w) from 0 to 1 with something in it."""
    if mask.ndim != 3 or len(mask) != 1 or not mask.numel() or not mask.is_floating_point():
        raise ValueError(
            f"mask: expected (1, h, w) floating point, found {tuple(mask.shape)} {mask.dtype}"
        )
    if not (mask.min() >= 0 and mask.max() <= 1 and mask.any()):
        raise ValueError("mask: expected values from 0 to 1, and not 0 everywhere")


def check_where(where: Tensor | None, x: Tensor) -> None:
    """:raises ValueError: not (1, 1, H, W) or (N, 1, H, W), as the images are."""
    if where is None:
        return
    if where.ndim != 4 or len(where) not in (1, len(x)) or where.shape[1:] != (1, *x.shape[2:]):
        raise ValueError(
            f"where: expected (1 or {len(x)}, 1, {x.shape[2]}, {x.shape[3]}), as the images are, "
            f"found {tuple(where.shape)}"
        )
