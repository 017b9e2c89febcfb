"""Small steps with momentum: the directions seen before still count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import threat
from .base import check_number, set_norm
from .pgd import _Steps


@dataclass(frozen=True, kw_only=True)
class MIFGSM(_Steps):
    """The momentum iterative fast gradient sign method. Dong et al. (2018), algorithm 1.

    g₀ = 0, x₀ = x; gₜ₊₁ = μ gₜ + ∇ₓJ(xₜ, y) / ‖∇ₓJ(xₜ, y)‖₁ and
    xₜ₊₁ = clip_{x,ε}(xₜ + α sign gₜ₊₁), for T steps.
    The L1 norm is taken of each image's gradient; a gradient of zero adds nothing to g.
    With ``norm="L2"`` the step is α g / ‖g‖₂ (the paper's section 3.3).

    With μ > 1 old gradients count more than new ones, and g grows without end. It is then kept as
    g / μᵗ, which points the same way and stays finite.

    With μ = 0 it is BIM. With momentum the path turns less: what it finds is less fitted to this
    one model, and fools other models more often.

    Where libraries differ: ART is the same; torchattacks divides by the mean of \\|∇J\\|, which
    scales g and leaves its sign; Foolbox sums up the signs of the gradients, another attack.

    :param eps: ε ≥ 0, the budget.
    :param steps: T ≥ 1.
    :param alpha: α ≥ 0, the step size; ε / T by default, as in the paper.
    :param norm: ``"Linf"`` or ``"L2"``.
    :param decay: μ ≥ 0, how much of the momentum is kept at each step.
    :raises ValueError: a hyper-parameter out of its range.
    """

    steps: int = 10
    decay: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "decay")
        set_norm(self, "Linf", "L2")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        alpha = self.eps / self.steps if self.alpha is None else self.alpha
        x_adv, momentum = x, torch.zeros_like(x)
        for t in model.steps(self.steps):
            gradient, _, _ = model.gradient(x_adv, y, first=t == 0)
            length = threat.size(gradient, "L1")
            length = threat.per_image(length.where(length > 0, 1), x)
            share = max(self.decay, 1.0) ** -t
            momentum = (gradient * (share / length)).add_(momentum, alpha=min(self.decay, 1.0))
            x_adv = self.move(x_adv, momentum, x, alpha)
        return x_adv
