"""The table of chapter 13 is the one that was measured: ``advlab reproduce ensemble-training``."""

import json
from pathlib import Path

import pytest

from advlab.tables.ensemble_training import SLIDES

ROOT = Path(__file__).parents[2]
ROWS = [f"{kind}, seed {seed}" for seed in (0, 1) for kind in ("plain", "adversarial", "ensemble")]


@pytest.fixture(scope="module")
def measured() -> dict:
    text = (ROOT / "benchmarks/results/ensemble-training.json").read_text(encoding="utf-8")
    return {name: cell["values"] for name, cell in json.loads(text)["cells"].items()}


@pytest.fixture(scope="module")
def page() -> str:
    path = ROOT / "book/13-adversarial-training.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "".join("".join(cell["source"]) + "\n" for cell in notebook["cells"])


@pytest.fixture(scope="module")
def shown(page) -> dict[str, list[str]]:
    rows = [line for line in page.splitlines() if line[:1] == "|"]
    cells = [[part.strip() for part in line.split("|")[1:-1]] for line in rows]
    return {name: numbers for name, *numbers in cells}


@pytest.mark.parametrize("row", ROWS)
def test_the_page_shows_what_was_measured(row, shown, measured):
    values = measured[row]
    errors = [*(values["black box"][a] for a in ("FGSM", "R+FGSM", "I-FGSM")), values["worst"]]
    kind = row.split(",")[0]
    slides = f"{SLIDES[kind]:.1%}" if kind in SLIDES else "—"
    assert shown[row] == [*(f"{error:.1%}" for error in errors), slides]


def test_what_the_page_says_of_the_table(measured, page):
    worst = {name: values["worst"] for name, values in measured.items()}
    for seed in (0, 1):
        assert worst[f"ensemble, seed {seed}"] < worst[f"adversarial, seed {seed}"]
        assert worst[f"ensemble, seed {seed}"] > SLIDES["ensemble"]
        assert worst[f"ensemble, seed {seed}"] < worst[f"plain, seed {seed}"] / 2
    assert worst["adversarial, seed 0"] > worst["plain, seed 0"]
    assert all(v["worst"] == max(v["black box"].values()) for v in measured.values())
    assert worst["adversarial, seed 1"] < worst["plain, seed 1"] / 2
    assert worst["ensemble, seed 0"] < worst["adversarial, seed 0"] / 4
    assert worst["adversarial, seed 1"] - worst["ensemble, seed 1"] < 0.01
    assert worst["adversarial, seed 1"] < SLIDES["adversarial"] < worst["adversarial, seed 0"]
    # The share of errors under their own FGSM and R+FGSM, as the page quotes it.
    for seed, numbers in ((0, ("3.0%", "93.0%")), (1, ("15.0%", "57.5%"))):
        white = measured[f"adversarial, seed {seed}"]["white box"]
        quoted = tuple(f"{white[attack]:.1%}" for attack in ("FGSM", "R+FGSM"))
        assert quoted == numbers
        assert all(number in page for number in numbers)
    assert all(values["white box"]["I-FGSM"] == 1.0 for values in measured.values())
    assert all(0.005 < values["natural"] < 0.015 for values in measured.values())
    assert set(measured) == set(ROWS)
