"""How many adversarial images a transformation undoes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor, nn

from ..models.contract import check_images, check_labels, predict
from ..transforms.base import Transformation


@dataclass(frozen=True)
class Destruction:
    """What a transformation does to adversarial images, and to the images that they came from.

    :param rate: the destruction rate d, 0 to 1: of the adversarial images, the fraction that are
        classified right again once transformed.
    :param counted: of how many images: right before the attack and wrong after it.
    :param accuracy: of the model on the natural images, 0 to 1.
    :param accuracy_after: the same, once they are transformed: what the transformation itself
        costs. A rate means little where this is low.
    :param adversarial_accuracy: on the adversarial images.
    :param adversarial_accuracy_after: the same, once they are transformed: all images count.
    """

    rate: float
    counted: int
    accuracy: float
    accuracy_after: float
    adversarial_accuracy: float
    adversarial_accuracy_after: float


def destruction_rate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    x_adv: Tensor,
    transformation: Transformation,
    *,
    draws: int = 1,
    seed: int = 0,
) -> Destruction:
    """The destruction rate of Kurakin et al. (2017), section 3.1, equation 1:

    d = Σ C(x, y) C̄(x_adv, y) C(t(x_adv), y) / Σ C(x, y) C̄(x_adv, y),

    where C is 1 if the model gives the image its true class y, else 0, and C̄ = 1 − C. With several
    draws of t, the mean over them.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param x: (N, C, H, W), the natural images, in [0, 1].
    :param y: (N,) int64, the true classes, for targeted attacks as well.
    :param x_adv: (N, C, H, W), the adversarial images, in [0, 1].
    :param transformation: each image is transformed on its own, by ``transformation.sample``.
    :param draws: transformed copies an image, at least 1.
    :param seed: of the first draw; draw k uses ``seed + k``.
    :raises ValueError: images or labels that break the contract, draws below 1, or no image that is
        right before the attack and wrong after it: there is nothing to destroy.
    """
    check_images(x)
    check_images(x_adv, "x_adv")
    check_labels(y, x)
    if x_adv.shape != x.shape:
        raise ValueError(f"x_adv: expected {tuple(x.shape)} as x, found {tuple(x_adv.shape)}")
    if not isinstance(transformation, Transformation):
        raise TypeError(
            "transformation: expected one of advlab.transforms, "
            f"found {type(transformation).__name__}"
        )
    if not (isinstance(draws, Integral) and draws >= 1):
        raise ValueError(f"draws: expected a whole number from 1, found {draws!r}")
    right, right_adv = predict(model, x) == y, predict(model, x_adv) == y
    fooled = right & ~right_adv
    counted = int(fooled.sum())
    if not counted:
        raise ValueError(
            "destruction_rate: no image is right before the attack and wrong after it, so the rate "
            "is 0 / 0; use a stronger attack or images that the model has right"
        )

    def after(images: Tensor) -> Tensor:
        """(draws, N) bool: which are right once transformed."""
        seen = (transformation.sample(images, seed=seed + k) for k in range(draws))
        return torch.stack([predict(model, s) == y for s in seen])

    natural, adversarial = after(x), after(x_adv)
    return Destruction(
        rate=_fraction(adversarial[:, fooled]),
        counted=counted,
        accuracy=_fraction(right),
        accuracy_after=_fraction(natural),
        adversarial_accuracy=_fraction(right_adv),
        adversarial_accuracy_after=_fraction(adversarial),
    )


def _fraction(flags: Tensor) -> float:
    return flags.double().mean().item()
