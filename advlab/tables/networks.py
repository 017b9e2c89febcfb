"""Networks that tables train on all of a data set: each once, whichever tables ask for it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence

import safetensors.torch
import torch
from torch import nn

from .. import attacks, defenses, models, recipes
from ..backend import seeded
from ..data import Dataset, data_folder, is_there, load
from ..data.files import cache_folder, write_atomically
from ..defenses.fingerprints import Fingerprints
from ..training import CrossEntropy, Objective, Shift, fit

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
        ``shift`` says by how much images move at random; ``attack``, its name and parameters, is
        what a network that trains itself learns from.
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
    path = cache_folder() / "tables" / f"{name}.safetensors"
    data = dataset(settings["data"], device)
    steps = {key: settings[key] for key in ("epochs", "lr", "batch_size", "seed")}
    if hasattr(model, "fit"):  # it trains itself in its own way, all at once
        if path.exists():
            model.load_state_dict(safetensors.torch.load_file(path))
            return model.to(device).eval()
        kind, parameters = settings["attack"]
        attack = getattr(attacks, kind)(**parameters)
        model.to(device).fit(*data.train, attack=attack, **steps)
        write_atomically(path, safetensors.torch.save(model.state_dict()))
        return model
    augment = Shift(**settings["shift"]) if "shift" in settings else None
    fit(
        model, data, objective=lowered, augment=augment, checkpoint=path, device=device,
        progress=False, **steps,
    )  # fmt: skip
    return model


def dataset(name: str, device: torch.device) -> Dataset:
    """The data of that name; ``folder:PATH`` is looked for in the data folder."""
    if name.startswith("folder:"):
        return _folder(name, str(data_folder()), device)
    return load(name, device=device)


@functools.lru_cache(maxsize=1)  # 60,000 files take a while to read
def _folder(name: str, root: str, device: torch.device) -> Dataset:
    return load(name, root=root, device=device)


def first_there(names: Sequence[str]) -> str | None:
    """The first of these data sets that is on this machine; None where none is."""
    for name in names:
        path = data_folder() / name.removeprefix("folder:")
        if path.is_dir() if name.startswith("folder:") else is_there(name):
            return name
    return None


def network(how: Mapping) -> nn.Module:
    """The untrained network, of ``models`` or ``recipes``, its weights drawn by the seed."""
    with seeded(torch.device("cpu"), how["seed"]):
        build = getattr(models, how["network"], None) or getattr(recipes, how["network"])
        model = build(**how.get("sizes", {}))
    if "bound" in how:
        model = defenses.bounded(model, how["bound"])
    if "bits" in how:
        model = nn.Sequential(defenses.BitDepth(bits=how["bits"]), model)
    return model


def objective(how: Mapping, device: torch.device) -> Objective:
    """What training lowers: ``objective`` of :mod:`advlab.defenses`, with its parameters.

    ``sources`` are networks that are trained before; they are given to the objective by name.
    ``fingerprints`` say how those are drawn, for :class:`advlab.defenses.FingerprintTraining`.
    """
    if "objective" not in how:
        return CrossEntropy()
    parameters = dict(how.get("with", {}))
    if "sources" in how:
        shared = {key: how[key] for key in TRAINING}
        parameters["sources"] = {
            name: trained({**shared, **source}, device) for name, source in how["sources"].items()
        }
    if "fingerprints" in how:
        parameters["fingerprints"] = fingerprints(how, device)
    return getattr(defenses, how["objective"])(**parameters)


def fingerprints(how: Mapping, device: torch.device) -> Fingerprints:
    """Those that a network is trained with: drawn for the data's images, by a seed of their own."""
    data = dataset(how["data"], device)
    return Fingerprints.draw(data.shape, len(data.classes), **how["fingerprints"]).to(device)
