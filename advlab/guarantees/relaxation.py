"""Bounds by linear relaxation: a network between two affine functions of its input.

The value of a neuron is bounded by walking backward from it. A row a starts as the neuron itself.
An affine step turns it into Wᵀa; at a ReLU every entry is replaced by a line below or above the
ReLU, whichever holds for its sign; at the image the least value over the ball is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .intervals import Ball, Intervals
from .layers import Affine, Clamp, Maximum, Step

SLOPES = ("convex", "crown")
ENTRIES = 2**24  # of the rows that walk back together: 128 MiB in float64


@dataclass(frozen=True)
class Lines:
    """Two lines around a clamp on [l, u]: αz + β ≤ min(max(z, 0), top) ≤ γz + δ, entry by entry."""

    below: Tensor
    below_at_0: Tensor
    above: Tensor
    above_at_0: Tensor

    def back(self, rows: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Rows on the outputs to rows and a constant on the inputs, whose sum is never larger."""
        up, down = rows.clamp_min(0), rows.clamp_max(0)
        before = up * self.below[:, None] + down * self.above[:, None]
        return before, _dot(up, self.below_at_0) + _dot(down, self.above_at_0)


@dataclass(frozen=True)
class Picked:
    """The relaxation of a maximum: below, one of its inputs; above, the same or a constant."""

    where: Tensor
    above_is_it: Tensor
    above_at_0: Tensor

    def back(self, rows: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Rows on the outputs to rows and a constant on the inputs, whose sum is never larger."""
        down = rows.clamp_max(0)
        weight = (rows.clamp_min(0) + down * self.above_is_it[:, None]).flatten(3)
        where = self.where[:, None].expand(rows.shape).flatten(3)
        before = rows.new_zeros(*rows.shape[:2], shape[0], shape[1:].numel())
        before = before.scatter_add(3, where, weight).unflatten(3, shape[1:])
        return before, _dot(down, self.above_at_0)


def lines(step: Clamp, low: Tensor, high: Tensor, slopes: str) -> Lines:
    """The lines for a ReLU or a bounded ReLU whose input lies in [low, high].

    A ReLU with l < 0 < u: above, the chord u(z − l)/(u − l). Below, a line αz through 0, with α in
    [0, 1]. ``"convex"``: α = u/(u − l), the chord's own slope; it is the solution of the dual that
    Wong & Kolter (2018) write down (section 3.2), and Fast-Lin of Weng et al. (2018).
    ``"crown"``: α = 1 where u > −l and 0 elsewhere, which leaves the smaller area between the
    lines: Zhang et al. (2018), section 3.3. Where the sign is known both lines are the ReLU itself.

    With a top t the chord ends at (min(u, t), min(u, t)), and α is in [0, t/u] where u > t.
    """
    zero, one = torch.zeros_like(low), torch.ones_like(low)
    off, cut = high <= 0, high > step.top  # never on; may reach the top
    crossing = (low < 0) & (high > 0)
    end = high.clamp_max(step.top)

    chord = torch.where(crossing, end / torch.where(crossing, end - low, one), zero)
    steepest = torch.where(crossing & cut, end / torch.where(crossing, high, one), one)
    if slopes == "convex":
        gentle = torch.minimum(chord, steepest)
    else:
        gentle = torch.where(high > -low, steepest, zero)
    above = torch.where(crossing, chord, one)
    below = torch.where(crossing, gentle, one)
    above_at_0, below_at_0 = torch.where(crossing, -chord * low, zero), zero

    bent = ~crossing & ~off & cut & (low < step.top)  # 0 ≤ l < top < u: below, the chord
    width = torch.where(bent, high - low, one)
    slant = torch.where(bent, (end - low) / width, zero)
    below = torch.where(bent, slant, below)
    below_at_0 = torch.where(bent, low - slant * low, below_at_0)

    flat = off | (~crossing & (low >= step.top))  # the clamp is constant
    level = end.clamp_min(0)
    return Lines(
        torch.where(flat, zero, below),
        torch.where(flat, level, below_at_0),
        torch.where(flat, zero, above),
        torch.where(flat, level, above_at_0),
    )


def picked(step: Maximum, low: Tensor, high: Tensor) -> Picked:
    """A maximum is at least the input whose lower bound is largest, and at most all upper bounds.

    Where that input beats all others for certain, the maximum is that input.
    """
    largest_low, where = step.pick(low)
    alone = largest_low >= step.rivals(high, where)
    top = step(high)
    return Picked(where, alone, torch.where(alone, torch.zeros_like(top), top))


class Relaxation:
    """A network on a ball, with a pair of lines for every ReLU and every maximum.

    It is made from the first step to the last: the lines of a layer need the bounds of its inputs,
    which the layers before it give. Each bound is also never worse than its interval bound from the
    same numbers, so that the result is at least as tight as interval bound propagation.

    :param steps: of :func:`advlab.guarantees.layers.steps_of`.
    :param shapes: before each step, and after the last.
    :param ball: the images that the bounds are for.
    :param slopes: ``"convex"`` or ``"crown"``, see :func:`lines`.
    :param widest: a layer of more neurons than this keeps its interval bounds; with 0 all hidden
        layers do, and only the logits are bounded backward (CROWN-IBP, Zhang et al. 2020).
    """

    def __init__(
        self,
        steps: list[Step],
        shapes: list[torch.Size],
        ball: Ball,
        slopes: str,
        widest: int | None = None,
    ):
        self.steps, self.shapes, self.ball = steps, shapes, ball
        self.relaxed: list[Lines | Picked | None] = []
        self.intervals = Intervals(ball)
        for index, step in enumerate(steps):
            if isinstance(step, Affine):
                self.relaxed.append(None)
            else:
                if self._can_be_tighter() and (widest is None or shapes[index].numel() <= widest):
                    self._tighten(step)
                low, high = self.intervals.low, self.intervals.high
                about = (
                    lines(step, low, high, slopes)
                    if isinstance(step, Clamp)
                    else picked(step, low, high)
                )
                self.relaxed.append(about)
            self.intervals.advance(step)

    def _can_be_tighter(self) -> bool:
        """Whether walking back from the current step can do better than intervals.

        It cannot after a single layer that mixes, whose intervals are exact, nor where nothing was
        mixed since the last bounds.
        """
        index = len(self.relaxed)
        bent = [i for i, relaxed in enumerate(self.relaxed) if relaxed is not None]
        since = self.steps[bent[-1] + 1 if bent else 0 : index]
        return sum(step.mixes for step in since) > (0 if bent else 1)

    def _tighten(self, step: Clamp | Maximum) -> None:
        """Bound the inputs of the current step by walking back, where that can matter."""
        index = len(self.relaxed)
        low, high = self.intervals.low, self.intervals.high
        if isinstance(step, Clamp):
            open_ = ((low < 0) & (high > 0)) | ((low < step.top) & (high > step.top))
        else:
            open_ = high > low
        # A neuron is walked back when any image of the batch needs it, but an image takes only what
        # it needs itself: its bounds do not depend on the others.
        chosen = open_.flatten(1).any(0).nonzero().squeeze(1)
        flat_low, flat_high = low.flatten(1), high.flatten(1)
        width = max(shape.numel() for shape in self.shapes[: index + 1])
        better_low, better_high = [flat_low[:, chosen[:0]]], [flat_high[:, chosen[:0]]]
        for some in chosen.split(max(1, ENTRIES // max(1, 2 * len(low) * width))):
            rows = low.new_zeros(len(some), flat_low.shape[1])
            rows[torch.arange(len(some), device=rows.device), some] = 1
            both = torch.cat([rows, -rows]).view(1, -1, *self.shapes[index])
            found = self.least(both.expand(len(low), *both.shape[1:]))
            better_low.append(found[:, : len(some)])
            better_high.append(-found[:, len(some) :])
        needs = open_.flatten(1)[:, chosen]
        old_low, old_high = flat_low[:, chosen], flat_high[:, chosen]
        new_low = torch.where(needs, torch.maximum(old_low, torch.cat(better_low, 1)), old_low)
        new_high = torch.where(needs, torch.minimum(old_high, torch.cat(better_high, 1)), old_high)
        self.intervals.low = flat_low.index_copy(1, chosen, new_low).view(low.shape)
        self.intervals.high = flat_high.index_copy(1, chosen, new_high).view(high.shape)

    def least(self, rows: Tensor) -> Tensor:
        """A lower bound of Σᵢ aᵢ zᵢ over the ball, z the outputs of the steps that are relaxed.

        :param rows: a, (N, S, \\*shape): S sums for each image.
        :returns: (N, S), the better of walking back and of :meth:`Intervals.least`.
        """
        by_intervals = self.intervals.least(rows)
        total = rows.new_zeros(rows.shape[:2])
        for index in reversed(range(len(self.relaxed))):
            step, relaxed = self.steps[index], self.relaxed[index]
            if isinstance(step, Affine):
                rows, constant = step.back(rows)
            else:
                rows, constant = relaxed.back(rows, self.shapes[index])
            total = total + constant
        return torch.maximum(by_intervals, total + self.ball.least(rows))


def _dot(rows: Tensor, values: Tensor) -> Tensor:
    """(N, S, \\*shape) and (N, \\*shape) to (N, S)."""
    return (rows.flatten(2) @ values.flatten(1)[:, :, None]).squeeze(2)
