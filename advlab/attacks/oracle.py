"""A model behind a counter: labels for images, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn

from ..backend import in_batches
from ..images import check_images
from ..models.contract import check_device, check_logits, forward_of, frozen


class QueryBudgetSpent(RuntimeError):
    """More questions than are left: none of them was asked.

    :ivar asked: how many images the call was for.
    :ivar left: how many the oracle would still have answered.
    :ivar budget: how many it answers in all.
    """

    def __init__(self, asked: int, left: int, budget: int):
        super().__init__(
            f"oracle: asked for {asked:,} labels with {left:,} of {budget:,} left; none was given. "
            "Ask for fewer, or make an Oracle with a larger budget"
        )
        self.asked, self.left, self.budget = asked, left, budget


class Oracle:
    """What a black-box attacker sees of a model: ``oracle(x)`` is a label for each image.

    Õ(x) = argmaxₖ f(x)ₖ. Papernot et al. (2017), section 3. No logits and no gradients come out:
    an attack that needs them refuses an oracle with a TypeError. Every image counts as one query,
    in whatever batch it comes, and again when it is asked again.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K). It is asked in evaluation mode and
        left as it was found.
    :param budget: how many images it labels in all, at least 0.
    :param batch_size: images at a time; by default what suits the device.
    :raises TypeError: the model is not a module.
    :raises ValueError: the budget is not a whole number from 0.
    """

    __slots__ = ("_ask", "_budget", "_queries")

    def __init__(self, model: nn.Module, budget: int, *, batch_size: int | None = None):
        if not isinstance(budget, Integral) or budget < 0:
            raise ValueError(f"budget: expected a whole number from 0, found {budget!r}")
        self._budget, self._queries = int(budget), 0
        self._ask = _labels_of(model, batch_size)

    @property
    def budget(self) -> int:
        """How many images it labels in all."""
        return self._budget

    @property
    def queries(self) -> int:
        """How many images it has labeled."""
        return self._queries

    @property
    def left(self) -> int:
        """How many it will still label."""
        return self._budget - self._queries

    def __call__(self, x: Tensor) -> Tensor:
        """The class that the model names for each image, (N,) int64.

        :param x: (N, C, H, W) in [0, 1].
        :raises QueryBudgetSpent: more images than are left. The model sees none of them, and the
            count stays.
        :raises ValueError: images or answers that break the contract. Of answers that do, the
            batches before them count.
        :raises advlab.backend.Interrupted: on Ctrl-C, with the labels that were given; they count.
        """
        check_images(x)
        if len(x) > self.left:
            raise QueryBudgetSpent(len(x), self.left, self.budget)
        return self._ask(x, self._count)

    def _count(self, answered: int) -> None:
        self._queries += answered

    def __repr__(self) -> str:
        return f"Oracle({self.queries:,} of {self.budget:,} queries)"


def _labels_of(model: nn.Module, batch_size: int | None) -> Callable:
    """The model as labels. A function keeps it, so that an oracle has no attribute to reach for."""
    with frozen(model):  # is it a model?
        forward = forward_of(model)

    def ask(x: Tensor, count: Callable[[int], None]) -> Tensor:
        def answer(x: Tensor) -> Tensor:
            logits = forward(x)
            # Probabilities have the same label, and two logits come to a sum of 1 by chance.
            check_logits(logits, x, probabilities=False)
            labels = logits.argmax(1)
            count(len(x))
            return labels

        check_device(model, x)
        with frozen(model), torch.no_grad():
            return in_batches(answer, x, batch_size=batch_size)

    return ask
