"""The table of all defenses: what its cells hold, and what it shows."""

from __future__ import annotations

import json

import pytest
import torch

from advlab.defenses import TotalVariation
from advlab.evaluation import evaluate
from advlab.models import zoo
from advlab.tables import TABLES, compare, reproduce
from advlab.tables.base import Table

# As the table's, but small.
SMALL = {
    **compare.SETTINGS,
    "images": 6,
    "fewer": {"JSMA": 3, "C&W": 3, "AutoAttack": 3},
    "steps": 3,
    "C&W": {"steps": 5, "searches": 2},
    "AutoAttack": {"steps": 3, "queries": 5},
    "samples": 2,
}
CPU = torch.device("cpu")
SOME = ("mnist-cnn", "mnist-cnn, randomization", "mnist-cnn, JPEG", "mnist-bits")


@pytest.fixture(scope="module")
def made() -> dict:
    wanted = compare.cells(SMALL, CPU)
    return {key: run() for key, run in wanted.items() if key.rpartition(": ")[0] in SOME}


def test_every_defended_network_of_the_zoo_has_its_row():
    there = compare.networks()
    assert there[0] == "mnist-cnn"
    assert set(there[1:4]) == {f"mnist-cnn, {step}" for step in compare.IN_FRONT}
    assert "mnist-teacher" not in there
    assert set(there[4:]) == (set(compare.RECIPES) & set(zoo.names())) - set(compare.NO_DEFENSE)
    assert isinstance(compare.network("mnist-cnn, total variation", CPU)[0], TotalVariation)


def test_cells_hold_what_was_measured(made):
    for name in SOME:
        for column in compare.COLUMNS:
            cell = made[f"{name}: {column}"]
            assert cell["images"] == SMALL["fewer"].get(column, 6)
            assert 0 <= cell["robust"] <= cell["clean"] <= 1
            if column in ("FGSM", "R+FGSM", "PGD", "AutoAttack", "adaptive"):  # within ε
                assert len(cell["fallen"]) == round((1 - cell["robust"]) * cell["images"])
    x, y = (t[:6] for t in compare.load("mnist5k").test)
    model = compare.network("mnist-cnn", CPU)
    fgsm = compare.attack_named(SMALL, "FGSM", model, x, 3)
    expected = evaluate(model, [fgsm], (x, y)).robust_accuracy()
    assert made["mnist-cnn: FGSM"]["robust"] == pytest.approx(expected, abs=1e-4)


def test_the_adaptive_attack_gets_where_the_plain_one_does_not(made):
    assert made["mnist-cnn, JPEG: PGD"]["robust"] == made["mnist-cnn, JPEG: PGD"]["clean"]
    assert made["mnist-cnn, JPEG: adaptive"]["robust"] < made["mnist-cnn, JPEG: PGD"]["robust"]
    assert "backward='substitute'" in made["mnist-cnn, JPEG: adaptive"]["attack"]
    assert made["mnist-cnn, randomization: adaptive"]["attack"].startswith("EOT")
    assert made["mnist-cnn: adaptive"]["attack"].startswith("APGD")


def test_costs_are_against_the_undefended_network(made):
    assert made["mnist-cnn: clean"]["prediction"] == 1
    assert made["mnist-cnn: clean"]["training"] == 1
    assert made["mnist-cnn: clean"]["clean"] == zoo.read_card("mnist-cnn").accuracy
    assert made["mnist-bits: clean"]["training"] > 0


def test_the_table_shows_the_cells(made):
    text = compare.show(made)
    lines = [line for line in text.splitlines() if line.startswith("| mnist")]
    assert [line.split(" | ")[0] for line in lines] == [f"| {name}" for name in SOME]
    assert f"{made['mnist-bits: clean']['clean']:.1%}" in lines[3]
    fallen = set().union(*(made[f"mnist-cnn, JPEG: {c}"]["fallen"] for c in compare.COLUMNS))
    assert f"{1 - len(fallen) / 6:.1%} (6)" in lines[2]
    assert "L2 ≤ 2" in text
    part = {key: cell for key, cell in made.items() if key.startswith("mnist-bits: c")}
    assert "–" in compare.show(part)


def test_slow_networks_see_few_images_and_attacks():
    wanted = compare.cells(compare.SETTINGS, CPU)
    for name, how in compare.SETTINGS["slow"].items():
        if name in compare.networks():
            columns = [key.rpartition(": ")[2] for key in wanted if key.startswith(f"{name}: ")]
            assert columns == ["clean", *how["attacks"]]
    slow = {"mnist-cnn": {"images": 2, "steps": 1, "attacks": ["PGD"]}}
    cell = compare.cell({**SMALL, "slow": slow}, "mnist-cnn", "PGD", CPU)
    assert cell["images"] == 2
    assert "steps=1" in cell["attack"]


def test_it_resumes(tmp_path):
    table = TABLES["compare"]
    first = dict(list(compare.cells(SMALL, CPU).items())[:2])
    small = Table(**{**vars(table), "settings": SMALL, "cells": lambda *_: first})
    record = reproduce(small, tmp_path, device="cpu", progress=False)
    assert list(record["cells"]) == ["mnist-cnn: clean", "mnist-cnn: FGSM"]
    again = reproduce(small, tmp_path, device="cpu", progress=False)
    assert json.dumps(again) == json.dumps(record)  # dates too: nothing was made anew
