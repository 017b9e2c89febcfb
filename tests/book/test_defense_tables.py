"""The black-box table of chapter 14 is what `advlab reproduce black-box` measured."""

import json
from pathlib import Path

import pytest

from advlab.tables.black_box import SLIDES

ROOT = Path(__file__).parents[2]
ROWS = {
    "none (CNN)": "CNN",
    "feature squeezing": "Feature squeezing",
    "label smoothing": "Label smoothing",
    "FGSM training": "FGSM adv. training",
    "VAT": "VAT",
    "GDA + ReLU": "GDA + ReLU",
    "GDA + bounded ReLU": "GDA + BReLU",
}
COLUMNS = ["FGSM 0.2", "FGSM 0.3", "Rand+FGSM 0.3", "DeepFool", "JSMA", "C&W"]


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    text = (ROOT / "benchmarks/results/black-box.json").read_text(encoding="utf-8")
    return {name: cell["values"] for name, cell in json.loads(text)["cells"].items()}


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, list[str]]]:
    """Each table of the page: the first entry of its head → its rows."""
    notebook = json.loads((ROOT / "book/14-smoother-models.ipynb").read_text(encoding="utf-8"))
    lines = "\n".join("".join(c["source"]) for c in notebook["cells"]).splitlines()
    found: dict[str, dict[str, list[str]]] = {}
    inside = False
    for line in lines:
        cells = [part.strip() for part in line.split("|")[1:-1]]
        if cells and not inside:
            rows = found[cells[0]] = {}
        if cells:
            rows[cells[0]] = cells[1:]
        inside = bool(cells)
    return found


OURS = "defense (ours, black box, accuracy in %)"
THEIRS = "defense (slides, black box, accuracy in %)"


def natural(measured, key: str) -> float:
    return measured[f"{key}: natural"]["accuracy here"]


def test_the_columns_of_our_table(tables):
    assert tables[OURS][OURS] == ["no attack", *COLUMNS]


@pytest.mark.parametrize("row", ROWS)
def test_the_page_shows_what_was_measured(row, tables, measured):
    key = ROWS[row]
    values = [natural(measured, key), *(measured[column][key] for column in COLUMNS)]
    assert tables[OURS][row] == [f"{100 * value:.1f}" for value in values]


@pytest.mark.parametrize("row", ROWS)
def test_the_page_shows_the_table_of_the_slides(row, tables):
    assert tables[THEIRS][row] == [f"{value:.2f}" for value in SLIDES[ROWS[row]]]


def test_what_the_page_says_of_the_tables(measured):
    theirs = {key: row[0] for key, row in SLIDES.items()}
    below = {key for key, value in theirs.items() if value < theirs["CNN"]}
    for eps in ("0.2", "0.3"):
        ours = {key: measured[f"FGSM {eps}"][key] for key in SLIDES}
        assert {key for key, value in ours.items() if value < ours["CNN"]} == below
    for eps in ("0.1", "0.2", "0.3"):
        fgsm, random = measured[f"FGSM {eps}"], measured[f"Rand+FGSM {eps}"]
        assert min(fgsm["GDA + ReLU"], fgsm["GDA + BReLU"]) > fgsm["CNN"]
        assert random["CNN"] >= fgsm["CNN"]
    assert max(SLIDES, key=measured["FGSM 0.3"].get) == "Feature squeezing"
    assert all(row[1] == min(row) for row in SLIDES.values())


@pytest.mark.parametrize("attack", ["DeepFool", "C&W"])
def test_the_least_changes_hardly_carry_over(attack, measured):
    for key in set(SLIDES) - {"FGSM adv. training"}:
        assert measured[attack][key] == natural(measured, key)
