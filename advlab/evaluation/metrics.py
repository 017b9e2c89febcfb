"""Numbers that say how well an attack or a defense does: pure functions of measured things."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def robust_accuracy(predictions: Tensor | Sequence[Tensor], y: Tensor) -> float:
    """The fraction of images that are classified right under every attack.

    :param predictions: the model's classes, (N,) or one (N,) for each attack; put the classes of
        the natural images among them, so that an image that is wrong from the start counts.
    :param y: (N,), the true classes.
    """
    rows = [predictions] if isinstance(predictions, Tensor) else list(predictions)
    if not rows or not len(y):
        raise ValueError("robust_accuracy: expected at least one attack and one image")
    for row in rows:
        if row.shape != y.shape:
            raise ValueError(f"predictions: expected {tuple(y.shape)}, found {tuple(row.shape)}")
    return torch.stack([row == y for row in rows]).all(0).float().mean().item()


def success_rate(fooled: Tensor, attacked: Tensor) -> float:
    """The fraction of the attacked images that were fooled; NaN when none was attacked.

    :param fooled: (N,) bool.
    :param attacked: (N,) bool: images that the model had right before the attack.
    """
    return (fooled & attacked).sum().item() / n if (n := int(attacked.sum())) else float("nan")


def minimum_distortion(distortions: Sequence[Tensor]) -> Tensor:
    """Each image's smallest distortion over several attacks; infinite where none succeeded.

    :param distortions: one (N,) for each attack, infinite where it failed.
    """
    if not len(distortions):
        raise ValueError("minimum_distortion: expected at least one attack")
    return torch.stack(list(distortions)).amin(0)
