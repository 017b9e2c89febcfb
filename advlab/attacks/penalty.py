"""What C&W and EAD share: minimize D(x′, x) + c f(x′), with a search for the c of each image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .attacked import AttackedModel
from .base import Attack, check_number, check_whole

C_MAX = 1e10  # as in Carlini & Wagner (2017), section VI-B: a larger c is given up


@dataclass(frozen=True, kw_only=True)
class PenaltyAttack(Attack):
    """The hyper-parameters, f, and what success means.

    f(x′) = max(κ − margin(x′), 0), with the margin of the goal (:mod:`advlab.goals`).
    """

    kappa: float = 0.0
    steps: int = 1000
    lr: float = 0.01
    searches: int = 9
    c: float = 1e-3
    abort_early: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "kappa")
        check_whole(self, "steps")
        check_number(self, "lr")
        check_whole(self, "searches")
        check_number(self, "c", 1e-30, C_MAX)

    def begin(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        """The first look: the index of the images to work on.

        Left alone are those that have what the attacker wants, and those without any gradient.
        """
        _, margin, logits = model.gradient(x, y, first=True, of=model.goal.margin)
        done = model.goal.reached(logits, y) & (margin >= self.kappa)
        return (~done & ~model.stuck).nonzero().squeeze(1)

    def f(self, model: AttackedModel, logits: Tensor, y: Tensor) -> Tensor:
        """How far the logits are short of the goal, (N,): 0 is success.

        A hair's breadth more than κ is asked for, so that rounding changes no success.
        """
        return (self.kappa + hair(logits) - model.goal.margin(logits, y)).clamp_min(0)

    def gradient(self, model: AttackedModel, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """∇f and f at x."""
        gradient, f, _ = model.gradient(x, y, of=lambda z, y: self.f(model, z, y))
        return gradient, f

    def search(
        self, model: AttackedModel, x: Tensor, y: Tensor, *, start: Tensor | None = None
    ) -> tuple[Smallest, Tensor, Tensor]:
        """The smallest x′ found while c is searched for: Carlini & Wagner (2017), section VI-A.

        c grows tenfold until an image's descent succeeds, then the range is halved.

        :param start: (N, C, H, W), where each descent starts; by default where the attack says.
        :returns: the smallest x′; the index of the images worked on; and the smallest c with which
            each of these succeeded.
        """
        best = Smallest(x)
        alive = self.begin(model, x, y)
        x, y = x[alive], y[alive]
        where = {} if start is None else {"start": start[alive]}
        c = torch.full((len(x),), self.c, dtype=x.dtype, device=x.device)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for _ in model.steps(self.searches if len(x) else 0):
            succeeded = self.descend(model, x, y, c, best, alive, **where)
            high, low = torch.where(succeeded, c, high), torch.where(succeeded, low, c)
            c = torch.where(high.isinf(), 10 * c, (low + high) / 2).clamp_max(C_MAX)
        return best, alive, high

    def descend(self, model, x: Tensor, y: Tensor, c: Tensor, best: Smallest, index: Tensor):
        """One descent for each image, with its c; offers iterates to ``best``.

        :returns: where it succeeded, (N,) bool.
        """
        raise NotImplementedError


class Smallest:
    """The smallest successful x′ of each image so far; x itself where there is none.

    :ivar size: (N,), its size; infinite where there is none.
    """

    def __init__(self, x: Tensor):
        self.x = x.clone()
        self.size = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)

    def offer(self, index: Tensor, x: Tensor, size: Tensor, succeeded: Tensor) -> None:
        better = (succeeded & (size < self.size[index])).nonzero().squeeze(1)
        if len(better):
            index = index[better]
            self.x[index], self.size[index] = x[better], size[better]


class Patience:
    """An image's descent ends when a tenth of its steps brought no gain of 1/10,000 of its loss.

    Where we differ from the papers' code: it looks at the loss of the whole batch, at every tenth.
    """

    def __init__(self, steps: int):
        self.wait = -(-steps // 10)
        self.loss = self.since = None

    def ended(self, loss: Tensor) -> Tensor:
        """(N,) bool, after the losses (N,) of one more step."""
        if self.loss is None:
            self.loss, self.since = loss.clone(), torch.zeros_like(loss)
            return torch.zeros_like(loss, dtype=torch.bool)
        gained = loss < 0.9999 * self.loss
        self.loss = torch.where(gained, loss, self.loss)
        self.since = torch.where(gained, 0, self.since + 1)
        return self.since >= self.wait

    def keep(self, rows: Tensor) -> None:
        self.loss, self.since = self.loss[rows], self.since[rows]


def hair(logits: Tensor, least: float = 0.0) -> Tensor:
    """By how much the same model may round its logits otherwise in a batch of another size, (N,).

    An attack that asks for so much more than it needs comes to the same answer in both. 16 units of
    rounding of an image's largest absolute logit, and never 0: logits that are all 0 are a tie, no
    success.

    :param logits: (N, …).
    :param least: what is rounded is at least so large.
    """
    kind = torch.finfo(logits.dtype)
    largest = logits.detach().abs().flatten(1).amax(1).clamp_min(least)
    return (16 * kind.eps * largest).clamp_min(kind.tiny)


def squared(delta: Tensor) -> Tensor:
    """‖δ‖₂² of each image."""
    return delta.square().flatten(1).sum(1)
