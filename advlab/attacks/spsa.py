"""A gradient from two-sided differences, and Adam: scores only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import threat
from ..backend import batch_size_on, in_batches
from .attacked import AttackedModel
from .base import Attack, check_number, check_whole


@dataclass(frozen=True, kw_only=True)
class SPSA(Attack):
    """Simultaneous perturbation stochastic approximation. Uesato et al. (2018), algorithm 1.

    Of the margin f, which is above 0 where the attacker has what it wants, the gradient is
    estimated from its values alone (:func:`advlab.attacks.spsa_gradient`), and raised by Adam:

        xₜ₊₁ = clip_{x,ε}(xₜ + Adam(gₜ)), gₜ = 1/n Σₖ (f(xₜ + δvₖ) − f(xₜ − δvₖ)) / (2δ) · vₖ,

    with random directions vₖ of entries ±1, in the L∞ ball. It needs no gradient of the model, so
    it sees through defenses that only hide theirs. The points xₜ ± δvₖ may lie outside of the ball
    and the box, as in the paper.

    A step asks 1 + 2n queries: whether xₜ succeeds, and the differences. An image is done, and asks
    no more, at its first iterate that succeeds.

    :param eps: ε ≥ 0, the budget in L∞.
    :param queries: at most so many images are shown to the model for each image, at least 1. It
        pays for ``queries // (2 * samples + 1)`` steps; where that is none, x is returned.
    :param samples: n ≥ 1, the directions of a step; the paper's is 8,192.
    :param delta: δ > 0, how far the differences reach.
    :param lr: > 0, Adam's step size.
    :param seed: of the directions.
    :raises ValueError: a hyper-parameter out of its range.
    """

    eps: float = 0.3
    queries: int = 5000
    samples: int = 16
    delta: float = 0.01
    lr: float = 0.01
    seed: int = 0
    norm = "Linf"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        check_whole(self, "queries")
        check_whole(self, "samples")
        check_number(self, "delta", low=1e-30)
        check_number(self, "lr", low=1e-30)

    @property
    def steps(self) -> int:
        """How many steps the queries pay for."""
        return self.queries // (2 * self.samples + 1)

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        out = x.clone()
        alive = torch.arange(len(x), device=x.device)
        random = threat.Streams(x, self.seed)
        low, high = (x - self.eps).clamp_min(0), (x + self.eps).clamp_max(1)
        # Squares of small gradients, and Adam's 1e-8, are 0 in float16.
        wide = torch.promote_types(x.dtype, torch.float32)
        x_adv, mean, square = x, torch.zeros_like(x, dtype=wide), torch.zeros_like(x, dtype=wide)
        for t in model.steps(self.steps):
            logits = model.logits(x_adv, y if t == 0 else None)
            going = ~model.goal.reached(logits, y)
            if not going.all():
                out[alive[~going]] = x_adv[~going]
                alive, x_adv, y, low, high, mean, square = (
                    each[going] for each in (alive, x_adv, y, low, high, mean, square)
                )
            if not len(alive):
                break
            gradient = self.estimate(model, x_adv, y, random, alive)
            mean = torch.lerp(gradient, mean, 0.9)
            square = torch.lerp(gradient.square(), square, 0.999)
            # Both start at 0, which is made up for (Kingma & Ba, 2015).
            step = mean / (1 - 0.9 ** (t + 1))
            step /= (square / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8
            x_adv = (x_adv + self.lr * step).clamp(low, high).to(x.dtype)
        out[alive] = x_adv
        return out

    def estimate(
        self, model: AttackedModel, x: Tensor, y: Tensor, random: threat.Streams, rows: Tensor
    ) -> Tensor:
        """The estimated gradients of the margin, (N, C, H, W), a batch of points at a time.

        Of float32 at least, as of :func:`spsa_gradient`.

        :param rows: (N,) int64, which of the streams are these images'.
        """
        points = self.batch_size or batch_size_on(x.device)
        block = max(1, min(self.samples, points // 2))
        together = max(1, points // (2 * block))
        gradient = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
        for part in torch.arange(len(x), device=x.device).split(together):

            def margin(z: Tensor, y: Tensor = y[part]) -> Tensor:
                y = y.repeat_interleave(z.shape[1])
                found = in_batches(model.margin, z.flatten(0, 1), y, batch_size=self.batch_size)
                return found.view(z.shape[:2])

            for first in range(0, self.samples, block):
                count = min(block, self.samples - first)
                signs = random.draw("signs", (count, *x.shape[1:]), rows[part])
                estimate = spsa_gradient(margin, x[part], self.delta, signs)
                gradient[part] += count / self.samples * estimate
        return gradient


def spsa_gradient(
    function: Callable[[Tensor], Tensor], x: Tensor, delta: float, signs: Tensor
) -> Tensor:
    """The gradient of a function at x, estimated from its values. Spall (1992).

        g = 1/n Σₖ (f(x + δvₖ) − f(x − δvₖ)) / (2δ) · vₖ

    The mean over random signs v is the gradient, up to terms of the third derivative times δ²: of
    a quadratic function, exactly the gradient. (The definition divides by each entry of v; of
    entries ±1 that is the same as to multiply.)

    :param function: from points (N, m, ...) to values (N, m): m points for each of N images.
    :param x: (N, ...).
    :param delta: δ > 0.
    :param signs: (N, n, ...), n directions for each image, of entries ±1.
    :returns: (N, ...), of float32 at least: differences over 2δ are soon beyond float16.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    step = delta * signs
    values = function(torch.cat([x[:, None] + step, x[:, None] - step], 1))
    ahead, behind = values.to(wide).chunk(2, 1)
    slope = (ahead - behind) / (2 * delta)
    return (slope.view(*slope.shape, *[1] * (x.ndim - 1)) * signs).mean(1)
