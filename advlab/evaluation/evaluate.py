"""Attack a model, and measure what happened from outside.

The evaluator trusts no attack's own word. It asks the model again about every image that comes
back, measures its perturbation itself, refuses images that left the box or the ball or hold NaN,
and tells an image that was wrong from the start from one that was attacked.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..backend import Stopwatch
from ..goals import TARGETED, UNTARGETED, Goal, Targeted
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    check_logits,
    kept,
    predict_logits,
)
from .report import AttackResult, Report

# Rounding: a perturbation that is over ε by this much still counts as inside. In half precision
# x + ε itself is rounded by more.
TOLERANCE = 1e-5


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
    if targets is None and any(_aim(a).needs_targets for _, a in named):
        raise ValueError("targets: expected the classes wanted, since an attack is targeted")
    logits = predict_logits(model, x)
    check_logits(logits, x, y)
    if targets is not None and targets.max() >= logits.shape[1]:
        raise ValueError(f"targets: expected below {logits.shape[1]}, found {targets.max().item()}")
    budgets = {name: _budget(name, attack) for name, attack in named}
    correct = logits.argmax(1) == y
    results = []
    for name, attack in tqdm(named, desc="attacks", disable=not progress):
        results.append(_run(model, name, attack, budgets[name], x, y, correct, targets))
    return Report(correct.cpu(), tuple(results))


def _budget(name: str, attack: Callable) -> tuple[str | None, float | None]:
    """The norm and the ε that an attack declares, read before it runs."""
    norm, eps = getattr(attack, "norm", None), getattr(attack, "eps", None)
    norm = threat.parse_norm(norm) if norm is not None else None
    if eps is not None:
        try:
            eps = float(eps)
        except (TypeError, ValueError):
            eps = math.nan
        if not 0 <= eps < math.inf:
            raise ValueError(
                f"{name}: expected eps a finite number, at least 0, found {attack.eps!r}"
            )
        if norm is None:
            warnings.warn(
                f"{name} has an eps but no norm: the size of its perturbations is not checked",
                stacklevel=3,
            )
    return norm, eps


def _aim(attack: Callable) -> Goal:
    """What an attack is after: what it says itself, else by its flag ``targeted``."""
    aim = getattr(attack, "aim", None)
    if isinstance(aim, Goal):
        return aim
    return TARGETED if getattr(attack, "targeted", False) else UNTARGETED


def _run(model, name, attack, budget, x, y, correct, targets) -> AttackResult:
    norm, eps = budget
    aim = _aim(attack)
    given = targets if aim.needs_targets else y
    goal = aim.labels(given)
    attacked = correct & aim.applies(given)
    if isinstance(aim, Targeted):
        attacked &= goal != y
    index = attacked.nonzero().squeeze(1)
    natural = x[index]
    with _unchanged(model, name), _count_queries(model) as count, Stopwatch() as watch:
        x_adv = attack(model, natural.clone(), given[index].clone()) if len(index) else natural
    if not isinstance(x_adv, Tensor) or x_adv.shape != natural.shape or x_adv.is_complex():
        found = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise ValueError(f"{name}: expected real images {tuple(natural.shape)}, found {found}")
    with torch._C.DisableTorchFunctionSubclass():  # a subclass could measure itself
        x_adv = x_adv.as_subclass(Tensor).detach().to(natural)
    valid = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)  # False for NaN
    x_adv = torch.where(valid.view(-1, 1, 1, 1), x_adv, natural)
    delta = x_adv.cpu().double() - natural.cpu().double()
    if norm is not None and eps is not None:
        tolerance = max(TOLERANCE, 2 * torch.finfo(x.dtype).eps)
        inside = threat.size(delta, norm) <= eps * (1 + tolerance) + tolerance
        valid &= inside.to(valid.device)
    x_adv = torch.where(valid.view(-1, 1, 1, 1), x_adv, natural)
    fooled, right = valid.clone(), torch.ones_like(valid)
    if len(index):
        logits = predict_logits(model, x_adv)
        fooled &= aim.reached(logits, goal[index])
        right = logits.argmax(1) == y[index]
    if not valid.all():
        warnings.warn(
            f"{name}: {int((~valid).sum())} of {len(index)} images left the box or the budget, or "
            "held NaN; they count as failed",
            stacklevel=3,
        )

    def everywhere(values: Tensor, rest: Tensor | float | bool) -> Tensor:
        """The values at the images attacked, and ``rest`` at the others."""
        full = torch.empty(len(x), dtype=values.dtype)
        full[:] = torch.as_tensor(rest)
        full[index.cpu()] = values.cpu()
        return full

    sizes = {unit: threat.size(delta, unit) for unit in threat.NORMS}
    return AttackResult(
        name=name,
        norm=norm,
        eps=eps,
        targeted=isinstance(aim, Targeted),
        attacked=attacked.cpu(),
        fooled=everywhere(fooled, False),
        right=everywhere(right, correct.cpu()),
        invalid=everywhere(~valid, False),
        distortion={
            unit: everywhere(size.masked_fill(~fooled.cpu(), math.inf), math.inf)
            for unit, size in sizes.items()
        },
        seconds=watch.seconds,
        queries=count["rows"] / max(len(index), 1),
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
        report = evaluate(model, [dataclasses.replace(attack, eps=eps)], data, targets=targets)
        accuracies.append(report.robust_accuracy())
    return accuracies


@contextmanager
def _count_queries(model: nn.Module):
    count = {"rows": 0}

    def add(module, arguments, output):
        count["rows"] += len(output)

    hook = model.register_forward_hook(add)
    try:
        yield count
    finally:
        hook.remove()


@contextmanager
def _unchanged(model: nn.Module, name: str):
    """Whatever an attack does, the model that judges it is the model that was given."""
    before = [tensor.detach().clone() for tensor in _tensors(model)]
    hooks = _hooks(model)
    with kept(model):
        yield
    after = _tensors(model)
    if len(after) != len(before) or not all(map(_equal, after, before)):
        raise ValueError(f"{name}: changed the model's weights or buffers; give it a copy")
    if _hooks(model) != hooks:
        raise ValueError(f"{name}: left a hook on the model, or removed one")


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.detach(), b)


def _hooks(model: nn.Module) -> list[tuple]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [tuple(tuple(getattr(m, kind)) for kind in kinds) for m in model.modules()]
