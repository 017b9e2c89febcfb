"""The tables that train networks: tiny ones, on the first images of ``mnist5k``."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from advlab import data, defenses
from advlab.models import accuracy
from advlab.tables import (
    black_box,
    ensemble_training,
    least_perturbation,
    networks,
    reproduce,
    stability,
)
from advlab.tables.base import Table
from advlab.training import CrossEntropy
from advlab.transforms import Pose

CPU = torch.device("cpu")
TINY = {"data": "mnist5k", "epochs": 1, "batch_size": 50, "lr": 3e-3}


@pytest.fixture(scope="module")
def few() -> data.Dataset:
    """200 training images and 40 test images."""
    whole = data.load("mnist5k", device="cpu")
    return data.Dataset(
        whole.name, data.Split(*(t[:200] for t in whole.train)),
        data.Split(*(t[:40] for t in whole.test)), whole.classes,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _few_images(few, tmp_path, monkeypatch):
    """Those images, and a cache of the test's own."""
    monkeypatch.setenv("ADVLAB_CACHE", str(tmp_path / "cache"))
    networks._trained.cache_clear()
    ensemble_training.of_held_out.cache_clear()
    for module in (networks, black_box, stability):
        monkeypatch.setattr(module, "load", lambda name, device: few.to(device))


def made(table: Table, tmp_path, **changes) -> dict[str, dict]:
    """The values of all cells, with these settings."""
    changed = {**table.settings, **TINY, **changes}
    tiny = Table(
        name=table.name, source=table.source, what=table.what, settings=changed,
        cells=table.cells, show=table.show,
    )  # fmt: skip
    record = reproduce(tiny, tmp_path, device="cpu", progress=False)
    return {name: cell["values"] for name, cell in record["cells"].items()}


def states(model: nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_a_network_is_trained_once_and_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    calls, real = [], CrossEntropy.__call__
    monkeypatch.setattr(CrossEntropy, "__call__", lambda *a: (calls.append(1), real(*a))[1])
    how = {**TINY, "network": "MLP", "epochs": 2, "seed": 3}
    first = networks.trained(how, CPU)
    assert len(calls) == 2 * 4
    assert networks.trained(how, CPU) is first
    networks._trained.cache_clear()  # another day
    again = networks.trained(how, CPU)
    assert len(calls) == 2 * 4
    assert all(map(torch.equal, states(first), states(again)))
    other = networks.trained({**how, "seed": 4}, CPU)
    assert len(calls) == 2 * 2 * 4
    assert not all(map(torch.equal, states(first), states(other)))
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 2


def test_a_network_is_what_its_settings_say():
    squeezed = networks.network({"network": "CNN", "bits": 1, "seed": 0})
    assert isinstance(squeezed[0], defenses.BitDepth)
    bounded = networks.network({"network": "CNN", "bound": 1.0, "seed": 0})
    assert any(isinstance(m, defenses.BoundedReLU) for m in bounded.modules())
    assert not any(type(m) is nn.ReLU for m in bounded.modules())
    known = {name: networks.objective(how, CPU) for name, how in networks.DEFENSES.items()}
    assert known["FGSM adv. training"] == defenses.FGSMMix(eps=0.3, alpha=0.5)
    assert known["VAT"].eps == 2.0
    assert known["CNN"] == known["Feature squeezing"] == CrossEntropy()


def test_the_sources_of_an_ensemble_are_trained_before():
    how = {**TINY, **ensemble_training.SETTINGS["defended"]["ensemble"]}
    found = networks.objective(how, CPU)
    assert found.names == ("CNN", "CNN, stride 2", "MLP")
    plain = networks.trained({**TINY, "network": "MLP", "seed": 12}, CPU)
    assert all(map(torch.equal, states(found.sources["MLP"]), states(plain)))


def test_black_box(tmp_path):
    few = {"CNN": {"network": "CNN"}, "Feature squeezing": {"network": "CNN", "bits": 1}}
    cells = made(
        black_box.BLACK_BOX, tmp_path, images=20, defenses=few, eps=[0.3],
        source={"network": "MLP"}, **{"C&W": {"steps": 5, "searches": 2}},
    )  # fmt: skip
    attacked = [name for name in cells if not name.endswith("natural")]
    assert attacked == ["FGSM 0.3", "Rand+FGSM 0.3", "DeepFool", "JSMA", "C&W"]
    assert cells["FGSM 0.3"]["mean Linf"] == pytest.approx(0.3, abs=1e-4)
    # The source is attacked, and the CNNs are only shown what came out.
    natural = cells[f"{black_box.SOURCE}: natural"]["accuracy here"]
    assert cells["DeepFool"][black_box.SOURCE] < natural
    assert set(few) < set(cells["C&W"])


def test_what_black_box_shows():
    cells = {
        f"{name}: natural": {"accuracy": 0.99, "accuracy here": 0.985} for name in black_box.SLIDES
    }
    cells["JSMA"] = {"mean L2": 4.0, black_box.SOURCE: 0.01}
    cells["JSMA"] |= dict.fromkeys(black_box.SLIDES, 0.975)
    text = black_box.show(cells)
    assert "| VAT | 98.5% | 97.5% |" in text
    assert f"| {black_box.SOURCE} |  | 1.0% |" in text
    assert "| VAT | 97.53% | 74.35% | 96.03% | 98.26% | 96.11% |" in text  # the slides' row
    assert "JSMA 4.00" in text


class Linear(nn.Module):
    """Two classes on one pixel: the second where it is above one half."""

    def forward(self, x):
        z = 8 * (x.flatten(1)[:, :1] - 0.5)
        return torch.cat([-z, z], 1)


def test_least_changes_are_the_distances_to_the_boundary():
    x = torch.tensor([0.4, 0.3, 0.75]).view(3, 1, 1, 1)
    y = torch.tensor([0, 0, 1])
    sweep = {"from": 0.02, "to": 0.22, "by": 0.02}
    found = least_perturbation.least_eps(Linear(), x, y, sweep)
    assert found.tolist() == pytest.approx([0.12, 0.22, math.inf])
    assert least_perturbation._median(found) == pytest.approx(0.22)
    assert least_perturbation._median(found[2:]) is None
    attack = least_perturbation.DeepFool(norm="Linf")
    far = least_perturbation.least(Linear(), attack, x, y, math.inf)
    assert far.tolist() == pytest.approx([0.102, 0.204, 0.255], rel=1e-3)


@pytest.mark.filterwarnings("ignore::advlab.attacks.GradientWarning")
def test_a_plain_attack_on_one_bit_finds_nothing_and_an_adaptive_one_does(tmp_path):
    table = least_perturbation.LEAST_PERTURBATION
    few = {"Feature squeezing": {"network": "CNN", "bits": 1}}
    cells = made(
        table, tmp_path, images=12, defenses=few, eps=[0.3], epochs=4,
        pgd={"steps": 3, "restarts": 1}, sweep={"from": 0.1, "to": 0.6, "by": 0.1},
        **{"C&W": {"steps": 5, "searches": 2}},
    )  # fmt: skip
    adaptive, plain = cells["Feature squeezing"], cells["Feature squeezing, plain attack"]
    assert plain["natural"] == adaptive["natural"] > 0.3
    assert plain["FGSM Linf"] is None
    assert plain["FGSM 0.3"] == plain["natural"]
    assert adaptive["FGSM Linf"] is not None
    assert sum(adaptive["not fooled"].values()) < sum(plain["not fooled"].values())
    shown = {name: {**cell, **dict.fromkeys(least_columns(), 0.5)} for name, cell in cells.items()}
    text = least_perturbation.show(shown)
    assert "| Feature squeezing, plain attack | ∞ |" in text


def least_columns() -> list[str]:
    eps = least_perturbation.SETTINGS["eps"]
    return [f"{attack} {e:g}" for attack in ("FGSM", "PGD") for e in eps]


def test_stability(few, tmp_path):
    cells = made(stability.STABILITY, tmp_path, seeds=[0])
    assert list(cells) == ["plain, seed 0", "stability, seed 0"]
    assert set(cells["plain, seed 0"]) == {"natural", *stability.SETTINGS["corruptions"]}
    assert cells["plain, seed 0"] != cells["stability, seed 0"]
    model = networks.trained({**TINY, **stability.SETTINGS["trainings"]["plain"]}, CPU)
    found = cells["plain, seed 0"]
    assert found["natural"] == accuracy(model, *few.test)
    crop = Pose(distance=(0.6, 0.75), shift=0.1, background=0.0)
    cropped = crop.sample(few.test.x, seed=stability.SETTINGS["draw"])
    assert found["tighter crop"] == accuracy(model, cropped, few.test.y)


def test_what_stability_shows():
    kinds = ("natural", *stability.SETTINGS["corruptions"])
    cells = {}
    for seed, gain in ((0, 0.01), (1, 0.03)):
        cells[f"plain, seed {seed}"] = dict.fromkeys(kinds, 0.9)
        cells[f"stability, seed {seed}"] = dict.fromkeys(kinds, 0.9 + gain)
    text = stability.show({**cells, "plain, seed 2": dict.fromkeys(kinds, 0.0)})
    assert "| crop | 90.00% | 92.00% | +2.00 | +1.00, +3.00 | +2 to +3 |" in text
    assert "| natural | 90.00% | 92.00% | +2.00 | +1.00, +3.00 |  |" in text


def test_ensemble_training(tmp_path):
    cells = made(
        ensemble_training.ENSEMBLE_TRAINING, tmp_path, images=20, steps=2, seeds=[0],
        **{"held out": {"network": "MLP", "seed": 0}},
    )  # fmt: skip
    assert list(cells) == ["plain, seed 0", "adversarial, seed 0", "ensemble, seed 0"]
    for cell in cells.values():
        errors = cell["black box"].values()
        assert cell["worst"] == max(errors)
        assert max(errors) <= cell["any of them"] <= sum(errors)
        assert cell["white box"]["I-FGSM"] >= cell["natural"]
    text = ensemble_training.show(cells)
    assert "| adversarial, seed 0 |" in text
    assert "| 15.5% |" in text
    assert "| 3.9% |" in text


def test_the_held_out_network_is_nobodys_source():
    settings = ensemble_training.SETTINGS
    networks_used = [
        settings["defended"]["ensemble"],
        *settings["defended"]["ensemble"]["sources"].values(),
    ]
    assert settings["held out"]["network"] not in {how["network"] for how in networks_used}
