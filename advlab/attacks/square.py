"""Random search with squares: scores only, no gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .. import threat
from .base import Attack, check_number, check_whole, set_norm

# Of 10,000 iterations, those at which the squares' area is halved: section 3.2 of the paper, and
# 500, which the authors' code has too.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Steps whose random numbers are drawn at once: a draw is a loop over the images.
DRAWN = 256


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """The Square attack: random search, one window at a time. Andriushchenko et al. (2020).

    Each step changes the image in a random square and keeps the change where the margin of the
    logits grows (algorithm 1). The squares have side h, with h² the fraction p of the image's area;
    p is halved at the steps 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000, rescaled
    to ``queries``.

    - ``"Linf"``: starts with vertical stripes, x ± ε with a sign for each column and channel. A
      step sets a square to x ± ε with a sign for each channel (algorithm 2).
    - ``"L2"``: starts with a grid of bumps η, scaled to the length ε, on tiles whose side is about
      a fifth of the shorter side. A step empties a window W₂ and adds ±η to what another, W₁,
      holds, each as a pattern of length 1. The sum is rescaled to the squared length that both
      windows held, and what the clipping left of ε² (algorithm 3). Of W₂ only the squared length
      moves to W₁, not the pattern.

    The first query is x itself: an image that has what is wanted is returned as it is. The second
    is the start. An image is done, and asks no more, at the first candidate that succeeds.

    Where we differ from the paper: the margin is what grows in a targeted attack too, where the
    paper takes the cross-entropy; p is halved at the step 500 too, as in the authors' code; the
    default p is AutoAttack's, where the paper has 0.05 in L∞ and 0.1 in L2 on ImageNet; each image
    has its own squares, whatever the batch; in L∞ a square that would change nothing gets the
    opposite signs, since asking again tells nothing new (the authors' code draws its signs again);
    images need not be square: h is at most their shorter side.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param queries: at most so many images are shown to the model for each image, at least 1.
    :param p: in (0, 1], the fraction of the image that the first squares cover.
    :param seed: of the squares and signs.
    :raises ValueError: a hyper-parameter out of its range.
    """

    eps: float = 0.3
    norm: str = "Linf"
    queries: int = 5000
    p: float = 0.8
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        set_norm(self, "Linf", "L2")
        check_whole(self, "queries")
        check_number(self, "p", high=1)
        if not self.p:
            raise ValueError("p: expected above 0, found 0: the squares would be empty")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        start, propose = (stripes, squares) if self.norm == "Linf" else (bumps, windows)
        out = x.clone()
        logits = model.logits(x, y)
        alive = (~model.goal.reached(logits, y)).nonzero().squeeze(1)
        random = threat.Streams(x, self.seed)
        x, y, x_adv = x[alive], y[alive], x[alive]
        best = torch.full_like(x_adv[:, 0, 0, 0], -torch.inf)
        for query in model.steps(self.queries - 1):
            if not len(alive):
                break
            if query % DRAWN == 0:
                draws = random.draw("uniform", (DRAWN, 5 + x.shape[1]), alive)
            if query == 0:
                candidate = start(x, self.eps, random, alive)
            else:
                side = self.side(query - 1, *x.shape[2:])
                candidate = propose(x, x_adv, self.eps, side, draws[:, query % DRAWN])
            logits = model.logits(candidate)
            margin, reached = model.goal.margin(logits, y), model.goal.reached(logits, y)
            better = (margin > best) | reached
            best = torch.where(better, margin.to(best.dtype), best)
            x_adv = torch.where(better.view(-1, 1, 1, 1), candidate, x_adv)
            if reached.any():
                out[alive[reached]] = x_adv[reached]
                alive, x, y, x_adv, best, draws = (
                    each[~reached] for each in (alive, x, y, x_adv, best, draws)
                )
        out[alive] = x_adv
        return out

    def side(self, step: int, height: int, width: int) -> int:
        """h, the side of the windows at a step from 0: √(pHW), rounded; in L2 odd, at least 3."""
        halved = sum(10_000 * step > i * self.queries for i in HALVINGS)
        side = max(round(math.sqrt(self.p / 2**halved * height * width)), 1)
        if self.norm == "L2":
            side = max(side + (side % 2 == 0), 3)
        return min(side, height, width)


def stripes(x: Tensor, eps: float, random: threat.Streams, rows: Tensor) -> Tensor:
    """The start in L∞: x ± ε, with a sign for each column and channel."""
    signs = random.draw("signs", (x.shape[1], 1, x.shape[3]), rows)
    return (x + eps * signs).clamp(0, 1)


def squares(x: Tensor, x_adv: Tensor, eps: float, side: int, draw: Tensor) -> Tensor:
    """A step in L∞: one square of each image becomes x ± ε. ``draw``: (N, 5 + C) uniform."""
    at = _window(draw[:, :2], side, x)
    center, old = x.flatten(2).gather(2, at), x_adv.flatten(2).gather(2, at)
    change = eps * _signs(draw[:, 5:, None])
    new, opposite = (center + change).clamp(0, 1), (center - change).clamp(0, 1)
    same = (new == old).flatten(1).all(1).view(-1, 1, 1)
    new = torch.where(same, opposite, new)
    return x_adv.flatten(2).scatter(2, at, new).view_as(x)


def bumps(x: Tensor, eps: float, random: threat.Streams, rows: Tensor) -> Tensor:
    """The start in L2: a grid of bumps, on tiles of side about h/5, scaled to the length ε."""
    n, channels, height, width = x.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    signs = random.draw("signs", (1 + channels, down, across), rows)
    bump = eta(side).to(x)
    upright = (signs[:, :1] > 0)[..., None, None]
    tiles = torch.where(upright, bump, bump.T) * signs[:, 1:, :, :, None, None]
    grid = tiles.transpose(3, 4).reshape(n, channels, down * side, across * side)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    delta = torch.zeros_like(x)
    delta[:, :, top : top + down * side, left : left + across * side] = grid
    return (x + eps * threat.step(delta, "L2")).clamp(0, 1)


def windows(x: Tensor, x_adv: Tensor, eps: float, side: int, draw: Tensor) -> Tensor:
    """A step in L2: one window's squared length moves to another. ``draw``: (N, 5 + C) uniform."""
    to, source = _window(draw[:, :2], side, x), _window(draw[:, 2:4], side, x)
    delta = (x_adv - x).flatten(2)
    unused = (eps**2 - delta.square().sum((1, 2), keepdim=True)).clamp_min(0)
    held = delta.gather(2, to)
    delta.scatter_(2, to, 0)
    available = held.square().sum(2, keepdim=True)
    available += delta.gather(2, source).square().sum(2, keepdim=True) + unused / x.shape[1]
    bump = eta(side).to(x)
    bump = torch.where(draw[:, 4].view(-1, 1, 1) < 0.5, bump, bump.T).flatten(1)
    new = _unit(_signs(draw[:, 5:, None]) * bump[:, None] + _unit(held)) * available.sqrt()
    delta.scatter_(2, source, 0).scatter_(2, to, new)
    return (x + threat.project(delta.view_as(x), eps, "L2")).clamp(0, 1)


@cache
def eta(side: int) -> Tensor:
    """The bump of algorithm 3, equation (2): an upper half above 0, a lower half below. Length 1.

    Each half falls off from its middle: at distance d (in L∞), the sum of 1/j² over j from d + 1 to
    n + 1, with n half the side. (side, side), float64.
    """
    n = side // 2
    tail = (1 / torch.arange(1, n + 2, dtype=torch.float64).square()).flip(0).cumsum(0).flip(0)

    def half(height: int) -> Tensor:
        down = (torch.arange(height) - height // 2).abs()
        across = (torch.arange(side) - side // 2).abs()
        return tail[torch.maximum(down[:, None], across)]

    bump = torch.cat([half(side // 2), -half(side - side // 2)])
    return bump / bump.norm()


def _window(corner: Tensor, side: int, x: Tensor) -> Tensor:
    """Where a square lies in the pixels of each image, put in a row: (N, C, side²).

    :param corner: (N, 2) uniform on [0, 1): where its top and its left side are.
    """
    height, width = x.shape[2:]
    room = torch.tensor([height - side, width - side], device=x.device)
    top, left = (corner * (room + 1)).long().minimum(room).unbind(1)
    run = torch.arange(side, device=x.device)
    inside = (run[:, None] * width + run).flatten()
    return (top * width + left)[:, None, None] + inside.expand(1, x.shape[1], -1)


def _signs(uniform: Tensor) -> Tensor:
    return 1 - 2 * (uniform < 0.5).to(uniform.dtype)


def _unit(window: Tensor) -> Tensor:
    """(N, C, ...) with the last dimension scaled to length 1, or 0 where it is 0."""
    return window / window.norm(dim=2, keepdim=True).clamp_min(torch.finfo(window.dtype).tiny)
