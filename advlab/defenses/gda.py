"""Gaussian data augmentation: learn from every image, and from noisy copies of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..checks import check_number, check_whole
from .composed import Composed


@dataclass(frozen=True, kw_only=True)
class GaussianAugmentation(Composed):
    """L₀ over each image and N noisy copies, x + n with n ~ N(0, σ²I). Zantedeschi et al. (2017).

    It estimates the loss around x in all directions, not only where one attack points. The copies
    are drawn anew at every step, for the images of that step: the data set is not copied, but a
    step costs N + 1 times as much.

    It composes with any L₀, ``GaussianAugmentation(objective=PGDTraining())`` for example, and
    with :func:`advlab.defenses.bounded`, as the paper does.

    The copies are clipped to [0, 1], since models are asked about images; ``clip=False`` leaves the
    noise Gaussian, as in the paper. Clipping takes half of it away where a pixel is black.

    :param sigma: σ ≥ 0, in pixel values from 0 to 1.
    :param copies: N, at least 1.
    :param clip: clip the copies to [0, 1].
    :param objective: L₀, ``objective(model, x, y)``, the mean over a batch.
    :raises ValueError: a number out of its range.
    """

    sigma: float = 0.3
    copies: int = 1
    clip: bool = True

    def __post_init__(self):
        check_number(self, "sigma")
        check_whole(self, "copies")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        copies = noisy(x.repeat(self.copies, 1, 1, 1), self.sigma, self.clip)
        return self.objective(model, torch.cat((x, copies)), torch.cat([y] * (self.copies + 1)))


def noisy(x: Tensor, sigma: float, clip: bool) -> Tensor:
    """x + n, n ~ N(0, σ²) for each pixel, from torch's global state; clipped to [0, 1] or not."""
    out = x + sigma * torch.randn_like(x)
    return out.clamp(0, 1) if clip else out
