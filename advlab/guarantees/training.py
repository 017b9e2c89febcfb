"""Certified training: objectives that lower a bound of the worst loss in place of the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_count, check_number
from .certificates import SLOPES, least_margins
from .intervals import check_ball_norm


@dataclass(frozen=True, kw_only=True)
class _Ramped:
    """ε (and κ) as training goes on: 0 while warming up, then in a line to the full value."""

    eps: float = 0.1
    warm: float = 0.1
    ramp: float = 0.6

    def __post_init__(self):
        check_number(self, "eps")
        check_number(self, "warm", high=1)
        check_number(self, "ramp", high=1)
        if self.warm > self.ramp:
            raise ValueError(f"warm: expected at most ramp={self.ramp:g}, found {self.warm:g}")

    def _share(self, progress: float) -> float:
        """How much of the full strength, from 0 to 1, at this share of all steps."""
        if progress >= self.ramp:
            return 1.0
        if progress <= self.warm:  # also where no room is left for a ramp
            return 0.0
        return (progress - self.warm) / (self.ramp - self.warm)


@dataclass(frozen=True, kw_only=True)
class IBPTraining(_Ramped):
    """κ CE(f(x), y) + (1 − κ) CE(ẑ(ε), y), the mean over the batch. Gowal et al. (2018), section 3.

    ẑ(ε) are the worst logits that interval bounds allow: ẑ_j is the upper bound of f_j − f_y over
    the ball, and ẑ_y = 0. The bound costs two forward passes, so a step takes about four times a
    plain one, and no attack is run.

    At the full ε from the start nothing is learned: every interval is huge, and the network answers
    the same for all images. So training is plain for a share ``warm`` of all steps, and then ε
    grows from 0 and κ falls from 1, both in a line, until the share ``ramp``.
    :func:`advlab.training.fit` asks for the objective at its own progress, by :meth:`at`, so a run
    that is resumed goes on where it was. Called by itself the objective is at full strength.

    We differ in the schedule's unit, shares of the run in place of steps, and in the ball, which is
    cut at the box [0, 1]. Batch normalization counts by its running statistics in the bound.

    :param eps: ε ≥ 0, the L∞ radius at the end; the paper trains with more than it certifies.
    :param kappa: κ in [0, 1], the weight of the plain loss at the end.
    :param warm: the share of all steps that are plain, in [0, ramp].
    :param ramp: the share of all steps after which ε and κ are at their end, up to 1.
    :raises ValueError: numbers outside these ranges; when called, a layer without bounds.
    """

    kappa: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "kappa", high=1)

    def at(self, progress: float) -> IBPTraining:
        """The objective at a share of all steps, from 0 to 1."""
        share = self._share(progress)
        return replace(self, eps=self.eps * share, kappa=1 - (1 - self.kappa) * share)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        plain = F.cross_entropy(model(x), y)
        if self.kappa == 1:
            return plain
        worst = -least_margins(model, x, y, self.eps, method="ibp")
        return self.kappa * plain + (1 - self.kappa) * F.cross_entropy(worst, y)


@dataclass(frozen=True, kw_only=True)
class ConvexTraining(_Ramped):
    """CE(ẑ(ε), y), the mean over the batch, with ẑ by the convex relaxation. Wong & Kolter (2018).

    ẑ_j is the upper bound of f_j − f_y over the ball from the dual of the relaxation, and ẑ_y = 0:
    by the paper's theorem 2 the loss is an upper bound of the worst cross-entropy in the ball. It
    walks back from every hidden neuron that may be on or off, so it is for small networks: a
    step takes as many backward passes as the widest layer after the first has such neurons.

    ε grows as in :class:`IBPTraining`; until it does, the loss is the plain cross-entropy. From
    then on the network itself is not run, so that batch normalization keeps the running statistics
    that it has.

    :param eps: ε ≥ 0, the radius at the end.
    :param slopes: ``"convex"``, as in the paper, or ``"crown"``.
    :param norm: ``"Linf"`` or ``"L2"``.
    :param widest: hidden layers of more neurons than this keep their interval bounds; 0 for all of
        them (CROWN-IBP, Zhang et al. 2020), which is several times as fast.
    :param warm: the share of all steps that are plain, in [0, ramp].
    :param ramp: the share of all steps after which ε is at its end, up to 1.
    :raises ValueError: numbers outside these ranges; when called, a layer without bounds.
    """

    slopes: str = "convex"
    norm: str = "Linf"
    widest: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.slopes not in SLOPES:
            raise ValueError(f"slopes: found {self.slopes!r}, expected one of {', '.join(SLOPES)}")
        check_ball_norm(self.norm)
        if self.widest is not None:
            check_count("widest", self.widest)

    def at(self, progress: float) -> ConvexTraining:
        """The objective at a share of all steps, from 0 to 1."""
        return replace(self, eps=self.eps * self._share(progress))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.eps == 0:
            return F.cross_entropy(model(x), y)
        worst = -least_margins(
            model, x, y, self.eps, method=self.slopes, norm=self.norm, widest=self.widest
        )
        return F.cross_entropy(worst, y)
