"""The table of the substitute: what it counts, and what it shows."""

from __future__ import annotations

import torch

from advlab.tables import TABLES
from advlab.tables.substitute import SETTINGS, Scene, cells, first_of_each, show

# As the table's, but on the digits that come with advlab, and small.
SMALL = {
    **SETTINGS,
    "oracle": "mnist-logistic",
    "data": "mnist5k",
    "of each class": 2,
    "judged on": 40,
    "budget": 80,
    "pgd": {"eps": 0.3, "steps": 2},
    "training": {"rounds": 2, "epochs": 1, "lr": 2e-3},
    "substitutes": {
        "logistic": {"network": "LogisticRegression", "lam": -0.1},
        "cnn, weaker oracle": {"network": "LogisticRegression", "oracle": "mnist-mlp"},
    },
}
CPU = torch.device("cpu")


def test_the_attacker_has_the_first_of_each_class_and_is_judged_on_others():
    assert first_of_each(torch.tensor([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]
    scene = Scene(SMALL, CPU)
    assert len(scene.x0) == 20
    assert len(scene.x) == 40
    own = {image.numpy().tobytes() for image in scene.x0}
    assert not own & {image.numpy().tobytes() for image in scene.x}


def test_cells_keep_the_budget_and_are_shown_beside_the_papers_number():
    made = {name: compute() for name, compute in cells(SMALL, CPU).items()}
    assert made["logistic"]["rounds"]["queries"] == [20, 40, 80]
    assert made["logistic"]["queries"] == 80  # judging asked nothing of the budget
    assert len(made["logistic"]["rounds"]["error"]) == 3
    assert made["logistic"]["rounds"]["error"][-1] == made["logistic"]["errors"]["0.3"]
    white, random = made["the oracle's own gradient"], made["random signs"]
    assert white["errors"]["0.3"] > random["errors"]["0.3"]
    assert made["cnn, weaker oracle"]["errors"] != made["logistic"]["errors"]
    text = show(made)
    assert "84.24%" in text
    for error in made["logistic"]["errors"].values():
        assert f"{error:.1%}" in text
    assert "80: " in text


def test_the_table_asks_no_more_than_the_paper():
    assert TABLES["substitute"].settings["budget"] == 6400
