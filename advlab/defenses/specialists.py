"""Specialists+1: classifiers for sets of classes that are easily confused, and one for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backend import generator
from ..checks import check_rate
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    predict_logits,
)
from ..models.preprocessing import Substitutable
from ..training import fit
from .voting import class_sets, confusion, vote

HELD_OUT = 0.1  # of the images given to fit, those that only the threshold is made of


class SpecialistsPlusOne(Substitutable):
    """An ensemble of specialists and a generalist, that rejects what they are unsure about.

    Abbasi & Gagné (2017), "Robustness to adversarial examples through an ensemble of specialists";
    attacked by He et al. (2017), "Adversarial example defenses: ensembles of weak defenses are not
    strong". A specialist tells apart the classes of its own set
    (:func:`advlab.defenses.class_sets`). With h(x), the mean probabilities of those that vote
    (:func:`advlab.defenses.vote`), the answer is argmax_k h_k(x), and the image is rejected where
    its confidence, max_k h_k(x), is below τ.

    As one model it gives K + 1 logits, (log h_1, …, log h_K, log τ): the last one wins exactly
    where the confidence is below τ. The goals ``"undetected"`` and ``"targeted"`` are about the
    whole.

    Each class is in the sets of K specialists and of the generalist. Where nobody is unanimous, no
    confidence exceeds (K + 1) / (2K + 1), 0.524 for ten classes: with a higher τ only unanimous
    answers pass.

    Who votes changes in steps, and the sum of all has little gradient towards a unanimous vote.
    ``backward="substitute"`` takes, as the logit of a class, the mean log-probability among all
    those that can predict it.

    What it stops: most attacks made for the generalist alone. What it does not stop:
    :class:`advlab.attacks.UnanimousVote`.

    Where we differ from the paper: τ comes from a rate of natural images that are rejected. A set
    of a single class is kept, and its classifier, which needs no training, always agrees.

    :param members: M networks from (N, C, H, W) in [0, 1] to logits (N, K); 2K + 1 for ``fit``.
    :param classes: K.
    :param sets: (M, K) bool, as ``class_sets`` gives them, one of them all classes. By default each
        has all classes, and ``fit`` finds the sets.
    :param threshold: τ, above 0 and at most 1. By default 1 / (2K), which rejects nothing: the
        confidence is at least 1 / K.
    :param backward: ``"own"`` or ``"substitute"``.
    :raises ValueError: sets of another shape, an empty set, none of all classes, or another τ.

    :ivar rejected: the number of the class "rejected", from the right: always −1.
    :ivar members: the networks; after ``fit`` the generalist is the last.
    :ivar log_threshold: log τ, a buffer, as are the sets.
    """

    rejected = -1
    exact = True  # the substitute gives the same answer, with another gradient

    def __init__(
        self,
        members: Iterable[nn.Module],
        classes: int,
        *,
        sets: Tensor | None = None,
        threshold: float | None = None,
        backward: str = "own",
    ):
        super().__init__(backward)
        self.members = nn.ModuleList(members)
        shape = (len(self.members), classes)
        sets = torch.ones(shape, dtype=torch.bool) if sets is None else sets
        if tuple(sets.shape) != shape or sets.dtype != torch.bool:
            raise ValueError(
                f"sets: expected {shape} bool, a row for each member and a column for each class, "
                f"found {tuple(sets.shape)} {sets.dtype}"
            )
        if not len(sets) or not sets.any(1).all() or not sets.all(1).any():
            raise ValueError("sets: expected none to be empty, and one, the generalist's, of all")
        self.register_buffer("sets", sets.clone())
        # Its logarithm: near 1, it is kept more exactly in half precision.
        self.register_buffer("log_threshold", torch.zeros(()))
        self.threshold = 1 / (2 * classes) if threshold is None else threshold

    @property
    def threshold(self) -> float:
        """τ: images of a lower confidence are rejected."""
        return math.exp(self.log_threshold.item())

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0 < value <= 1:
            raise ValueError(f"threshold: expected above 0 and at most 1, found {value!r}")
        self.log_threshold.fill_(math.log(value))

    def takes(self, backward: str | Callable) -> bool:
        """It can be differentiated as it is, or by its substitute."""
        return backward in ("own", "substitute")

    def member_logits(self, x: Tensor) -> Tensor:
        """The logits of each member, −∞ for classes outside of its set. (N, M, K).

        :raises ValueError: a member with another number of logits than K.
        """
        # Each gets its own copy: a first layer that works in place would spoil the next one's.
        answers = [member(x.clone()) for member in self.members]
        expected = (len(x), self.sets.shape[1])
        for m, z in enumerate(answers):
            if z.shape != expected:
                raise ValueError(
                    f"members: expected logits {expected}, found {tuple(z.shape)} of number {m}"
                )
        return torch.stack(answers, 1).masked_fill(~self.sets, -torch.inf)

    def decide(self, member_logits: Tensor) -> Tensor:
        """(N, M, K) logits of the members to the (N, K + 1) of the whole."""
        return self._with_rejection(vote(member_logits.log_softmax(2), self.sets))

    def process(self, x: Tensor) -> Tensor:
        return self.decide(self.member_logits(x))

    def substitute(self, x: Tensor) -> Tensor:
        members = self.member_logits(x)
        summed = members.log_softmax(2).masked_fill(~self.sets, 0).sum(1)
        smooth = self._with_rejection(summed / self.sets.sum(0))
        # What is added is exactly 0.
        return self.decide(members.detach()) + (smooth - smooth.detach())

    def _with_rejection(self, log_h: Tensor) -> Tensor:
        reject = self.log_threshold.to(log_h.dtype).expand(len(log_h), 1)
        return torch.cat((log_h, reject), 1)

    def confidence(self, x: Tensor) -> Tensor:
        """max_k h_k(x), (N,), of any number of images, without gradients.

        :param x: (N, C, H, W) in [0, 1].
        """
        return predict_logits(self, x)[:, :-1].amax(1).exp()

    def calibrate(self, x: Tensor, false_positive_rate: float = 0.05) -> Self:
        """Set τ to the highest value that rejects at most that share of these images.

        :param x: (N, C, H, W) in [0, 1], natural images that no member was trained on.
        :param false_positive_rate: of these images, the share rejected, from 0 to below 1.
        :raises ValueError: another rate, or no images.
        """
        check_rate("false_positive_rate", false_positive_rate, below=True)
        check_images(x)
        if not len(x):
            raise ValueError("x: expected natural images, found none")
        log_confidence = predict_logits(self, x)[:, :-1].amax(1).sort().values
        below = math.floor(false_positive_rate * len(x) + 1e-9)
        self.log_threshold.copy_(log_confidence[below].clamp_max(0))
        return self

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        *,
        attack: Callable,
        share: float = 0.8,
        false_positive_rate: float = 0.05,
        seed: int = 0,
        **settings,
    ) -> Self:
        """Train the generalist, find the sets from its confusions, train the specialists, set τ.

        Each specialist sees only images of its classes. τ comes from a tenth of the images, which
        no member sees.

        :param x: (N, C, H, W) in [0, 1].
        :param y: (N,) int64, all K classes.
        :param attack: ``attack(model, x, y)``, whose images show what is confused with what; in the
            paper FGSM.
        :param share: see :func:`advlab.defenses.class_sets`.
        :param false_positive_rate: of natural images, the share rejected at most.
        :param seed: of what is held out, and of the training.
        :param settings: of :func:`advlab.training.fit`, for every member.
        :raises ValueError: another number of members than 2K + 1, or data that do not fit.
        """
        check_images(x)
        check_labels(y, x)
        check_device(self, x)
        count, k = self.sets.shape
        if len(y) and y.max() >= k:
            raise ValueError(f"y: expected class numbers below {k}, found {y.max().item()}")
        if count != 2 * k + 1:
            raise ValueError(f"members: expected 2K + 1 = {2 * k + 1}, found {count}")
        order = torch.randperm(len(x), generator=generator(seed)).to(x.device)
        held_out = max(1, round(HELD_OUT * len(x)))
        natural = x[order[:held_out]]
        x, y = x[order[held_out:]], y[order[held_out:]]

        def train(m: int) -> None:
            rows, among = self.sets[m][y], _Among(self.sets[m])
            data = (x[rows], y[rows])
            fit(self.members[m], data, objective=among, seed=seed + m, progress=False, **settings)

        generalist = self.members[-1]
        self.sets[-1] = True
        train(count - 1)
        found = confusion(generalist, attack, x, y, classes=k)
        self.sets.copy_(class_sets(found, share))
        for m in range(count - 1):
            train(m)
        return self.eval().calibrate(natural, false_positive_rate)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold:.4g}"


class _Among:
    """The mean cross-entropy among the classes of a set."""

    def __init__(self, allowed: Tensor):
        self.allowed = allowed.clone()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x).masked_fill(~self.allowed, -torch.inf), y)
