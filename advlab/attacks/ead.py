"""Elastic-net attack: C&W's with an L1 term, which leaves most pixels as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..threat import per_image
from .base import check_number
from .penalty import PenaltyAttack, squared


@dataclass(frozen=True, kw_only=True)
class EAD(PenaltyAttack):
    """The elastic-net attack, EAD. Chen et al. (2018), algorithm 1, by FISTA.

    Minimizes c f(x′) + β‖x′ − x‖₁ + ‖x′ − x‖₂² over the box, with the f and the search for c of
    :class:`advlab.attacks.CWL2`. With g(x′) = c f(x′) + ‖x′ − x‖₂², from x₀ = y₀ = x:

    - xₖ₊₁ = S_β(yₖ − αₖ ∇g(yₖ)), with αₖ = α √(1 − k / T);
    - yₖ₊₁ = xₖ₊₁ + k / (k + 3) · (xₖ₊₁ − xₖ).

    S_β takes β from each pixel's change toward 0 (what changed by less stays as in x) and clips to
    the box. As in the paper the threshold is β itself, whatever αₖ.

    Of all successful iterates the one of least L1, or of least elastic net β L1 + L2², is returned;
    x where there is none, or where the goal is reached from the start.

    Where we differ from the paper: yₖ is clipped to the box as well, and judged beside the xₖ (the
    look that gives its gradient judges it too). An xₖ that could change nothing, being larger than
    the best after a success in the same descent, is not looked at. Early abort is for each image
    by itself.

    :param beta: β ≥ 0, the weight of L1, and the least change that a step must bring.
    :param rule: ``"L1"`` or ``"EN"``, which iterate is the smallest.
    :param kappa: κ ≥ 0, the margin in logits by which the goal must be reached.
    :param steps: T ≥ 1, of a descent.
    :param lr: α ≥ 0, the first step size.
    :param searches: descents, each with another c, at least 1.
    :param c: the first c, above 0.
    :param abort_early: end an image's descent short of the goal at a step in which c ∇f moves no
        pixel by more than β: S_β would only lead it back to x.
    :raises ValueError: a hyper-parameter out of its range.
    """

    norm = "L1"
    beta: float = 0.01
    rule: str = "L1"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "beta")
        if self.rule not in ("L1", "EN"):
            raise ValueError(f"rule: expected 'L1' or 'EN', found {self.rule!r}")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        return self.search(model, x, y)[0].x

    def descend(self, model, x, y, c, best, index) -> Tensor:
        succeeded = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        rows = torch.arange(len(x), device=x.device)
        state = [rows, x, y, c, x, x]

        def judge(rows: Tensor, x_adv: Tensor, size: Tensor, reached: Tensor) -> None:
            best.offer(index[rows], x_adv, size, reached)
            succeeded[rows[reached]] = True

        for k in range(self.steps):
            rows, x, y, c, x_k, y_k = state
            gradient, f = self.gradient(model, y_k, y)
            delta = y_k - x
            reached = f == 0
            judge(rows, y_k, self.size(delta), reached)

            rate = self.lr * math.sqrt(1 - k / self.steps)
            step = rate * (per_image(c, x) * gradient + 2 * delta)
            x_next = (x + shrink(delta - step, self.beta)).clamp(0, 1)
            size = self.size(x_next - x)
            seen = (~succeeded[rows] | (size < best.size[index[rows]])).nonzero().squeeze(1)
            if len(seen):
                f = self.f(model, model.logits(x_next[seen]), y[seen])
                judge(rows[seen], x_next[seen], size[seen], f == 0)

            y_k = torch.lerp(x_k, x_next, 1 + k / (k + 3)).clamp_(0, 1)
            # lerp rounds: what S left as it was must stay exactly so.
            y_k = torch.where((x_next == x) & (x_k == x), x, y_k)
            state = [rows, x, y, c, x_next, y_k]
            if self.abort_early:
                push = rate * c * gradient.abs().flatten(1).amax(1)
                going = (reached | (push > self.beta)).nonzero().squeeze(1)
                if not len(going):
                    break
                if len(going) < len(x):
                    state = [s[going] for s in state]
        return succeeded

    def size(self, delta: Tensor) -> Tensor:
        """What the rule makes small, (N,)."""
        l1 = delta.abs().flatten(1).sum(1)
        return l1 if self.rule == "L1" else self.beta * l1 + squared(delta)


def shrink(delta: Tensor, beta: float) -> Tensor:
    """S_β without the box: every entry β nearer to 0, and 0 where it was nearer than that."""
    return delta - delta.clamp(-beta, beta)
