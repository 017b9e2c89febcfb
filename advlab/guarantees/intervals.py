"""Interval bound propagation: what a layer can give when each input lies in an interval."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..images import check_images
from ..models.contract import check_device
from ..threat import parse_norm
from .layers import Affine, Step, steps_of


@dataclass(frozen=True)
class Ball:
    """All images within ε of each of x, and in the box [0, 1].

    :param x: (N, C, H, W).
    :param eps: ε ≥ 0.
    :param norm: ``"Linf"`` or ``"L2"``.
    """

    x: Tensor
    eps: float
    norm: str = "Linf"

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value that each pixel can take."""
        low, high = (self.x - self.eps).clamp_min(0), (self.x + self.eps).clamp_max(1)
        # In training an augmentation may move x out of the box: x itself always counts.
        return torch.minimum(low, self.x), torch.maximum(high, self.x)

    def least(self, rows: Tensor) -> Tensor:
        """min over x′ in the ball of Σᵢ aᵢ x′ᵢ, for rows a: (N, S, \\*image) to (N, S).

        In L∞ ball and box meet in an interval a pixel, and the minimum is exact. In L2 it is the
        better of two bounds, of the ball alone, a·x − ε‖a‖₂, and of the pixels' intervals: exact
        where the box does not cut the ball.
        """
        box = least_in_box(rows, *self.ends)
        if self.norm == "Linf":
            return box
        rows = rows.flatten(2)
        ball = (rows @ self.x.flatten(1)[:, :, None]).squeeze(2) - self.eps * rows.norm(dim=2)
        return torch.maximum(ball, box)


def make_ball(x: Tensor, eps: float, norm: str) -> Ball:
    """:raises ValueError: another norm than L∞ and L2, or an ε that is not a number from 0."""
    if not 0 <= float(eps) < float("inf"):
        raise ValueError(f"eps: expected a finite number, at least 0, found {eps!r}")
    return Ball(x, float(eps), check_ball_norm(norm))


def check_ball_norm(norm: str) -> str:
    """The norm by its one name.

    :raises ValueError: another norm than L∞ and L2.
    """
    norm = parse_norm(norm)
    if norm not in ("Linf", "L2"):
        raise ValueError(f"norm: found {norm!r}, expected Linf or L2")
    return norm


def least_in_box(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """min over l ≤ z ≤ u of Σᵢ aᵢ zᵢ, for rows a: (N, S, \\*shape) to (N, S)."""
    rows = rows.flatten(2)
    low, high = low.flatten(1)[:, :, None], high.flatten(1)[:, :, None]
    return (rows.clamp_min(0) @ low + rows.clamp_max(0) @ high).squeeze(2)


def through(step: Step, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of a step's outputs when its inputs lie in [low, high].

    Affine: center W(l + u)/2 + b and radius \\|W\\|(u − l)/2. Clamp and maximum grow in every
    input, so the ends go to the ends. Gowal et al. (2018), equations 6 and 7.
    """
    if not isinstance(step, Affine):
        return step(low), step(high)
    if not step.mixes:
        ends = step(low), step(high)
        return torch.minimum(*ends), torch.maximum(*ends)
    center, radius = step((low + high) / 2), step.power((high - low) / 2, 1)
    return center - radius, center + radius


class Intervals:
    """The intervals of a ball's images, carried through a network step by step.

    An L2 ball is round until the first layer that mixes pixels, where every output is
    w·x + b ± ε‖w‖₂; from there on it is intervals.

    :param ball: the images that the bounds are for.
    """

    def __init__(self, ball: Ball):
        self.low, self.high = ball.ends
        self._ball = ball
        # The center and the squared weights of the round part, as long as there is one.
        self._round = (ball.x, torch.ones_like(ball.x)) if ball.norm == "L2" else None
        # The affine steps since the last that is not, and the interval that they start from.
        self._tail: list[Affine] = []
        self._start: tuple[Tensor, Tensor] | None = None

    def advance(self, step: Step) -> tuple[Tensor, Tensor]:
        """The interval after the step, which is also kept as ``low`` and ``high``."""
        self.low, self.high = through(step, self.low, self.high)
        if isinstance(step, Affine):
            self._tail.append(step)
        else:
            self._tail, self._start = [], (self.low, self.high)
        if self._round is not None and isinstance(step, Affine):
            center, squares = self._round
            center, squares = step(center), step.power(squares, 2)
            # Not below the smallest number: at 0 the slope of the root is infinite.
            radius = self._ball.eps * squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
            self.low = torch.maximum(self.low, center - radius)
            self.high = torch.minimum(self.high, center + radius)
            # A second mixing layer would need the weights of both together.
            self._round = None if step.mixes else (center, squares)
        else:
            self._round = None
        return self.low, self.high

    def least(self, rows: Tensor) -> Tensor:
        """A lower bound of Σᵢ aᵢ zᵢ at the current step, (N, S, \\*shape) to (N, S).

        The affine steps since the last ReLU are merged with the rows, which is tighter than
        intervals of their outputs: Gowal et al. (2018), section 3, "elision of the last layer".
        """
        total = rows.new_zeros(rows.shape[:2])
        for step in reversed(self._tail):
            rows, constant = step.back(rows)
            total = total + constant
        if self._start is None:
            return total + self._ball.least(rows)
        return total + least_in_box(rows, *self._start)


def interval_bounds(
    model: nn.Module, x: Tensor, eps: float, norm: str = "Linf"
) -> tuple[Tensor, Tensor]:
    """Numbers that no logit can leave while the image moves by ε: interval bound propagation.

    For z = Wx + b with l ≤ x ≤ u: W(l + u)/2 + b ± \\|W\\|(u − l)/2; a ReLU takes the ends to the
    ends. Gowal et al. (2018), "On the effectiveness of interval bound propagation", section 3. It
    costs two forward passes. Exact for a single affine layer in L∞; with each further layer the
    intervals forget that neurons move together, and the bounds widen.

    We differ in that the ball is cut at the box [0, 1], and in L2, where the first layer's bounds
    are w·x + b ± ε‖w‖₂. The bounds are computed in x's precision, so that in float32 a logit may
    leave them by its rounding: see :func:`advlab.guarantees.certified`.

    :param model: of the layers in :mod:`advlab.guarantees.layers`, counted in evaluation mode.
    :param x: (N, C, H, W) in [0, 1].
    :param eps: ε ≥ 0, in pixel values from 0 to 1.
    :param norm: ``"Linf"`` or ``"L2"``.
    :returns: (lower, upper), each (N, K). They carry gradients into the parameters.
    :raises ValueError: a layer that is not supported, another norm, a negative ε, or images that
        break the contract.
    """
    check_images(x)
    check_device(model, x)
    intervals = Intervals(make_ball(x, eps, norm))
    for step in steps_of(model, x)[0]:
        intervals.advance(step)
    return intervals.low, intervals.high
