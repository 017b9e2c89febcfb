"""A random size at a random place, drawn anew at each look. Xie et al. (2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_whole
from ..models.preprocessing import Preprocessing
from ..transforms.sensor import resize_matrix


class RandomResizePad(Preprocessing):
    """Each image resized to r × r, r uniform from low … high − 1, at a random place of a black
    high × high frame. (N, C, H, W) to (N, C, high, high). Xie et al. (2018).

    Every image has its own size and place, drawn from torch's global state, in training and at test
    time. An attack sees one draw and is judged by another. The network is not retrained.

    The step is differentiable, so that ``backward="substitute"`` is its own gradient; what an
    adaptive attack adds is the mean over draws, ``EOT(attack=PGD(...), samples=10)``: Athalye et
    al. (2018), section 4.2.

    Where we differ: the paper enlarges its images, from 299 to a frame of 331, since its networks
    end in global pooling and take any size. A network of one size, such as
    :class:`advlab.models.CNN`, takes ``high`` equal to that size, and the images shrink a little.
    Resizing is linear interpolation, and smooths where it shrinks; an image that is not square is
    made so.

    :param low: the smallest size, at least 1.
    :param high: the frame, above ``low``. Sizes up to ``high`` − 1 occur.
    :param backward: how it is differentiated, see :class:`advlab.models.Preprocessing`.
    :raises ValueError: sizes out of these ranges.
    """

    exact = True

    def __init__(self, low: int, high: int, backward="own"):
        super().__init__(backward)
        self.low, self.high = low, high
        check_whole(self, "low")
        check_whole(self, "high", low + 1)

    def process(self, x: Tensor) -> Tensor:
        size = torch.randint(self.low, self.high, (len(x),), device=x.device)
        room = self.high - size + 1  # places along a side
        top, left = (torch.rand(2, len(x), device=x.device) * room).long()
        down, across = (
            self._placed(x.shape[dim], size, start, x) for dim, start in ((2, top), (3, left))
        )
        return down[:, None] @ x @ across[:, None].mT

    def substitute(self, x: Tensor) -> Tensor:
        return self.process(x)

    def _placed(self, source: int, size: Tensor, start: Tensor, x: Tensor) -> Tensor:
        """(N, high, source): lines of an image to the lines of its frame; black ones are 0."""
        tables = x.new_zeros(self.high - self.low, self.high + 1, source)
        for table, r in zip(tables, range(self.low, self.high), strict=True):
            table[:r] = resize_matrix(source, r, x)
        line = torch.arange(self.high, device=x.device) - start[:, None]
        inside = (line >= 0) & (line < size[:, None])
        return tables[(size - self.low)[:, None], line.where(inside, self.high)]

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"
