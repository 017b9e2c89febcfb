"""What detectors learn from and are judged on: natural, noisy and adversarial images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import threat
from ..models.contract import predict


@dataclass(frozen=True)
class Examples:
    """Images that belong together, a row each.

    :param natural: (n, C, H, W), which the model has right.
    :param noisy: (n, C, H, W), the same with noise of the size of the perturbation.
    :param adversarial: (n, C, H, W), which the model has wrong.
    :param y: (n,), the true classes.
    """

    natural: Tensor
    noisy: Tensor
    adversarial: Tensor
    y: Tensor


def examples(
    model: nn.Module, attack: Callable, x: Tensor, y: Tensor, *, seed: int = 0
) -> Examples:
    """Attack the images that the model has right, and keep the attacks that fool it.

    So Feinman et al. (2017) and Ma et al. (2018) judge detectors: an attack that fails needs no
    detecting, and noise of the same size should raise no alarm.

    :param attack: ``attack(model, x, y)``.
    :param x: (N, C, H, W), in [0, 1].
    :param y: (N,), the true classes; images that the model has wrong are left out.
    :param seed: of the noise.
    :raises ValueError: no attack, or one that fools the model on none of the images.
    """
    check_attack(attack)
    right = predict(model, x) == y
    x, y = x[right], y[right]
    x_adv = attack(model, x, y) if len(x) else x
    fooled = predict(model, x_adv) != y if len(x) else right[:0]
    if not fooled.any():
        raise ValueError(
            f"{attack}: fools the model on none of {len(x)} images that it has right; give more "
            "images, or a stronger attack"
        )
    x, y, x_adv = x[fooled], y[fooled], x_adv[fooled]
    few = (x_adv != x).flatten(1).double().mean().item() < FEW
    return Examples(x, noise_like(x, x_adv, seed, few=few), x_adv, y)


FEW = 0.25  # of the pixels changed: below, the noise is of few pixels as well


def noise_like(x: Tensor, x_adv: Tensor, seed: int = 0, *, few: bool = False) -> Tensor:
    """x with noise as large as the perturbation of x_adv, inside [0, 1].

    Gaussian, and of the same L2 norm after clipping, up to what fits in the box. Of an attack on
    ``few`` pixels, as many pixels become 0 or 1 at random. So Feinman et al. (2017) and Ma et al.
    (2018) draw it; that the norm is met after clipping, and not before, is ours.

    :returns: (N, C, H, W).
    """
    if few:
        changed = (x_adv != x).flatten(1).sum(1)
        rank = threat.noise(x, seed, "uniform").flatten(1).argsort(1).argsort(1)
        chosen = (rank < changed[:, None]).view_as(x)
        ends = (threat.noise(x, seed, "signs") > 0).to(x.dtype)
        return torch.where(chosen, ends, x)
    wanted = threat.size(x_adv - x, "L2")
    direction = threat.noise(x, seed, "normal")
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 8.0)
    for _ in range(30):  # the clipped noise grows with its scale
        scale = (low + high) / 2
        noisy = (x + threat.per_image(scale, x) * direction).clamp(0, 1)
        over = threat.size(noisy - x, "L2") > wanted
        low, high = torch.where(over, low, scale), torch.where(over, scale, high)
    return (x + threat.per_image(low, x) * direction).clamp(0, 1)


def check_attack(attack) -> None:
    """Check that it can be called as an attack.

    :raises ValueError: it cannot.
    """
    if not callable(attack):
        raise ValueError(
            f"attack: expected attack(model, x, y), such as FGSM(eps=0.3), found {attack!r}"
        )
