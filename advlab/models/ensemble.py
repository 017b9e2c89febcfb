"""Several models as one: what an attacker works on who does not know the model to be fooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .contract import check_model

AVERAGES = ("probabilities", "logits")


class Ensemble(nn.Module):
    """The weighted average of several models. Images (N, C, H, W) to logits (N, K).

    Of the probabilities: z = log Σₘ wₘ softmax(zₘ). Liu et al. (2017), section 5 ("Ensemble-based
    approaches"). Or of the logits: z = Σₘ wₘ zₘ, Dong et al. (2018), section 3.2. The weights sum
    to 1.

    It is a model like any other, so every attack runs on it. What fools all of its members at once
    is likely to fool a model that is not among them.

    Members do not pull alike. The probability of a model that is sure hardly moves at first, so
    with an average of probabilities the first steps go where the least sure member points, such as
    a :class:`advlab.models.KernelSVM`, whose softmax is never quite sure; a single step (FGSM) goes
    nowhere else. Many steps get to the others, once the first are fooled. An average of logits
    follows the members with the largest logits instead.

    With one member the answer is the member's own, up to a constant for each image where
    probabilities are averaged: the same classes, probabilities and gradients of the cross-entropy.

    :param models: at least one; they answer images of one shape with logits of one K.
    :param average: ``"probabilities"`` or ``"logits"``.
    :param weights: a number for each model, at least 0; they are divided by their sum. By default
        all count the same.
    :raises ValueError: no models, another average, or weights that cannot be used; when called,
        models of different K.
    :raises TypeError: something else than models.
    """

    def __init__(
        self,
        *models: nn.Module,
        average: str = "probabilities",
        weights: Sequence[float] | None = None,
    ):
        super().__init__()
        if not models:
            raise ValueError("models: expected at least one, found none")
        for model in models:
            check_model(model)
        if average not in AVERAGES:
            raise ValueError(f"average: found {average!r}, expected {' or '.join(AVERAGES)}")
        weights = [1.0] * len(models) if weights is None else [float(w) for w in weights]
        usable = all(0 <= w < math.inf for w in weights) and sum(weights) > 0
        if len(weights) != len(models) or not usable:
            raise ValueError(
                f"weights: expected {len(models)} numbers of at least 0, one for each model and "
                f"not all 0, found {weights}"
            )
        self.models = nn.ModuleList(models)
        self.average = average
        self.weights = [w / sum(weights) for w in weights]

    def forward(self, x: Tensor) -> Tensor:
        # Each gets its own copy: a first layer that works in place would spoil the next one's.
        answers = [model(x.clone()) for model in self.models]
        shapes = {tuple(z.shape[1:]) for z in answers}
        if len(shapes) > 1:
            found = ", ".join(str(z.shape[1]) for z in answers)
            raise ValueError(f"models: expected one number of classes, found {found}")
        logits = torch.stack(answers)
        weights = logits.new_tensor(self.weights).view(-1, *[1] * (logits.ndim - 1))
        if self.average == "logits":
            return (weights * logits).sum(0)
        return (logits.log_softmax(2) + weights.log()).logsumexp(0)

    def extra_repr(self) -> str:
        return f"average={self.average!r}, weights={[round(w, 4) for w in self.weights]}"


def leave_one_out(
    models: Mapping[str, nn.Module], *, average: str = "probabilities"
) -> dict[str, Ensemble]:
    """For each model the ensemble of all the others, named "all but NAME".

    Attacked as sources, they show what an ensemble gains on a model that it does not hold: Liu et
    al. (2017), tables 3 and 4.

    :param models: name → model, at least two.
    :param average: as for :class:`advlab.models.Ensemble`.
    :raises ValueError: fewer than two models.
    """
    if len(models) < 2:
        raise ValueError(f"models: expected at least two, found {len(models)}")
    return {
        f"all but {left}": Ensemble(
            *(model for name, model in models.items() if name != left), average=average
        )
        for left in models
    }
