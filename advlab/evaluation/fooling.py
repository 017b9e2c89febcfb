"""How many images a universal perturbation fools."""

from __future__ import annotations

from torch import Tensor, nn

from ..models.contract import check_images, predict


def fooling_rate(model: nn.Module, x: Tensor, v: Tensor) -> float:
    """The fraction of the images whose predicted class changes: k(clip(x + v)) ≠ k(x).

    Moosavi-Dezfooli et al. (2017), section 2. The true classes play no part. Judge v on images
    that it was not learned from.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param x: (N, C, H, W), in [0, 1], N at least 1.
    :param v: (1, C, H, W), the perturbation.
    :raises ValueError: no image, or a v of another shape.
    """
    check_images(x)
    if not len(x):
        raise ValueError("fooling_rate: expected at least one image, found none")
    if v.shape != (1, *x.shape[1:]):
        raise ValueError(f"v: expected {(1, *x.shape[1:])} as an image, found {tuple(v.shape)}")
    changed = predict(model, (x + v).clamp(0, 1)) != predict(model, x)
    return changed.double().mean().item()
