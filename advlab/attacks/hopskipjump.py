"""HopSkipJump: the direction of the gradient, estimated from decisions alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import threat
from .base import check_whole, set_norm
from .decisions import KEPT, Decisions, Oracle, halvings

# Probes whose directions are drawn at once, the same on every device: so are the directions.
DRAWN = 128


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Decisions):
    """HopSkipJump, algorithm 2 of Chen, Jordan & Wainwright (2020).

    φ(x′) = 1 where x′ has reached the goal, else −1: one bit, whatever the model's logits say.
    From a start on the far side of the boundary, step t = 1, 2, … does three things:

    1. bisects between the image and x until the last interval is a part θ of the distance
       (d^(−3/2) in L2, d^(−2) in L∞, with d pixel values in an image): x_t is at the boundary;
    2. estimates the direction of the gradient from B_t = B₀√t probes, with u uniform on the sphere
       and δ_t = ‖x_t − x‖ / d: Σ (φ(x_t + δ_t u) − φ̄) u. The mean φ̄ over the probes is the
       baseline that lowers the variance. v_t is its unit vector, its sign in L∞. A probe that
       leaves the box is clipped, and u is then what is left of it, (probe − x_t) / δ_t;
    3. moves by ξ v_t, where ξ is ‖x_t − x‖ / √t, halved until the image has reached the goal.

    Every image has its own count of queries: the first look, the search for a start, bisections,
    probes and moves. The last step has what is left, so its B_t differs. An image that has
    reached the goal from the start is returned as it is. One for which no start was found is
    returned as it was. An image's result does not depend on the others up to rounding, which in
    float32 may turn a single answer, and with it the path that follows.

    Where we differ from the paper: the nearest image that was asked about is returned, probes
    aside, not the last. Up to three queries are for its last step of a few roundings away from x:
    what is returned must not lie within a rounding of the boundary. δ_t is of the distance after
    the bisection. ξ is not halved below δ_t: so small a step is not worth its queries, the image
    stays and the next step probes anew. θ and δ_t are not below what the images' dtype resolves,
    and θ is at most 1/1000, which matters to tiny images. Where all probes agree the baseline would
    leave nothing, and v_t is along Σ φu, as in the authors' own code.

    :param queries: how many images the model is shown for each image, at most.
    :param norm: ``"L2"`` or ``"Linf"``: the distance that is made small.
    :param evals: B₀ ≥ 1, the probes of the first step.
    :param starts: (M, C, H, W) in [0, 1] or None: images to start from, such as training images of
        the wanted class. The nearest to x is tried first. A targeted attack needs them, unless
        noise happens to be of the wanted class. Each one tried is a query.
    :param tries: how many random images are tried where ``starts`` are none or have not helped:
        uniform noise in square cells of 1, 2, 4, 8 pixels in turn; after the first four, cells that
        are black or white in each channel.
    :param seed: of starts and probes.
    :raises ValueError: a hyper-parameter out of its range, or starts of another shape than x.
    """

    norm: str = "L2"
    evals: int = 100

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "evals")
        set_norm(self, "L2", "Linf")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        oracle, streams, rows, at = self.begin(model, x, y)
        d = x[0].numel()
        eps = torch.finfo(x.dtype).eps
        theta = d**-1.5 if self.norm == "L2" else d**-2.0
        theta = max(min(theta, 1e-3), 4 * eps)
        at = oracle.bisect(at, rows, theta)
        plan = self._plan()
        for t in model.steps(len(plan)):
            # Two moves and a bisection are kept back: a direction that cannot be used is no use.
            room = oracle.left[rows] - KEPT - halvings(theta) - 2
            going = room > 0
            rows, at, room = rows[going], at[going], room[going]
            if not len(rows):
                break
            distance = threat.size(at - x[rows], self.norm)
            radius = (distance / d).clamp_min(64 * eps * math.sqrt(d))
            # What would not do for another step is spent on this one.
            counts = torch.where(room < 2 * plan[t], room, plan[t]).tolist()
            direction = torch.stack(
                [
                    self._direction(oracle, streams, row, at[i], radius[i], counts[i])
                    for i, row in enumerate(rows.tolist())
                ]
            )
            moved, beyond = _move(oracle, rows, at, direction, distance / math.sqrt(t + 1), radius)
            at[moved] = oracle.bisect(beyond, rows[moved], theta)
        return oracle.settle()

    def _plan(self) -> list[int]:
        """B_t for t = 1, 2, …, until the queries are spent."""
        plan: list[int] = []
        while sum(plan) < self.queries:
            plan.append(int(self.evals * math.sqrt(len(plan) + 1)))
        return plan

    def _direction(
        self,
        oracle: Oracle,
        streams: threat.Streams,
        row: int,
        at: Tensor,
        radius: Tensor,
        count: int,
    ) -> Tensor:
        """v_t from ``count`` probes around ``at``, (C, H, W). Sums, so that memory is bounded."""
        index = torch.tensor([row])
        signed, total, answers = torch.zeros_like(at), torch.zeros_like(at), at.new_zeros(())
        pieces = -(-count // DRAWN)
        for n in [count // pieces + (i < count % pieces) for i in range(pieces)]:
            u = streams.draw("normal", (n, *at.shape), index)[0]
            u *= (radius / u.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
            probes = u.add_(at).clamp_(0, 1)
            answer = 2 * oracle.ask_many(probes, row, self.batch_size).to(at) - 1
            u = probes.sub_(at)  # as far as the box let it go; only its direction counts
            signed += torch.tensordot(answer, u, 1)
            total += u.sum(0)
            answers += answer.sum()
        mean = answers / count
        estimate = signed if mean.abs() == 1 else signed - mean * total
        return threat.step(estimate[None], self.norm)[0]


def _move(
    oracle: Oracle,
    rows: Tensor,
    at: Tensor,
    direction: Tensor,
    length: Tensor,
    least: Tensor,
) -> tuple[Tensor, Tensor]:
    """The longest of length, length / 2, … ≥ least after which an image has reached the goal.

    :returns: which of the rows have moved, (m,) int64, and to where, (m, C, H, W).
    """
    out = at.clone()
    waiting = torch.arange(len(rows), device=rows.device)
    moved = torch.zeros_like(rows, dtype=torch.bool)
    while True:
        waiting = waiting[oracle.able(rows[waiting]) & (length[waiting] >= least[waiting])]
        if not len(waiting):
            break
        step = length[waiting].view(-1, 1, 1, 1) * direction[waiting]
        candidates = (at[waiting] + step).clamp(0, 1)
        reached = oracle.ask(candidates, rows[waiting])
        done, waiting = waiting[reached], waiting[~reached]
        out[done], moved[done] = candidates[reached], True
        length[waiting] = length[waiting] / 2
    moved = moved.nonzero().squeeze(1)
    return moved, out[moved]
