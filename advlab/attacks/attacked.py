"""A frozen model in front of one batch, as an attack sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..goals import Goal
from ..models.contract import check_logits


class AttackedModel:
    """What :meth:`advlab.attacks.Attack.perturb` may ask of the model.

    :ivar goal: what the attacker wants; its labels are the y given to ``perturb``.
    :ivar stuck: (N,) bool, where the first gradient was exactly zero and the goal not reached.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        x: Tensor,
        goal: Goal,
        bar: tqdm | None = None,
    ):
        self.forward, self.goal = forward, goal
        self.stuck = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._bar = bar

    def part(self, x: Tensor) -> AttackedModel:
        """The same model in front of some of the images, for an attack made of other attacks."""
        return AttackedModel(self.forward, x, self.goal)

    def steps(self, count: int) -> Iterator[int]:
        """0, 1, … count − 1, while the progress bar crosses this batch."""
        for step in range(count):
            yield step
            if self._bar is not None:
                self._bar.update(len(self.stuck) / count)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """(N, K), without gradients.

        :param y: with the labels, it is the attack's first look at its batch: check the answer.
        """
        with torch.no_grad():
            logits = self.forward(x)
        check_logits(logits, x, y, probabilities=y is not None)
        return logits

    def margin(self, x: Tensor, y: Tensor) -> Tensor:
        """How far each image is beyond the goal, (N,): see :meth:`advlab.goals.Goal.margin`."""
        return self.goal.margin(self.logits(x), y)

    def reached(self, x: Tensor, y: Tensor) -> Tensor:
        """Where the attacker has what it wants, (N,) bool: all that a decision attack may see."""
        return self.goal.reached(self.logits(x), y)

    def gradient(
        self,
        x: Tensor,
        y: Tensor,
        *,
        first: bool = False,
        of: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """∇ₓ of the attacker's loss, the loss (N,), and the logits (N, K), all detached.

        The loss is summed over images: each gets its own gradient, whatever the batch.

        :param first: the attack's first look at its batch: check the answer and the gradient.
        :param of: the loss, of logits (N, K) and labels (N,), to (N,); by default the goal's.
        """
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.forward(x)
            if first:
                check_logits(logits, x, y)
            loss = (of or self.goal.loss)(logits, y)
            gradient = None
            if loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
        gradient = self._checked(gradient)
        if first:
            zero = (gradient.flatten(1) == 0).all(1)
            self.stuck = zero & ~self.goal.reached(logits.detach(), y)
        return gradient, loss.detach(), logits.detach()

    def jacobian(
        self,
        x: Tensor,
        classes: Tensor | None = None,
        *,
        of: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The gradients of the logits: (N, K) logits, and ∇ₓz (N, M, C, H, W), detached.

        One forward pass, and one backward pass for each of the M rows: ask for few rows, and for
        images that still need them.

        :param classes: (N, M) int64, the logits to differentiate for each image; by default all.
        :param of: what to differentiate in place of logits: of (N, K) logits, to (N, M).
        """
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.forward(x)
            check_logits(logits, x, probabilities=False)
            wanted = logits if classes is None else logits.gather(1, classes)
            if of is not None:
                wanted = of(logits)
            # One sum for each row: the images do not depend on one another.
            sums = wanted.sum(0).unbind()
            rows = x.new_empty((len(x), len(sums), *x.shape[1:]))
            for m, total in enumerate(sums):
                row = None
                if total.requires_grad:
                    more = m + 1 < len(sums)  # the last pass frees what the passes share
                    (row,) = torch.autograd.grad(total, x, allow_unused=True, retain_graph=more)
                rows[:, m] = self._checked(row)
        return logits.detach(), rows

    @staticmethod
    def _checked(gradient: Tensor | None) -> Tensor:
        if gradient is None:
            raise ValueError(
                "model: its logits do not depend on x by any differentiable path "
                "(detach() or no_grad() inside?); use a black-box attack"
            )
        if not gradient.isfinite().all():  # at every step: sign() would make zeros of NaN
            raise ValueError("model: the gradient of the loss in x is NaN or infinite")
        return gradient
