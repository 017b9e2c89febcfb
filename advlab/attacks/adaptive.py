"""Attacks that know of a detector: wrong and not noticed at once.

The model answers K + 1 logits z, the last of which wins where it rejects the image, and says so by
an attribute ``rejected``, as :class:`advlab.detectors.Defended` does. That is all these attacks
need: they never see the detector. They want a class that is wrong, or the one wanted, and no
rejection. Both stand in one loss, for an image x of class y:

    L_γ(x) = max over j ∉ {y, K} of z_j − z_y − γ a(x), a(x) = z_K − max over k < K of z_k.

The first part is the margin by which the K classes are wrong (targeted: z_t − max over j ∉ {t, K}
of z_j), the second the alarm, above 0 where the image is rejected. It is the loss of adaptive
attacks on fingerprints, min ‖x − x′‖ + γ₁ L_CW(x′) − γ₂ L_fp(x′) of Dathathri et al. (2018),
"Detecting adversarial examples via neural fingerprinting" (of L_fp, which is small where nothing is
noticed, we take the sign that lowers it; as printed it would be raised), and near that of Carlini &
Wagner (2017), "Adversarial examples are not easily detected", section 3.3. He et al. (2017) attack
three detectors at once in this way. γ depends on the units in which a detector counts: one fixed γ
sees nothing but the alarm of one detector, and nothing but the class of another.

So γ is searched for, for each image. An attack that ends wrong but noticed tries a larger γ, one
that ends with the class unchanged a smaller one: tenfold until it was both too large and too small,
then halved in log scale. An image that succeeds is done. What is returned of the others is the
attempt that came nearest, by the goal's margin. Only the whole system's answer counts as success,
also where ``backward="substitute"`` makes the gradients.
What was tried for L_γ stands in :mod:`advlab.attacks.weighed`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import threat
from ..goals import (
    TARGETED,
    UNDETECTED,
    UNTARGETED,
    ConfidenceReduction,
    Goal,
    check_rejects,
)
from .attacked import AttackedModel
from .base import Attack, check_number, check_whole
from .best import Best
from .carlini_wagner import CWL2
from .fgsm import FGSM
from .penalty import Smallest
from .pgd import BIM, PGD
from .spsa import SPSA
from .weighed import GAMMA_MAX, GAMMA_MIN, Bisection, check_not_rejected, weighed

AROUND = 0.1  # how far from x the random starts of C&W's attack lie, in pixel values


@dataclass(frozen=True, kw_only=True)
class _Adaptive(Attack):
    """The search for γ around an attack, which is the next class after this one."""

    refuses: ClassVar = {
        ConfidenceReduction: "it does not say whether an image is rejected; use 'undetected'"
    }

    gamma: float = 1.0
    weights: int = 6

    def __post_init__(self):
        if self.goal in ("untargeted", UNTARGETED):
            raise ValueError(
                f"goal: {type(self).__name__} is about not being noticed, and 'untargeted' counts "
                "a rejected image as fooled; use 'undetected', or a targeted goal"
            )
        super().__post_init__()
        check_number(self, "gamma", GAMMA_MIN, GAMMA_MAX)
        check_whole(self, "weights")

    @property
    def aim(self) -> Goal:
        return self.goal or (TARGETED if self.targeted else UNDETECTED)

    def _attack(self, model: nn.Module, *args):
        check_rejects(model)
        return super()._attack(model, *args)

    def again(self, number: int) -> Attack:
        """The attack with which γ number 0, 1, … is tried: other random numbers, if it has any."""
        return self

    def attempt(self, model: AttackedModel, x: Tensor, y: Tensor, number: int) -> Tensor:
        """The attack, once."""
        return super(_Adaptive, self.again(number)).perturb(model, x, y)

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        check_not_rejected(model.logits(x, y), y)
        best, search = Best(x), Bisection(len(x), self.gamma)
        model.stuck[:] = True
        for number in model.steps(self.weights):
            alive = (~best.fooled).nonzero().squeeze(1)
            for gamma, rows in search.groups(alive):
                labels = y[rows]
                part = weighed(model, x[rows], gamma)
                x_adv = self.attempt(part, x[rows], labels, number)
                logits = model.logits(x_adv)
                reached = model.goal.reached(logits, labels)
                best.offer(rows, x_adv, model.goal.margin(logits, labels), reached)
                # Wrong and yet no success: it was noticed.
                search.turn(rows, part.goal.plain.reached(logits[:, :-1], labels))
                model.stuck[rows] &= part.stuck
        return best.x


@dataclass(frozen=True, kw_only=True)
class AdaptiveFGSM(_Adaptive, FGSM):
    """:class:`advlab.attacks.FGSM` on the joint loss, one step for each γ.

    x_adv = clip(x + ε s(∇ₓL_γ(x))), with the loss and the search for γ that
    :mod:`advlab.attacks.adaptive` tells. S2's "Adaptive-FGSM": Dathathri et al. (2018).

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param gamma: the first γ, above 0.
    :param weights: at most so many γ are tried for each image, at least 1.
    :raises ValueError: a hyper-parameter out of its range, or a goal that does not say whether a
        rejected image counts; when called, a model without the attribute ``rejected``, by which it
        says that its last class means that, or a label of that class.
    """


@dataclass(frozen=True, kw_only=True)
class AdaptiveBIM(_Adaptive, BIM):
    """:class:`advlab.attacks.BIM` on the joint loss, from x, all steps for each γ.

    The loss and the search for γ are those that :mod:`advlab.attacks.adaptive` tells. The last
    iterate counts, as in variant ``"b"`` of Feinman et al. (2017).

    :param eps: ε ≥ 0, the budget.
    :param steps: T ≥ 1.
    :param alpha: α ≥ 0, the step size; ε / T by default.
    :param norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
    :param variant: ``"b"``, or ``"a"``: stop each image at its first iterate that succeeds.
    :param gamma: the first γ, above 0.
    :param weights: at most so many γ are tried for each image, at least 1.
    :raises ValueError: as :class:`AdaptiveFGSM`.
    """


@dataclass(frozen=True, kw_only=True)
class AdaptivePGD(_Adaptive, PGD):
    """:class:`advlab.attacks.PGD` on the joint loss, for each γ from x and with shrinking steps.

    The loss and the search for γ are those that :mod:`advlab.attacks.adaptive` tells. At most
    ``weights * restarts * (steps + 1)`` gradients for each image, and few for one that falls
    early.

    Where it differs from PGD: step t = 0, 1, … has the length α (1 − t / T), and the first walk
    with each γ starts at x, only further restarts at random. What is not noticed lies in a narrow
    place. Steps of one length leap over it, the wider the larger ε is, and a random start in a
    large ball is noise that is noticed and stays so: a larger budget would then make the attack
    weaker. On ``mnist-fingerprint``, of 20 digits that :class:`advlab.detectors.NeuralFingerprint`
    guards (threshold 5%, steps=20, weights=5), there fall

    ===========================  =======  =======  =======  =====
    start, steps                 ε = 0.1  ε = 0.2  ε = 0.3  ε = 1
    ===========================  =======  =======  =======  =====
    random, of one length              3       15       14      0
    x, of one length                   4       14       19      9
    random, shrinking                  9       20       20     17
    x, shrinking                      13       20       20     20
    ===========================  =======  =======  =======  =====

    No one start wins everywhere: of 20 digits behind :class:`advlab.detectors.KernelDensity` on
    ``mnist-cnn`` at ε = 0.1, random starts fool 7, the start at x 6 (all at ε = 0.2 and 1, with
    either).

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param steps: T ≥ 1.
    :param alpha: α ≥ 0, the length of the first step; 2.5 ε / T by default.
    :param norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
    :param restarts: walks with each γ, at least 1: the first from x, the others from random points
        of the ball.
    :param random_start: what more than one walk needs: ``True``.
    :param best: of each walk the best iterate, not the last.
    :param early_stop: an image is done at its first iterate that succeeds. ``False`` drives the
        joint loss of an image on to the end of the walk in which it succeeds.
    :param seed: of the random starts; γ number w and restart r ≥ 1 use ``seed + w * restarts + r``.
    :param gamma: the first γ, above 0.
    :param weights: at most so many γ are tried for each image, at least 1.
    :raises ValueError: as :class:`AdaptiveFGSM`.
    """

    early_stop: bool = True

    def again(self, number: int) -> Attack:
        return self.changed(seed=self.seed + number * self.restarts)

    def start(self, x: Tensor, restart: int) -> Tensor:
        return super().start(x, restart) if restart else x

    def length(self, t: int) -> float:
        return super().length(t) * (1 - t / self.steps)


@dataclass(frozen=True, kw_only=True)
class AdaptiveSPSA(_Adaptive, SPSA):
    """:class:`advlab.attacks.SPSA` on the joint margin: from scores alone, without any gradient.

    The margin and the search for γ are those that :mod:`advlab.attacks.adaptive` tells. It needs no
    stand-in for what cannot be differentiated.

    :param eps: ε ≥ 0, the budget in L∞.
    :param queries: at most so many images are shown to the model for each image, in all; each γ
        has its even share.
    :param samples: n ≥ 1, the directions of a step.
    :param delta: δ > 0, how far the differences reach.
    :param lr: > 0, Adam's step size.
    :param seed: of the directions; γ number w uses ``seed + w``.
    :param gamma: the first γ, above 0.
    :param weights: at most so many γ are tried for each image, at least 1.
    :raises ValueError: as :class:`AdaptiveFGSM`; or fewer queries than one step of each γ takes.
    """

    weights: int = 3

    def __post_init__(self):
        super().__post_init__()
        least = self.weights * (2 * self.samples + 2) + 1
        if self.queries < least:
            raise ValueError(
                f"queries: one step of {self.samples} samples for each of {self.weights} weights "
                f"takes {least}, found {self.queries}; give more, or fewer weights"
            )

    def attempt(self, model: AttackedModel, x: Tensor, y: Tensor, number: int) -> Tensor:
        # One look comes first, and one at each result.
        share = (self.queries - 1) // self.weights - 1
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(SPSA)}
        once = SPSA(**fields | {"queries": share, "seed": self.seed + number})
        return once.perturb(model, x, y)


@dataclass(frozen=True, kw_only=True)
class AdaptiveCWL2(_Adaptive, CWL2):
    """:class:`advlab.attacks.CWL2` on the joint margin: the smallest perturbation not noticed.

    Minimizes ‖x′ − x‖₂² + c (f(x′) + γ max(a(x′), 0)), f(x′) = max(κ − margin(x′), 0) of the
    classes alone: the attack of Carlini & Wagner (2017), "Adversarial examples are not easily
    detected", section 3.3, and S2's min ‖x′ − x‖ + γ₁ L_CW − γ₂ L_fp. c is searched for as in
    :class:`advlab.attacks.CWL2`, once for each of γ, γ / 10, 10 γ, γ / 100, …: what is too small is
    in part made up for by a larger c, what is too large bars the way. The smallest success of all
    is returned. With ``weights=1`` it is CWL2 with the goal ``"undetected"`` and no early abort,
    which fools none of 25 digits that the largest softmax guards; γ = 0.1 fools all 25.

    :param gamma: the first γ, above 0.
    :param weights: so many γ are tried for each image, at least 1.
    :param restarts: descents with each γ and c, at least 1: the first from x, the others from x
        plus noise, uniform from −0.1 to 0.1, clipped to the box. He et al. (2017) start at random;
        they do not say how.
    :param seed: of the random starts; start r ≥ 1 of γ number w uses ``seed + w * restarts + r``.
    :param kappa: κ ≥ 0, the margin by which an image is wrong, and by which it is not noticed:
        −γ a(x′) ≥ κ.
    :param steps: of a descent, at least 1.
    :param lr: Adam's learning rate, ≥ 0.
    :param searches: descents for each γ, each with another c, at least 1.
    :param c: the first c, above 0.
    :param abort_early: end an image's descent that gains no more. Off by default: the score of a
        detector that is sure may stand still for many steps before it falls.
    :param space: ``"pixels"`` or ``"tanh"``.
    :raises ValueError: as :class:`AdaptiveFGSM`.
    """

    weights: int = 4
    restarts: int = 1
    seed: int = 0
    abort_early: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "restarts")

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        check_not_rejected(model.logits(x, y), y)
        best, every = Smallest(x), torch.arange(len(x), device=x.device)
        model.stuck[:] = True
        for run in model.steps(self.weights * self.restarts):
            number, restart = divmod(run, self.restarts)
            power = (number + 1) // 2 * (-1) ** number
            part = weighed(model, x, self.gamma * 10.0**power)
            start = None
            if restart:
                start = x + threat.random_in_ball(x, AROUND, "Linf", self.seed + run)
                start = start.clamp(0, 1)
            found, tried, _ = self.search(part, x, y, start=start)
            done = ~part.stuck
            done[tried] = False
            found.size[done] = 0  # nothing to do: no other γ finds a smaller perturbation
            best.offer(every, found.x, found.size, found.size.isfinite())
            model.stuck &= part.stuck
        return best.x
