"""One loss for "wrong" and "not noticed", and the search for the weight between the two.

What was tried for L_γ of :mod:`advlab.attacks.adaptive`: on 60 digits, how many
AdaptivePGD(steps=20, weights=5) fools, then still with random starts and steps of one length.

================================  =====================  ====================
wrong, and alarm                  classifier of images   distance to the mean
                                  ε = 0.2                activation, ε = 0.15
================================  =====================  ====================
margin, a                         54 (28 gradients)      45 (36)
margin up to 0, a                 53 (27)                47 (32)
cross-entropy, max(a, 0)          42 (49)                45 (36)
cross-entropy, a                  23 (90)                34 (89)
================================  =====================  ====================

Gradients are those of an image on average. With one step, AdaptiveFGSM, the first row fools 43 and
29, the third 2 and 25. The cross-entropy of an image that the network is sure of hardly pulls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..goals import TARGETED, UNTARGETED, Goal, Targeted, alarm
from .attacked import AttackedModel

GAMMA_MIN, GAMMA_MAX = 1e-8, 1e8


@dataclass(frozen=True)
class Weighed(Goal):
    """A goal on a model that may reject, with the alarm counted γ times.

    a(z) = z_K − max over k < K of z_k, the alarm, is above 0 where the image is rejected. The loss
    is m(z₀ … z_{K−1}) − γ a(z), with the margin m of the classes alone. The margin is the goal's,
    of logits in which z_K is max z_k + γ a(z): min(m, 0) − γ max(a, 0) where the goal is not
    reached, min(m, −γ a) where it is. What counts as reached is what the goal says.

    :param goal: ``Undetected()``, or a targeted one.
    :param gamma: γ ≥ 0.
    """

    goal: Goal
    gamma: float

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return self.plain.margin(logits[:, :-1], y) - self.gamma * alarm(logits)

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        classes = logits[:, :-1]
        noticed = classes.amax(1) + self.gamma * alarm(logits)
        return self.goal.margin(torch.cat((classes, noticed[:, None]), 1), y)

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        return self.goal.reached(logits, y)

    @property
    def plain(self) -> Goal:
        """The same where no image is rejected."""
        return TARGETED if isinstance(self.goal, Targeted) else UNTARGETED


class Bisection:
    """A γ for each image: tenfold up or down until it was both too low and too high, then halved.

    Halved in log scale: the geometric mean of the two ends.

    :ivar gamma: (N,) float64, on the CPU.
    """

    def __init__(self, count: int, first: float):
        self.gamma = torch.full((count,), float(first), dtype=torch.float64)
        self.low, self.high = torch.zeros_like(self.gamma), torch.full_like(self.gamma, torch.inf)

    def groups(self, rows: Tensor) -> Iterator[tuple[float, Tensor]]:
        """The images of these rows that have one γ in common, γ by γ."""
        gamma = self.gamma[rows.cpu()]
        for value in gamma.unique():
            yield value.item(), rows[(gamma == value).to(rows.device)]

    def turn(self, rows: Tensor, higher: Tensor) -> None:
        """The next γ of these images: higher where it says so, lower elsewhere."""
        rows, higher = rows.cpu(), higher.cpu()
        now = self.gamma[rows]
        low = torch.where(higher, now, self.low[rows])
        high = torch.where(higher, self.high[rows], now)
        then = torch.where(
            high.isinf(), 10 * now, torch.where(low == 0, now / 10, (low * high).sqrt())
        )
        self.low[rows], self.high[rows] = low, high
        self.gamma[rows] = then.clamp(GAMMA_MIN, GAMMA_MAX)


def weighed(model: AttackedModel, x: Tensor, gamma: float) -> AttackedModel:
    """The model in front of those images, with the alarm counted γ times."""
    return AttackedModel(model.forward, x, Weighed(model.goal, gamma))


def check_not_rejected(logits: Tensor, y: Tensor) -> None:
    """Check that no label is the class "rejected".

    :raises ValueError: one is.
    """
    last = logits.shape[1] - 1
    if (y == last).any():
        raise ValueError(
            f"y: found class {last}, the last of the model's {last + 1} logits, which here says "
            '"rejected"; attack a model that may reject, such as detector.defended(0.05)'
        )
