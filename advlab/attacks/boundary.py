"""The boundary attack: a random walk along the boundary, closer and closer to the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import threat
from .base import check_number, set_norm
from .decisions import Decisions

# The fractions of sideways steps and of whole steps that should stay adversarial.
SIDEWAYS, WHOLE = 0.3, 0.2
EVERY = 10  # steps: a sideways step is asked about alone
RATE = 0.05  # of the logarithms of δ and ε, for each answer


@dataclass(frozen=True, kw_only=True)
class Boundary(Decisions):
    """The boundary attack, Brendel, Rauber & Bethge (2018), section 2 and algorithm 1.

    x̃ has reached the goal and is at the distance D = ‖x̃ − x‖₂. A step draws η from a normal
    distribution, makes it orthogonal to x̃ − x and of length δD, and brings x̃ + η back to the
    sphere of radius D around x and into the box. From there it goes toward x, to the distance
    (1 − ε)D. Where the model says that this has reached the goal, it is the new x̃; else x̃ stays.

    δ and ε are the image's own and follow its answers. Each answer multiplies them by
    exp(r(s − p)), with s = 1 for a success, else 0: they settle where a fraction p succeeds. ε goes
    by the whole steps (p = 0.2). δ goes by sideways steps alone, which every tenth step asks about
    (p = 0.3).

    Every image has its own count of queries. An image that has reached the goal from the start is
    returned as it is. One for which no start was found is returned as it was. Up to three queries
    are for a last step of a few roundings away from x: what is returned must not lie within a
    rounding of the boundary. An image's result does not depend on the others up to rounding, which
    in float32 may turn a single answer, and with it the walk that follows.

    Where we differ from the paper: it changes δ and ε by the success over the last steps, δ toward
    one half. Where the boundary bends around x, one half is reached only as δ goes to 0: the walk
    crawls, hence 0.3. The start is first bisected to within 1/1000 of its distance from the
    boundary.

    :param queries: how many images the model is shown for each image, at most.
    :param delta: δ > 0 at the start, as a part of the distance.
    :param epsilon: ε at the start, between 0 and 1, as a part of the distance.
    :param norm: ``"L2"``, the only one.
    :param starts: (M, C, H, W) in [0, 1] or None: images to start from, such as training images of
        the wanted class. The nearest to x is tried first. A targeted attack needs them, unless
        noise happens to be of the wanted class. Each one tried is a query.
    :param tries: how many random images are tried where ``starts`` are none or have not helped:
        uniform noise in square cells of 1, 2, 4, 8 pixels in turn; after the first four, cells that
        are black or white in each channel.
    :param seed: of starts and steps.
    :raises ValueError: a hyper-parameter out of its range, or starts of another shape than x.
    """

    norm: str = "L2"
    delta: float = 0.1
    epsilon: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        set_norm(self, "L2")
        check_number(self, "delta", 1e-9, 1)
        check_number(self, "epsilon", 1e-9, 1)

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        oracle, streams, rows, found = self.begin(model, x, y)
        oracle.bisect(found, rows, 1e-3)
        delta = x.new_full((len(x),), self.delta)
        epsilon = x.new_full((len(x),), self.epsilon)
        block = max(1, 2**15 // x[0].numel())  # steps whose random numbers are drawn at once
        noise = x.new_empty((len(rows), 0))
        for t in model.steps(self.queries):
            # Where decisions are random, x itself may have passed: nothing is smaller.
            going = oracle.able(rows) & (oracle.size[rows] > 0)
            if not going.all():
                rows, noise = rows[going], noise[going]
            if not len(rows):
                break
            if t % block == 0:
                noise = streams.draw("normal", (block, *x.shape[1:]), rows)
            sideways = self._sideways(x[rows], oracle.best[rows], noise[:, t % block], delta[rows])
            whole = (1 - epsilon[rows]) * oracle.size[rows] / threat.size(sideways - x[rows], "L2")
            candidates = oracle.toward(sideways, rows, whole.clamp(0, 1))
            _follow(epsilon, rows, oracle.ask(candidates, rows), WHOLE, RATE)
            if t % EVERY == 0:
                able = oracle.able(rows)
                asked = rows[able]
                reached = oracle.ask(sideways[able], asked)
                _follow(delta, asked, reached, SIDEWAYS, RATE * EVERY)
        return oracle.settle()

    @staticmethod
    def _sideways(x: Tensor, at: Tensor, noise: Tensor, delta: Tensor) -> Tensor:
        """A random step on the sphere around x through ``at``, clipped to the box."""
        away, noise = (at - x).flatten(1), noise.flatten(1)
        squared = (away * away).sum(1, keepdim=True)
        noise = noise - (noise * away).sum(1, keepdim=True) / squared * away
        length = noise.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        noise = noise * (delta[:, None] * squared.sqrt() / length)
        # η is orthogonal: by Pythagoras the sphere is at a part 1 / √(1 + δ²) of the way.
        return (x + ((away + noise) / (1 + delta[:, None] ** 2).sqrt()).view_as(x)).clamp(0, 1)


def _follow(value: Tensor, rows: Tensor, success: Tensor, wanted: float, rate: float) -> None:
    """Raise the value a little at each success, lower it at each failure."""
    change = (rate * (success.to(value) - wanted)).exp()
    value[rows] = (value[rows] * change).clamp(1e-9, 1)
