"""What the tables about detectors share: data sets, networks, and which images serve for what."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..attacks import BIM, CWL2, FGSM, JSMA, Attack
from ..backend import generator
from ..data import Split
from ..models import predict
from .networks import dataset, first_there, trained

# The first of these that is on this machine is taken. MNIST is downloaded where it is not.
MNIST = ["mnist"]
CIFAR = ["cifar10", "folder:cifar10-jpeg"]
LABELS = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "folder:cifar10-jpeg": "CIFAR-10 (JPEG 75)",
}
HOW_TO_GET_CIFAR = (
    "CIFAR-10's rows are made where the data is there: put CIFAR-10 where `advlab data` says, or "
    "its images as JPEG files into `cifar10-jpeg/train/CLASS/` and `cifar10-jpeg/test/CLASS/` "
    "in the same folder."
)
# Networks, as :func:`advlab.tables.networks.trained` reads them.
PLAIN = {"network": "CNN"}
DROPOUT = {"network": "dropout_cnn", "epochs": 4}
SPECIALISTS = {
    "network": "specialists_plus_one", "attack": ["FGSM", {"eps": 0.2}], "epochs": 3, "lr": 3e-3,
}  # fmt: skip
COLOR = {
    "network": "CNN", "sizes": {"channels": 3, "size": 32}, "epochs": 16, "shift": {"pixels": 2},
}  # fmt: skip


def fingerprinted(n: int, eps: float, weight: float = 0.1, **settings) -> dict:
    """How a network is trained to have n fingerprints of that size.

    n + 1 looks at each image make training, and each step of an attack, as much dearer.
    """
    settings = {"epochs": 4, "lr": 3e-3, "batch_size": 64} | settings
    return {
        "network": "CNN",
        "objective": "FingerprintTraining",
        "with": {"weight": weight},
        "fingerprints": {"seed": 2018, "n": n, "eps": eps},
        **settings,
    }


# With stride 2, which would cost a quarter, the digits' network notices C&W less.
MNIST_FINGERPRINTS = fingerprinted(10, 0.1, sizes={})
COLOR_FINGERPRINTS = fingerprinted(
    10, 0.1, sizes={"channels": 3, "size": 32, "stride": 2}, epochs=10
)


def sets(settings: Mapping) -> dict[str, dict]:
    """Label → settings of each data set that there is: those of ``sets``, with its ``data``."""
    found = {}
    for how in settings["sets"].values():
        name = how["data"][0] if how["data"] == MNIST else first_there(how["data"])
        if name is not None:
            found[LABELS.get(name, name)] = {**settings, **how, "data": name}
    return found


def by_label(cells: Mapping[str, dict]) -> dict[str, dict[str, dict]]:
    """Cells that are named "label: name", data set by data set: label → name → cell."""
    found: dict[str, dict] = {}
    for key, cell in cells.items():
        label, _, name = key.partition(": ")
        found.setdefault(label, {})[name] = cell
    return found


def title(label: str) -> str:
    """The data set's name in the sources: ``"CIFAR-10"``, however its files are stored."""
    return label.partition(" (")[0]


def of(settings: Mapping, how: Mapping, device: torch.device) -> nn.Module:
    """The network of those settings, trained on the set's data; from the cache."""
    return trained({"data": settings["data"], **how}, device)


def halves(settings: Mapping, device: torch.device) -> tuple[Split, Split]:
    """Test images for the detectors to learn from, and others to be judged on.

    In an order drawn by the seed: those of a folder lie class by class. No network has seen them.
    Of the others all that are left are given, since a table keeps those that a network has right.
    """
    x, y = dataset(settings["data"], device).test
    order = torch.randperm(len(x), generator=generator(settings["seed"])).to(x.device)
    fit, judge = order[: settings["fit"]], order[settings["fit"] :]
    return Split(x[fit], y[fit]), Split(x[judge], y[judge])


def first_right(model: nn.Module, split: Split, count: int) -> Split:
    """The first images that the model has right."""
    x, y = (t[: 2 * count + 100] for t in split)
    right = (predict(model, x) == y).nonzero().squeeze(1)[:count]
    return Split(x[right], y[right])


def grey_box_attacks(settings: Mapping) -> dict[str, Attack]:
    """The five attacks of S2's table; they know of the network and not of the detector."""
    step = {"eps": settings["eps"], "alpha": settings["alpha"], "steps": settings["steps"]}
    return {
        "FGSM": FGSM(eps=settings["eps"]),
        "JSMA": JSMA(**settings["JSMA"]),
        "BIM-a": BIM(**step, variant="a"),
        "BIM-b": BIM(**step, variant="b"),
        "C&W": CWL2(**settings["C&W"]),
    }
