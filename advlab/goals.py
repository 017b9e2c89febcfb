"""What the attacker wants: the four goals of Papernot et al. (2016), section II-B, and one more.

A goal says the same thing in three ways. ``reached`` is the judge's: yes or no. ``margin`` is the
logits' distance from it, above 0 where it is reached: minimum-norm and score-based attacks raise
it to 0. ``loss`` is the cross-entropy's, which fixed-budget attacks raise as far as they can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Goal:
    """What the attacker wants. Use one of those below.

    :cvar needs_targets: the labels given to the attack are the classes wanted, not the true ones.
    """

    needs_targets: ClassVar[bool] = False

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """What a fixed-budget attack raises, per image: the cross-entropy −log softmax(logits)[y].

        Its negative where the class y is to be reached. (N, K), (N,) to (N,).
        """
        return F.cross_entropy(logits, y, reduction="none")

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """How far the logits are beyond the goal: above 0 where it is reached. (N, K) to (N,)."""
        raise NotImplementedError

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        """Where the attacker has what it wants. (N, K), (N,) to (N,) bool."""
        raise NotImplementedError

    def applies(self, y: Tensor) -> Tensor:
        """Which of the images with the labels y are attacked at all. (N,) to (N,) bool."""
        return torch.ones_like(y, dtype=torch.bool)

    def labels(self, y: Tensor) -> Tensor:
        """The classes that ``loss``, ``margin`` and ``reached`` are about, for the labels y."""
        return y

    def __str__(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Untargeted(Goal):
    """Misclassification: any class but y. The margin is max over j ≠ y of z_j − z_y."""

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits_but(logits, y).amax(1) - logits_of(logits, y)

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits.argmax(1) != y


@dataclass(frozen=True)
class Targeted(Goal):
    """Targeted misclassification: the class y. The margin is z_y − max over j ≠ y of z_j."""

    needs_targets: ClassVar[bool] = True

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return -super().loss(logits, y)

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits_of(logits, y) - logits_but(logits, y).amax(1)

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits.argmax(1) == y


@dataclass(frozen=True)
class ConfidenceReduction(Goal):
    """The model's probability of the class y falls below ``below``, whatever it then answers.

    softmax(z)[y] < b exactly where log Σ_{j ≠ y} exp z_j − z_y > log((1 − b) / b): the margin is
    the difference of the two sides.

    :param below: b, strictly between 0 and 1.
    :raises ValueError: ``below`` outside of that.
    """

    below: float = 0.5

    def __post_init__(self):
        if not 0 < self.below < 1:
            raise ValueError(f"below: expected a probability between 0 and 1, found {self.below!r}")

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        odds = math.log((1 - self.below) / self.below)
        return logits_but(logits, y).logsumexp(1) - logits_of(logits, y) - odds

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        return self.margin(logits, y) > 0

    def __str__(self) -> str:
        return f"confidence below {self.below}"


@dataclass(frozen=True)
class SourceTarget(Targeted):
    """From one class to another: images of class ``source`` are to be read as ``target``.

    The labels given to the attack are the true classes. Images of other classes are left as they
    are.

    :param source: the class to attack.
    :param target: the class wanted.
    :raises ValueError: not two different class numbers.
    """

    needs_targets: ClassVar[bool] = False

    source: int
    target: int

    def __post_init__(self):
        for name in ("source", "target"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name}: expected a class number from 0, found {value!r}")
        if self.source == self.target:
            raise ValueError(f"target: expected another class than the source, {self.source}")

    def applies(self, y: Tensor) -> Tensor:
        return y == self.source

    def labels(self, y: Tensor) -> Tensor:
        return torch.full_like(y, self.target)

    def __str__(self) -> str:
        return f"{self.source} to {self.target}"


@dataclass(frozen=True)
class Undetected(Goal):
    """Wrong, and not noticed: of a model that may reject, any class but y and "rejected".

    The model answers K + 1 logits, the last of which wins where it rejects the image, as
    :class:`advlab.detectors.Defended` does. The margin is max over j ∉ {y, K} of z_j −
    max(z_y, z_K). The loss is −log softmax(z_0 … z_{K−1})[y] − γ max(a, 0), where the alarm a is
    z_K − max over j < K of z_j: wrong, and not where it is noticed.

    A given class and unnoticed needs no goal of its own: ``"targeted"`` is that.

    :param gamma: γ ≥ 0, what being noticed counts in the loss.
    :raises ValueError: a negative γ.
    """

    gamma: float = 1.0

    def __post_init__(self):
        if not 0 <= self.gamma < math.inf:
            raise ValueError(f"gamma: expected a finite number, at least 0, found {self.gamma!r}")

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return super().loss(logits[:, :-1], y) - self.gamma * alarm(logits).clamp_min(0)

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        wrong = logits_but(logits[:, :-1], y).amax(1)
        return wrong - torch.maximum(logits_of(logits, y), logits[:, -1])

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        answer = logits.argmax(1)
        return (answer != y) & (answer != logits.shape[1] - 1)


def alarm(logits: Tensor) -> Tensor:
    """How far a model that may reject is beyond doing so: z_K − max over j < K of z_j.

    (N, K + 1) to (N,); above 0 where the image is rejected.
    """
    return logits[:, -1] - logits[:, :-1].amax(1)


def may_reject(model: object) -> bool:
    """Whether the model says that its last class is "rejected": by an attribute ``rejected``, −1.

    The logits do not tell: K + 1 of them look like those of a model of K + 1 classes.
    """
    return getattr(model, "rejected", None) is not None


def check_rejects(model: object) -> None:
    """:raises ValueError: the model does not say that its last class is "rejected"."""
    if not may_reject(model):
        raise ValueError(
            f"model: expected one that may reject, found {type(model).__name__} without an "
            "attribute 'rejected'; put a detector in front with detector.defended(0.05), or set "
            "model.rejected = -1 where the last of its logits means that"
        )


UNTARGETED, TARGETED, UNDETECTED = Untargeted(), Targeted(), Undetected()


def parse_goal(goal: Goal | str) -> Goal:
    """A goal, or its name: ``"untargeted"``, ``"targeted"``, ``"confidence"`` (below 0.5) or
    ``"undetected"``.

    :raises ValueError: another name.
    """
    named = {
        "untargeted": UNTARGETED,
        "targeted": TARGETED,
        "confidence": ConfidenceReduction(),
        "undetected": UNDETECTED,
    }
    if isinstance(goal, Goal):
        return goal
    if goal not in named:
        expected = ", ".join(map(repr, named))
        raise ValueError(f"goal: found {goal!r}, expected {expected} or an advlab.goals.Goal")
    return named[goal]


def logits_of(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of class y of each image. (N, K), (N,) to (N,)."""
    return logits.gather(1, y[:, None]).squeeze(1)


def logits_but(logits: Tensor, y: Tensor) -> Tensor:
    """The logits with −∞ in the place of class y."""
    return logits.scatter(1, y[:, None], -torch.inf)
