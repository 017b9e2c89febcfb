"""Many small steps: the basic iterative method and projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import threat
from .base import Attack, check_number, check_whole, set_norm
from .best import Best


@dataclass(frozen=True, kw_only=True)
class _Steps(Attack):
    """What BIM and PGD share: the budget, the steps, and one step of the walk."""

    eps: float = 0.3
    steps: int = 40
    alpha: float | None = None
    norm: str = "Linf"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "eps")
        if self.alpha is not None:
            check_number(self, "alpha")
        check_whole(self, "steps")
        set_norm(self, "Linf", "L2", "L1")

    def move(self, x_adv: Tensor, gradient: Tensor, x: Tensor, alpha: float) -> Tensor:
        """One step up, back into the ball, back into the box: clip(x + P(x_adv + αs − x)).

        x lies in the box, so clipping to the box only shortens the perturbation: the result is
        in the ball and in the box at once.
        """
        room = None
        if self.norm == "L1" and alpha > 0:  # few pixels share the step: none is lost to the box
            room = torch.where(gradient > 0, 1 - x_adv, x_adv) / alpha
        delta = x_adv + alpha * threat.step(gradient, self.norm, room) - x
        return (x + threat.project(delta, self.eps, self.norm)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class BIM(_Steps):
    """The basic iterative method, I-FGSM. Kurakin et al. (2017), section 2.2.

    x₀ = x, xₜ₊₁ = clip_{x,ε}(xₜ + α sign ∇ₓJ(xₜ, y)), for T steps.
    The variants are those of Feinman et al. (2017).
    Variant ``"a"`` stops each image at its first iterate that succeeds: a smaller perturbation.
    Variant ``"b"`` takes all the steps: higher confidence in the wrong class. An image that is
    wrong from the start is left alone by ``"a"``.

    :param eps: ε ≥ 0, the budget.
    :param steps: T ≥ 1.
    :param alpha: α ≥ 0, the step size; our default is ε / T: the steps just reach the edge.
    :param norm: ``"Linf"`` (the paper's), ``"L2"`` or ``"L1"``.
    :param variant: ``"a"`` or ``"b"``.
    :raises ValueError: a hyper-parameter out of its range.
    """

    steps: int = 10
    variant: str = "b"

    def __post_init__(self):
        super().__post_init__()
        if self.variant not in ("a", "b"):
            raise ValueError(f"variant: expected 'a' or 'b', found {self.variant!r}")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        alpha = self.eps / self.steps if self.alpha is None else self.alpha
        out, x_adv = x.clone(), x
        alive = torch.arange(len(x), device=x.device)
        for t in model.steps(self.steps):
            gradient, _, logits = model.gradient(x_adv, y, first=t == 0)
            if self.variant == "a":
                going = ~model.goal.reached(logits, y)
                if not going.all():
                    out[alive[~going]] = x_adv[~going]
                    alive, x, y = alive[going], x[going], y[going]
                    x_adv, gradient = x_adv[going], gradient[going]
                if not len(alive):
                    return out
            x_adv = self.move(x_adv, gradient, x, alpha)
        out[alive] = x_adv
        return out


@dataclass(frozen=True, kw_only=True)
class PGD(_Steps):
    """Projected gradient descent, the standard first-order attack. Madry et al. (2018).

    x₀ = x + a point drawn from the ball (:func:`advlab.threat.random_in_ball`), clipped to the box;
    xₜ₊₁ = clip(x + P_ε(xₜ + α s(∇ₓJ(xₜ, y)) − x)), for T steps, where s is the steepest direction
    of the norm and P_ε projects onto its ball. Further restarts go on with the images that still
    stand.

    Where we differ from the paper: it returns the last iterate, we return the best one seen (one
    that succeeds, else the one of highest loss); ``best=False`` returns the last. In L1 the step
    is Tramèr & Boneh's (2019), see :func:`advlab.threat.step`.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param steps: T ≥ 1.
    :param alpha: α ≥ 0, the step size; 2.5 ε / T by default, as in Madry et al., section 5.
    :param norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
    :param restarts: random starts, at least 1.
    :param random_start: start inside the ball rather than at x.
    :param best: return the best iterate, not the last.
    :param early_stop: an image is done at its first iterate that succeeds. As strong when success
        is all that counts, and much faster; its loss is not driven further.
    :param seed: of the random starts; restart r uses ``seed + r``.
    :raises ValueError: a hyper-parameter out of its range.
    """

    restarts: int = 1
    random_start: bool = True
    best: bool = True
    early_stop: bool = False
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "restarts")
        if self.restarts > 1 and not (self.random_start and self.best):
            raise ValueError("restarts: more than 1 needs random_start=True and best=True")
        if self.early_stop and not self.best:
            raise ValueError("early_stop: needs best=True, as it returns the iterate that succeeds")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        best = Best(x)
        for restart in range(self.restarts):
            alive = (~best.fooled).nonzero().squeeze(1)
            if not len(alive):
                break
            start = self.start(x[alive], restart)
            self.walk(model, x, y, start, alive, best, first=restart == 0)
        return best.x

    def start(self, x: Tensor, restart: int) -> Tensor:
        """x₀."""
        if not self.random_start:
            return x
        delta = threat.random_in_ball(x, self.eps, self.norm, self.seed + restart)
        return (x + delta).clamp(0, 1)

    def length(self, t: int) -> float:
        """α of step t."""
        return 2.5 * self.eps / self.steps if self.alpha is None else self.alpha

    def walk(self, model, x, y, x_adv, alive, best, *, first: bool) -> None:
        """T steps from ``x_adv``, the iterates of the images ``alive``; keeps the best."""
        x, y = x[alive], y[alive]
        for t in model.steps(self.steps):
            gradient, loss, logits = model.gradient(x_adv, y, first=first and t == 0)
            if self.best:
                fooled = model.goal.reached(logits, y)
                best.offer(alive, x_adv, loss, fooled)
                if self.early_stop and fooled.any():
                    going = ~fooled
                    alive, x, y, x_adv = alive[going], x[going], y[going], x_adv[going]
                    gradient = gradient[going]
                    if not len(alive):
                        return
            x_adv = self.move(x_adv, gradient, x, self.length(t))
        if not self.best:
            best.x[alive] = x_adv
            return
        logits = model.logits(x_adv)
        loss = model.goal.loss(logits, y)
        best.offer(alive, x_adv, loss, model.goal.reached(logits, y))
