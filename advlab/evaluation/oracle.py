"""How an attack made on one model does on another of which only labels are seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..images import check_images
from ..models.contract import check_labels, check_logits, predict_logits
from .metrics import success_rate


@dataclass(frozen=True)
class OracleError:
    """Measured by :func:`advlab.evaluation.oracle_error`; all rates are from 0 to 1.

    :param misclassified: of all adversarial images, those that the oracle gets wrong: the rate of
        Papernot et al. (2017). Images that it had wrong from the start count.
    :param fooled: of the natural images that it had right, those whose adversarial image it gets
        wrong; NaN when it had none right.
    :param natural: of the natural images, those that it gets wrong.
    :param images: how many there were.
    """

    misclassified: float
    fooled: float
    natural: float
    images: int


def oracle_error(
    judge: nn.Module | Callable[[Tensor], Tensor], x: Tensor, x_adv: Tensor, y: Tensor
) -> OracleError:
    """Judge adversarial images, made on a substitute, on the oracle.

    Judging is no part of the attack. Give the oracle's own model, and the questions that the
    attacker has left stay as they are; or a second :class:`advlab.attacks.Oracle` with a budget of
    2N, which counts the judge's questions apart.

    :param judge: a model, or a callable from images to labels (N,).
    :param x: (N, C, H, W) in [0, 1], N at least 1, the natural images.
    :param x_adv: the adversarial images, of the shape of x.
    :param y: (N,) int64, the true classes.
    :raises ValueError: no image, shapes that do not agree, answers that are no labels, or a class
        in y that the model does not have.
    """
    check_images(x)
    check_images(x_adv, "x_adv")
    check_labels(y, x)
    if x_adv.shape != x.shape or not len(x):
        raise ValueError(
            f"x_adv: expected the shape of x, {tuple(x.shape)}, and at least one image, "
            f"found {tuple(x_adv.shape)}"
        )
    before, after = (_labels(judge, images, y) != y for images in (x, x_adv))
    return OracleError(
        misclassified=after.double().mean().item(),
        fooled=success_rate(after, ~before),
        natural=before.double().mean().item(),
        images=len(x),
    )


def _labels(judge: nn.Module | Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    if not isinstance(judge, nn.Module):
        labels = judge(x)
        check_labels(labels, x, "judge")
        return labels
    logits = predict_logits(judge, x)
    check_logits(logits, x, y)
    return logits.argmax(1)
