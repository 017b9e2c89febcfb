"""Feature squeezing: fewer colors, and smoother ones. Xu et al. (2018).

An attacker moves many pixels by a little. A squeezer merges images that differ by a little, so
that many of them look the same to the network. The network behind it may be trained behind it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_whole
from ..models.preprocessing import Preprocessing
from ..transforms.base import wide


class BitDepth(Preprocessing):
    """round(x (2ᵇ − 1)) / (2ᵇ − 1): each pixel at the nearest of 2ᵇ levels. Section III-A.

    With one bit a pixel is white above ½, and black at ½ and below (halves go to the even level, as
    in the paper's code). The gradient of rounding is 0. What stands for the step is a stair with
    soft edges: between two levels, of height 1 and at place f from 0 to 1, σ(10 (f − ½)). Its slope
    is largest where a pixel is about to cross. The identity of Athalye et al. (2018), section 4.1,
    ``backward="identity"``, moves all pixels alike, and in L2 wastes most of the way.

    The model's answer changes where a pixel crosses a threshold and nowhere else. So it withstands
    noise that stays away from them, and not an attacker who may cross them.

    With one bit and ε < ½ in L∞, black never becomes white. At ε = 0.3 only the grays between 0.2
    and 0.8 can cross, 48 pixels a digit. Of 60 test digits that ``mnist-bits`` has right, all that
    we tried fools 22% or 23%: PGD with this stand-in (20 steps; 100 steps and 3 restarts) or with
    the identity, APGD by cross-entropy and by margin, and a search that flips, one at a time, the
    pixel that costs the most margin. Here one bit helps, and not by hiding a gradient. That is no
    proof. In L2, at ε = 3, 90% and more are fooled.

    :param bits: b, from 1 to 16; the images of this package have 8.
    :param backward: how it is differentiated, see :class:`advlab.models.Preprocessing`.
    :raises ValueError: bits out of that range.
    """

    def __init__(self, bits: int = 1, backward="own"):
        super().__init__(backward)
        self.bits = bits
        check_whole(self, "bits")
        if bits > 16:
            raise ValueError(f"bits: expected a whole number from 1 to 16, found {bits}")

    def process(self, x: Tensor) -> Tensor:
        steps = 2**self.bits - 1
        return ((wide(x) * steps).round() / steps).to(x.dtype)

    def substitute(self, x: Tensor) -> Tensor:
        steps = 2**self.bits - 1
        place = wide(x) * steps
        level = place.detach().floor()
        return ((level + (10 * (place - level - 0.5)).sigmoid()) / steps).to(x.dtype)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class MedianSmoothing(Preprocessing):
    """Each pixel becomes the median of the k × k window around it. Section III-B.

    As in the paper: an even window has its center at the lower right of its middle, and of the two
    middle values the greater one is taken; at the border the image is mirrored, the edge included
    (c b a | a b c). This is ``scipy.ndimage.median_filter(size=k, mode="reflect")``. Channels
    are smoothed one by one.

    The median is one of the pixels in the window, and autograd's gradient is 1 at that pixel: it is
    differentiable almost everywhere, and hides no gradient.

    :param size: k ≥ 1; 2 and 3 are the paper's. 1 changes nothing.
    :param backward: how it is differentiated, see :class:`advlab.models.Preprocessing`.
    :raises ValueError: a size below 1; when called, images smaller than half a window.
    """

    def __init__(self, size: int = 2, backward="own"):
        super().__init__(backward)
        self.size = size
        check_whole(self, "size")

    def process(self, x: Tensor) -> Tensor:
        before, after = self.size // 2, (self.size - 1) // 2
        if min(x.shape[-2:]) < before:
            raise ValueError(
                f"size: a window of {self.size} needs images of at least {before} × {before}, "
                f"found {x.shape[-2]} × {x.shape[-1]}"
            )
        for dim in (2, 3):
            x = _mirrored(x, dim, before, after)
        windows = x.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(-2)
        return windows.kthvalue(self.size**2 // 2 + 1).values

    def extra_repr(self) -> str:
        return f"size={self.size}"


def _mirrored(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """x continued by its mirror image, the edge twice: torch's own "reflect" has it once."""
    length = x.shape[dim]
    first, last = x.narrow(dim, 0, before), x.narrow(dim, length - after, after)
    return torch.cat((first.flip(dim), x, last.flip(dim)), dim)
