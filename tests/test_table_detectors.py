"""The tables of detectors: small ones, on the first images of ``mnist5k``."""

from __future__ import annotations

import math

import pytest
import torch

from advlab import data
from advlab.attacks import FGSM
from advlab.models import predict
from advlab.tables import TABLES, detecting, networks, reproduce
from advlab.tables import fingerprint_adaptive as adaptive
from advlab.tables import fingerprint_grey_box as grey_box
from advlab.tables import weak_ensembles as weak
from advlab.tables.base import Table

CPU = torch.device("cpu")
SMALL = {"sizes": {"stride": 2}, "epochs": 4, "batch_size": 50, "lr": 3e-3}
PLAIN = {"network": "CNN", **SMALL}
PRINTED = detecting.fingerprinted(2, 0.1, **SMALL)
CW = {"steps": 10, "searches": 2, "lr": 0.1, "c": 1.0}
EXPERTS = {
    **detecting.SPECIALISTS, "attack": ["FGSM", {"eps": 0.5}], "epochs": 3, "batch_size": 50,
}  # fmt: skip
FEW = {"fit": 150, "images": 12}


@pytest.fixture(scope="module")
def few() -> data.Dataset:
    """1,000 training images and 300 test images."""
    whole = data.load("mnist5k", device="cpu")
    return data.Dataset(
        whole.name, data.Split(*(t[:1000] for t in whole.train)),
        data.Split(*(t[:300] for t in whole.test)), whole.classes,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _few_images(few, tmp_path_factory):
    """Those images in place of MNIST, no CIFAR-10, and a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("ADVLAB_DATA", str(tmp_path_factory.mktemp("data")))
        networks._trained.cache_clear()
        patch.setattr(networks, "load", lambda name, device: few.to(device))
        yield
    for kept in (networks._trained, weak._defended, adaptive._detector):
        kept.cache_clear()


def made(table: Table, folder, sets: dict, names=None, **changes) -> dict[str, dict]:
    """The values of these cells, or of all, with these settings."""
    settings = {**table.settings, **FEW, **changes, "sets": sets}

    def cells(settings, device):
        wanted = table.cells(settings, device)
        return {name: wanted[name] for name in names or wanted}

    small = Table(**{**vars(table), "settings": settings, "cells": cells})
    record = reproduce(small, folder, device="cpu", progress=False)
    return {name: cell["values"] for name, cell in record["cells"].items()}


def test_the_tables_are_listed_and_need_no_data_to_say_what_they_make():
    for table in (
        weak.WEAK_ENSEMBLES,
        grey_box.FINGERPRINT_GREY_BOX,
        adaptive.FINGERPRINT_ADAPTIVE,
    ):
        assert TABLES[table.name] is table
        names = table.cells(table.settings, CPU)
        assert names
        assert all(name.startswith("MNIST: ") for name in names)  # CIFAR-10 is not there


def test_jpegs_of_cifar_are_taken_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    (tmp_path / "cifar10-jpeg").mkdir()
    found = detecting.sets(weak.SETTINGS)
    assert list(found) == ["MNIST", "CIFAR-10 (JPEG 75)"]
    assert found["CIFAR-10 (JPEG 75)"]["data"] == "folder:cifar10-jpeg"
    assert detecting.title("CIFAR-10 (JPEG 75)") == "CIFAR-10"
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert list(detecting.sets(weak.SETTINGS)) == ["MNIST", "CIFAR-10"]


def test_a_folder_is_read_from_the_data_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(networks, "load", lambda name, **how: asked.append((name, how)))
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    networks.dataset("folder:pictures", CPU)
    assert asked == [("folder:pictures", {"root": str(tmp_path), "device": CPU})]
    networks._folder.cache_clear()


def test_learning_and_judging_share_no_image(few):
    learned, judged = detecting.halves({"data": "mnist", "seed": 3, "fit": 100}, CPU)
    assert len(learned.x) == 100
    assert len(judged.x) == 200
    together = torch.cat((learned.x, judged.x)).flatten(1)
    assert len(together.unique(dim=0)) == len(few.test.x.flatten(1).unique(dim=0))
    model = networks.trained({"data": "mnist", **PLAIN}, CPU)
    x, y = detecting.first_right(model, judged, 20)
    assert len(x) == 20
    assert (predict(model, x) == y).all()


def test_networks_of_the_settings_can_be_built():
    dropout = networks.network({**detecting.DROPOUT, "seed": 0})
    assert any(isinstance(m, torch.nn.Dropout) for m in dropout.modules())
    color = networks.network({**detecting.COLOR, "seed": 0})
    assert color(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    lowered = networks.objective({"data": "mnist", **detecting.MNIST_FINGERPRINTS}, CPU)
    assert len(lowered.fingerprints) == 10
    assert 0 < lowered.fingerprints.dx.abs().max() <= 0.1


def test_specialists_train_themselves_once(monkeypatch):
    how = {"data": "mnist", **EXPERTS}
    first = networks.trained(how, CPU)
    assert len(first.members) == 21
    assert first.sets[:-1].any(1).all()
    networks._trained.cache_clear()
    monkeypatch.setattr(type(first), "fit", None)  # a second training would fail
    again = networks.trained(how, CPU)
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))


SQUEEZED = {
    "MNIST": {
        **weak.SETTINGS["sets"]["MNIST"],
        "network": PLAIN,
        "specialists": EXPERTS,
    }
}


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory) -> dict[str, dict]:
    return made(
        weak.WEAK_ENSEMBLES, tmp_path_factory.mktemp("weak"), SQUEEZED,
        adaptive={"weights": 2}, **{"C&W": CW},
    )  # fmt: skip


def test_weak_ensembles(ensembles):
    how = SQUEEZED["MNIST"]
    assert list(ensembles) == [f"MNIST: {name}" for name in weak.rows(how)]
    for cell in ensembles.values():
        assert len(cell["l2"]) == cell["images"] == 12
        assert sum(size is not None for size in cell["l2"]) == round(12 * cell["right"])
        assert all(size is None or size == -1 or 0 < size < 28 for size in cell["l2"])
    assert len(weak.fallen(ensembles[f"MNIST: {weak.NOTHING}"])) == 12
    text = weak.show(ensembles)
    assert f"| {weak.SQUEEZING} |" in text
    assert "+23%" in text
    assert "+6%" in text
    assert detecting.HOW_TO_GET_CIFAR in text


def test_a_success_fools_the_whole_system(ensembles, few):
    """Attacked again, image by image: what the cell counts is wrong and not rejected."""
    how = detecting.sets({**weak.SETTINGS, **FEW, "C&W": CW, "sets": SQUEEZED})["MNIST"]
    how["adaptive"] = {"weights": 2}
    model, attack = weak.system(how, weak.THREE, CPU), weak.attack_on(how, weak.THREE)
    network = detecting.of(how, PLAIN, CPU)
    x, y = detecting.first_right(network, detecting.halves(how, CPU)[1], 12)
    far = weak.fallen(ensembles[f"MNIST: {weak.THREE}"])
    assert far
    for i, size in far.items():
        x_adv = attack(model, x[i : i + 1], y[i : i + 1])
        assert predict(model, x_adv).item() not in (y[i].item(), 10)
        assert (x_adv - x[i]).norm().item() == pytest.approx(size, rel=1e-2)


def test_the_change_is_against_the_strongest_component():
    its = {
        "whole": {"l2": [3.0, 6.0, None]},
        "weak": {"l2": [1.0, 1.0, 1.0]},
        "strong": {"l2": [2.0, -1, 3.0]},
    }
    # Means 4.5 and 2.5; on the one image that both fell on 3 and 2.
    assert weak.compared(its, "whole", ["weak", "strong"]) == ["strong", "+80%", "+50%"]
    assert weak.fallen(its["strong"]) == {0: 2.0, 2: 3.0}
    assert math.isnan(weak.average([]))


def test_no_target_is_the_true_class():
    y = torch.arange(10).repeat(50)
    wanted = weak.other_classes(y, 0)
    assert (wanted != y).all()
    assert set(wanted.tolist()) == set(range(10))


def test_an_attack_is_remembered():
    calls = []

    def attack(model, x, y):
        calls.append(len(x))
        return x / 2

    kept, model, x = grey_box.Remembered(attack), torch.nn.Identity(), torch.rand(3, 1, 4, 4)
    assert torch.equal(kept(model, x, None), x / 2)
    assert torch.equal(kept(model, x.clone(), None), x / 2)
    assert calls == [3]
    kept(torch.nn.Identity(), x, None)
    kept(model, x[:2], None)
    assert calls == [3, 3, 2]
    assert str(grey_box.Remembered(FGSM(eps=0.1))) == "FGSM(eps=0.1)"


GREY = {
    "MNIST": {
        **grey_box.SETTINGS["sets"]["MNIST"],
        "network": PLAIN,
        "fingerprinted": PRINTED,
        "steps": 3,
        "alpha": 0.1,
    }
}


@pytest.fixture(scope="module")
def areas(tmp_path_factory) -> dict[str, dict]:
    names = [f"MNIST: {name}" for name in ("natural", "FGSM", "BIM-b")]
    return made(
        grey_box.FINGERPRINT_GREY_BOX, tmp_path_factory.mktemp("grey"), GREY, names,
        **{"learn from": 40, "fit": 250},
    )  # fmt: skip


def test_grey_box_areas(areas):
    for name in ("FGSM", "BIM-b"):
        cell = areas[f"MNIST: {name}"]
        for detector in grey_box.SLIDES["MNIST"]:
            found = cell[detector]
            assert 0 <= found["AUC"] <= 1
            assert 0 < found["fooled"] <= found["images"] <= 12
        # All of a network's detectors see the same images.
        assert len({cell[d]["fooled"] for d in ("LID", "KD", "BU", "KD+BU")}) == 1
    # Confident mistakes of BIM-b look certain: what uncertainty finds is less than density does.
    assert areas["MNIST: BIM-b"]["KD"]["AUC"] > areas["MNIST: BIM-b"]["BU"]["AUC"]
    text = grey_box.show(areas)
    assert "| LID | 99.68 | 96.36 | 99.05 | 99.72 | 98.66 |" in text
    assert f"{100 * areas['MNIST: FGSM']['LID']['AUC']:.2f}" in text
    assert detecting.HOW_TO_GET_CIFAR in text


PRINTS = {
    "MNIST": {
        **adaptive.SETTINGS["sets"]["MNIST"],
        "fingerprinted": PRINTED,
    }
}


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict[str, dict]:
    names = ["FGSM, aim 0.05", "CW-L2, aim 0.05", "CW-L2, aim 0.5", "PGD, L∞ ≤ 1, aim 0.05"]
    small = {name: [kind, {**how}] for name, (kind, how) in adaptive.SETTINGS["attacks"].items()}
    small["CW-L2"][1].update(CW, weights=3, steps=30, searches=3)
    more = {name: [kind, {**how}] for name, (kind, how) in adaptive.SETTINGS["extreme"].items()}
    more["PGD, L∞ ≤ 1"][1].update(steps=5, restarts=1, weights=2, alpha=0.2)
    return made(
        adaptive.FINGERPRINT_ADAPTIVE, tmp_path_factory.mktemp("known"), PRINTS,
        [f"MNIST: {name}" for name in names], attacks=small, extreme=more,
        **{"extreme images": 4},
    )  # fmt: skip


def test_attacks_that_know_the_fingerprints(known):
    assert known["MNIST: FGSM, aim 0.05"]["fingerprints"] == 2
    assert known["MNIST: PGD, L∞ ≤ 1, aim 0.05"]["images"] == 4
    for cell in known.values():
        assert 0 <= cell["wrong and unnoticed"] <= cell["wrong"] <= cell["images"]
    careless, careful = known["MNIST: CW-L2, aim 0.05"], known["MNIST: CW-L2, aim 0.5"]
    assert careless["wrong and unnoticed"] == careless["wrong"] > 0
    # It stops where it is just not noticed: the area hides that.
    assert careless["AUC, natural only"] > careful["AUC, natural only"]
    text = adaptive.show(known)
    assert "| 95.04 |" in text
    assert "20,000 steps" in text


def test_every_attack_of_the_settings_can_be_made():
    for how in detecting.sets(adaptive.SETTINGS).values():
        for name in (*how["attacks"], *how["extreme"]):
            adaptive.attack_named(how, name)
        assert adaptive.attack_named(how, "FGSM").eps == 0.3
        assert adaptive.attack_named(how, "PGD, L2 ≤ 10").eps == 10
        assert adaptive.attack_named(how, "SPSA, L∞ ≤ 0.05").eps == 0.05
