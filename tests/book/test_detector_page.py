"""The detectors' rows in "Which defense does what" are those that were measured."""

import json
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).parents[2]
# The page's words for the systems of the table.
ROWS = {
    "none": "no defense",
    "Input classifier": "input classifier",
    "Activation classifier": "activation classifier",
    "Kernel density": "kernel density",
    "Any of these three": "any of the three detectors",
    "Squeezing, one bit": "1 bit, detector",
    "Squeezing, median 3 × 3": "median 3 × 3, detector",
    "Squeezing, both": "squeezing ensemble",
    "Specialists+1, to a class at random": "Specialists+1, targeted",
    "its generalist alone, to a class at random": "generalist alone, targeted",
}


def cells(table: str) -> dict[str, dict]:
    text = (ROOT / f"benchmarks/results/{table}.json").read_text(encoding="utf-8")
    return {name: cell["values"] for name, cell in json.loads(text)["cells"].items()}


def shown() -> dict[str, list[str]]:
    text = (ROOT / "book/which-defense.md").read_text(encoding="utf-8")
    part = text.partition("## Detectors")[2].partition("\n## ")[0]
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in part.splitlines()]
    return {cells[0]: cells[1:3] for cells in lines[2:] if len(cells) == 4}


def test_the_table_has_these_rows():
    assert set(ROWS) <= set(shown())


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_what_was_measured(row):
    sizes = [size for size in cells("weak-ensembles")[f"MNIST: {ROWS[row]}"]["l2"] if size]
    fallen = [size for size in sizes if size > 0]
    assert shown()[row] == [f"{len(fallen)} of {len(sizes)}", f"{mean(fallen):.2f}"]


def test_fingerprints_fall_to_attacks_of_many_steps():
    found = cells("fingerprint-adaptive")
    for name in ("BIM-b, aim 0.05", "CW-L2, aim 0.05", "C&W, L2 unbounded, aim 0.05"):
        cell = found[f"MNIST: {name}"]
        assert cell["wrong and unnoticed"] >= cell["images"] - 1
