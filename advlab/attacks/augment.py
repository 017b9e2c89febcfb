"""New images from old ones, for an attacker who has few and may ask for labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .. import threat
from ..backend import generator, in_batches
from ..models.contract import (
    check_classes,
    check_device,
    check_images,
    check_labels,
    check_logits,
    forward_of,
    frozen,
)


def jacobian_augment(model: nn.Module, x: Tensor, labels: Tensor, lam: float) -> Tensor:
    """One new image for each: x′ = clip(x + λ sgn(J_F(x)[Õ(x)])), clipped to [0, 1].

    Papernot et al. (2017), section 4: J_F(x)[k] = ∇ₓF(x)ₖ is the row of the substitute's Jacobian
    that belongs to the label k that the oracle gave. A pixel whose derivative is 0 stays.

    F are the logits here. The paper's F ends in a softmax, whose derivative vanishes, and with it
    the sign in float32, where the substitute is sure. The signs are not the same: a probability
    also rises where the other logits fall.

    :param model: the substitute; maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param x: (N, C, H, W) in [0, 1].
    :param labels: (N,) int64, the oracle's.
    :param lam: λ, the step; negative to step against the sign.
    :returns: (N, C, H, W) in [0, 1], detached.
    :raises ValueError: images or labels that break the contract, or a λ that is not finite.
    """
    check_images(x)
    check_labels(labels, x, "labels")
    _check_step(lam)
    check_device(model, x)
    forward = forward_of(model)

    def augment(x: Tensor, labels: Tensor) -> Tensor:
        # A copy: what was made in inference mode takes no part in a gradient.
        x = x.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            logits = forward(x)
            check_logits(logits, x, probabilities=False)
            check_classes(logits, labels)
            # One sum for all: the images do not depend on one another.
            (row,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), x)
        return (x.detach() + lam * row.sign()).clamp(0, 1)

    with torch.inference_mode(False), frozen(model):
        return in_batches(augment, x, labels)


def noise_augment(x: Tensor, lam: float, seed: int | str) -> Tensor:
    """The control: x′ = clip(x + λ s) with random signs s. It asks as much and knows nothing.

    :param x: (N, C, H, W) in [0, 1].
    :param lam: λ, the step.
    :param seed: another seed, other signs; an image's signs do not depend on the others.
    :raises ValueError: images that break the contract, or a λ that is not finite.
    """
    check_images(x)
    _check_step(lam)
    return (x + lam * threat.noise(x, seed, "normal").sign()).clamp(0, 1)


def _check_step(lam: float) -> None:
    if not math.isfinite(lam):  # the images would be NaN, which no clipping brings back
        raise ValueError(f"lam: expected a finite number, found {lam!r}")


def reservoir(n: int, kappa: int, seed: int) -> Tensor:
    """κ of n rows, each subset equally likely, in one pass: Vitter's algorithm R.

    The first κ rows fill the reservoir. Row i after them takes a place r drawn from 0 … i, if
    r < κ. Papernot et al. (2016), algorithm 1.

    :param n: rows there are, at least 0.
    :param kappa: κ, rows to keep, at least 0; all of them if there are fewer.
    :param seed: of the draws.
    :returns: (min(κ, n),) int64, all different.
    :raises ValueError: n or κ below 0.
    """
    if min(n, kappa) < 0:
        raise ValueError(f"reservoir: expected n and kappa from 0, found {n} and {kappa}")
    random = torch.rand(max(n - kappa, 0), generator=generator(seed), dtype=torch.float64)
    rows = list(range(min(kappa, n)))
    for i, u in zip(range(kappa, n), random.tolist()):
        r = int(u * (i + 1))
        if r < kappa:
            rows[r] = i
    return torch.tensor(rows, dtype=torch.int64)
