"""The checks of :func:`advlab.evaluation.sanity` for a model that may reject, one function each.

Of detectors Carlini asked that trivial attacks do not work, that good attacks exist, and that an
attack without bounds takes the accuracy to 0; Dathathri et al. (2018), "Detecting adversarial
examples via neural fingerprinting", name the three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from scipy.stats import betabinom
from torch import Tensor, nn

from ..attacks import AdaptiveCWL2, AdaptivePGD, Attack
from ..goals import UNDETECTED, UNTARGETED, Goal, Undetected, alarm
from ..models.contract import predict_logits
from ..models.preprocessing import differentiated
from .chance import at_least
from .outcomes import REJECTED, check_classes, judged
from .sanity_checks import (
    DRAWS,
    SIGNIFICANCE,
    Check,
    accuracy_over_eps,
    against,
    black_box,
    counted,
    saturated_loss,
    unbounded,
    zero_gradient,
)
from .suspect import Suspect

REFUSED = 0.2  # of natural images: who rejects more does not detect attacks, but refuses to work


class Guarded(Suspect):
    """A model that may reject, under suspicion: fooled is who is wrong and does not notice.

    :ivar natural: (N, C, H, W), all images, also those that it has wrong or rejects.
    :ivar labels: (N,), their classes.
    :ivar false_alarms: bool, of the images whose class it has right: it rejects them.
    :ivar alarms: two looks at the gradient of the alarm, differentiated as the white box does it:
        by a substitute where there is one.
    """

    goal: ClassVar[Goal] = UNDETECTED
    white_box: ClassVar[str] = "adaptive PGD"
    without_bound: ClassVar[str] = "adaptive PGD or C&W"

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, **settings):
        logits = predict_logits(model, x)
        check_classes(logits, y)
        super().__init__(model, x, y, **settings)
        self.natural, self.labels = x, y
        known = logits[:, :-1].argmax(1) == y
        self.false_alarms = (judged(logits, y) == REJECTED)[known].cpu()
        if self.n:
            with differentiated(model, "substitute"):
                self.alarms = self.gradients(lambda logits, y: alarm(logits))
            self.random |= bool(self.alarms.moving.any())

    def pgd(self, **change) -> AdaptivePGD:
        """The white-box attack: it knows of the rejection, and of substitutes for its gradient."""
        settings = {
            "eps": self.eps, "norm": self.norm, "steps": self.steps, "seed": self.seed,
            "early_stop": not self.random, "backward": "substitute",
        }  # fmt: skip
        return AdaptivePGD(**(settings | change))

    def smallest(self) -> AdaptiveCWL2:
        """The white box that has no bound by nature. Any success will do: few steps, a large c."""
        return AdaptiveCWL2(
            steps=60, searches=1, c=10.0, lr=0.05, seed=self.seed, backward="substitute"
        )

    def fooled_from_the_image(self, eps: float) -> Tensor:
        """Where any image will do, one of two attacks must find it.

        A detector is suspicious for what it hides, not for the weakness of one attack.
        """
        fooled = super().fooled_from_the_image(eps)
        if eps == self.limit and not fooled.all():
            fooled = fooled | self.fooled(self.smallest())
        return fooled

    def plain(self) -> Attack:
        """PGD that looks at the classes alone; it is judged by the whole all the same."""
        return super().pgd(goal=Undetected(gamma=0))

    def transfer(self) -> Attack:
        """On a surrogate, which need not have a class "rejected"."""
        return super().pgd(goal=UNTARGETED, early_stop=False)


def random_noise(suspect: Guarded) -> Check:
    """Trivial attacks do not work: points drawn around the image fool nobody."""
    fooled = suspect.random_search(DRAWS)
    return counted(
        "random noise",
        fooled,
        {"fooled": int(fooled.sum()), "of": suspect.n, "draws": DRAWS},
        f"Of {DRAWS} points drawn at random around each image some are read as another class, and "
        "are not rejected: nobody needs an attack. Make the model itself steady under noise, or "
        "lower the threshold.",
        "Random points around the images are read as they should be, or rejected.",
    )


def false_alarms(suspect: Guarded) -> Check:
    """The threshold keeps its promise on images that it was not made of.

    It is the (m − k)-th of m calibration scores, of which k lie above. Of other images the
    fraction above is then Beta(k + 1, m − k) distributed, and of n the number beta-binomial.
    """
    name, n = "false alarms", len(suspect.false_alarms)
    count = int(suspect.false_alarms.sum())
    measured = {"rejected": count, "of": n}
    detector = getattr(suspect.model, "detector", None)
    calibration = getattr(detector, "calibration", None)
    if calibration is None or not len(calibration):
        says = "There are no calibration scores that the threshold was made of."
        return Check(name, None, measured, "the model holds no detector with a calibration", says)
    m = len(calibration)
    k = int((calibration > suspect.model.threshold).sum())
    p = float(betabinom.sf(count - 1, n, k + 1, max(m - k, 1)))
    found = p < SIGNIFICANCE
    return Check(
        name,
        found,
        {**measured, "promised": k / m, "p": p},
        f"so many of {n} have p < {SIGNIFICANCE:g} where {k} of {m} calibration scores lie above",
        f"It rejects {count / n:.1%} of natural images that the model has right, and its threshold "
        f"promised {k / m:.1%}: it was made of other images. Fit the detector on images that the "
        "model was not trained on, or calibrate it on such."
        if found
        else "It rejects as many natural images as its threshold promised.",
    )


def good_attacks_exist(suspect: Guarded) -> Check:
    """An image of another class, in the place of x, is a perfect attack without a bound."""
    name = "good attacks exist"
    donors = another_class(suspect.labels, suspect.y)
    if donors is None:
        says = "All the images are of one class."
        return Check(name, None, {}, "no natural image of another class", says)
    failed = ~suspect.judged(suspect.natural[donors], inside=False)
    count, n = int(failed.sum()), suspect.n
    found = at_least(count, n, REFUSED) < SIGNIFICANCE
    return Check(
        name,
        found,
        {"fooled": n - count, "of": n},
        f"so many of {n} failures have p < {SIGNIFICANCE:g} where {REFUSED:.0%} are normal",
        f"Natural images of another class put in the place of these do not pass {count} times: it "
        "rejects images that nobody attacked. It would look robust under any attack; ask for a "
        "lower false positive rate, and count false alarms beside what is caught."
        if found
        else "Natural images of another class in the place of these pass, as they must.",
    )


def alarm_gradient(suspect: Guarded) -> Check:
    """An attacker that cannot see the alarm cannot learn to avoid it."""
    blind = suspect.alarms.zero | suspect.alarms.broken
    return counted(
        "alarm without gradient",
        blind,
        {
            "zero": int(suspect.alarms.zero.sum()),
            "not finite": int(suspect.alarms.broken.sum()),
            "of": suspect.n,
        },
        "The alarm does not move with the pixels, or its gradient is NaN or infinite: attacks that "
        "follow it walk into it. Look for a step that rounds, searches or counts, and give the "
        "score a substitute (backward='substitute').",
        "The alarm has a gradient at the images.",
    )


def random_alarm(suspect: Guarded) -> Check:
    """A detector that draws at random is a moving target for its attacker, and for its judge."""
    moving = suspect.loss.moving | suspect.margin.moving | suspect.alarms.moving
    return counted(
        "random alarm",
        moving,
        {"differ": int(moving.sum()), "of": suspect.n},
        "Two looks at the same images differ: the model or its detector draws at random. Average "
        "over its draws (EOT), and judge by many looks; or draw once, from a seed.",
        "Two looks give the same gradient.",
    )


def adaptive_beats_plain(suspect: Guarded) -> Check:
    """Carlini & Wagner (2017): a detector is judged by an attack that knows of it."""
    return against(
        "adaptive beats plain",
        {
            "plain PGD": suspect.fooled(suspect.plain()),
            suspect.white_box: suspect.fooled(suspect.pgd()),
        },
        "PGD that knows of the detector fools {only} images that PGD on the classes alone does "
        "not. Most detectors trip here, and it is no fault in their code: what the plain attack "
        "shows holds for as long as attackers do not know. Report the adaptive one as the result; "
        "report the plain one, if at all, beside it and by its name.",
    )


def another_class(labels: Tensor, y: Tensor) -> Tensor | None:
    """For each of the labels y the index of an image of another class; None if there is one class.

    The next such image, going round: each serves about as often. (N,), (n,) to (n,) int64.
    """
    other = labels[None] != y[:, None]
    if not other.any(1).all():
        return None
    place = torch.arange(len(labels), device=labels.device)
    first = torch.arange(len(y), device=y.device) * len(labels) // max(len(y), 1)
    distance = (place[None] - first[:, None] - 1) % len(labels)
    return distance.masked_fill(~other, len(labels)).argmin(1)


DETECTOR_CHECKS: tuple[Callable[[Guarded], Check], ...] = (
    random_noise,
    false_alarms,
    good_attacks_exist,
    unbounded,
    zero_gradient,
    saturated_loss,
    alarm_gradient,
    random_alarm,
    black_box,
    accuracy_over_eps,
    adaptive_beats_plain,
)
