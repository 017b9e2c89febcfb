"""The table of the defenses is the one that was measured: ``advlab reproduce compare``."""

import json
from pathlib import Path

import pytest

from advlab.recipes import RECIPES
from advlab.tables.compare import NO_DEFENSE

ROOT = Path(__file__).parents[2]


def rows(columns: int, name: int) -> dict[str, list[str]]:
    """Network → what the page shows of it, in its table of so many columns."""
    text = (ROOT / "book/which-defense.md").read_text(encoding="utf-8")
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    return {
        cells[name].strip("`"): cells[name + 1 :]
        for cells in lines
        if len(cells) == columns and "mnist" in cells[name]
    }


HOLDS, COSTS = rows(5, 0), rows(6, 1)


@pytest.fixture(scope="module")
def measured() -> dict:
    text = (ROOT / "benchmarks/results/compare.json").read_text(encoding="utf-8")
    return {name: cell["values"] for name, cell in json.loads(text)["cells"].items()}


def test_every_defended_network_has_its_row():
    assert set(RECIPES) - set(NO_DEFENSE) <= set(HOLDS)
    assert set(HOLDS) == set(COSTS)


@pytest.mark.parametrize("name", HOLDS)
def test_the_page_shows_what_was_measured(name, measured):
    whole = measured[f"{name}: clean"]
    attacked = [
        cell for key, cell in measured.items()
        if key.rpartition(": ")[0] == name and "fallen" in cell
    ]  # fmt: skip
    fallen = set().union(*(cell["fallen"] for cell in attacked))
    worst = 1 - len(fallen) / max(cell["images"] for cell in attacked)
    assert HOLDS[name] == [
        f"{whole['clean']:.0%}",
        f"{measured[f'{name}: FGSM']['robust']:.0%}",
        f"{measured[f'{name}: PGD']['robust']:.0%}",
        f"{worst:.0%}",
    ]
    assert COSTS[name][:2] == [
        f"{whole['prediction']:.1f}",
        f"{whole['training']:.1f}" if "training" in whole else "–",
    ]
