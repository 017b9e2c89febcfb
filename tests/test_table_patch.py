"""The table of the patch: what is measured, and what it is shown beside."""

from __future__ import annotations

import torch

from advlab.tables import TABLES
from advlab.tables.patch import SETTINGS, cells, show

# As the table's, but on the digits that come with advlab, and small.
SMALL = {
    **SETTINGS,
    "network": "mnist-cnn",
    "data": "mnist5k",
    "images": 60,
    "judged": 50,
    "targets": ["3", None],
    "areas": [0, 0.25],
    "steps": 15,
}
MADE = ("3", "any other class", "3, camera")


def test_cells_beside_stickers_that_are_no_attack():
    there = cells(SMALL, torch.device("cpu"))
    assert list(there) == ["3", "any other class", "3, camera", "any other class, camera"]
    made = {name: there[name]() for name in MADE}
    for name, found in made.items():
        assert ("learned without it" in found) == name.endswith("camera")
        assert 40 <= found["judged"] <= 50
        learned = found["learned"]
        if not name.endswith("camera"):
            assert learned["success"][0] == 0
        assert learned["success"][1] > found["noise"]["success"][1]
        assert learned["confidence"][1] < learned["confidence"][0]
    shown = show({name: made[name] for name in ("3", "3, camera")})
    assert "0.90, 0.89, 0.75, 0.60" in shown
    assert f"{made['3']['learned']['success'][1]:.2f}" in shown
    assert "any other class" not in shown
    assert TABLES["patch"].settings == SETTINGS
