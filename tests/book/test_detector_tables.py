"""Chapters 17 to 19 show what `advlab reproduce` measured of detectors and their attackers."""

import json
import re
from pathlib import Path
from statistics import mean

import pytest

from advlab.tables import fingerprint_adaptive as adaptive
from advlab.tables import weak_ensembles as weak
from advlab.tables.fingerprint_grey_box import SLIDES

ROOT = Path(__file__).parents[2]


def cells(table: str) -> dict[str, dict]:
    text = (ROOT / f"benchmarks/results/{table}.json").read_text(encoding="utf-8")
    return {name: cell["values"] for name, cell in json.loads(text)["cells"].items()}


def page(name: str) -> str:
    notebook = json.loads((ROOT / f"book/{name}.ipynb").read_text(encoding="utf-8"))
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"])


def table(text: str, corner: str) -> dict[str, list[str]]:
    """The rows of the table whose head begins with these words, and the head itself."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        row = [part.strip() for part in line.split("|")[1:-1]]
        if row and (found or row[0] == corner):
            found[row[0]] = row[1:]
        elif found:
            break
    return found


# Chapter 17 --------------------------------------------------------------------------------------

COLUMNS = ["FGSM", "JSMA", "BIM-a", "BIM-b", "C&W"]
STATISTICAL = ["LID", "KD", "BU", "KD+BU"]


@pytest.fixture(scope="module")
def detecting() -> str:
    return page("17-detecting")


@pytest.fixture(scope="module")
def grey() -> dict[str, dict[str, dict[str, float]]]:
    """Attack → detector → what was measured on MNIST."""
    found = cells("fingerprint-grey-box")
    return {attack: found[f"MNIST: {attack}"] for attack in COLUMNS}


def test_the_columns_of_the_grey_box_table(detecting):
    assert table(detecting, "AUC in %")["AUC in %"] == COLUMNS


@pytest.mark.parametrize("name", STATISTICAL)
def test_the_grey_box_table_is_what_was_measured(name, detecting, grey):
    areas = [[100 * grey[a][name][key] for key in ("AUC", "AUC, natural only")] for a in COLUMNS]
    rows = table(detecting, "AUC in %")
    assert rows[f"{name}, here"] == [f"{both:.1f} / {alone:.1f}" for both, alone in areas]


@pytest.mark.parametrize("name", STATISTICAL)
def test_the_grey_box_table_of_the_slides(name, detecting):
    rows = table(detecting, "AUC in %")
    assert rows[f"{name}, slides"] == [f"{value:.2f}" for value in SLIDES["MNIST"][name]]


def test_what_chapter_17_says_of_the_grey_box_table(grey):
    theirs = dict(zip(COLUMNS, zip(*(SLIDES["MNIST"][n] for n in STATISTICAL)), strict=True))
    for attack in COLUMNS:
        lid, _, uncertainty, _ = theirs[attack]
        assert 100 * grey[attack]["LID"]["AUC"] < lid - 1
        assert uncertainty < 30
        assert grey[attack]["BU"]["AUC"] > 0.5
    for name in STATISTICAL:
        assert min(COLUMNS, key=lambda attack: grey[attack][name]["AUC"]) == "BIM-b"


def test_chapter_17_says_how_squeezing_falls(detecting):
    found = cells("weak-ensembles")
    sizes = [
        mean(size for size in found[f"MNIST: {name}"]["l2"] if size is not None)
        for name in ("squeezing ensemble", "no defense")
    ]
    assert "mean L2 is {:.2f}, against {:.2f} without".format(*sizes) in detecting


# Chapter 18 --------------------------------------------------------------------------------------

SETS = {"MNIST": "MNIST", "CIFAR-10": "CIFAR-10 (JPEG 75)"}  # the slides' and ours
AMOUNT = re.compile(r"(all|at least|at most) (\d+)(?: of (\d+))?")


@pytest.fixture(scope="module")
def fingerprinting() -> str:
    return page("18-fingerprinting")


@pytest.mark.parametrize("theirs", SETS)
def test_the_fingerprints_in_the_grey_box(theirs, fingerprinting):
    rows, found = table(fingerprinting, "AUC in %"), cells("fingerprint-grey-box")
    assert rows["AUC in %"] == COLUMNS
    slides = SLIDES[theirs]["NeuralFP"]
    assert rows[f"{theirs}: slides"] == [f"{value:.2f}" for value in slides]
    kinds = {"ours": "AUC, natural only", "ours, noise": "AUC"}
    for what, key in kinds.items():
        areas = [found[f"{SETS[theirs]}: {attack}"]["NeuralFP"][key] for attack in COLUMNS]
        assert rows[f"{theirs}: {what}"] == [f"{100 * area:.2f}" for area in areas]


def test_what_chapter_18_says_of_the_grey_box_table():
    found = cells("fingerprint-grey-box")
    ours = {
        theirs: [100 * found[f"{label}: {a}"]["NeuralFP"]["AUC, natural only"] for a in COLUMNS]
        for theirs, label in SETS.items()
    }
    apart = {
        attack: slide - here
        for attack, slide, here in zip(
            COLUMNS, SLIDES["MNIST"]["NeuralFP"], ours["MNIST"], strict=True
        )
    }
    assert max(apart[attack] for attack in ("FGSM", "JSMA", "BIM-b")) < 1 < 10 < apart["C&W"]
    assert max(ours["CIFAR-10"]) < min(SLIDES["CIFAR-10"]["NeuralFP"])


def check_amount(words: str, cell: dict) -> None:
    """`all 20`, `at least 18 of 20`, `at most 3 of 20`: coarse, and true."""
    kind, number, of = AMOUNT.fullmatch(words).groups()
    through, number = cell["wrong and unnoticed"], int(number)
    assert cell["images"] == int(of or number)
    true = {"all": through == number, "at least": through >= number, "at most": through <= number}
    assert true[kind], f"{through}, the page says {words}"


@pytest.mark.parametrize("attack", adaptive.SETTINGS["attacks"])
def test_the_attacks_that_know_the_fingerprints(attack, fingerprinting):
    found, column = cells("fingerprint-adaptive"), list(adaptive.SETTINGS["attacks"]).index(attack)
    row = table(fingerprinting, "attack")[attack]
    for (theirs, label), area, words in zip(SETS.items(), row[::2], row[1::2], strict=True):
        assert area == f"{adaptive.SLIDES[theirs][column]:.2f}"
        check_amount(words, found[f"{label}: {attack}, aim 0.05"])


@pytest.mark.parametrize("attack", adaptive.EXTREME)
def test_the_attacks_that_know_the_fingerprints_with_more_budget(attack, fingerprinting):
    area, *amounts = table(fingerprinting, "more budget")[attack]
    assert area == f"{adaptive.EXTREME[attack][1]:.2f}"
    for label, words in zip(SETS.values(), amounts, strict=True):
        check_amount(words, cells("fingerprint-adaptive")[f"{label}: {attack}, aim 0.05"])


# Chapter 19 --------------------------------------------------------------------------------------

# A row of the page's table → data set, ensemble, which of its lists of components, the strongest.
ENSEMBLES = {
    "Squeezing, MNIST: the network behind the median": (
        "MNIST",
        weak.SQUEEZING,
        0,
        "median 3 × 3, in front",
    ),
    "Squeezing, MNIST: the detector with one bit": ("MNIST", weak.SQUEEZING, 1, "1 bit, detector"),
    "Squeezing, CIFAR-10: the network behind the median": (
        "CIFAR-10",
        weak.SQUEEZING,
        0,
        "median 2 × 2, in front",
    ),
    "Squeezing, CIFAR-10: the detector with 3 bits": (
        "CIFAR-10",
        weak.SQUEEZING,
        1,
        "3 bits, detector",
    ),
    "Three detectors, MNIST: density": ("MNIST", weak.THREE, 0, "kernel density"),
    "Three detectors, CIFAR-10: activation classifier": (
        "CIFAR-10",
        weak.THREE,
        0,
        "activation classifier",
    ),
    "Specialists+1, MNIST: the generalist": ("MNIST", weak.PLUS_ONE, 0, weak.ONE),
}


def weak_cells() -> dict[str, dict[str, dict]]:
    """Data set → system → what was measured."""
    found = weak.by_label(cells("weak-ensembles"))
    return {weak.title(label): its for label, its in found.items()}


def test_every_ensemble_is_on_the_page():
    rows = table(page("19-weak-defenses"), "ensemble, against")
    assert set(rows) - {"ensemble, against"} - {key for key in rows if "---" in key} == set(
        ENSEMBLES
    )


@pytest.mark.parametrize("row", ENSEMBLES)
def test_what_the_ensembles_add(row):
    label, name, which, strongest = ENSEMBLES[row]
    components = [
        parts for whole, parts in weak.ensembles(weak.SETTINGS["sets"][label]) if whole == name
    ][which]
    found, change, _ = weak.compared(weak_cells()[label], name, components)
    told = weak.SLIDES.get((label, name), "—") if which == 0 else "—"
    assert found == strongest
    assert table(page("19-weak-defenses"), "ensemble, against")[row] == [change, told]


def test_every_system_falls_on_every_image():
    for its in weak_cells().values():
        for cell in its.values():
            assert cell["images"] == 40
            assert len(weak.fallen(cell)) == sum(size is not None for size in cell["l2"])


def test_the_text_of_chapter_19_tells_the_settings():
    how = weak.SETTINGS["C&W"]
    words = f"C&W with {how['steps']} steps, {how['searches']} searches and two γ"
    assert words in page("19-weak-defenses")
    assert weak.SETTINGS["adaptive"]["weights"] == 2
