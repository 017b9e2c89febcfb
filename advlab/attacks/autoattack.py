"""AutoAttack: four attacks that fail for different reasons, and the worst case of each image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import threat
from ..goals import ConfidenceReduction, Targeted
from ..models.contract import predict_logits
from .apgd import APGD, APGDT
from .base import Attack, check_number, check_whole, set_norm
from .fab import FABT
from .square import Square

# At a randomized model, for each gradient and each judgement.
LOOKS = 20


class RandomnessWarning(UserWarning):
    """Two looks at the same images differ: a randomized model, and an attack that looks once."""


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """The standard evaluation. Croce & Hein (2020), "Reliable evaluation…", section 5.

    ``version="standard"`` runs, each on the images that the ones before it left standing,
    :class:`APGD` with the cross-entropy, :class:`APGDT`, :class:`FABT` and :class:`Square`: two
    losses, a walk along the boundary, and one that needs no gradient. ``version="rand"``, for
    models that answer at random, runs :class:`APGD` with the cross-entropy and with the difference
    of logits ratio, over the mean of 20 looks at each step.

    What comes back is the worst case of each image: wrong where any attack made it so, else the
    point of largest margin. An image that is wrong from the start comes back as it was.
    Robust accuracy is the fraction that is still right; it is an upper bound, for these attacks.

    Where we differ from the paper: a difference of logits ratio needs 4 classes (3 in ``"rand"``);
    for models of fewer, the margin of logits takes its place. Images on which all four fail come
    back at the point of largest margin, not as they were.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param version: ``"standard"`` or ``"rand"``.
    :param steps: of the gradient attacks. With another number than 100, or another of ``queries``,
        it is quicker or slower, and not the published evaluation any more.
    :param queries: of the Square attack.
    :param seed: of all the attacks.
    :raises ValueError: a hyper-parameter out of its range, or another goal than untargeted.

    It warns with a :class:`RandomnessWarning` where two looks at the same images differ, in the
    version ``"standard"``.
    """

    refuses: ClassVar = {
        Targeted: "it measures robust accuracy, for which any wrong answer counts",
        ConfidenceReduction: "it measures robust accuracy; use APGD",
    }

    eps: float = 0.3
    norm: str = "Linf"
    version: str = "standard"
    steps: int = 100
    queries: int = 5000
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        set_norm(self, "Linf", "L2")
        if self.version not in ("standard", "rand"):
            raise ValueError(f"version: expected 'standard' or 'rand', found {self.version!r}")
        check_whole(self, "steps")
        check_whole(self, "queries")

    def attacks(self, classes: int) -> list[Attack]:
        """The attacks in their order, for a model of that many classes."""
        ball = {"eps": self.eps, "norm": self.norm, "seed": self.seed}
        walk = ball | {"steps": self.steps}
        if self.version == "rand":
            ratio = "dlr" if classes > 2 else "margin"
            return [APGD(eot=LOOKS, **walk), APGD(eot=LOOKS, loss=ratio, **walk)]
        return [
            APGD(**walk),
            APGDT(loss="dlr" if classes > 3 else "margin", **walk),
            FABT(norm=self.norm, steps=self.steps, seed=self.seed),
            Square(queries=self.queries, **ball),
        ]

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        model.gradient(x, y, first=True)
        worst, logits = x.clone(), self.answer(model, x)
        standing = ~model.goal.reached(logits, y)
        margin = torch.full_like(logits[:, 0], -torch.inf)
        attacks = self.attacks(logits.shape[1])
        for number in model.steps(len(attacks)):
            alive = standing.nonzero().squeeze(1)
            if not len(alive):
                break
            labels = y[alive]
            found = self.run(attacks[number], model.part(x[alive]), x[alive], labels)
            logits = self.answer(model, found)
            reached, height = model.goal.reached(logits, labels), model.goal.margin(logits, labels)
            better = reached | (height > margin[alive])
            worst[alive[better]], margin[alive[better]] = found[better], height[better]
            standing[alive[reached]] = False
        return worst

    def answer(self, model, x: Tensor) -> Tensor:
        """The logits by which an image is judged: of one look, or the mean of many."""
        looks = LOOKS if self.version == "rand" else 1
        return sum(model.logits(x) for _ in range(looks)) / looks

    def run(self, attack: Attack, model, x: Tensor, y: Tensor) -> Tensor:
        """One of the attacks on the images that still stand; never beyond ε."""
        if not isinstance(attack, FABT):
            return attack.perturb(model, x, y)
        found = attack.closest(model, x, y, enough=self.eps)
        near = threat.size(found - x, self.norm) <= self.eps
        return torch.where(near.view(-1, 1, 1, 1), found, x)

    def _attack(self, model: nn.Module, x: Tensor, y: Tensor, index: Tensor, progress: bool):
        if self.version == "standard":
            some = x[index[:32]]
            looks = [predict_logits(model, some, batch_size=self.batch_size) for _ in range(2)]
            # Measured by the logits themselves: those of some models are very small.
            spread = (looks[0].amax(1) - looks[0].amin(1)).median().item()
            if not torch.allclose(*looks, rtol=1e-4, atol=1e-4 * spread):
                warnings.warn(
                    "two looks at the same images differ: the model is randomized, and attacks "
                    "that look once see its noise, not its gradient; use version='rand'",
                    RandomnessWarning,
                    stacklevel=3,  # the caller of the attack
                )
        return super()._attack(model, x, y, index, progress)
