"""The table of destruction rates: its cells' names, and what it shows."""

from __future__ import annotations

import torch

from advlab.tables.destruction import SETTINGS, attack_named, attacked, cells, channels, show


def test_cells_are_named_in_levels_where_that_is_exact():
    names = cells(SETTINGS, torch.device("cpu"))
    assert "signs-cnn, FGSM, 8/255" in names
    assert "mnist-cnn, EOT-PGD, 0.15" in names
    assert "mnist-cnn, common, 51/255" in names  # 0.2, under which it was kept


def test_what_is_shown_is_the_shorter_way_to_write_it():
    rates = {name: {"rate": 0.25, "clean": 0.99, "adversarial": 0.5} for name in channels(SETTINGS)}
    made = {"fooled": 0.5, **rates}
    nothing = {"fooled": 0.0}
    text = show(
        {
            "mnist-cnn, FGSM, 51/255": made,
            "mnist-cnn, common, 51/255": {"counted": 4, "FGSM": 0.75},
            "mnist-cnn, BIM, 51/255": nothing,
            "signs-cnn, FGSM, 16/255": made,
        }
    )
    rows = [line for line in text.splitlines() if "FGSM |" in line]
    assert rows[0].startswith("| 16/255 | FGSM | 50% | 25.0% | 25.0% |")
    assert rows[0].endswith("| 50.0% | 12.5% |")
    assert rows[1].startswith("| 0.2 | FGSM | 50% | 25.0% (75.0%) | 25.0% |")
    assert rows[1].endswith("| 50.0% |  |")
    assert "BIM |" not in text
    assert "camera 99.0%" in text


def test_the_walk_reaches_as_far_as_the_papers():
    walk = attack_named(SETTINGS, "BIM", 0.1)
    assert walk.steps * walk.alpha == 1.25 * 0.1
    assert attack_named(SETTINGS, "EOT-PGD", 0.1).attack == attack_named(SETTINGS, "PGD", 0.1)
    assert attack_named(SETTINGS, "BIM, least likely", 0.1).targeted


def test_the_class_wanted_is_the_least_likely():
    class Linear(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * 4

    x = torch.tensor([0.9, 0.5, 0.45, 0.5]).view(1, 1, 2, 2)
    name = "BIM, least likely"
    x_adv = attacked(SETTINGS, name, 0.4, Linear(), x, torch.tensor([0]))
    assert x_adv.flatten()[:3].argmax() == 2
