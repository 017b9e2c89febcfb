"""What a model answers when the world stands between it and the image."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor, nn

from ..backend import batch_size_on, in_batches
from ..models.contract import check_images, check_labels, predict
from ..transforms.base import SharedDraws, Transformation

COPIES = 64  # draws made at once; a part of what is drawn: another number, other poses


def answers_over_draws(
    model: nn.Module, x: Tensor, transformation: Transformation, *, draws: int = 100, seed: int = 0
) -> Tensor:
    """The class that the model names for each image in each of many draws of a transformation.

    All images share the draws, and draw j of a seed is the same whatever the images are: the
    answers to two images can be compared pose by pose.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param x: (N, C, H, W), in [0, 1], before the transformation.
    :param transformation: what lies between image and model, such as a camera.
    :param draws: how many, at least 1.
    :param seed: of the draws; judge with another than the attack had.
    :returns: (N, draws) int64.
    :raises ValueError: no draw, or images and answers that break the contract.
    """
    check_images(x)
    check_draws(draws)

    def answers(x: Tensor) -> Tensor:
        shared, parts = SharedDraws(seed), []
        for start in range(0, draws, COPIES):
            copies = min(COPIES, draws - start)
            many = x.repeat(copies, 1, 1, 1)
            seen = transformation.apply(many, shared.for_copies(x, copies))
            parts.append(predict(model, seen).view(copies, len(x)))
        return torch.cat(parts).T

    size = max(1, batch_size_on(x.device) // COPIES)
    with torch.no_grad():
        return in_batches(answers, x, batch_size=size)


def check_draws(draws: int) -> None:
    """:raises ValueError: no draw, or not a whole number of them."""
    if not (isinstance(draws, Integral) and draws >= 1):
        raise ValueError(f"draws: expected at least 1, a whole number, found {draws!r}")


def physical_success(
    model: nn.Module,
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    transformation: Transformation,
    *,
    target: int | None = None,
    draws: int = 100,
    seed: int = 0,
) -> float:
    """How often the attack works where the model is right without it.

    Among the draws t with f(t(x)) = y, the fraction with f(t(x_adv)) = ``target``, or ≠ y without
    one. Eykholt et al. (2018), section 4, equation 4: the plain and the painted sign in the
    same pose.

    :param x: (N, C, H, W), the plain images.
    :param x_adv: (N, C, H, W), the attacked ones.
    :param y: (N,) int64, the true classes.
    :param target: the class wanted; by default any class but the true one.
    :returns: from 0 to 1; NaN where the model is never right.
    :raises ValueError: images of different shape, or labels that break the contract.

    The other parameters are those of :func:`advlab.evaluation.answers_over_draws`.
    """
    check_images(x_adv, "x_adv")
    check_labels(y, x)
    if x.shape != x_adv.shape:
        raise ValueError(
            f"x_adv: expected the shape of x, {tuple(x.shape)}, found {tuple(x_adv.shape)}"
        )
    plain = answers_over_draws(model, x, transformation, draws=draws, seed=seed)
    attacked = answers_over_draws(model, x_adv, transformation, draws=draws, seed=seed)
    return success_over_draws(plain, attacked, y, target=target)


def success_over_draws(
    plain: Tensor, attacked: Tensor, y: Tensor, *, target: int | None = None
) -> float:
    """:func:`advlab.evaluation.physical_success` from the answers, each (N, draws)."""
    right = plain == y[:, None]
    reached = attacked != y[:, None] if target is None else attacked == target
    return (reached & right).sum().item() / n if (n := int(right.sum())) else float("nan")
