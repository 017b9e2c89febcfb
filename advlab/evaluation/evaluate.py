"""Attack a model, and measure what happened from outside.

The evaluator trusts no attack's own word. It asks the model again about every image that comes
back, measures its perturbation itself, refuses images that left the box or the ball or hold NaN,
and tells an image that was wrong from the start from one that was attacked.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..backend import Stopwatch
from ..models.contract import check_device, check_images, check_labels, predict_logits
from .report import AttackResult, Report

# Rounding of float32 sums over an image: a perturbation this much over ε still counts as inside.
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
    distortions tell.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param attacks: callables ``attack(model, x, y) -> x_adv``, or a mapping that names them.
    :param data: (x, y), images and their true classes, on the model's device.
    :param targets: (N,) int64, the classes wanted by attacks with ``targeted=True``; an image
        whose target is its own class is not attacked.
    :param progress: show a bar over the attacks.
    :raises ValueError: broken images or labels, two attacks of one name, a targeted attack
        without targets, or an attack that returns another number or shape of images.
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
    if targets is None and any(getattr(a, "targeted", False) for _, a in named):
        raise ValueError("targets: expected the classes wanted, since an attack is targeted")
    logits = predict_logits(model, x)
    if y.max() >= logits.shape[1]:
        raise ValueError(f"y: expected below {logits.shape[1]} classes, found {y.max().item()}")
    correct = logits.argmax(1) == y
    results = []
    for name, attack in tqdm(named, desc="attacks", disable=not progress):
        results.append(_run(model, name, attack, x, y, correct, targets))
    return Report(correct.cpu(), tuple(results))


def _run(model, name, attack, x, y, correct, targets) -> AttackResult:
    targeted = bool(getattr(attack, "targeted", False))
    goal = targets if targeted else y
    attacked = (correct & (goal != y)) if targeted else correct
    index = attacked.nonzero().squeeze(1)
    natural = x[index]
    with _count_queries(model) as count, Stopwatch() as watch:
        x_adv = attack(model, natural.clone(), goal[index].clone()) if len(index) else natural
    if not isinstance(x_adv, Tensor) or x_adv.shape != natural.shape:
        found = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise ValueError(f"{name}: expected images {tuple(natural.shape)}, found {found}")
    x_adv = x_adv.detach().to(natural)
    norm, eps = getattr(attack, "norm", None), getattr(attack, "eps", None)
    norm = threat.parse_norm(norm) if norm is not None else None
    valid = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)  # False for NaN
    if norm is not None and eps is not None:
        valid &= threat.size(x_adv - natural, norm) <= eps * (1 + TOLERANCE) + TOLERANCE
    x_adv = torch.where(valid.view(-1, 1, 1, 1), x_adv, natural)
    fooled = valid.clone()
    if len(index):
        fooled &= threat.succeeded(predict_logits(model, x_adv), goal[index], targeted)
    if not valid.all():
        warnings.warn(
            f"{name}: {int((~valid).sum())} of {len(index)} images left the box or the budget, or "
            "held NaN; they count as failed",
            stacklevel=3,
        )

    def everywhere(values: Tensor, fill) -> Tensor:
        full = torch.full((len(x),), fill, dtype=values.dtype, device=values.device)
        full[index] = values
        return full.cpu()

    distortion = {}
    for unit in threat.NORMS:
        measured = threat.size(x_adv - natural, unit)
        distortion[unit] = everywhere(measured.masked_fill(~fooled, float("inf")), float("inf"))
    return AttackResult(
        name=name,
        norm=norm,
        eps=eps,
        targeted=targeted,
        fooled=everywhere(fooled, False),
        invalid=everywhere(~valid, False),
        distortion=distortion,
        seconds=watch.seconds,
        queries=count["rows"] / max(len(index), 1),
    )


def accuracy_curve(
    model: nn.Module, attack: Callable, data: tuple[Tensor, Tensor], epsilons: Sequence[float]
) -> list[float]:
    """Robust accuracy at each ε: the attack is repeated with its ``eps`` replaced.

    :param attack: a dataclass with a field ``eps``, such as ``FGSM()``.
    :param epsilons: budgets; at 0 the curve shows the clean accuracy.
    """
    reports = (evaluate(model, [dataclasses.replace(attack, eps=e)], data) for e in epsilons)
    return [report.robust_accuracy() for report in reports]


@contextmanager
def _count_queries(model: nn.Module):
    count = {"rows": 0}

    def add(module, arguments):
        count["rows"] += len(arguments[0])

    hook = model.register_forward_pre_hook(add)
    try:
        yield count
    finally:
        hook.remove()
