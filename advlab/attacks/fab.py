"""The fast adaptive boundary attack, targeted version: along the boundary to its nearest point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from .. import threat
from ..goals import ConfidenceReduction, Targeted
from .base import Attack, check_number, check_whole, set_norm
from .losses import other_classes, targeted_margin


def project_on_plane(x: Tensor, w: Tensor, need: Tensor, norm: str) -> Tensor:
    """The smallest δ with ⟨w, δ⟩ = need and x + δ in the box [0, 1]. (N, C, H, W), the same, (N,).

    Every pixel can only help by moving in one direction, sign(need · w), and only as far as the
    box: its room. What remains is how to share. In L∞ all go equally far, |δ_i| = min(λ, room_i);
    in L2 in proportion to w, |δ_i| = min(λ |w_i|, room_i); in L1 the pixels of largest |w_i| go
    first, each to its end. Where no point of the box is on the plane, δ leads to the corner that is
    nearest to it. Croce & Hein (2020), "Minimally distorted…", section 2.2.

    :param norm: ``"Linf"``, ``"L2"`` or ``"L1"``: which δ is the smallest.
    """
    w, need = w.flatten(1), need[:, None]
    # The same plane with a largest |w_i| of 1: the squares of a small gradient would be 0.
    largest = w.abs().amax(1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
    w, need = w / largest, (need / largest).clamp(-_far(w), _far(w))
    direction = w.sign() * need.sign()
    room = (direction.clamp_min(0) - x.flatten(1)).abs()
    if norm == "L1":
        length = _greedy(w.abs(), room, need.abs())
    else:
        speed = w.abs() if norm == "L2" else torch.ones_like(w)
        length = _even(w.abs(), room, need.abs(), speed)
    return (direction * length).view_as(x)


def _far(w: Tensor) -> float:
    """Beyond every corner, and finite: times 0 it is 0."""
    return torch.finfo(w.dtype).max


def _even(weight: Tensor, room: Tensor, need: Tensor, speed: Tensor) -> Tensor:
    """min(λ speed, room), with λ such that Σ weight · min(λ speed, room) = need.

    The sum grows with λ, along straight pieces that become less and less steep: Newton's method
    from λ = 0 never goes too far, and ends exactly on the right piece.
    """
    full, slope = weight * room, weight * speed
    most = torch.zeros_like(need)
    for _ in range(weight.shape[1]):
        # Masks as numbers: masked_fill is several times slower.
        done = (most * speed >= room).to(weight.dtype)
        rest = (slope * (1 - done)).sum(1, keepdim=True)
        reached = (full * done).sum(1, keepdim=True)
        better = torch.where(rest > 0, (need - reached) / rest, most)
        better = better.clamp_max(_far(weight)).clamp_min(most)
        if torch.equal(better, most):
            break
        most = better
    return torch.minimum(most * speed, room)


def _greedy(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """Each pixel to its end, the largest weights first, until Σ weight · length = need."""
    order = weight.argsort(dim=1, descending=True)
    weight, room = weight.gather(1, order), room.gather(1, order)
    gain = weight * room
    missing = need - (gain.cumsum(1) - gain)  # when this pixel's turn comes
    tiny = torch.finfo(weight.dtype).tiny
    length = torch.minimum((missing / weight.clamp_min(tiny)).clamp_min(0), room)
    return torch.empty_like(length).scatter_(1, order, length)


@dataclass(frozen=True, kw_only=True)
class FABT(Attack):
    """The fast adaptive boundary attack toward one class after the other: a minimum-norm attack.

    Croce & Hein (2020), "Minimally distorted…", Algorithm 1, with the targets of "Reliable
    evaluation…", section 4.2. For a target t let π be the plane on which the linearized logits of t
    and y are equal, δ the way from x_k to π and δ₀ the way from x to π, the smallest in the norm
    (``project_on_plane``). Then

        x_{k+1} = clip((1 − α)(x_k + η δ) + α (x + η δ₀)),  α = min(‖δ‖ / (‖δ‖ + ‖δ₀‖), α_max):

    a step a little beyond the boundary, drawn to the image. Where the answer is wrong there, the
    point is kept if it is the nearest so far, and the walk goes on from x + β (x_{k+1} − x). At the
    end, three steps of a secant search between x and the nearest point.

    An image for which nothing is found comes back as it was, as does one that is wrong from the
    start. It is an untargeted attack, as any wrong answer counts.

    Where we differ from the paper: the secant search is on the margin of all classes, not of two.
    A restart's radius is half of the smallest distance found so far, or of the farthest corner of
    the box: there is no ε. torchattacks' version has no final search.

    :param norm: ``"Linf"``, ``"L2"`` or ``"L1"``: which distance is made small.
    :param steps: T ≥ 1, for each target and restart.
    :param restarts: walks for each target, at least 1: the first from x, the others from a random
        point.
    :param targets: classes tried, the likeliest at x first, at least 1; of K at most K − 1 are.
    :param alpha_max: α_max from 0 to 1, how strongly a step is drawn to x.
    :param eta: η ≥ 1, how far beyond the plane.
    :param beta: β from 0 to 1, how far out the walk goes on after a success.
    :param seed: of the random points; walk number w uses ``seed + w``.
    :raises ValueError: a hyper-parameter out of its range, another goal than untargeted.
    """

    refuses: ClassVar = {
        Targeted: "it tries many classes, and any of them counts",
        ConfidenceReduction: "it looks for the boundary between two answers",
    }

    norm: str = "Linf"
    steps: int = 100
    restarts: int = 1
    targets: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        set_norm(self, "Linf", "L2", "L1")
        for name in ("steps", "restarts", "targets"):
            check_whole(self, name)
        check_number(self, "alpha_max", 0, 1)
        check_number(self, "eta", 1)
        check_number(self, "beta", 0, 1)

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        return self.closest(model, x, y)

    def closest(self, model, x: Tensor, y: Tensor, enough: float = 0.0) -> Tensor:
        """The nearest adversarial images found, each done as soon as its distance is ``enough``."""
        _, _, logits = model.gradient(x, y, first=True, of=model.goal.margin)
        nearest = _Nearest(x, y, self.norm, model.goal.reached(logits, y))
        targets = other_classes(logits, y, self.targets)
        for number in model.steps(targets.shape[1] * self.restarts):
            alive = nearest.beyond(enough)
            if not len(alive):
                break
            target = targets[alive, number // self.restarts]
            start = x[alive]
            if number % self.restarts:
                start = self.random_start(start, nearest.size[alive], enough, self.seed + number)
            self.walk(model, nearest, alive, start, target, enough)
        self.refine(model, nearest, nearest.beyond(enough))
        return nearest.x_adv

    def walk(self, model, nearest: _Nearest, alive, now, target, enough: float) -> None:
        """T steps along the boundary to the class ``target``, from the points ``now``."""
        x, y = nearest.x[alive], nearest.y[alive]
        for _ in range(self.steps):
            gradient, ahead, _ = model.gradient(now, y, of=partial(targeted_margin, target=target))
            ahead = ahead.to(x.dtype)
            # Seen from x, the plane is where it is, and x is elsewhere.
            from_x = ahead - (gradient * (now - x)).flatten(1).sum(1)
            points, planes = torch.cat([now, x]), torch.cat([gradient, gradient])
            both = project_on_plane(points, planes, -torch.cat([ahead, from_x]), self.norm)
            here, there = threat.size(both, self.norm).chunk(2)
            alpha = (here / (here + there).clamp_min(1e-8)).clamp_max(self.alpha_max)
            beyond, beyond_x = (points + self.eta * both).chunk(2)
            now = (beyond + alpha.view(-1, 1, 1, 1) * (beyond_x - beyond)).clamp(0, 1)
            reached = model.reached(now, y).nonzero().squeeze(1)
            nearest.offer(alive[reached], now[reached])
            now[reached] = torch.lerp(x[reached], now[reached], self.beta)
            if enough:
                going = nearest.size[alive] > enough
                if not going.all():
                    alive, target, now, x, y = (v[going] for v in (alive, target, now, x, y))
                if not len(alive):
                    return

    def refine(self, model, nearest: _Nearest, alive) -> None:
        """Three secant steps for the margin's zero between x and the nearest point."""
        alive = alive[nearest.size[alive].isfinite()]
        if not len(alive):
            return
        inner, outer, y = nearest.x[alive], nearest.x_adv[alive], nearest.y[alive]
        logits = model.logits(outer)
        low, high = model.margin(inner, y), model.goal.margin(logits, y)
        spare = 100 * torch.finfo(logits.dtype).eps * (logits.abs().amax(1) - low)
        tiny = torch.finfo(logits.dtype).tiny
        for _ in range(3):
            # A little above 0: what is wrong by less than rounding is right in another batch.
            part = ((high - 2 * spare) / (high - low).clamp_min(tiny)).clamp(0, 1).to(inner.dtype)
            trial = torch.lerp(outer, inner, part.view(-1, 1, 1, 1))
            margin = model.margin(trial, y)
            reached = margin > spare
            nearest.offer(alive[reached], trial[reached])
            wide = reached.view(-1, 1, 1, 1)
            outer, inner = torch.where(wide, trial, outer), torch.where(wide, inner, trial)
            high, low = torch.where(reached, margin, high), torch.where(reached, low, margin)

    def random_start(self, x: Tensor, size: Tensor, enough: float, seed: int) -> Tensor:
        """A point at half of the distance found so far, or of the farthest corner."""
        farthest = threat.size(torch.maximum(x, 1 - x), self.norm)
        radius = torch.minimum(size, farthest).clamp_max(enough or torch.inf) / 2
        direction = threat.random_in_ball(x, 1.0, self.norm, seed)
        length = threat.size(direction, self.norm).clamp_min(1e-12)
        return (x + (radius / length).view(-1, 1, 1, 1) * direction).clamp(0, 1)


class _Nearest:
    """The nearest adversarial image of each x so far, and how far it is: ∞ before there is one."""

    def __init__(self, x: Tensor, y: Tensor, norm: str, wrong: Tensor):
        self.x, self.y, self.norm, self.x_adv = x, y, norm, x.clone()
        self.size = torch.zeros_like(x[:, 0, 0, 0]).masked_fill(~wrong, torch.inf)

    def beyond(self, enough: float) -> Tensor:
        return (self.size > enough).nonzero().squeeze(1)

    def offer(self, index: Tensor, x_adv: Tensor) -> None:
        size = threat.size(x_adv - self.x[index], self.norm)
        nearer = size < self.size[index]
        index = index[nearer]
        self.x_adv[index], self.size[index] = x_adv[nearer], size[nearer]
