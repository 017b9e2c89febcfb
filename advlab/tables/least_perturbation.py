"""The least change that fools each defense, white box: ``advlab reproduce least-perturbation``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ..attacks import CWL2, FGSM, PGD, Attack, DeepFool
from ..models import predict
from .base import Cell, Table, markdown
from .black_box import images, of_table
from .networks import DEFENSES, TRAINING

SETTINGS = {
    **TRAINING,
    "images": 100,
    "defenses": DEFENSES,
    "C&W": {"steps": 100, "searches": 6},
    "eps": [0.05, 0.1, 0.2, 0.3],
    # FGSM's least ε is looked for among these.
    "sweep": {"from": 0.01, "to": 0.6, "by": 0.01},
    "pgd": {"steps": 40, "restarts": 2},
    "seed": 0,
}
WHY = (
    "The slides show both as figures, without numbers in their text; their claim is that with GDA "
    "and the bounded ReLU the change that an attack needs is so large that one sees it. Here it "
    "grows by a quarter by C&W, and at ε = 0.2 PGD leaves an eighth of the images. DeepFool and "
    "FGSM make more of it: the one loses its way where the bound takes gradients away, the other "
    "takes one step that is too long (chapter 14). FGSM training makes the least change smaller, "
    "not larger, while FGSM itself hardly finds one. One bit helps most: what is left in L∞ is "
    "that the digits are nearly black and white. A median is over the images that the network has "
    "right; one that was not fooled counts as infinitely far. The attacker knows of the bit, and "
    "takes its gradient to be that of a smooth stair (BPDA). The row of the plain attack shows "
    "what is seen without: a gradient of zero, no way to go, and a defense that only looks strong."
)


def rows(settings: Mapping) -> dict[str, tuple[str, str | None]]:
    """The defense of each row, and how its attacker differentiates it."""
    found: dict[str, tuple[str, str | None]] = {}
    for name, how in settings["defenses"].items():
        squeezed = "bits" in how
        found[name] = (name, "substitute" if squeezed else None)
        if squeezed:
            found[f"{name}, plain attack"] = (name, None)
    return found


def least(model: nn.Module, attack: Attack, x: Tensor, y: Tensor, norm: float) -> Tensor:
    """How far the attack had to go for each image, (N,): infinite where it did not fool."""
    x_adv = attack(model, x, y)
    size = torch.linalg.vector_norm((x_adv - x).flatten(1), norm, dim=1)
    return size.where(predict(model, x_adv) != y, math.inf)


def least_eps(model: nn.Module, x: Tensor, y: Tensor, sweep: Mapping, **how) -> Tensor:
    """The least ε of the sweep at which FGSM fools, (N,): infinite where none does."""
    found = torch.full_like(x[:, 0, 0, 0], math.inf)
    for number in range(round((sweep["to"] - sweep["from"]) / sweep["by"]) + 1):
        left = found.isinf().nonzero().squeeze(1)
        if not len(left):
            break
        eps = sweep["from"] + number * sweep["by"]
        x_adv = FGSM(eps=eps, **how)(model, x[left], y[left])
        found[left[predict(model, x_adv) != y[left]]] = eps
    return found


def cell(settings: Mapping, name: str, backward: str | None, device: torch.device) -> dict:
    """One defense: medians of the least changes, and accuracy at each ε."""
    model = of_table(settings, settings["defenses"][name], device)
    x, y = images(settings, device)
    right = predict(model, x) == y
    there = x[right], y[right]
    how = {"backward": backward}
    distances = {
        "DeepFool L2": least(model, DeepFool(**how), *there, 2),
        "C&W L2": least(model, CWL2(**settings["C&W"], **how), *there, 2),
        "DeepFool Linf": least(model, DeepFool(norm="Linf", **how), *there, math.inf),
        "FGSM Linf": least_eps(model, *there, settings["sweep"], **how),
    }
    found: dict = {"natural": right.double().mean().item()}
    found |= {attack: _median(far) for attack, far in distances.items()}
    found["not fooled"] = {attack: int(far.isinf().sum()) for attack, far in distances.items()}
    for eps in settings["eps"]:
        pgd = PGD(eps=eps, seed=settings["seed"], **settings["pgd"], **how)
        for attack in (FGSM(eps=eps, **how), pgd):
            kept = predict(model, attack(model, x, y)) == y
            found[f"{type(attack).__name__} {eps:g}"] = kept.double().mean().item()
    return found


def _median(far: Tensor) -> float | None:
    """None, as JSON knows no infinity, where most images were not fooled."""
    value = far.median().item()
    return None if math.isinf(value) else round(value, 4)


def cells(settings: Mapping, device: torch.device) -> dict[str, Cell]:
    """A cell for each row."""
    return {
        name: partial(cell, settings, defense, backward, device)
        for name, (defense, backward) in rows(settings).items()
    }


def show(cells: Mapping[str, dict]) -> str:
    """Two tables: the least changes, and white-box accuracy."""
    distances = ["DeepFool L2", "C&W L2", "DeepFool Linf", "FGSM Linf"]
    first = [["median of the least change", *distances]]
    columns = [f"{attack} {eps:g}" for attack in ("FGSM", "PGD") for eps in SETTINGS["eps"]]
    second = [["accuracy", "natural", *columns]]
    for name, cell in cells.items():
        first.append([name, *(_far(cell[attack]) for attack in distances)])
        second.append([name, *(f"{cell[key]:.1%}" for key in ("natural", *columns))])
    count = f"White box, {SETTINGS['images']} of MNIST's test images:"
    return "\n\n".join([count, markdown(first), markdown(second), WHY])


def _far(value: float | None) -> str:
    return "∞" if value is None else f"{value:.2f}"


LEAST_PERTURBATION = Table(
    name="least-perturbation",
    source="Nicolae & Rawat (2017), Efficient defenses against adversarial examples",
    what="The least change that fools each of seven defenses, and their accuracy in a white box.",
    settings=SETTINGS,
    cells=cells,
    show=show,
)
