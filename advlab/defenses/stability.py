"""Stability training: an image and a noisy copy of it should get the same answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..checks import check_number
from .composed import Composed, divergence
from .gda import noisy

DISTANCES = ("kl", "l2")


@dataclass(frozen=True, kw_only=True)
class StabilityTraining(Composed):
    """L₀(x) + α D(f(x), f(x′)), where x′ = x + n, n ~ N(0, σ²I). Zheng et al. (2016), section 3.

    L₀ sees the clean images alone; the noisy copy is only asked to answer alike. That is the
    difference to :class:`advlab.defenses.GaussianAugmentation`, which learns the noisy copies.

    D is KL(p(x) ‖ p(x′)) with p = softmax f, for classification, or ‖f(x) − f(x′)‖₂² of the logits.
    Gradients go through both. On a linear model, without clipping, the latter is σ²‖W‖² on average
    (the sum of all squared weights): it is weight decay there.

    Where we differ from the paper: its D for classification is the cross-entropy of the two, the KL
    plus the entropy of p(x), which would also ask for sure answers; and its L2 is not squared. Its
    noise is not clipped; with ``clip=False`` ours is not either.

    :param sigma: σ ≥ 0, in pixel values from 0 to 1.
    :param alpha: α ≥ 0.
    :param distance: D, ``"kl"`` or ``"l2"``.
    :param clip: clip x′ to [0, 1].
    :param objective: L₀, ``objective(model, x, y)``.
    :raises ValueError: a number out of its range, or another distance.
    """

    sigma: float = 0.2
    alpha: float = 1.0
    distance: str = "kl"
    clip: bool = True

    def __post_init__(self):
        check_number(self, "sigma")
        check_number(self, "alpha")
        if self.distance not in DISTANCES:
            raise ValueError(f"distance: found {self.distance!r}, expected 'kl' or 'l2'")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # In one batch, so that batch normalization treats both alike.
        both = model(torch.cat((x, noisy(x, self.sigma, self.clip))))
        clean, moved = both.chunk(2)
        if self.distance == "l2":
            distance = (clean - moved).square().sum(1).mean()
        else:
            distance = divergence(clean.log_softmax(1), moved.log_softmax(1))
        return self.objective(model, x, y) + self.alpha * distance
