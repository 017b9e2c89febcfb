"""Expectation over transformation: any gradient attack, made to survive the way to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backend import batch_size_on
from ..goals import Goal, Targeted, logits_of
from ..transforms.base import SharedDraws, Transformation
from .attacked import AttackedModel
from .base import Attack, check_whole

AVERAGES = ("loss", "probability")


@dataclass(frozen=True, kw_only=True)
class EOT(Attack):
    """Expectation over transformation. Athalye et al. (2018), "Synthesizing robust adversarial
    examples", section 2.1.

    The wrapped attack climbs E_t[∇ₓ J(f(t(x)), y)] in place of ∇ₓ J(f(x), y), with t drawn anew at
    each step, and the mean over ``samples`` draws in place of the expectation. Without a
    transformation it averages over what the model itself draws: the adaptive attack on a random
    defense, Athalye et al. (2018), "Obfuscated gradients", section 4.2.

    What the attack asks about x (is the goal reached, by which margin) is answered by the expected
    prediction, log E_t[softmax f(t(x))]. An attack that stops at its first success, such as
    ``PGD(early_stop=True)``, takes the word of these few draws. A model that draws at random does
    so from torch's global state: seed it, if a result must be repeated.

    The images of a batch share the draws of a step, so that an image's result does not depend on
    the others. It does depend on them, a little, where the attack ends a search once all of its
    batch is done, and so looks more or less often: the attacks of Carlini & Wagner, EAD and
    HopSkipJump.

    The mean of the cross-entropy has no upper end: an untargeted attack raises it where a draw
    fools the model already, and forgets the others. ``average="probability"`` climbs
    1 − E_t[softmax f(t(x))_y] instead, which has nothing more to win there. We measured it on 40
    digits of ``mnist-cnn`` in unseen turns of up to 30°, with ``PGD(eps=0.15, steps=10)`` and two
    seeds. The model has 46% and 50% of them right after PGD alone; 54% and 48% after EOT of it by
    the loss, which is nevertheless higher (3.3 and 3.7, against 2.5 and 2.3); 34% and 33% after
    EOT by the probability. By the loss, 4 to 30 draws, 40 steps or ``best=False`` leave 43% to
    55%. For a targeted attack, the paper's, the loss already looks where the class wanted is
    missed: it is reached in 16% of the turns by the loss and 20% by the probability, and at
    ε = 0.25 in 74% and 68% (seed 0).

    Where we differ from the paper: the size of the perturbation is the wrapped attack's, measured
    at x, and bounded or punished as that attack does. The paper measures it after the
    transformation, by how far t(x_adv) appears from t(x) to the eye (L2 in LAB colors), and adds
    that to the loss.

    ``changed`` passes on what it does not have: ``EOT(attack=PGD()).changed(eps=0.1)`` is
    ``EOT(attack=PGD(eps=0.1))``.

    :param attack: any attack of this package; its goal, ε and norm are this one's.
    :param transformation: what lies between image and model; by default the model's own randomness.
    :param samples: draws a step, at least 1. A step takes as many times the time.
    :param average: ``"loss"`` or ``"probability"``: what the mean is taken of. An attack with a
        loss of its own, such as ``APGD(loss="margin")``, keeps it.
    :param seed: of the draws.
    :raises ValueError: samples below 1, another average, or a goal given here rather than to the
        wrapped attack.
    :raises TypeError: something else than an attack or a transformation.
    """

    attack: Attack
    transformation: Transformation | None = None
    samples: int = 10
    average: str = "loss"
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.attack, Attack):
            raise TypeError(
                f"attack: expected an attack such as PGD(), found {type(self.attack).__name__}"
            )
        if self.transformation is not None and not isinstance(self.transformation, Transformation):
            raise TypeError(
                "transformation: expected one of advlab.transforms, "
                f"found {type(self.transformation).__name__}"
            )
        check_whole(self, "samples")
        if self.average not in AVERAGES:
            raise ValueError(
                f"average: found {self.average!r}, expected {' or '.join(map(repr, AVERAGES))}"
            )
        if self.goal is not None or (self.targeted and not self.attack.targeted):
            raise ValueError("goal: give it to the wrapped attack: EOT(attack=PGD(goal=...))")
        object.__setattr__(self, "targeted", self.attack.targeted)
        for name in ("batch_size", "backward"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.attack, name))
        super().__post_init__()

    @property
    def aim(self) -> Goal:
        return self.attack.aim

    def __getattr__(self, name: str):
        # The budget is the wrapped attack's; one without has none here.
        if name in ("eps", "norm"):
            return getattr(self.attack, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        expected = ExpectedModel(
            model, x, self.transformation, self.samples, self.seed, self.average
        )
        try:
            return self.attack.perturb(expected, x, y)
        finally:
            model.stuck = expected.stuck

    def changed(self, **change) -> EOT:
        own = ("attack", "transformation", "samples", "average", "seed", "batch_size", "backward")
        mine = {name: change.pop(name, getattr(self, name)) for name in own}
        if change:
            mine["attack"] = mine["attack"].changed(**change)
        return EOT(**mine)

    def __str__(self) -> str:
        over = "" if self.transformation is None else f", {self.transformation}"
        mean = "" if self.average == "loss" else f", average={self.average!r}"
        return f"EOT({self.attack}{over}, samples={self.samples}{mean})"


class ExpectedModel(AttackedModel):
    """The model in front of one batch, seen through random transformations.

    :param model: the model as it is.
    :param x: (N, C, H, W), the batch.
    :param transformation: by default none: the model's own randomness.
    :param samples: draws a look.
    :param seed: of the draws.
    :param average: of what, see :class:`EOT`.
    """

    def __init__(
        self,
        model: AttackedModel,
        x: Tensor,
        transformation: Transformation | None,
        samples: int,
        seed: int,
        average: str = "loss",
    ):
        super().__init__(model.forward, x, model.goal, model._bar)
        self._model, self._transformation = model, transformation
        self._samples, self._seed, self._average = samples, seed, average
        self._draws = SharedDraws(seed)
        self._room = batch_size_on(x.device)  # images at once

    def part(self, x: Tensor) -> ExpectedModel:
        return ExpectedModel(
            self._model.part(x), x, self._transformation, self._samples, self._seed, self._average
        )

    def _ask(self, x: Tensor, question: Callable, *, first=False, at_once=True) -> Iterator[tuple]:
        """What the model answers about all the copies of the batch, some at once: (n, answer).

        :param question: of a model in front of n copies, of the copies, and of n.
        :param first: one copy goes ahead, so that an error tells of a batch as it was given.
        :param at_once: as many copies as memory holds; else one after the other.
        """
        alone, left = first or not at_once, self._samples
        while left:
            copies = 1 if alone else min(left, max(self._room // max(len(x), 1), 1))
            given, answer = self._draws.given, None
            try:
                many = x.repeat(copies, 1, 1, 1)
                model = AttackedModel(self._through(x, copies), many, self.goal)
                answer = question(model, many, copies)
            except torch.OutOfMemoryError:
                if copies == 1:
                    raise  # a smaller batch may do
            if answer is None:  # out here the error, and with it the memory that it held, is gone
                self._room, self._draws.given = len(x) * (copies // 2), given
                torch.cuda.empty_cache()
                continue
            left, alone = left - copies, not at_once
            yield copies, answer

    def _through(self, x: Tensor, copies: int) -> Callable[[Tensor], Tensor]:
        if self._transformation is None:
            return self.forward
        draw = self._draws.for_copies(x, copies)
        return lambda many: self.forward(self._transformation.apply(many, draw))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(N, K): log of the expected probabilities."""

        def question(model: AttackedModel, many: Tensor, copies: int) -> Tensor:
            return model.logits(many, None if y is None else y.repeat(copies))

        answers = []
        for copies, logits in self._ask(x, question, first=y is not None):
            answers += logits.log_softmax(1).chunk(copies)
        return _log_mean_exp(answers)

    def gradient(self, x, y, *, first=False, of=None):
        own = of is not None
        if self._average == "probability" and not own:
            of = self._probability

        def question(model: AttackedModel, many: Tensor, copies: int) -> tuple:
            return model.gradient(many, y.repeat(copies), first=first, of=of)

        gradient, losses, answers = torch.zeros_like(x), [], []
        # A loss of the attack's own may hold a number for each image: one copy at a time.
        for copies, (many, loss, logits) in self._ask(x, question, first=first, at_once=not own):
            gradient += many.view(copies, *x.shape).sum(0)
            losses += loss.chunk(copies)
            answers += logits.log_softmax(1).chunk(copies)
        logits = _log_mean_exp(answers)
        if first:
            zero = (gradient.flatten(1) == 0).all(1)
            self.stuck = zero & ~self.goal.reached(logits, y)
        return gradient / self._samples, torch.stack(losses).mean(0), logits

    def _probability(self, logits: Tensor, y: Tensor) -> Tensor:
        """1 − p_y, or p_y where the class y is wanted."""
        p = logits.softmax(1)
        if isinstance(self.goal, Targeted):
            return logits_of(p, y)
        # Not as 1 − p_y: its gradient is 0 where p_y is rounded to 1.
        return p.scatter(1, y[:, None], 0).sum(1)

    def jacobian(self, x, classes=None, *, of=None):
        def question(model: AttackedModel, many: Tensor, copies: int) -> tuple:
            return model.jacobian(many, classes, of=of)

        total, answers = None, []
        for _, (logits, rows) in self._ask(x, question, at_once=False):
            total = rows if total is None else total + rows
            answers.append(logits.log_softmax(1))
        return _log_mean_exp(answers), total / self._samples


def _log_mean_exp(answers: list[Tensor]) -> Tensor:
    """log of the mean of the softmaxes; one answer comes back as it is."""
    if len(answers) == 1:
        return answers[0]
    return torch.stack(answers).logsumexp(0) - torch.tensor(len(answers)).log().item()
