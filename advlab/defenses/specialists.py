"""Specialists+1: classifiers for sets of classes that are easily confused, and one for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backend import generator
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    predict,
    predict_logits,
)
from ..models.preprocessing import Substitutable
from ..training import fit

HELD_OUT = 0.1  # of the images given to fit, those that only the threshold is made of


def confusion(
    model: nn.Module, attack: Callable, x: Tensor, y: Tensor, *, classes: int | None = None
) -> Tensor:
    """How often an attacked image of class i is read as class j, (K, K) counts.

    Only images that the model has right and the attack makes it get wrong count: the diagonal is 0.

    :param attack: ``attack(model, x, y)``, untargeted.
    :param x: (N, C, H, W) in [0, 1].
    :param y: (N,) int64, the true classes.
    :param classes: K; by default the model's number of logits.
    """
    logits = predict_logits(model, x)
    k = classes or logits.shape[1]
    right = logits.argmax(1) == y
    x, y = x[right], y[right]
    answer = predict(model, attack(model, x, y)) if len(x) else y
    wrong = answer != y
    return torch.bincount(k * y[wrong] + answer[wrong], minlength=k * k).view(k, k)


def class_sets(confusion: Tensor, share: float = 0.8) -> Tensor:
    """The sets of classes of 2K specialists and a generalist: (2K + 1, K) bool.

    U_i, row i, holds the classes that class i is most often confused with: the fewest, most
    frequent first, that make up ``share`` of its confusion. U_{K+i}, row K + i, is all the others,
    i among them. The last row is all classes. Abbasi & Gagné (2017).

    Of two classes that are confused equally often the lower number comes first. Sets that come
    twice are kept: their classifiers start from other weights.

    :param confusion: (K, K), at least 0: how often class i is read as j. The diagonal is not
        looked at.
    :param share: above 0, at most 1.
    :raises ValueError: not such a matrix, a class that is never confused, or another share.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or len(confusion) < 2:
        raise ValueError(f"confusion: expected shape (K, K), found {tuple(confusion.shape)}")
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, found {share!r}")
    counts = confusion.double().clone()
    counts.fill_diagonal_(0)
    if not (counts.isfinite().all() and (counts >= 0).all()):
        raise ValueError("confusion: expected finite numbers of at least 0")
    if never := (counts.sum(1) == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"confusion: expected every class to be confused with some other, found none for class "
            f"{never[0]}; give more images, or a stronger attack"
        )
    counts, order = counts.sort(dim=1, descending=True, stable=True)
    so_far = counts.cumsum(1)
    # A class is needed while those before it do not make up the share.
    needed = so_far - counts < share * (1 - 1e-9) * so_far[:, -1:]
    often = torch.zeros_like(needed).scatter(1, order, needed & (counts > 0))
    return torch.cat((often, ~often, torch.ones_like(often[:1])))


def vote(log_p: Tensor, sets: Tensor) -> Tensor:
    """log h(x): of the classifiers that vote, the mean probabilities. (N, M, K) to (N, K).

    If for some class all the classifiers that can predict it do, only these vote; otherwise all
    do. Since a generalist has one answer, this is so for one class at most.

    :param log_p: (N, M, K), the log-probabilities of M classifiers; −∞ outside of their sets.
    :param sets: (M, K) bool, the classes that each can predict; one of them can predict all.
    """
    classes = torch.arange(sets.shape[1], device=sets.device)
    answers = log_p.argmax(2)[..., None] == classes
    unanimous = (answers | ~sets).all(1)
    agreeing = (unanimous[:, None] & sets).any(2)
    voters = agreeing | ~unanimous.any(1, keepdim=True)
    summed = log_p.masked_fill(~voters[..., None], -torch.inf).logsumexp(1)
    return summed - voters.sum(1, keepdim=True).to(log_p.dtype).log()


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

    :ivar members: the networks; after ``fit`` the generalist is the last.
    :ivar log_threshold: log τ, a buffer, as are the sets.
    """

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
        """The logits of each member, −∞ for classes outside of its set. (N, M, K)."""
        # Each gets its own copy: a first layer that works in place would spoil the next one's.
        answers = torch.stack([member(x.clone()) for member in self.members], 1)
        return answers.masked_fill(~self.sets, -torch.inf)

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
        :param false_positive_rate: at least 0, below 1.
        :raises ValueError: another rate, or no images.
        """
        if not 0 <= false_positive_rate < 1:
            raise ValueError(
                f"false_positive_rate: expected at least 0 and below 1, found "
                f"{false_positive_rate!r}"
            )
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
