"""Chapter 14 shows what `advlab reproduce` measured: black-box, stability, least-perturbation."""

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


def results(table: str) -> dict[str, dict[str, float]]:
    text = (ROOT / f"benchmarks/results/{table}.json").read_text(encoding="utf-8")
    return {name: cell["values"] for name, cell in json.loads(text)["cells"].items()}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    return results("black-box")


@pytest.fixture(scope="module")
def page() -> str:
    notebook = json.loads((ROOT / "book/14-smoother-models.ipynb").read_text(encoding="utf-8"))
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"])


@pytest.fixture(scope="module")
def tables(page) -> dict[str, dict[str, list[str]]]:
    """Each table of the page: the first entry of its head → its rows."""
    found: dict[str, dict[str, list[str]]] = {}
    inside = False
    for line in page.splitlines():
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


def test_what_the_page_says_of_rand_fgsm_and_jsma(page, measured):
    for eps in ("0.1", "0.2", "0.3"):
        for key in set(SLIDES) - {"Feature squeezing"}:
            assert measured[f"Rand+FGSM {eps}"][key] >= measured[f"FGSM {eps}"][key] - 0.02
    apart = {
        (attack, key): abs(100 * measured[attack][key] - row[column])
        for column, attack in ((2, "DeepFool"), (3, "JSMA"), (4, "C&W"))
        for key, row in SLIDES.items()
    }
    worst = ("JSMA", "FGSM adv. training")
    assert max(apart, key=apart.get) == worst
    ours, theirs = measured["JSMA"][worst[1]], SLIDES[worst[1]][3]
    assert f"{theirs:.2f} on the slides, {100 * ours:.1f} here" in page


def test_the_page_shows_the_least_perturbations(page):
    found = {key: values["C&W L2"] for key, values in results("least-perturbation").items()}
    for key, words in {
        "CNN": "{:.2f} for the plain CNN",
        "Label smoothing": "{:.2f} with label smoothing",
        "GDA + ReLU": "{:.2f} with GDA,",
        "GDA + BReLU": "{:.2f} with GDA and the bound",
        "FGSM adv. training": "FGSM training comes out at {:.2f}",
        "Feature squeezing": "Feature squeezing has {:.2f}",
    }.items():
        assert words.format(found[key]) in page
    assert found["FGSM adv. training"] < found["Label smoothing"] < found["CNN"]


@pytest.mark.parametrize("attack", ["DeepFool", "C&W"])
def test_the_least_changes_hardly_carry_over(attack, measured):
    for key in set(SLIDES) - {"FGSM adv. training"}:
        assert measured[attack][key] == natural(measured, key)


GAINS = "images (`advlab reproduce stability`)"


def gains(kind: str) -> list[float]:
    """Of stability training over plain training, in points, for each seed."""
    found = results("stability")
    pairs = [[found[f"{name}, seed {s}"][kind] for name in ("plain", "stability")] for s in (0, 1)]
    return [100 * (stable - plain) for plain, stable in pairs]


@pytest.mark.parametrize("kind", results("stability")["plain, seed 0"])
def test_the_page_shows_the_gains_of_stability_training(kind, tables):
    row = tables[GAINS]["as they are" if kind == "natural" else kind]
    assert row == [f"{gain:+.2f}".replace("-", "−") for gain in gains(kind)]


def test_what_the_page_says_of_the_gains():
    assert min(gains("noise 0.4")) > 4
    assert max(gains("rescaled to 1/4")) < -3
    assert max(gains("crop") + gains("tighter crop")) < 0
    assert max(map(abs, gains("JPEG, quality 10") + gains("JPEG, quality 3"))) < 0.2
