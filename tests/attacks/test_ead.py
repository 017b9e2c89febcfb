"""EAD: closed forms on a linear model, the two rules, and shrinkage."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import CWL2, EAD
from advlab.attacks.ead import shrink
from advlab.goals import ConfidenceReduction

from .conftest import BinaryLinear, images, small_cnn

SMALL = EAD(steps=60, searches=9)


def test_shrinkage_takes_beta_and_leaves_no_less_than_nothing():
    delta = torch.tensor([-0.5, -0.02, -0.01, 0.0, 0.005, 0.01, 0.3], dtype=torch.float64)
    expected = torch.tensor([-0.49, -0.01, 0, 0, 0, 0, 0.29], dtype=torch.float64)
    torch.testing.assert_close(shrink(delta, 0.01), expected)
    assert (shrink(delta, 0.01)[2:6] == 0).all()


def test_l1_on_a_linear_model_is_the_pixels_that_matter_most():
    """The optimum fills the pixels of largest \\|wᵢ\\| one after the other, up to the box."""
    model = BinaryLinear((1, 4, 5))
    x = images(12, 1, (4, 5))
    with torch.no_grad():
        logits = model(x)
    y, margin = logits.argmax(1), (logits[:, 1] - logits[:, 0]).abs()
    w = model.w.detach().flatten()
    toward = torch.where(y == 1, -1.0, 1.0).double()[:, None] * w
    room = torch.where(toward > 0, 1 - x.flatten(1), x.flatten(1))
    order = w.abs().argsort(descending=True)
    room, weight = room[:, order], w.abs()[order]
    gained = (room * weight).cumsum(1)
    possible = gained[:, -1] > margin
    need = (margin[:, None] - (gained - room * weight)).clamp_min(0)
    optimum = torch.minimum(room, need / weight).sum(1)
    x_adv = EAD(steps=300, searches=9)(model, x, y)
    with torch.no_grad():
        assert torch.equal(model(x_adv).argmax(1) != y, possible)
    ratio = (threat.size(x_adv - x, "L1") / optimum)[possible]
    assert possible.sum() >= 8
    assert ratio.min() >= 1 - 1e-9
    assert ratio.median() < 1.05
    assert ratio.mean() < 1.2


def test_smaller_in_l1_and_on_fewer_pixels_than_the_l2_attack(cnn, x, y):
    x, y = x[:20], y[:20]
    few, many = SMALL(cnn, x, y), CWL2(steps=60, searches=9)(cnn, x, y)
    assert (cnn(few).argmax(1) != y).all()
    assert (cnn(many).argmax(1) != y).all()
    for norm in ("L1", "L0"):
        ours, theirs = threat.size(few - x, norm), threat.size(many - x, norm)
        assert (ours < theirs).double().mean() > 0.9
    # Most pixels are exactly as they were.
    assert (few == x).double().mean() > 0.5


def test_each_rule_is_smaller_by_its_own_measure(cnn, x, y):
    x, y = x[:20], y[:20]
    beta, found = 0.1, {}
    for rule in ("L1", "EN"):
        delta = EAD(steps=60, searches=9, beta=beta, rule=rule, lr=0.1)(cnn, x, y) - x
        l1 = threat.size(delta, "L1")
        found[rule] = {"L1": l1, "EN": beta * l1 + threat.size(delta, "L2") ** 2}
    assert (found["L1"]["L1"] <= found["EN"]["L1"] + 1e-12).all()
    assert (found["EN"]["EN"] <= found["L1"]["EN"] + 1e-12).all()
    assert (found["EN"]["EN"] < found["L1"]["EN"]).any()


def test_early_abort_changes_nothing_and_saves_looks(cnn, x, y):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.seen = cnn, 0

        def forward(self, x):
            self.seen += len(x)
            return self.model(x)

    found, seen = [], []
    for abort in (False, True):
        counting = Counting()
        found.append(dataclasses.replace(SMALL, abort_early=abort)(counting, x, y))
        seen.append(counting.seen / len(x))
    assert 1 + 9 * 60 < seen[0] <= 1 + 2 * 9 * 60  # x_k is looked at where it can matter
    assert seen[1] < 0.7 * seen[0]
    sizes = [threat.size(x_adv - x, "L1") for x_adv in found]
    torch.testing.assert_close(sizes[1], sizes[0], rtol=1e-3, atol=0)


def test_kappa_is_the_margin_that_is_reached(cnn, x, y):
    x, y = x[:10], y[:10]
    sure = dataclasses.replace(SMALL, kappa=0.2)
    with torch.no_grad():
        far = sure.aim.margin(cnn(sure(cnn, x, y)), y)
        near = SMALL.aim.margin(cnn(SMALL(cnn, x, y)), y)
    assert (far >= 0.2).all()
    assert (near > 0).all()
    assert (near < 0.2).all()


def test_goals(cnn, x, y):
    x, y = x[:10], y[:10]
    wanted = (y + 1) % 3
    assert not (cnn(x).argmax(1) == wanted).any()
    targeted = dataclasses.replace(SMALL, targeted=True)(cnn, x, wanted)
    assert (cnn(targeted).argmax(1) == wanted).double().mean() >= 0.9
    lower = dataclasses.replace(SMALL, goal=ConfidenceReduction(0.3))(cnn, x, y)
    assert not (cnn(x).softmax(1).gather(1, y[:, None]) < 0.3).any()
    assert (cnn(lower).softmax(1).gather(1, y[:, None]) < 0.3).double().mean() >= 0.9


def test_pixels_at_0_and_1_move(device):
    model = small_cnn().to(device)
    x = images(10).round().to(device)
    y = model(x).argmax(1)
    x_adv = SMALL(model, x, y)
    assert (model(x_adv).argmax(1) != y).all()
    moved = (x_adv - x).abs()
    assert moved[x == 0].max() > 0.05
    assert moved[x == 1].max() > 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": -1}, "beta: expected a finite number, at least 0"),
        ({"rule": "L2"}, "rule: expected 'L1' or 'EN', found 'L2'"),
        ({"searches": 0}, "searches: expected a whole number from 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EAD(**settings)
