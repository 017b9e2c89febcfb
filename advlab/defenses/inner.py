"""The inner maximization: adversarial images made anew at every training step.

min over θ of E[max over ‖δ‖ ≤ ε of J(f(x + δ), y)]: Madry et al. (2018), equation 2.1. Training
calls this thousands of times, so it has none of what :class:`advlab.attacks.Attack` does around its
own few lines; random numbers come from torch's global state, which :func:`advlab.training.fit`
seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .. import threat
from ..models.contract import forward_of
from ..models.preprocessing import differentiated


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode: making images moves no batch statistics."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def attacked(
    model: nn.Module, backward: str | Callable[[Tensor], Tensor] | None = None
) -> Iterator[None]:
    """Inside, the model is as an attacker sees it: evaluating, its steps differentiated as asked.

    :param backward: of the steps in front of the network, as :class:`advlab.attacks.Attack` has
        it; None leaves them as they are.
    """
    with evaluating(model), differentiated(model, backward):
        yield


def uniform(x: Tensor, eps: float, norm: str = "Linf") -> Tensor:
    """x plus a point drawn from the ball of radius ε, clipped to [0, 1].

    In L∞ uniformly; in L2 a direction uniform on the sphere and a radius uniform on [0, ε], as
    :func:`advlab.threat.random_in_ball`.
    """
    if norm == "Linf":
        return (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
    length = eps * torch.rand_like(x[:, :1, :1, :1])
    return (x + length * threat.step(torch.randn_like(x), norm)).clamp(0, 1)


def ascend(
    model: nn.Module,
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    start: Tensor,
    eps: float | Tensor,
    alpha: float | Tensor,
    steps: int,
    norm: str = "Linf",
) -> Tensor:
    """xₜ₊₁ = clip(x + P_ε(xₜ + α s(∇ loss(f(xₜ))) − x)), from ``start``, for T steps; detached.

    :param model: in the mode in which it is attacked; see :func:`evaluating`.
    :param x: (N, C, H, W) in [0, 1], the natural images.
    :param loss: of logits (N, K), a scalar that is a sum over images.
    :param start: (N, C, H, W), where the walk begins.
    :param eps: ε, the radius of the ball around x; in L∞ also (N, 1, 1, 1), one for each image.
    :param alpha: α, the length of a step; likewise.
    :param steps: T.
    :param norm: of ball and step: ``"Linf"`` or ``"L2"``.
    """
    forward = forward_of(model)
    x_adv = start.detach()
    for _ in range(steps):
        x_adv.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(forward(x_adv)), x_adv)
        with torch.no_grad():
            delta = x_adv + alpha * threat.step(gradient, norm) - x
            x_adv = (x + threat.project(delta, eps, norm)).clamp(0, 1)
    return x_adv
