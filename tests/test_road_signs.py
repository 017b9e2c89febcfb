"""The table of road signs: its cells with a small attack, and the table that they make."""

from __future__ import annotations

import json

import pytest
import torch

from advlab.tables import TABLES, reproduce

SIGNS = TABLES["road-signs"]


@pytest.fixture(scope="module")
def cells():
    first, attack, judge = (SIGNS.settings[name] for name in ("first run", "attack", "judge"))
    small = {
        **SIGNS.settings,
        "first run": {**first, "steps": 2},
        "attack": {**attack, "steps": 3, "samples": 4},
        "judge": {**judge, "draws": 20},
    }
    made = SIGNS.cells(small, torch.device("cpu"))
    wanted = ("plain sign", "blank stickers", "stickers, black and white", "bars")
    return {name: made[name]() for name in wanted}


def test_the_plain_sign_is_read_right_and_nothing_is_painted(cells):
    plain = cells["plain sign"]
    assert plain["change"] == 0
    for band in plain["distances"].values():
        assert band["plain right"] >= 0.95
        assert band["painted target"] == band["painted wrong"] == 0


def test_stickers_cover_a_part_and_the_printer_leaves_printed_colors_alone(cells):
    assert 0.2 < cells["blank stickers"]["area"] < 1 / 3
    assert cells["stickers, black and white"]["nps"] == 0
    for band in cells["stickers, black and white"]["distances"].values():
        assert band["painted target"] == band["printed target"]
    assert cells["bars"]["change"] > 0.05


def test_the_table_has_a_row_for_each_cell(cells):
    shown = SIGNS.show(cells)
    assert all(f"| {name} |" in shown for name in cells)
    assert "The plain sign is read right: near 100.0%" in shown
    json.dumps(cells, allow_nan=False)


def test_the_stored_table_is_of_these_settings_and_meets_its_bar(results, tmp_path):
    record = json.loads((results / "road-signs.json").read_text())
    assert record["settings"] == json.loads(json.dumps(dict(SIGNS.settings)))
    values = {name: cell["values"]["distances"] for name, cell in record["cells"].items()}
    assert list(values) == list(SIGNS.cells(SIGNS.settings, torch.device("cpu")))
    for band in SIGNS.settings["distances"]:
        assert values["plain sign"][band]["plain right"] >= 0.95
        assert values["stickers, printed colors"][band]["printed target"] >= 0.8
        assert values["blank stickers"][band]["painted target"] <= 0.3
        one, many = values["poster, one view"][band], values["poster"][band]
        assert many["painted target"] >= 0.8
        assert one["painted target"] < many["painted target"] - 0.3
    # Nothing is left to make: the same file comes back.
    (tmp_path / "road-signs.json").write_text(json.dumps(record))
    assert reproduce(SIGNS, tmp_path, device="cpu", progress=False) == record


@pytest.fixture
def results(pytestconfig):
    return pytestconfig.rootpath / "benchmarks" / "results"
