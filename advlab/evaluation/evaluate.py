"""Attack a model, and measure what happened from outside.

The evaluator trusts no attack's own word. It asks the model again about every image that comes
back, measures its perturbation itself, refuses images that left the box or the ball or hold NaN,
and tells an image that was wrong from the start from one that was attacked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..goals import Targeted
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    check_logits,
    predict_logits,
)
from .attempt import Budget, aim_of, attempt, perturbation
from .report import AttackResult, Report


def evaluate(
    model: nn.Module,
    attacks: Iterable[Callable] | Mapping[str, Callable],
    data: tuple[Tensor, Tensor],
    *,
    targets: Tensor | None = None,
    progress: bool = False,
) -> Report:
    """Attack the images that the model has right, and measure the outcome.

    An attack with ``eps`` and ``norm`` is held to them; one without is free in size, and its
    distortions tell. Modes and ``requires_grad`` of the model are put back after each attack.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param attacks: callables ``attack(model, x, y) -> x_adv``, or a mapping that names them.
    :param data: (x, y), images and their true classes, on the model's device.
    :param targets: (N,) int64, the classes wanted by attacks with ``targeted=True``; an image
        whose target is its own class is not attacked.
    :param progress: show a bar over the attacks.
    :raises ValueError: broken images or labels, two attacks of one name, a targeted attack
        without targets, an attack that returns another number or shape of images, or one that
        changed the model's weights, buffers or hooks.
    """
    x, y = data
    check_images(x)
    check_labels(y, x)
    check_device(model, x)
    if not len(x):
        raise ValueError("data: expected at least one image, found none")
    if targets is not None:
        check_labels(targets, x, "targets")
    named = attacks.items() if isinstance(attacks, Mapping) else [(str(a), a) for a in attacks]
    named = list(named)
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"attacks: two are named {twice!r}; pass a dict to name them")
    if targets is None and any(aim_of(a).needs_targets for _, a in named):
        raise ValueError("targets: expected the classes wanted, since an attack is targeted")
    logits = predict_logits(model, x)
    check_logits(logits, x, y)
    if targets is not None and targets.max() >= logits.shape[1]:
        raise ValueError(f"targets: expected below {logits.shape[1]}, found {targets.max().item()}")
    budgets = {name: Budget.of(attack, name) for name, attack in named}
    correct = logits.argmax(1) == y
    results = []
    for name, attack in tqdm(named, desc="attacks", disable=not progress):
        results.append(_run(model, name, attack, budgets[name], x, y, correct, targets))
    return Report(correct.cpu(), tuple(results))


def _run(model, name, attack, budget, x, y, correct, targets) -> AttackResult:
    aim = aim_of(attack)
    given = targets if aim.needs_targets else y
    goal = aim.labels(given)
    attacked = correct & aim.applies(given)
    if isinstance(aim, Targeted):
        attacked &= goal != y
    index = attacked.nonzero().squeeze(1)
    natural = x[index]
    made = attempt(model, attack, name, budget, natural, given[index])
    valid = made.valid
    fooled, right = valid.clone(), torch.ones_like(valid)
    if len(index):
        logits = predict_logits(model, made.x_adv)
        fooled &= aim.reached(logits, goal[index])
        right = logits.argmax(1) == y[index]

    def everywhere(values: Tensor, rest: Tensor | float | bool) -> Tensor:
        """The values at the images attacked, and ``rest`` at the others."""
        full = torch.empty(len(x), dtype=values.dtype)
        full[:] = torch.as_tensor(rest)
        full[index.cpu()] = values.cpu()
        return full

    delta = perturbation(made.x_adv, natural)
    sizes = {unit: threat.size(delta, unit) for unit in threat.NORMS}
    return AttackResult(
        name=name,
        norm=budget.norm,
        eps=budget.eps,
        targeted=isinstance(aim, Targeted),
        attacked=attacked.cpu(),
        fooled=everywhere(fooled, False),
        right=everywhere(right, correct.cpu()),
        invalid=everywhere(~valid, False),
        distortion={
            unit: everywhere(size.masked_fill(~fooled.cpu(), math.inf), math.inf)
            for unit, size in sizes.items()
        },
        seconds=made.seconds,
        queries=made.queries / max(len(index), 1),
    )


def accuracy_curve(
    model: nn.Module,
    attack: Callable,
    data: tuple[Tensor, Tensor],
    epsilons: Sequence[float],
    *,
    targets: Tensor | None = None,
) -> list[float]:
    """Robust accuracy at each ε: the attack is repeated with its ``eps`` replaced.

    :param attack: a dataclass with a field ``eps``, such as ``FGSM()``.
    :param epsilons: budgets; at 0 the curve shows the clean accuracy.
    :param targets: for a targeted attack, see :func:`evaluate`.
    """
    accuracies = []
    for eps in epsilons:
        report = evaluate(model, [_with(attack, eps)], data, targets=targets)
        accuracies.append(report.robust_accuracy())
    return accuracies


def _with(attack: Callable, eps: float) -> Callable:
    change = getattr(attack, "changed", None)  # an attack around another passes it on
    return change(eps=eps) if change else dataclasses.replace(attack, eps=eps)
