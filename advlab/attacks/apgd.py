"""PGD that chooses its own step size: Auto-PGD, and its targeted version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from .. import threat
from ..goals import ConfidenceReduction, Goal, Targeted, Untargeted
from ..threat import per_image
from . import losses
from .base import Attack, check_number, check_whole, set_norm
from .best import Best


def checkpoints(steps: int) -> list[int]:
    """The steps at which the step size may be halved. Croce & Hein (2020), section 3.1.

    ⌈p_j T⌉ with p₀ = 0, p₁ = 0.22 and p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06), while p_j is
    at most 1. For T = 100: 0, 22, 41, 57, 70, 80, 87, 93, 99.
    """
    percent, length = [0, 22], 22  # whole numbers: 0.57 · 100 would round up to 58
    while percent[-1] + max(length - 3, 6) <= 100:
        length = max(length - 3, 6)
        percent.append(percent[-1] + length)
    return sorted({-(-p * steps // 100) for p in percent})


@dataclass(frozen=True, kw_only=True)
class _AutoPGD(Attack):
    """What both share: the budget, and Algorithm 1."""

    eps: float = 0.3
    norm: str = "Linf"
    steps: int = 100
    restarts: int = 1
    rho: float = 0.75
    eot: int = 1
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        set_norm(self, "Linf", "L2")
        for name in ("steps", "restarts", "eot"):
            check_whole(self, name)
        check_number(self, "rho", 0, 1)

    def loss_of(self, goal: Goal, target: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss that is raised, of logits and labels, for images with those targets."""
        raise NotImplementedError

    def climb(self, model, x, y, target, seed: int, ticks: Iterable[int], *, first=False):
        """Algorithm 1 from a random point of the ball.

        :param target: (N,) int64, handed to ``loss_of``.
        :param ticks: 0, 1, … steps − 1.
        :returns: for each image the first iterate that succeeds, else the one of highest loss; its
            loss (N,); and whether it succeeds (N,).
        """
        start = (x + threat.random_in_ball(x, self.eps, self.norm, seed)).clamp(0, 1)
        walk = _Walk(x, y, target, start, 2 * self.eps)
        found, highest = start.clone(), walk.highest.clone()
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        turns = checkpoints(self.steps)
        last = 0
        for k in ticks:
            of = self.loss_of(model.goal, walk.target)
            gradient, loss, logits = self.look(model, walk.now, walk.y, of, first and k == 0)
            walk.arrive(gradient, loss)
            reached = model.goal.reached(logits, walk.y)
            if reached.any():
                done = walk.index[reached]
                found[done], highest[done] = walk.now[reached], walk.loss[reached]
                fooled[done] = True
                walk.keep(~reached)
                if not len(walk.index):
                    return found, highest, fooled
            if k in turns[1:]:
                walk.turn(self.rho * (k - last))
                last = k
            walk.move(self.eps, self.norm, momentum=0.25 if k else 0.0)
        of = self.loss_of(model.goal, walk.target)
        answers = [model.logits(walk.now) for _ in range(self.eot)]
        walk.arrive(walk.gradient, sum(of(z, walk.y) for z in answers) / self.eot)
        reached = model.goal.reached(sum(answers) / self.eot, walk.y)
        found[walk.index] = torch.where(per_image(reached, x), walk.now, walk.best)
        highest[walk.index], fooled[walk.index] = walk.highest, reached
        return found, highest, fooled

    def look(self, model, x, y, of, first: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient, loss and logits, each the mean over ``eot`` looks."""
        total = model.gradient(x, y, first=first, of=of)
        for _ in range(self.eot - 1):
            more = model.gradient(x, y, of=of)
            total = tuple(a + b for a, b in zip(total, more, strict=True))
        return tuple(a / self.eot for a in total)


@dataclass(frozen=True, kw_only=True)
class APGD(_AutoPGD):
    """Auto-PGD. Croce & Hein (2020), "Reliable evaluation…", section 3 and Algorithm 1.

    PGD with momentum, x_{k+1} = P(x_k + ¾ (z − x_k) + ¼ (x_k − x_{k−1})), where
    z = P(x_k + η s(∇f(x_k))) is PGD's step, P projects onto the ball and the box and s is the
    steepest direction of the norm. η starts at 2ε. At each of ``checkpoints`` it is halved, and
    the walk goes back to the best point seen, if

    1. the loss rose in fewer than ρ of the steps since the last checkpoint, or
    2. η was not halved there, and the best loss is what it was.

    So it first explores the ball and then refines, and nobody has to choose a step size. An image
    is done at its first iterate that succeeds; where none does, the one of highest loss is
    returned. A restart goes on with the images that still stand.

    Where we differ from the paper: the start is :func:`advlab.threat.random_in_ball`, not a point
    on the edge of the ball; a checkpoint at step w looks at x_w and puts x_w back, one step before
    the printed algorithm, and condition 2 is not asked at the first of them, both as in the
    authors' own program; the step after a return counts as a rise if it is above the best, in
    theirs if it is above the point that was left; with ``eot`` the loss and the answer
    are means over all looks, where theirs are those of the last look.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param steps: T ≥ 1.
    :param restarts: random starts, at least 1.
    :param loss: ``"ce"``, the goal's cross-entropy; ``"dlr"``, :func:`advlab.attacks.losses.dlr`
        (untargeted, at least 3 classes); or ``"margin"``, the goal's margin of logits.
    :param rho: ρ from 0 to 1.
    :param eot: looks at a randomized model at each step; gradient, loss and logits are their means.
        Athalye et al. (2018), section 4.2.
    :param seed: of the random starts; restart r uses ``seed + r``.
    :raises ValueError: a hyper-parameter out of its range, the loss ``"dlr"`` with another goal
        than untargeted or with fewer than 3 classes.
    """

    loss: str = "ce"

    def __post_init__(self):
        super().__post_init__()
        if self.loss not in ("ce", "dlr", "margin"):
            raise ValueError(f"loss: expected 'ce', 'dlr' or 'margin', found {self.loss!r}")
        if self.loss == "dlr" and not isinstance(self.aim, Untargeted):
            raise ValueError(
                f"loss: 'dlr' is about leaving a class and the goal is {self.aim}; "
                "use loss='ce' or 'margin'"
            )

    def loss_of(self, goal, target):
        return {"ce": goal.loss, "dlr": losses.dlr, "margin": goal.margin}[self.loss]

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        best = Best(x)
        for restart in range(self.restarts):
            alive = (~best.fooled).nonzero().squeeze(1)
            if not len(alive):
                break
            start, labels, ticks = x[alive], y[alive], model.steps(self.steps)
            seed, first = self.seed + restart, restart == 0
            best.offer(alive, *self.climb(model, start, labels, labels, seed, ticks, first=first))
        return best.x


@dataclass(frozen=True, kw_only=True)
class APGDT(_AutoPGD):
    """Targeted Auto-PGD: one walk toward each of the likeliest other classes.

    Croce & Hein (2020), section 4.1: :class:`APGD` on the targeted difference of logits ratio,
    :func:`advlab.attacks.losses.targeted_dlr`, for the ``targets`` classes that are most likely at
    x after y, in that order. Each walk takes only the images that still stand. It is an untargeted
    attack, as any wrong answer counts; an image that is wrong from the start is left alone.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param steps: T ≥ 1, for each target.
    :param restarts: random starts for each target, at least 1.
    :param targets: classes tried, at least 1; of K classes at most K − 1 are.
    :param loss: ``"dlr"``, or ``"margin"`` for models of fewer than 4 classes: z_t − z_y.
    :param rho: ρ from 0 to 1, see :class:`APGD`.
    :param eot: looks at a randomized model at each step, see :class:`APGD`.
    :param seed: of the random starts; walk number w uses ``seed + w``.
    :raises ValueError: a hyper-parameter out of its range, another goal than untargeted, or fewer
        than 4 classes with ``"dlr"``.
    """

    refuses: ClassVar = {
        Targeted: "it tries many classes, and any of them counts; use APGD(targeted=True)",
        ConfidenceReduction: "its loss is about the answer; use APGD",
    }

    targets: int = 9
    loss: str = "dlr"

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "targets")
        if self.loss not in ("dlr", "margin"):
            raise ValueError(f"loss: expected 'dlr' or 'margin', found {self.loss!r}")

    def loss_of(self, goal, target):
        ratio = losses.targeted_dlr if self.loss == "dlr" else losses.targeted_margin
        return partial(ratio, target=target)

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        _, _, logits = model.gradient(x, y, first=True, of=model.goal.margin)
        best = Best(x)
        best.fooled = model.goal.reached(logits, y)
        targets = losses.other_classes(logits, y, self.targets)
        for walk in model.steps(targets.shape[1] * self.restarts):
            alive = (~best.fooled).nonzero().squeeze(1)
            if not len(alive):
                break
            target = targets[alive, walk // self.restarts]
            part, ticks = model.part(x[alive]), range(self.steps)
            seed = self.seed + walk
            best.offer(alive, *self.climb(part, x[alive], y[alive], target, seed, ticks))
        return best.x


class _Walk:
    """Where Algorithm 1 is. Every attribute has a row for each image that still stands."""

    def __init__(self, x: Tensor, y: Tensor, target: Tensor, start: Tensor, eta: float):
        zero = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        self.index = torch.arange(len(x), device=x.device)  # of the image
        self.x, self.y, self.target = x, y, target
        self.now, self.before = start, start  # x_k, x_{k−1}
        self.gradient, self.loss = start, zero + torch.inf  # at x_k; the first look is no rise
        self.best, self.best_gradient = start, start
        self.highest = zero - torch.inf  # the loss of best
        self.eta = zero + eta
        self.rises = zero  # since the last checkpoint
        self.halved = torch.ones_like(y, dtype=torch.bool)  # at the last checkpoint
        self.last_highest = self.highest  # at the last checkpoint

    def keep(self, rows: Tensor) -> None:
        for name, value in list(vars(self).items()):
            setattr(self, name, value[rows])

    def arrive(self, gradient: Tensor, loss: Tensor) -> None:
        """What was seen at x_k."""
        loss = loss.to(self.highest.dtype)  # a model may answer in another dtype than the images'
        self.rises = self.rises + (loss > self.loss)
        better = loss > self.highest
        self.best = torch.where(per_image(better, self.best), self.now, self.best)
        self.best_gradient = torch.where(per_image(better, gradient), gradient, self.best_gradient)
        self.highest = torch.where(better, loss, self.highest)
        self.gradient, self.loss = gradient, loss

    def turn(self, enough: float) -> None:
        """A checkpoint: halve the step and go back to the best, under conditions 1 and 2."""
        back = (self.rises < enough) | (~self.halved & (self.highest == self.last_highest))
        self.eta = torch.where(back, self.eta / 2, self.eta)
        self.now = torch.where(per_image(back, self.now), self.best, self.now)
        self.gradient = torch.where(per_image(back, self.now), self.best_gradient, self.gradient)
        self.loss = torch.where(back, self.highest, self.loss)
        self.halved, self.last_highest = back, self.highest
        self.rises = torch.zeros_like(self.rises)

    def move(self, eps: float, norm: str, momentum: float) -> None:
        """x_{k+1}, from x_k and x_{k−1}."""
        step = per_image(self.eta, self.now) * threat.step(self.gradient, norm)
        then = _inside(self.x, self.now + step, eps, norm)
        if momentum:
            then = self.now + (1 - momentum) * (then - self.now)
            then = _inside(self.x, then + momentum * (self.now - self.before), eps, norm)
        self.now, self.before = then, self.now


def _inside(x: Tensor, x_adv: Tensor, eps: float, norm: str) -> Tensor:
    """Back into the ball, then into the box, which only shortens the perturbation."""
    return (x + threat.project(x_adv - x, eps, norm)).clamp(0, 1)
