"""One attack on one batch of images, watched: what comes back is checked, nothing is believed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import threat
from ..backend import Stopwatch
from ..goals import TARGETED, UNTARGETED, Goal
from ..models.contract import kept

# Rounding: a perturbation that is over ε by this much still counts as inside. In half precision
# x + ε itself is rounded by more.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Budget:
    """What an attack says that it stays within, read before it runs.

    :param norm: of its perturbations; None where it names none.
    :param eps: ε; None where the size is free.
    """

    norm: str | None
    eps: float | None

    @classmethod
    def of(cls, attack: Callable, name: str) -> Budget:
        """The norm and the ε that an attack declares.

        :raises ValueError: an ε that is not a finite number, at least 0, or an unknown norm.
        """
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
                    stacklevel=4,
                )
        return cls(norm, eps)

    def holds(self, delta: Tensor, dtype: torch.dtype) -> Tensor:
        """Which perturbations of images of that dtype are inside. (N, ...) to (N,) bool."""
        if self.norm is None or self.eps is None:
            return torch.ones(len(delta), dtype=torch.bool, device=delta.device)
        tolerance = max(TOLERANCE, 2 * torch.finfo(dtype).eps)
        return threat.size(delta, self.norm) <= self.eps * (1 + tolerance) + tolerance


@dataclass(frozen=True)
class Attempt:
    """What an attack returned for n images.

    :param x_adv: (n, C, H, W), the natural image in the place of each that is not valid.
    :param valid: (n,) bool: inside the box and the budget, and not NaN.
    :param seconds: wall time of the attack.
    :param queries: images that the model was asked about, all together.
    """

    x_adv: Tensor
    valid: Tensor
    seconds: float
    queries: int


def aim_of(attack: Callable) -> Goal:
    """What an attack is after: what it says itself, else by its flag ``targeted``."""
    aim = getattr(attack, "aim", None)
    if isinstance(aim, Goal):
        return aim
    return TARGETED if getattr(attack, "targeted", False) else UNTARGETED


def attempt(
    model: nn.Module, attack: Callable, name: str, budget: Budget, x: Tensor, labels: Tensor
) -> Attempt:
    """Run the attack, and hold what it returns to its budget.

    :param x: (n, C, H, W); of no images the attack is not called.
    :param labels: (n,), what the attack is given as y.
    :raises ValueError: it returned another number or shape of images, or changed the model.
    """
    with _unchanged(model, name), _count_queries(model) as count, Stopwatch() as watch:
        x_adv = attack(model, x.clone(), labels.clone()) if len(x) else x
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape or x_adv.is_complex():
        found = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise ValueError(f"{name}: expected real images {tuple(x.shape)}, found {found}")
    with torch._C.DisableTorchFunctionSubclass():  # a subclass could measure itself
        x_adv = x_adv.as_subclass(Tensor).detach().to(x)
    valid = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)  # False for NaN
    x_adv = torch.where(threat.per_image(valid, x), x_adv, x)
    valid &= budget.holds(perturbation(x_adv, x), x.dtype).to(valid.device)
    if not valid.all():
        warnings.warn(
            f"{name}: {int((~valid).sum())} of {len(x)} images left the box or the budget, or "
            "held NaN; they count as failed",
            stacklevel=4,
        )
    x_adv = torch.where(threat.per_image(valid, x), x_adv, x)
    return Attempt(x_adv, valid, watch.seconds, count["rows"])


def perturbation(x_adv: Tensor, x: Tensor) -> Tensor:
    """x_adv − x, in double precision on the CPU."""
    return x_adv.cpu().double() - x.cpu().double()


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
