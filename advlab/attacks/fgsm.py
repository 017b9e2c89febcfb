"""The fast gradient sign method: one step, as far as the budget goes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .. import threat
from .base import Attack, check_number, set_norm


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """x_adv = clip(x + ε sign ∇ₓJ(x, y)), clipped to [0, 1]. Goodfellow et al. (2015), section 4.

    Targeted: x − ε sign ∇ₓJ(x, target), toward the class wanted.
    With ``norm="L2"`` the step is ε ∇J / ‖∇J‖₂, the steepest of that length
    (the fast gradient method). A pixel whose gradient is 0 stays.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :raises ValueError: a negative ``eps``, or another norm.
    """

    eps: float = 0.3
    norm: str = "Linf"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        set_norm(self, "Linf", "L2")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        gradient, _, _ = model.gradient(x, y, first=True)
        return (x + self.eps * threat.step(gradient, self.norm)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class RFGSM(Attack):
    """A random step, then FGSM from there. Tramèr et al. (2018), RAND+FGSM.

    x′ = clip(x + α s), with random signs s = sign(n), n ~ N(0, I);
    x_adv = clip(x′ + (ε − α) sign ∇ₓJ(x′, y)). Both steps together stay inside ε in L∞.

    The random step leaves the point where a defense may have flattened the loss.

    :param eps: ε ≥ 0, the whole L∞ budget.
    :param alpha: α in [0, ε], the random part; ε / 2 by default.
    :param seed: of the random signs.
    :raises ValueError: a negative ``eps``, or ``alpha`` outside [0, eps].
    """

    eps: float = 0.3
    alpha: float | None = None
    seed: int = 0
    norm = "Linf"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        if self.alpha is not None:
            if not 0 <= self.alpha <= self.eps:
                raise ValueError(f"alpha: expected in [0, eps={self.eps}], found {self.alpha}")
            check_number(self, "alpha")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        alpha = self.eps / 2 if self.alpha is None else self.alpha
        start = (x + alpha * threat.noise(x, self.seed, "normal").sign()).clamp(0, 1)
        gradient, _, _ = model.gradient(start, y, first=True)
        return (start + (self.eps - alpha) * gradient.sign()).clamp(0, 1)
