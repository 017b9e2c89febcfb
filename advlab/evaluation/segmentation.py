"""What an attack did to maps of classes. As Metzen et al. (2017) measure it.

These compare predictions with predictions: what the model says of the natural images and what it
says of the perturbed ones. The true maps play no part, as they play none in the attack. For them
see :func:`advlab.models.class_iou`.
"""

from __future__ import annotations

from torch import Tensor


def hidden_rate(natural: Tensor, perturbed: Tensor, hidden: int) -> float:
    """Of the pixels that the model gave to a class, the fraction that it no longer gives to it.

    :param natural: (N, H, W), classes predicted on the natural images.
    :param perturbed: (N, H, W), classes predicted on the perturbed images.
    :param hidden: the class to be hidden.
    :returns: from 0 to 1; NaN where no pixel had that class.
    :raises ValueError: maps of different shape.
    """
    _check(natural, perturbed)
    return _fraction(perturbed != hidden, natural == hidden)


def preserved_rate(natural: Tensor, perturbed: Tensor, hidden: int) -> float:
    """Of the pixels that the model did not give to the class, the fraction that kept theirs.

    The parameters are those of :func:`advlab.evaluation.hidden_rate`. A pixel that keeps its
    class looks to the rest of the system as it did before: the attack is hard to notice.
    """
    _check(natural, perturbed)
    return _fraction(perturbed == natural, natural != hidden)


def target_rate(perturbed: Tensor, target: Tensor) -> float:
    """The fraction of pixels with the class that the attacker wanted there.

    :param perturbed: (N, H, W), classes predicted on the perturbed images.
    :param target: (H, W), the same map for all, or (N, H, W).
    :raises ValueError: maps of different shape.
    """
    if target.shape != perturbed.shape[perturbed.ndim - target.ndim :]:
        raise ValueError(
            f"target: expected {tuple(perturbed.shape[1:])} or {tuple(perturbed.shape)}, found "
            f"{tuple(target.shape)}"
        )
    return (perturbed == target).double().mean().item()


def _check(natural: Tensor, perturbed: Tensor) -> None:
    if natural.shape != perturbed.shape:
        raise ValueError(
            f"perturbed: expected the shape of natural, {tuple(natural.shape)}, found "
            f"{tuple(perturbed.shape)}"
        )


def _fraction(hit: Tensor, among: Tensor) -> float:
    return (hit & among).sum().item() / n if (n := int(among.sum())) else float("nan")
