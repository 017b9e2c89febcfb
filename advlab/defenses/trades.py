"""TRADES: as right as possible on images, and as unmoved as possible around them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_number
from .adversarial import Adversarial, check_inner, step_size
from .inner import ascend, attacked

START = 0.001  # the standard deviation of the noise that the inner walk starts from


@dataclass(frozen=True, kw_only=True)
class TRADES(Adversarial):
    """CE(f(x), y) + β KL(f(x) ‖ f(x̃)), where x̃ raises that divergence. No label is attacked.

    Zhang et al. (2019), equation 5, with β = 1/λ and, as in the authors' code, the divergence
    KL(p ‖ q) = Σ p log(p / q) of p = softmax f(x) and q = softmax f(x̃): the natural answer comes
    first. Gradients reach the weights through both; x and x̃ go through the model one after the
    other, so batch normalization sees each by itself. At x̃ = x the divergence is 0 and so is its
    gradient, therefore the walk of T steps starts at x + 0.001 n, n ~ N(0, I), which
    we clip to [0, 1] already there.

    β weighs accuracy on natural images against robustness; the paper's tables use 1 and 6. A step
    of training costs T + 2 plain ones, and a forward pass.

    :param eps: ε ≥ 0, the budget, in the norm's unit.
    :param beta: β ≥ 0; 0 is plain cross-entropy.
    :param alpha: α ≥ 0, the step size; 2.5 ε / T by default.
    :param steps: T ≥ 1.
    :param norm: ``"Linf"`` or ``"L2"``.
    :raises ValueError: a number out of its range, or another norm.
    """

    beta: float = 6.0
    alpha: float | None = None
    steps: int = 10
    norm: str = "Linf"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "beta")
        check_inner(self)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv = self.adversarial(model, x, y)
        logits = model(x)
        divergence = kl(logits, model(x_adv))
        return F.cross_entropy(logits, y) + self.beta * divergence.mean()

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
        with attacked(model, self.backward):
            with torch.no_grad():
                natural = model(x)
            return ascend(
                model,
                x,
                lambda logits: kl(natural, logits).sum(),
                start=(x + START * torch.randn_like(x)).clamp(0, 1),
                eps=self.eps,
                alpha=step_size(self),
                steps=self.steps,
                norm=self.norm,
            )


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(softmax p ‖ softmax q), of logits (N, K, ...), each. Returns (N, ...)."""
    terms = F.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="none", log_target=True)
    return terms.sum(1)
