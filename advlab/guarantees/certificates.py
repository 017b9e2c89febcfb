"""Certificates: images whose class no perturbation of a size can change, by bounds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..backend import in_batches
from ..checks import check_count
from ..images import check_images
from ..models.contract import check_device, check_labels
from .intervals import Intervals, make_ball
from .layers import steps_of
from .relaxation import SLOPES, Relaxation

METHODS = ("ibp", *SLOPES)
SLACK = 1e-4


def least_margins(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    method: str = "crown",
    norm: str = "Linf",
    widest: int | None = None,
) -> Tensor:
    """As :func:`margin_bounds`, with gradients into the parameters, in x's precision, in one batch.

    :returns: (N, K), with 0 for the class y itself.
    """
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")
    steps, shapes = steps_of(model, x)
    ball = make_ball(x, eps, norm)
    classes = shapes[-1].numel()
    if y.numel() and y.max() >= classes:
        raise ValueError(f"y: expected class numbers below {classes}, found {y.max().item()}")
    units = torch.eye(classes, dtype=x.dtype, device=x.device)
    rows = units[y][:, None] - units
    if method != "ibp":
        return Relaxation(steps, shapes, ball, method, widest).least(rows)
    intervals = Intervals(ball)
    for step in steps:
        intervals.advance(step)
    return intervals.least(rows)


def margin_bounds(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    method: str = "crown",
    norm: str = "Linf",
    widest: int | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Lower bounds of every margin, min over ‖δ‖ ≤ ε, x + δ in [0, 1], of f(x + δ)_y − f(x + δ)_j.

    - ``"ibp"``: intervals, layer by layer, the last layer merged with the difference of the two
      logits. Two forward passes. Gowal et al. (2018), section 3.
    - ``"convex"``: every ReLU that may be on or off is replaced by the triangle around it, and the
      linear program is bounded by its dual, at the dual point that needs no solver. Wong & Kolter
      (2018), "Provable defenses via the convex outer adversarial polytope", theorem 1 and
      algorithm 1.
    - ``"crown"``: the same, with the line below each ReLU chosen as 0 or z, whichever is nearer.
      Zhang et al. (2018), "Efficient neural network robustness certification with general
      activation functions", section 3.3.

    The last two bound every hidden layer by walking back through all layers before it, which costs
    one backward pass for each neuron that may be on or off. They are at least as tight as ``"ibp"``
    by construction, since each takes the better of its own bound and that of the intervals.
    Neither is always tighter than the other, and neither is above the linear program's optimum.

    We differ from the papers in the box [0, 1] that cuts the ball, in pooling by maxima (below, the
    input of the largest lower bound; above, the largest upper bound) and in that better-of-both.

    Computed in float64, on the CPU where the device has none (mps).

    :param model: of the layers in :mod:`advlab.guarantees.layers`, counted in evaluation mode.
    :param x: (N, C, H, W) in [0, 1].
    :param y: (N,), the class that shall stay.
    :param eps: ε ≥ 0, in the norm's unit (pixel values from 0 to 1).
    :param method: ``"ibp"``, ``"convex"`` or ``"crown"``.
    :param norm: ``"Linf"`` or ``"L2"``.
    :param widest: hidden layers of more neurons than this keep their interval bounds, which saves
        most of the time; 0 for all of them. By default none does.
    :param batch_size: images at a time.
    :returns: (N, K) float64, at j = y: +∞.
    :raises ValueError: a layer without bounds, the first of which is named; another method or norm;
        a negative ε; images or labels that break the contract.
    """
    check_images(x)
    check_device(model, x)
    check_labels(y, x)
    if widest is not None:
        check_count("widest", widest)
    where = torch.device("cpu") if x.device.type == "mps" else x.device

    def bound(x: Tensor, y: Tensor) -> Tensor:
        x, y = x.to(where, torch.float64), y.to(where)
        found = least_margins(model, x, y, eps, method=method, norm=norm, widest=widest)
        return found.scatter(1, y[:, None], torch.inf)

    with torch.no_grad():
        return in_batches(bound, x, y, batch_size=batch_size).to(where)


def certified(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    method: str = "crown",
    norm: str = "Linf",
    widest: int | None = None,
    slack: float = SLACK,
    batch_size: int | None = None,
) -> Tensor:
    """Whether no perturbation of size ε can take an image out of class y, proved by a bound.

    True: every margin f(x + δ)_y − f(x + δ)_j is above ``slack`` for every δ of the ball. False
    says nothing: there may be an adversarial example, or the bound may be too loose.

    What rounding does. The bounds are computed in float64 and speak of the network in exact
    arithmetic; their own rounding is below 1e-9 for networks of the course's size. The network that
    is used answers in float32, a little off, typically by 1e-6 of its logits. ``slack`` covers
    both. A network that answers in half precision is off by far more: give it a larger ``slack``.
    It is not an interval arithmetic with directed rounding: a proof that must hold to the last bit
    needs one.

    :param model: see :func:`margin_bounds`, as for all other arguments.
    :param x: (N, C, H, W) in [0, 1].
    :param y: (N,), the true classes.
    :param eps: ε ≥ 0.
    :param method: ``"ibp"``, ``"convex"`` or ``"crown"``.
    :param norm: ``"Linf"`` or ``"L2"``.
    :param widest: see :func:`margin_bounds`.
    :param slack: what a margin must exceed, in units of logits.
    :param batch_size: images at a time.
    :returns: (N,) bool.
    :raises ValueError: as :func:`margin_bounds`.
    """
    margins = margin_bounds(
        model, x, y, eps, method=method, norm=norm, widest=widest, batch_size=batch_size
    )
    return (margins.amin(1) > slack).to(x.device)


def certified_accuracy(model: nn.Module, x: Tensor, y: Tensor, eps: float, **settings) -> float:
    """The fraction of images that are right and certified, between 0 and 1.

    It bounds from below what any attack of size ε leaves; PGD bounds it from above.

    :param model: see :func:`margin_bounds`.
    :param x: (N, C, H, W) in [0, 1].
    :param y: (N,), the true classes.
    :param eps: ε ≥ 0.
    :param settings: of :func:`certified`.
    :raises ValueError: no images, or as :func:`margin_bounds`.
    """
    if not len(x):
        raise ValueError("certified_accuracy: expected at least one image, found none")
    return certified(model, x, y, eps, **settings).double().mean().item()
