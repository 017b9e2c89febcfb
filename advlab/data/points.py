"""Toy points: a line to fit, with the trace that the course's source prints, and XOR."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def line_points() -> tuple[Tensor, Tensor]:
    """Seven points (x, y) on the line y = 0.25x + 0.5, evenly spaced from x = 0.113 to 0.9428.

    Both are (7,) float64, enough digits for a trace of 1,000 updates. The source of
    :data:`SOURCE_TRACE` does not publish its points, and these need not be the same. They were
    found to match: for points on a given line the trace depends on two numbers alone, the mean
    of x and the mean of x², here 0.5279 and 0.3552.
    """
    x = 0.113 + 0.1383 * torch.arange(7, dtype=torch.float64)
    return x, 0.25 * x + 0.5


class Frame(NamedTuple):
    """A moment of the descent: the line, its mean gradient over the points, its mean loss."""

    a: float
    b: float
    dl_da: float
    dl_db: float
    loss: float


#: The 20 frames that Châtel (2018) prints of the fit of a line by gradient descent, from
#: a = -2, b = 1: two decimals each, and six of the loss. With :func:`line_points`, a step size of
#: 0.05 and a frame every 50 updates, gradient descent gives each a, b and gradient to 0.006 and
#: each loss to 0.0004.
SOURCE_TRACE = tuple(
    Frame(*numbers)
    for numbers in (
        (-2.00, 1.00, -1.07, -1.37, 0.860367),
        (-1.18, 1.30, -0.17, 0.09, 0.159420),
        (-0.82, 1.10, -0.13, 0.07, 0.088204),
        (-0.54, 0.94, -0.09, 0.05, 0.048802),
        (-0.34, 0.83, -0.07, 0.04, 0.027001),
        (-0.19, 0.75, -0.05, 0.03, 0.014939),
        (-0.08, 0.68, -0.04, 0.02, 0.008266),
        (0.01, 0.64, -0.03, 0.02, 0.004573),
        (0.07, 0.60, -0.02, 0.01, 0.002530),
        (0.12, 0.58, -0.02, 0.01, 0.001400),
        (0.15, 0.56, -0.01, 0.01, 0.000775),
        (0.18, 0.54, -0.01, 0.00, 0.000429),
        (0.19, 0.53, -0.01, 0.00, 0.000237),
        (0.21, 0.52, 0.00, 0.00, 0.000131),
        (0.22, 0.52, 0.00, 0.00, 0.000073),
        (0.23, 0.51, 0.00, 0.00, 0.000040),
        (0.23, 0.51, 0.00, 0.00, 0.000022),
        (0.24, 0.51, 0.00, 0.00, 0.000012),
        (0.24, 0.51, 0.00, 0.00, 0.000007),
        (0.24, 0.50, 0.00, 0.00, 0.000004),
    )
)


def xor_points() -> tuple[Tensor, Tensor]:
    """The four inputs of XOR, (4, 2), in the order 00, 01, 10, 11, and its answers, (4,): float32.

    The answers are numbers, not class labels: what a network with one output should give.
    """
    return torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([0.0, 1, 1, 0])
