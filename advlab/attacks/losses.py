"""Losses of logits that do not change when the logits are shifted or scaled."""

from __future__ import annotations

import torch
from torch import Tensor

from ..goals import logits_but, logits_of

# Four equal logits leave nothing to divide by; their difference is 0 too.
_TINY = 1e-12


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference of logits ratio, −(z_y − max_{i≠y} z_i) / (z_π1 − z_π3). (N, K), (N,) to (N,).

    π sorts the logits downward. Croce & Hein (2020), equation 6. It is above 0 where the answer is
    wrong, and from −1 to 0 where it is right. Multiplying all logits by a number, which makes the
    gradient of the cross-entropy vanish, leaves it as it is.

    :raises ValueError: fewer than 3 classes.
    """
    _check_classes(logits, 3)
    top, order = logits.topk(3, dim=1)
    # The largest logit but that of y is the first or the second of all, in this order of equals.
    own = logits_of(logits, y)
    other = torch.where(order[:, 0] == y, top[:, 1], top[:, 0])
    return (other - own) / (top[:, 0] - top[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The same toward one class, −(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2). (N, K), (N,) to (N,).

    Croce & Hein (2020), equation 7.

    :param target: (N,) int64, t, for each image another class than y.
    :raises ValueError: fewer than 4 classes.
    """
    _check_classes(logits, 4)
    top = logits.topk(4, dim=1).values
    below = (top[:, 2] + top[:, 3]) / 2
    return (logits_of(logits, target) - logits_of(logits, y)) / (top[:, 0] - below + _TINY)


def targeted_margin(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """z_t − z_y, for any number of classes: above 0 where t is ahead of y. (N, K), (N,) to (N,)."""
    return logits_of(logits, target) - logits_of(logits, y)


def other_classes(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The ``count`` likeliest classes but y, the likeliest first. (N, K), (N,) to (N, count).

    Of K classes at most K − 1.
    """
    return logits_but(logits, y).topk(min(count, logits.shape[1] - 1), dim=1).indices


def _check_classes(logits: Tensor, least: int) -> None:
    if logits.shape[1] < least:
        raise ValueError(
            f"loss: this difference of logits ratio needs at least {least} classes, the model has "
            f"{logits.shape[1]}; use loss='margin'"
        )
