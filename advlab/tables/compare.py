"""Every defended network of the zoo under the same attacks: ``advlab reproduce compare``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache, partial

import torch
from torch import Tensor, nn

from ..attacks import CWL2, FGSM, JSMA, PGD, RFGSM, Attack, AutoAttack, DeepFool, GradientWarning
from ..attacks.autoattack import RandomnessWarning
from ..backend import seeded
from ..data import Dataset, load
from ..defenses import JPEGCompression, RandomResizePad, TotalVariation
from ..evaluation import adaptive_attack, evaluate, prediction_costs, training_costs
from ..evaluation.compare import ADAPTIVE, at_limit, standing
from ..models import accuracy, load_model, zoo
from ..recipes import RECIPES
from .base import Cell, Table, markdown

PLAIN = "mnist-cnn"
CLEAN = "clean"
ALL = 1000  # the test images of mnist5k
SLOW = {"images": 50, "steps": 20, "attacks": ["FGSM", "R+FGSM", "PGD", ADAPTIVE]}
SETTINGS = {
    "data": "mnist5k",
    "eps": 0.3,
    "steps": 40,
    # Attacks without an ε: a perturbation counts up to this size.
    "limits": {"DeepFool": ["L2", 2.0], "JSMA": ["L0", 78], "C&W": ["L2", 2.0]},
    "images": 200,
    # Of the slow attacks, on fewer images, or smaller than their defaults.
    "fewer": {"JSMA": 100, "C&W": 100, "AutoAttack": 100},
    "C&W": {"steps": 100, "searches": 5, "lr": 0.05, "c": 0.3},
    "AutoAttack": {"steps": 20, "queries": 500},
    # An answer of these takes a search of its own: they see few images and few attacks.
    "slow": {
        "mnist-cnn, total variation": SLOW,
        "mnist-tv": SLOW,
        "mnist-defense-gan": SLOW,
        "mnist-pixel-defend": SLOW,
    },
    "samples": 10,
    "seed": 0,
}
# Steps in front of the undefended network, which was not trained with them.
IN_FRONT = {
    "randomization": partial(RandomResizePad, 24, 28),
    "JPEG": partial(JPEGCompression, 75),
    "total variation": partial(TotalVariation, 0.5, 0.03, 50),
}
# Trained to teach another, or to be watched by a detector; and one that rejects images, which has
# a table of its own (``weak-ensembles``).
NO_DEFENSE = ("mnist-teacher", "mnist-dropout", "mnist-fingerprint", "mnist-specialists")
COLUMNS = ("FGSM", "R+FGSM", "DeepFool", "JSMA", "C&W", "PGD", "AutoAttack", ADAPTIVE)


def networks() -> list[str]:
    """The undefended network, with steps in front, and every defended one that the zoo has."""
    there = zoo.names()
    trained = [name for name in RECIPES if name in there and name not in NO_DEFENSE]
    return [PLAIN, *(f"{PLAIN}, {step}" for step in IN_FRONT), *trained]


@cache
def network(name: str, device: torch.device) -> nn.Module:
    """A network of that name in :func:`networks`."""
    base, _, step = name.partition(", ")
    model = load_model(base, device)
    return nn.Sequential(IN_FRONT[step](), model).eval() if step else model


@cache
def digits(name: str, device: torch.device) -> Dataset:
    """The data, loaded once."""
    return load(name, device=device)


def attack_named(settings: Mapping, name: str, model: nn.Module, x: Tensor, steps: int) -> Attack:
    """The attack of a column, for that model."""
    eps, seed = settings["eps"], settings["seed"]
    if name == ADAPTIVE:
        samples = settings["samples"]
        return adaptive_attack(model, x, eps=eps, steps=steps, samples=samples, seed=seed)
    if name == "AutoAttack":
        return AutoAttack(eps=eps, seed=seed, **settings["AutoAttack"])
    _, most = settings["limits"]["JSMA"]
    return {
        "FGSM": FGSM(eps=eps),
        "R+FGSM": RFGSM(eps=eps, seed=seed),
        "DeepFool": DeepFool(),
        "JSMA": JSMA(gamma=most / x[0].numel()),
        "C&W": CWL2(**settings["C&W"]),
        "PGD": PGD(eps=eps, steps=steps, seed=seed),
    }[name]


def cell(settings: Mapping, name: str, column: str, device: torch.device) -> dict:
    """One network under one attack: which of the first images it has right afterwards."""
    slow = settings["slow"].get(name)
    count = slow["images"] if slow else settings["fewer"].get(column, settings["images"])
    x, y = (t[:count] for t in digits(settings["data"], device).test)
    model = network(name, device)
    steps = slow["steps"] if slow else settings["steps"]
    with seeded(device, settings["seed"]), warnings.catch_warnings():
        # The table's own column says so: the adaptive attack beside the others.
        warnings.simplefilter("ignore", GradientWarning)
        warnings.simplefilter("ignore", RandomnessWarning)
        attack = attack_named(settings, column, model, x, steps)
        report = evaluate(model, {column: attack}, (x, y))
    limit = settings["limits"].get(column)
    return {
        "attack": str(attack),
        "images": len(x),
        "clean": round(report.accuracy, 4),
        "robust": round(at_limit(report, report.attacks[0], limit), 4),
        "fallen": (~standing(report, settings["eps"], "Linf")).nonzero().flatten().tolist(),
    }


def clean(settings: Mapping, name: str, device: torch.device) -> dict:
    """Accuracy on all test images, and the costs against the undefended network."""
    data = digits(settings["data"], device)
    slow = name in settings["slow"]
    x, y = data.test
    x, y = (x[:100], y[:100]) if slow else (x, y)
    model, plain = network(name, device), network(PLAIN, device)
    with seeded(device, settings["seed"]):
        right = accuracy(model, x, y)
    ratios = prediction_costs({PLAIN: plain, name: model}, x[: 10 if slow else 200])
    found = {"images": len(x), "clean": round(right, 4), "prediction": round(ratios[name], 2)}
    recipe = zoo.recipes().get(name)
    if name == PLAIN or recipe is None:  # as it is, or a step that nothing is trained for
        return {**found, "training": 1.0}
    fresh = recipe.build().to(device)
    if hasattr(fresh, "fit"):  # in its own way, not step by step
        return found
    base, objective = zoo.recipes()[PLAIN].build().to(device), recipe.settings().get("objective")
    costs = training_costs({PLAIN: (base, None), name: (fresh, objective)}, data.train)
    return {**found, "training": round(costs[name], 2)}


def cells(settings: Mapping, device: torch.device) -> dict[str, Cell]:
    """For each network what it costs, and a cell for each attack on it."""
    made: dict[str, Cell] = {}
    for name in networks():
        made[f"{name}: {CLEAN}"] = partial(clean, settings, name, device)
        slow = settings["slow"].get(name)
        for column in slow["attacks"] if slow else COLUMNS:
            made[f"{name}: {column}"] = partial(cell, settings, name, column, device)
    return made


def show(cells: Mapping[str, dict]) -> str:
    """Accuracies in percent; a number of images in brackets where there were fewer."""
    rows = [["network", CLEAN, *COLUMNS, "worst case", "prediction", "training"]]
    for name in dict.fromkeys(key.rpartition(": ")[0] for key in cells):
        whole = cells.get(f"{name}: {CLEAN}", {})
        found = {c: cells[f"{name}: {c}"] for c in COLUMNS if f"{name}: {c}" in cells}
        most = max((its["images"] for its in found.values()), default=0)
        fallen = set().union(*(its["fallen"] for its in found.values()))
        rows.append(
            [
                name,
                f"{whole['clean']:.1%}" + _of(whole["images"], ALL) if whole else "",
                *(_shown(found.get(column), most) for column in COLUMNS),
                f"{1 - len(fallen) / most:.1%}" + _of(most) if most else "",
                f"{whole['prediction']:.2f}x" if whole else "",
                f"{whole['training']:.2f}x" if "training" in whole else "–",
            ]
        )
    limits = "; ".join(
        f"{name}: {norm} ≤ {size:g}" for name, (norm, size) in SETTINGS["limits"].items()
    )
    return "\n\n".join(
        [
            f"Accuracy on test digits under attack, L∞ ≤ {SETTINGS['eps']:g}, and of attacks that "
            f"have no ε: {limits}. {SETTINGS['images']} images, or the number in brackets.",
            markdown(rows),
            "Worst case: right after all attacks, of the perturbations inside L∞, each judged by "
            "one look: where the answers are random, some are wrong by luck; an attack that saw "
            f"fewer images counts on those alone. Clean: of {ALL:,}. AutoAttack is a smaller "
            f"version of itself ({SETTINGS['AutoAttack']}), and so is C&W "
            f"({SETTINGS['C&W']}). Adaptive: PGD through substitutes (BPDA), with a mean over "
            f"{SETTINGS['samples']} looks (EOT) where the answers are random; else APGD on the "
            "ratio of logits. Costs: times those of the undefended network, measured in turns; "
            "training by the step.",
        ]
    )


def _shown(found: Mapping | None, most: int) -> str:
    return "–" if found is None else f"{found['robust']:.1%}" + _of(found["images"])


def _of(images: int, usual: int = SETTINGS["images"]) -> str:
    return f" ({images})" if images != usual else ""


COMPARE = Table(
    name="compare",
    source="Athalye, Carlini & Wagner (2018); Carlini et al. (2019)",
    what="Every defended network of the zoo under eight attacks, and what it costs.",
    settings=SETTINGS,
    cells=cells,
    show=show,
)
