"""Distortion against queries: how much an attack that only asks gets for its questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .evaluate import evaluate


@dataclass(frozen=True)
class QueryCurve:
    """An attack's distortions at each budget: see :func:`~advlab.evaluation.query_curve`.

    :param name: the attack's.
    :param norm: in which distortions are told.
    :param queries: the Q budgets, in the order given.
    :param distortion: (Q, N), of each attacked image; infinite where the attack failed.
    """

    name: str
    norm: str
    queries: tuple[int, ...]
    distortion: Tensor

    def median(self) -> list[float]:
        """The median over all attacked images at each budget; infinite where half or more stand.

        Failures count. A median over successes alone would reward an attack that fails on the
        difficult images. Of an even number of images it is the larger of the two in the middle: it
        is infinite where exactly half of them do not fall.
        """
        middle = self.distortion.shape[1] // 2
        return self.distortion.sort(dim=1).values[:, middle].tolist()

    def success(self, eps: float) -> list[float]:
        """The fraction of the attacked images that fall within ε, at each budget."""
        return (self.distortion <= eps).double().mean(1).tolist()


def query_curve(
    model: nn.Module,
    attack: Callable,
    data: tuple[Tensor, Tensor],
    budgets: Sequence[int],
    *,
    epsilons: Sequence[float] | None = None,
    targets: Tensor | None = None,
) -> QueryCurve:
    """The attack repeated at each budget, with its field ``queries`` replaced.

    A decision attack (no ``eps``) returns images at a distance: that is its distortion. A score
    attack (``eps``) only says whether an image falls within ε. Its distortion is the smallest ε of
    a grid at which the image falls within the queries: never below the true one, and above it by
    up to one cell of the grid. With that the two kinds share one plot. Each ε has the whole budget,
    as if the attacker had known the right one; a search over ε would pay for all of them.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param attack: a dataclass with the fields ``queries`` and ``norm``, such as ``HopSkipJump()``.
    :param data: (x, y), images and their true classes. Only those that the model has right count.
    :param budgets: queries an image, each at least 1.
    :param epsilons: for an attack with ``eps``: the grid, in rising order, above 0.
    :param targets: for a targeted attack, see :func:`~advlab.evaluation.evaluate`.
    :raises ValueError: no budget, an attack without ``queries`` or ``norm``, a grid that is missing
        or not wanted or not rising, no image to attack, or an attack that on average asked for
        more queries an image than it was given.
    """
    norm = getattr(attack, "norm", None)
    if not hasattr(attack, "queries") or norm is None:
        raise ValueError(
            f"attack: expected the fields queries and norm, as of HopSkipJump(), found {attack}"
        )
    if not len(budgets):
        raise ValueError("budgets: expected at least one number of queries, found none")
    if hasattr(attack, "eps"):
        _check_grid(epsilons)
        settings = [{"eps": float(eps)} for eps in epsilons]
    elif epsilons is not None:
        raise ValueError(f"epsilons: {attack} has no eps; leave the grid away")
    else:
        settings = [{}]
    rows = []
    for queries in budgets:
        found = None
        for change in settings:
            setting = dataclasses.replace(attack, queries=queries, **change)
            found = _smaller(found, model, setting, data, targets)
        rows.append(found[found >= 0])
    if not rows[0].numel():
        raise ValueError("data: expected an image that the model has right, found none to attack")
    return QueryCurve(str(attack), norm, tuple(budgets), torch.stack(rows))


def _smaller(found: Tensor | None, model, attack, data, targets: Tensor | None) -> Tensor:
    """The distortions after one more ε, which only the images that still stand are tried at.

    (N,), −1 where an image is not attacked at all. ``found`` is None at the first.
    """
    x, y = data
    out = torch.full((len(x),), torch.inf, dtype=torch.float64) if found is None else found
    standing = out.isinf().nonzero().squeeze(1)
    if not len(standing):
        return out
    at = standing.to(x.device)
    report = evaluate(
        model, [attack], (x[at], y[at]), targets=None if targets is None else targets[at]
    )
    (result,) = report.attacks
    if result.queries > attack.queries:
        raise ValueError(
            f"{attack}: allowed {attack.queries} queries an image, "
            f"asked {result.queries:.1f} on average"
        )
    size = result.distortion[result.norm].double()
    if hasattr(attack, "eps"):
        size = torch.full_like(size, torch.inf).masked_fill(result.fooled, attack.eps)
    out[standing] = size.masked_fill(~result.attacked, -1)
    return out


def _check_grid(epsilons: Sequence[float] | None) -> None:
    if epsilons is None or not len(epsilons):
        raise ValueError("epsilons: expected a grid of ε, since the attack has a field eps")
    grid = [0.0, *epsilons]
    if any(low >= high for low, high in pairwise(grid)):
        raise ValueError(f"epsilons: expected rising numbers above 0, found {list(epsilons)}")
