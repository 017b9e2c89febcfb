"""Weak defenses together against each alone: ``advlab reproduce weak-ensembles``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from json import dumps, loads
from statistics import mean

import torch
from torch import Tensor, nn

from .. import threat
from ..attacks import CWL2, FGSM, AdaptiveCWL2, Attack, UnanimousVote
from ..backend import generator
from ..defenses import BitDepth, MedianSmoothing
from ..detectors import ActivationClassifier, AnyOf, InputClassifier, KernelDensity, SqueezingL1
from ..models import predict_logits
from .base import Cell, Table, markdown
from .detecting import (
    CIFAR,
    COLOR,
    HOW_TO_GET_CIFAR,
    MNIST,
    PLAIN,
    SPECIALISTS,
    by_label,
    first_right,
    halves,
    of,
    sets,
    title,
)

SETTINGS = {
    "seed": 0,
    "fit": 2000,
    "images": 40,
    "false positives": 0.05,
    "C&W": {"steps": 80, "searches": 4, "lr": 0.04, "c": 1.0, "abort_early": False},
    "adaptive": {"weights": 2},  # how many γ are tried for each image
    "layer": "features.2",  # of the activation classifier: the first convolution, pooled
    "sets": {
        "MNIST": {
            "data": MNIST,
            "network": PLAIN,
            "specialists": SPECIALISTS,
            "squeezers": {"1 bit": ["BitDepth", 1], "median 3 × 3": ["MedianSmoothing", 3]},
            "learned from": {"eps": 0.3},
        },
        "CIFAR-10": {
            "data": CIFAR,
            "network": COLOR,
            "squeezers": {"3 bits": ["BitDepth", 3], "median 2 × 2": ["MedianSmoothing", 2]},
            "learned from": {"eps": 0.03},
        },
    },
}
NOTHING, SQUEEZING, THREE = "no defense", "squeezing ensemble", "any of the three detectors"
ONE, PLUS_ONE = "generalist alone, targeted", "Specialists+1, targeted"
DETECTORS = ("input classifier", "activation classifier", "kernel density")
SQUEEZER = {"BitDepth": BitDepth, "MedianSmoothing": MedianSmoothing}
# The slides' changes of mean L2, of the ensemble against its strongest component.
SLIDES = {
    ("MNIST", SQUEEZING): "+23%",
    ("CIFAR-10", SQUEEZING): "−36%",
    ("MNIST", PLUS_ONE): "+6%",
    ("CIFAR-10", THREE): "+60%",
}
WHY = (
    "A success counts where the whole system is wrong and does not reject. Every attacker knows "
    "all of the system: C&W's L2 attack on its K + 1 logits, which looks for the weight γ of not "
    "being noticed image by image, and differentiates a stair in place of rounding; on "
    "Specialists+1 the targeted attack on all who can vote for the class wanted, at random. Mean "
    "L2 is over successes, so it is told how many there are, and the change is told once more on "
    "the images that fell to both. The slides compare the squeezing ensemble with the network "
    "behind one squeezer, and give changes alone, no distances; our second comparison is with a "
    "detector that has that one squeezer. All detectors reject 5% of natural images that they "
    "did not learn from, the three together as well. The networks are the course's small CNN; the "
    "slides do not give theirs. The activation classifier looks at what the first convolution "
    "makes of an image. What agrees: every system falls on every image, and with photographs the "
    "squeezing ensemble is weaker than its stronger half in front of a network, by the slides' "
    "share. What does not: on digits it costs the attacker more than theirs did; three detectors "
    "add nothing here, where each alone adds hardly anything to no defense at all; and our "
    "Specialists+1, which accept little but unanimous votes, cost nearly twice their generalist's "
    "distance. With a detector that holds the same squeezer as component, an ensemble adds an "
    "eighth at most. The sign of a change depends on what is called the strongest component."
)


def rows(settings: Mapping) -> list[str]:
    """The systems that are attacked, of one data set."""
    squeezers = settings["squeezers"]
    found = [NOTHING, *(f"{name}, in front" for name in squeezers)]
    found += [*(f"{name}, detector" for name in squeezers), SQUEEZING, *DETECTORS, THREE]
    return found + ([ONE, PLUS_ONE] if "specialists" in settings else [])


def ensembles(settings: Mapping) -> list[tuple[str, list[str]]]:
    """Each ensemble with its components; the slides' are the first of an ensemble."""
    squeezers = settings["squeezers"]
    found = [
        (SQUEEZING, [f"{name}, in front" for name in squeezers]),
        (SQUEEZING, [f"{name}, detector" for name in squeezers]),
        (THREE, list(DETECTORS)),
    ]
    return found + ([(PLUS_ONE, [ONE])] if "specialists" in settings else [])


def system(settings: Mapping, name: str, device: torch.device) -> nn.Module:
    """The whole defended system of that row, as one model."""
    if name in (ONE, PLUS_ONE):
        whole = of(settings, settings["specialists"], device)
        return whole if name == PLUS_ONE else whole.members[-1]
    network = of(settings, settings["network"], device)
    squeezers = {key: SQUEEZER[kind](k) for key, (kind, k) in settings["squeezers"].items()}
    if name == NOTHING:
        return network
    if name.endswith("in front"):
        return nn.Sequential(squeezers[name.rpartition(", ")[0]], network).eval()
    return _defended(dumps(settings), name, device)


@cache
def _defended(settings: str, name: str, device: torch.device) -> nn.Module:
    """A detector, fitted, with its network."""
    settings = loads(settings)
    network = of(settings, settings["network"], device)
    squeezers = {key: SQUEEZER[kind](k) for key, (kind, k) in settings["squeezers"].items()}
    attack = FGSM(**settings["learned from"])
    if name.endswith("detector"):
        detector = SqueezingL1([squeezers[name.rpartition(", ")[0]]])
    else:
        three = dict(
            zip(
                DETECTORS,
                (
                    InputClassifier(attack),
                    ActivationClassifier(attack, layer=settings["layer"]),
                    KernelDensity(),
                ),
                strict=True,
            )
        )
        known = {SQUEEZING: SqueezingL1(list(squeezers.values())), **three}
        detector = AnyOf(list(three.values())) if name == THREE else known[name]
    learned, _ = halves(settings, device)
    return detector.fit(network, learned, seed=settings["seed"]).defended(
        settings["false positives"]
    )


def attack_on(settings: Mapping, name: str) -> Attack:
    """The attacker knows of the whole system."""
    how = settings["C&W"]
    if name == NOTHING or name.endswith("in front"):
        return CWL2(**how, backward="substitute")
    if name == ONE:
        return CWL2(**how, targeted=True)
    if name == PLUS_ONE:
        return UnanimousVote(**how, targeted=True)
    return AdaptiveCWL2(**how, **settings["adaptive"], backward="substitute")


def cell(settings: Mapping, name: str, device: torch.device) -> dict:
    """One system under attack: how far each image had to go."""
    network = of(settings, settings["network"], device)
    x, y = first_right(network, halves(settings, device)[1], settings["images"])
    model, attack = system(settings, name, device), attack_on(settings, name)
    logits = predict_logits(model, x)
    counted = logits.argmax(1) == y
    wanted = other_classes(y, settings["seed"]) if attack.targeted else y
    x_adv = attack(model, x[counted], wanted[counted])
    fooled = attack.aim.reached(predict_logits(model, x_adv), wanted[counted])
    size = iter(threat.size(x_adv - x[counted], "L2").where(fooled, -1).tolist())
    return {
        "attack": str(attack),
        "images": len(x),
        "right": counted.double().mean().item(),
        # Of each image: None where the system has it wrong or rejects it as it is, −1 where the
        # attack fails.
        "l2": [round(next(size), 4) if there else None for there in counted.tolist()],
    }


def other_classes(y: Tensor, seed: int) -> Tensor:
    """A wrong class for each image, at random, of ten."""
    return (y + torch.randint(1, 10, y.shape, generator=generator(seed)).to(y.device)) % 10


def cells(settings: Mapping, device: torch.device) -> dict[str, Cell]:
    """A cell for each system, of each data set that there is."""
    return {
        f"{label}: {name}": partial(cell, how, name, device)
        for label, how in sets(settings).items()
        for name in rows(how)
    }


def show(cells: Mapping[str, dict]) -> str:
    """For each data set the systems, then what the ensembles add."""
    parts = []
    for label, its in by_label(cells).items():
        how = SETTINGS["sets"][title(label)]
        table = [["system", "right and accepted", "attack succeeds", "mean L2"]]
        for name in rows(how):
            if name in its:
                far, tried = fallen(its[name]), sum(s is not None for s in its[name]["l2"])
                success, size = f"{len(far)} of {tried}", average(far.values())
                table.append([name, f"{its[name]['right']:.0%}", success, f"{size:.2f}"])
        both = [["ensemble", "strongest component", "change", "on the same images", "slides"]]
        for name, components in ensembles(how):
            if name in its and all(part in its for part in components):
                both.append(
                    [name, *compared(its, name, components), _told(label, name, components)]
                )
        parts += [f"**{label}**, the first {images(its)} test images that the network has right:"]
        parts += [markdown(table), markdown(both)]
    if not any("CIFAR" in name for name in cells):
        parts.append(HOW_TO_GET_CIFAR)
    return "\n\n".join([*parts, WHY])


def _told(label: str, name: str, components: list[str]) -> str:
    first = next(
        parts for whole, parts in ensembles(SETTINGS["sets"][title(label)]) if whole == name
    )
    return SLIDES.get((title(label), name), "") if components == first else ""


def compared(its: Mapping[str, dict], name: str, components: list[str]) -> list[str]:
    """The strongest component, and the change of mean L2 from there to the ensemble."""
    strongest = max(components, key=lambda part: average(fallen(its[part]).values()))
    whole, part = fallen(its[name]), fallen(its[strongest])
    common = whole.keys() & part.keys()
    changes = [
        change(whole.values(), part.values()),
        change([whole[i] for i in common], [part[i] for i in common]),
    ]
    return [strongest, *(f"{c:+.0%}".replace("-", "−") for c in changes)]


def fallen(cell: Mapping) -> dict[int, float]:
    """Image → L2, of the images on which the attack succeeded."""
    return {i: s for i, s in enumerate(cell["l2"]) if s is not None and s >= 0}


def average(sizes) -> float:
    """Their mean, not a number where there are none."""
    return mean(sizes) if sizes else float("nan")


def change(after, before) -> float:
    """How much larger the one mean is than the other, as a share of it."""
    return average(after) / average(before) - 1


def images(its: Mapping[str, dict]) -> int:
    """How many images were attacked at most."""
    return max(cell["images"] for cell in its.values())


WEAK_ENSEMBLES = Table(
    name="weak-ensembles",
    source="He, Wei, Chen, Carlini & Song (2017), Ensembles of weak defenses are not strong",
    what="Squeezing, specialists and three detectors: is the whole harder to fool than its parts?",
    settings=SETTINGS,
    cells=cells,
    show=show,
)
