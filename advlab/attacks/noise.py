"""Random noise: the baseline that every attack has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .. import threat
from .base import Attack, check_number, set_norm


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Noise of exactly the size that an attack may use, in a direction that knows nothing.

    ``Linf``: x + ε s, with each pixel's sign sᵢ = ±1 drawn at random: every pixel moves by ε, as
    in FGSM. ``L2``: x + ε n / ‖n‖₂ with n ~ N(0, I), Gaussian noise scaled to the length ε.
    Then clipped to [0, 1]. The labels are not looked at.

    :param eps: ε ≥ 0, the size, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param seed: of the noise.
    :raises ValueError: a negative ``eps``, or another norm.
    """

    eps: float = 0.3
    norm: str = "Linf"
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        set_norm(self, "Linf", "L2")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        normal = threat.noise(x, self.seed, "normal")
        return (x + self.eps * threat.step(normal, self.norm)).clamp(0, 1)
