"""Networks that tables train on all of MNIST: each once, whichever tables ask for it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping

import torch
from torch import nn

from .. import defenses, models
from ..backend import seeded
from ..data import load
from ..data.files import cache_folder
from ..training import CrossEntropy, Objective, fit

TRAINING = {"data": "mnist", "epochs": 3, "lr": 2e-3, "batch_size": 128}
# The defenses of Nicolae & Rawat's slides, by their names there. All but one are trained on images
# in [0, 1] alone; the attacker of a white box knows of the one bit.
DEFENSES = {
    "CNN": {"network": "CNN"},
    "Feature squeezing": {"network": "CNN", "bits": 1},
    "Label smoothing": {"network": "CNN", "objective": "LabelSmoothing"},
    "FGSM adv. training": {
        "network": "CNN", "objective": "FGSMMix", "with": {"eps": 0.3, "alpha": 0.5},
    },
    "VAT": {"network": "CNN", "objective": "VAT", "with": {"eps": 2.0}},
    "GDA + ReLU": {"network": "CNN", "objective": "GaussianAugmentation", "with": {"sigma": 0.3}},
    "GDA + BReLU": {
        "network": "CNN", "bound": 1.0,
        "objective": "GaussianAugmentation", "with": {"sigma": 0.3},
    },
}  # fmt: skip


def trained(how: Mapping, device: torch.device) -> nn.Module:
    """A network, trained; from the cache folder where it was trained before, or was begun.

    Its file is the checkpoint of :func:`advlab.training.fit`: stopped, training goes on after the
    last epoch that was done. It is trained anew where the settings, the objective's parameters,
    torch or the kind of device is another; delete the folder ``tables`` in the cache to do so.

    :param how: plain data: ``data``, ``network``, ``seed``, what :func:`objective` reads, ``bits``
        and ``bound`` of what is in front of the network and inside it, and settings of ``fit``.
    :param device: where it is trained, and is afterwards.
    """
    return _trained(json.dumps({"seed": 0, **TRAINING, **how}), device)


@functools.cache
def _trained(how: str, device: torch.device) -> nn.Module:
    settings = json.loads(how)
    lowered = objective(settings, device)
    model = network(settings)
    key = [settings, repr(lowered), repr(model), torch.__version__, device.type]
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    fit(
        model, load(settings["data"], device=device), objective=lowered, seed=settings["seed"],
        epochs=settings["epochs"], lr=settings["lr"], batch_size=settings["batch_size"],
        checkpoint=cache_folder() / "tables" / f"{name}.safetensors", device=device,
        progress=False,
    )  # fmt: skip
    return model


def network(how: Mapping) -> nn.Module:
    """The untrained network, its weights drawn by the seed."""
    with seeded(torch.device("cpu"), how["seed"]):
        model = getattr(models, how["network"])(**how.get("sizes", {}))
    if "bound" in how:
        model = defenses.bounded(model, how["bound"])
    if "bits" in how:
        model = nn.Sequential(defenses.BitDepth(bits=how["bits"]), model)
    return model


def objective(how: Mapping, device: torch.device) -> Objective:
    """What training lowers: ``objective`` of :mod:`advlab.defenses`, with its parameters.

    ``sources`` are networks that are trained before; they are given to the objective by name.
    """
    if "objective" not in how:
        return CrossEntropy()
    parameters = dict(how.get("with", {}))
    if "sources" in how:
        shared = {key: how[key] for key in TRAINING}
        parameters["sources"] = {
            name: trained({**shared, **source}, device) for name, source in how["sources"].items()
        }
    return getattr(defenses, how["objective"])(**parameters)
