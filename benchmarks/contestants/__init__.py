"""Who runs against whom: a file a family of attacks, each with a function ``contests(model)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Contest:
    """One attack by several libraries, at equal budget.

    :param runs: by the library's name, ours (``"advlab"``) first: from images and labels to
        adversarial images. ``"advlab, VARIANT"`` runs beside it.
    :param norm: the norm in which sizes are told.
    :param images: how many; the model has all of them right. Slow attacks take fewer.
    :param targets: the labels are the classes wanted: the class after the true one.
    :param budget: what all were given, in words: steps, searches, queries.
    """

    runs: dict[str, Run]
    norm: str = "Linf"
    images: int = 1000
    targets: bool = False
    budget: str = ""


def ours(model: nn.Module, attack) -> Run:
    return lambda x, y: attack(model, x, y)


def foolbox(model: nn.Module, attack, eps: float | None, targeted: bool = False) -> Run:
    import foolbox as fb

    wrapped = fb.PyTorchModel(model, bounds=(0, 1), device="cpu")
    kind = fb.criteria.TargetedMisclassification if targeted else fb.criteria.Misclassification
    return lambda x, y: attack(wrapped, x, kind(y), epsilons=eps)[1]


def art(model: nn.Module, name: str, **settings) -> Run:
    import numpy as np
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0)
    )
    attack = getattr(evasion, name)(classifier, **settings)

    def run(x: Tensor, y: Tensor) -> Tensor:
        found = attack.generate(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()])
        return torch.from_numpy(np.asarray(found, dtype=np.float32))

    return run
