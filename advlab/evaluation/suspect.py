"""A model under suspicion: what attacks do to it and what its gradient is, whatever is broken."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import threat
from ..attacks import EOT, PGD, Attack, GradientWarning
from ..backend import in_batches
from ..goals import UNTARGETED, Goal
from ..models.contract import forward_of, frozen, predict, predict_logits
from ..models.preprocessing import Preprocessing, steps_in_front
from .attempt import Budget, attempt

ROUNDING = 1e-3  # of the gradient's length: what a GPU's order of additions may change


@dataclass(frozen=True)
class Gradients:
    """Two looks at the gradient of a loss at the natural images; all fields are (n,) bool.

    :param zero: exactly 0, or there is none.
    :param broken: NaN or infinite.
    :param moving: the second look differs from the first by more than rounding.
    """

    zero: Tensor
    broken: Tensor
    moving: Tensor


class Suspect:
    """A model, the n images that it has right, and a budget. What was measured once is kept.

    :cvar goal: of all attacks, and of who judges them.
    :cvar white_box: what the attack of :meth:`pgd` is called.
    :cvar without_bound: what attacks where any image will do.

    :ivar x: (n, C, H, W), right at two looks.
    :ivar y: (n,), their classes.
    :ivar limit: a budget that no image of the box is outside of.
    :ivar random: its answers or its gradients differ from look to look.
    :ivar failed: attack → the error that it ended with, as a sentence.
    :ivar standing: (n,) bool on the CPU, images that no attack within ε has fooled so far; of a
        model that is random, those that the strongest attack has left.
    """

    goal: ClassVar[Goal] = UNTARGETED
    white_box: ClassVar[str] = "PGD"
    without_bound: ClassVar[str] = "PGD"

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        eps: float,
        norm: str,
        steps: int,
        surrogate: nn.Module | None = None,
        queries: int = 200,
        seed: int = 0,
    ):
        self.model, self.eps, self.norm, self.steps, self.seed = model, eps, norm, steps, seed
        self.surrogate, self.queries = surrogate, queries
        self.limit = 1.0 if norm == "Linf" else math.sqrt(x[0].numel())
        first, second = predict(model, x), predict(model, x)
        right = (first == y) & (second == y)
        self.accuracy = (first == y).double().mean().item()
        self.x, self.y = x[right], y[right]
        self.failed: dict[str, str] = {}
        self.standing = torch.ones(len(self.x), dtype=torch.bool)
        self._fooled: dict[Attack, Tensor] = {}
        if len(self.x):
            self.loss = self.gradients(self.goal.loss)
            self.margin = self.gradients(self.goal.margin)
            moving = self.loss.moving | self.margin.moving
            self.random = bool((first != second).any() or moving.any())

    @property
    def n(self) -> int:
        """How many images are attacked."""
        return len(self.x)

    @property
    def steps_in_front(self) -> list[Preprocessing]:
        """The :class:`~advlab.models.Preprocessing` steps of the model."""
        return steps_in_front(self.model)

    def pgd(self, **change) -> PGD:
        """The white-box attack. A model that is random is judged again: no stopping by luck."""
        settings = {
            "eps": self.eps, "norm": self.norm, "steps": self.steps, "seed": self.seed,
            "early_stop": not self.random, "goal": self.goal,
        }  # fmt: skip
        return PGD(**(settings | change))

    def transfer(self) -> Attack:
        """The attack on the surrogate, driven on beyond its boundary."""
        return self.pgd(early_stop=False)

    def adaptive(self) -> Attack:
        """PGD that knows of the defense: substitutes for its steps, a mean over its randomness."""
        attack = self.pgd(backward="substitute" if self.steps_in_front else None)
        return EOT(attack=attack, samples=5, seed=self.seed) if self.random else attack

    def fooled(self, attack: Attack) -> Tensor:
        """Which images the attack fools, (n,) bool on the CPU, judged by a look of our own.

        An attack that cannot be run on this model fools none; why is in :attr:`failed`.
        """
        if attack not in self._fooled:
            inside = getattr(attack, "eps", math.inf) <= self.eps
            self._fooled[attack] = self.judged(self.images(attack), inside=inside)
        return self._fooled[attack]

    def fooled_from_the_image(self, eps: float) -> Tensor:
        """Which images fall to the white box that starts at x, (n,) bool.

        Noise of a large budget would fool a model without any gradient.
        """
        return self.fooled(self.pgd(eps=eps, random_start=False))

    def images(self, attack: Attack, model: nn.Module | None = None) -> Tensor:
        """The adversarial images, made on the suspect or on another model; x after a failure."""
        name = str(attack)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GradientWarning)  # a check of its own says it
            try:
                budget = Budget.of(attack, name)
                return attempt(model or self.model, attack, name, budget, self.x, self.y).x_adv
            except torch.OutOfMemoryError:
                raise
            except (ValueError, RuntimeError) as error:
                self.failed[name] = " ".join(str(error).split())
                return self.x

    def judged(self, x_adv: Tensor, *, inside: bool = True) -> Tensor:
        """Which of these images the model has wrong, (n,) bool on the CPU.

        :param inside: they are within ε: those that are wrong do not stand.
        """
        wrong = self.wrong(x_adv, self.y).cpu()
        if inside:
            left = [self.standing, ~wrong]
            self.standing = min(left, key=sum) if self.random else left[0] & left[1]
        return wrong

    def wrong(self, x: Tensor, y: Tensor) -> Tensor:
        """Where the attacker has what it wants, (N,) bool."""
        return self.goal.reached(predict_logits(self.model, x), y)

    def random_search(self, draws: int) -> Tensor:
        """Which images any of so many points drawn from the ball fools, (n,) bool on the CPU."""
        best = self.x.clone()
        alive = torch.arange(self.n, device=self.x.device)
        for draw in range(draws):
            x, y = self.x[alive], self.y[alive]
            if not len(x):
                break
            # Every second draw lies at the ball's edge, where most of its volume is.
            delta = threat.random_in_ball(x, self.eps, self.norm, self.seed + draw)
            if draw % 2:
                delta = self.eps * threat.step(delta, self.norm)
            found = self.wrong(x_adv := (x + delta).clamp(0, 1), y)
            best[alive[found]] = x_adv[found]
            alive = alive[~found]
        return self.judged(best)

    def gradients(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Gradients:
        """Two looks at ∇ₓ of a loss of logits (n, K) and labels (n,)."""
        forward = forward_of(self.model)

        def once(x: Tensor, y: Tensor) -> Tensor:
            x = x.detach().requires_grad_(True)
            with torch.enable_grad():
                try:
                    value = loss(forward(x), y).sum()
                    found = (
                        torch.autograd.grad(value, x, allow_unused=True)[0]
                        if value.requires_grad
                        else None
                    )
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:  # an operation that has no derivative
                    self.failed["gradient"] = " ".join(str(error).split())
                    found = None
            return torch.zeros_like(x) if found is None else found.detach()

        def look(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            first, second = once(x, y).flatten(1), once(x, y).flatten(1)
            broken = ~(first.isfinite() & second.isfinite()).all(1)
            # By the largest entries: the squares of small gradients would be 0.
            scale = torch.maximum(first.abs().amax(1), second.abs().amax(1))
            moving = ((first - second).abs().amax(1) > ROUNDING * scale) & ~broken
            return ((first == 0) & (second == 0)).all(1), broken, moving

        with torch.inference_mode(False), frozen(self.model):
            return Gradients(*(t.cpu() for t in in_batches(look, self.x, self.y)))
