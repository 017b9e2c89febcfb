"""What attacks that see only decisions share: counted questions, a start, the way to the boundary.

A decision is one bit: has this image reached the goal? HopSkipJump and the boundary attack start
from an image that has, however far away, and come closer while the answer stays yes.

A model rounds differently in another batch, and at the boundary a rounding can turn an answer. From
there two walks go apart: an image's result does not depend on the others up to rounding only, which
in float32 these attacks amplify (distances a few percent apart). For the same reason no image is
returned from the boundary to the last bit: see :meth:`Oracle.settle`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import threat
from ..backend import in_batches
from ..models.contract import check_images
from .base import Attack, check_whole

# The random images in which starts are looked for have cells of so many pixels, in turn.
CELLS = (1, 2, 4, 8)
# The least distance that is told apart, in roundings of pixels of 1.
ROUNDINGS = 4
# Queries that an image keeps back for its last step: away from the boundary, by one such distance,
# by 4 or by 16.
KEPT = 3


@dataclass(frozen=True, kw_only=True)
class Decisions(Attack):
    """What decision attacks have in common: their budget, their starts, their seed."""

    queries: int = 5000
    starts: Tensor | None = field(default=None, compare=False, repr=False)
    tries: int = 100
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "queries")
        check_whole(self, "tries", 0)
        if self.starts is not None:
            check_images(self.starts, "starts")

    def begin(self, model, x: Tensor, y: Tensor) -> tuple[Oracle, threat.Streams, Tensor, Tensor]:
        """The first look and a start for each image.

        :returns: the oracle; the streams of random numbers; the images (n,) for which a start was
            found, of those that need one; and the starts (n, C, H, W).
        """
        oracle = Oracle(model, x, y, self.norm, self.queries)
        streams = threat.Streams(x, f"{type(self).__name__} {self.seed}")
        rows, found = _starts(oracle, streams, self.starts, self.tries)
        return oracle, streams, rows, found


class Oracle:
    """The model as one bit an image, each question counted for the image that it is about.

    An image that has reached the goal as it is has nothing left to ask.

    :ivar left: (N,) int64, the questions that each image still has.
    :ivar best: (N, C, H, W), the nearest image judged to have reached the goal; x before the first.
    :ivar size: (N,), its distance from x; infinite before the first.
    :ivar rounding: the least distance that is told apart: below it answers are of rounding errors.
    """

    def __init__(self, model, x: Tensor, y: Tensor, norm: str, queries: int):
        self.model, self.x, self.y, self.norm = model, x, y, norm
        ones = threat.size(torch.ones_like(x[:1]), norm)
        self.rounding = ROUNDINGS * torch.finfo(x.dtype).eps * ones
        self.best = x.clone()
        self.left = torch.full_like(y, queries - 1)
        logits = model.logits(x, y)
        reached = model.goal.reached(logits, y)
        self.left[reached] = 0
        self.size = x.new_full((len(x),), torch.inf).masked_fill(reached, 0)

    def ask(self, candidates: Tensor, rows: Tensor) -> Tensor:
        """Whether each candidate has reached the goal, one for each of the images ``rows``."""
        self.left[rows] -= 1
        reached = self.model.reached(candidates, self.y[rows])
        rows, candidates = rows[reached], candidates[reached]
        size = threat.size(candidates - self.x[rows], self.norm)
        nearer = size < self.size[rows]
        rows = rows[nearer]
        self.best[rows], self.size[rows] = candidates[nearer], size[nearer]
        return reached

    def ask_many(self, candidates: Tensor, row: int, batch_size: int | None = None) -> Tensor:
        """The same for many candidates of one image, which are not kept, a batch at a time."""
        self.left[row] -= len(candidates)
        y = self.y[row].expand(len(candidates))
        return in_batches(self.model.reached, candidates, y, batch_size=batch_size)

    def able(self, rows: Tensor) -> Tensor:
        """Where the images ``rows`` have a question left, (n,) bool.

        Once it has something to return, an image keeps some back for :meth:`settle`.
        """
        return self.left[rows] > KEPT * self.size[rows].isfinite()

    def settle(self) -> Tensor:
        """The nearest images, a little away from the boundary, (N, C, H, W).

        A decision says nothing of how safe it is: asked again in another batch, an image within a
        rounding of the boundary may get another answer. So each goes away from x by what
        :attr:`rounding` says, and is returned where that has reached the goal too; else farther,
        while there are questions left.
        """
        rows = ((self.size > 0) & self.size.isfinite()).nonzero().squeeze(1)
        for k in range(KEPT):
            rows = rows[self.left[rows] > 0]
            if not len(rows):
                break
            part = 1 + 4**k * self.rounding / self.size[rows]
            delta = part.view(-1, 1, 1, 1) * (self.best[rows] - self.x[rows])
            candidates = (self.x[rows] + delta).clamp(0, 1)
            self.left[rows] -= 1
            reached = self.model.reached(candidates, self.y[rows])
            self.best[rows[reached]] = candidates[reached]
            rows = rows[~reached]
        return self.best

    def toward(self, images: Tensor, rows: Tensor, part: Tensor) -> Tensor:
        """The images brought closer to x, to that part of their distance.

        In L2 along the line to x; in L∞ each pixel is clipped to within the smaller distance.
        """
        x, part = self.x[rows], part.view(-1, 1, 1, 1)
        delta = images - x
        if self.norm == "Linf":
            most = part * delta.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
            return (x + delta.clamp(-most, most)).clamp(0, 1)
        return (x + part * delta).clamp(0, 1)

    def bisect(self, images: Tensor, rows: Tensor, tolerance: float) -> Tensor:
        """The images brought to the boundary by bisection, as far as the questions go.

        :param images: (n, C, H, W), each judged to have reached the goal.
        :param tolerance: the last interval, as a part of the distance; it is not halved below what
            is told apart.
        :returns: (n, C, H, W), each judged to have reached the goal.
        """
        out = images.clone()
        low, high = self.size.new_zeros(len(rows)), self.size.new_ones(len(rows))
        least = self.rounding / threat.size(images - self.x[rows], self.norm)
        for _ in range(halvings(tolerance)):
            going = (self.able(rows) & (high - low > least)).nonzero().squeeze(1)
            if not len(going):
                break
            middle = (low[going] + high[going]) / 2
            candidates = self.toward(images[going], rows[going], middle)
            reached = self.ask(candidates, rows[going])
            out[going[reached]] = candidates[reached]
            high[going] = torch.where(reached, middle, high[going])
            low[going] = torch.where(reached, low[going], middle)
        return out


def halvings(tolerance: float) -> int:
    """How many bisections bring an interval of length 1 to the tolerance."""
    return max(0, math.ceil(math.log2(1 / tolerance)))


def _starts(
    oracle: Oracle, streams: threat.Streams, pool: Tensor | None, tries: int
) -> tuple[Tensor, Tensor]:
    """An image that has reached the goal for each that has not: of the pool, else random noise.

    The pool is tried nearest first.
    """
    x = oracle.x
    found = x.clone()
    waiting = torch.arange(len(x), device=x.device)
    pool = x[:0] if pool is None else pool.to(x)
    order = _nearest_first(x, pool, oracle.norm)
    for k in range(len(pool) + tries):
        waiting = waiting[oracle.able(waiting)]
        if not len(waiting):
            break
        if k < len(pool):
            candidates = pool[order[waiting, k]]
        else:
            candidates = _noise(x, streams, waiting, k - len(pool))
        reached = oracle.ask(candidates, waiting)
        found[waiting[reached]] = candidates[reached]
        waiting = waiting[~reached]
    rows = ((oracle.size > 0) & oracle.size.isfinite()).nonzero().squeeze(1)
    return rows, found[rows]


def _noise(x: Tensor, streams: threat.Streams, rows: Tensor, attempt: int) -> Tensor:
    """Random images: uniform in [0, 1], in square cells of 1, 2, 4 or 8 pixels in turn.

    To a network fine gray noise is nearly always of the same one or two classes. After the first
    round the cells are black or white, which is further apart.
    """
    channels, height, width = x.shape[1:]
    cell = CELLS[attempt % len(CELLS)]
    coarse = streams.draw("uniform", (channels, -(-height // cell), -(-width // cell)), rows)
    if attempt >= len(CELLS):
        coarse = coarse.round()
    fine = coarse.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    return fine[:, :, :height, :width]


def _nearest_first(x: Tensor, pool: Tensor, norm: str) -> Tensor:
    """(N, M), the images of the pool in the order of their distance from each x."""
    if pool.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"starts: expected images of shape {tuple(x.shape[1:])}, found {tuple(pool.shape[1:])}"
        )
    p = torch.inf if norm == "Linf" else 2.0
    # Not by the scalar product, whose rounding differs from batch to batch.
    exact = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(x.flatten(1), pool.flatten(1), p=p, compute_mode=exact)
    return distance.argsort(dim=1, stable=True)
