"""What every data set is, once loaded: two splits of images and labels, and the classes' names."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """Images and their classes; unpacks as ``x, y = data.test``.

    x: (N, C, H, W) float32 in [0, 1]. y: (N,) int64, class numbers from 0; where
    every pixel has a class, (N, H, W).
    """

    x: Tensor
    y: Tensor

    def to(self, device: str | torch.device) -> Split:
        """The same split on another device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A whole data set in memory.

    :param name: as given to :func:`advlab.data.load`.
    :param train: what models learn from.
    :param test: what they are judged on.
    :param classes: the name of each class number.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W): channels, height and width of every image."""
        return tuple(self.train.x.shape[1:])

    def to(self, device: str | torch.device) -> Dataset:
        """The same data on another device."""
        return dataclasses.replace(self, train=self.train.to(device), test=self.test.to(device))

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}: {len(self.train.x)} training and {len(self.test.x)} test "
            f"images of shape {self.shape}, {len(self.classes)} classes)"
        )


def as_images(pixels: Tensor) -> Tensor:
    """Bytes (N, C, H, W) from 0 to 255, as float32 in [0, 1]."""
    return pixels.float().div_(255)
