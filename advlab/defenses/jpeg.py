"""JPEG compression in front of the network. Guo et al. (2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.preprocessing import Preprocessing
from ..transforms import JPEG


class JPEGCompression(Preprocessing):
    """The image saved as JPEG and opened again: :class:`advlab.transforms.JPEG`, bit by bit.

    Rounding the frequencies of each block removes small perturbations, and has the gradient 0. What
    stands for the step is the same code with each rounding passed straight through, which keeps
    what JPEG does besides rounding: colors at half the resolution. Guo et al. (2018), with
    quality 75; its break by BPDA is in Athalye et al. (2018), section 5.

    :param quality: 1 to 100 as libjpeg counts; a pair (low, high) draws it for each image from
        torch's global state.
    :param subsampling: ``"4:2:0"``, or ``"4:4:4"`` for colors at full resolution.
    :param backward: how it is differentiated, see :class:`advlab.models.Preprocessing`.
    :raises ValueError: a quality or subsampling that JPEG does not have; when called, images of
        neither 1 nor 3 channels.
    """

    exact = True

    def __init__(
        self,
        quality: float | tuple[float, float] = 75,
        subsampling: str = "4:2:0",
        backward="own",
    ):
        super().__init__(backward)
        self.jpeg = JPEG(quality=quality, subsampling=subsampling)

    def process(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            out = self.substitute(x)
        return out + 0 * x  # the true gradient of rounding

    def substitute(self, x: Tensor) -> Tensor:
        def draw(kind: str, shape: tuple[int, ...]) -> Tensor:  # the quality alone: uniform
            return torch.rand(len(x), *shape, device=x.device, dtype=x.dtype)

        return self.jpeg.apply(x, draw)

    def extra_repr(self) -> str:
        return f"{self.jpeg}"
