"""Adaptive attacks where the answer is known: linear models, the loss by loops, the bisection."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from advlab import threat
from advlab.attacks import AdaptiveCWL2, AdaptiveFGSM, AdaptivePGD
from advlab.attacks.weighed import Bisection, Weighed
from advlab.goals import TARGETED, UNDETECTED
from advlab.models import predict

from .conftest import images
from .rejecting import Rejects, won


class Plane(nn.Module):
    """The logits 0 and w·x + b."""

    def __init__(self, shape, seed):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.register_buffer("w", torch.randn(shape, generator=source, dtype=torch.float64))
        self.b = -0.5 * self.w.sum()

    def forward(self, x):
        z = (x * self.w).flatten(1).sum(1) + self.b
        return torch.stack([torch.zeros_like(z), z], 1)


def possible(model, x, y, eps):
    """The largest t: wrong by t‖w‖₁ and under the threshold by t‖v‖₁, within ε of x in the box."""
    w = model.network.w.flatten() * (1 - 2 * y)  # to be raised
    b = model.network.b * (1 - 2 * y)
    v, n = model.v.flatten(), x.numel()
    rows = torch.stack([torch.cat([-w, w.abs().sum()[None]]), torch.cat([v, v.abs().sum()[None]])])
    bounds = [(max(0, p - eps), min(1, p + eps)) for p in x.flatten().tolist()] + [(None, None)]
    cost = [0.0] * n + [-1.0]
    found = linprog(cost, rows.numpy(), [float(b), model.tau], bounds=bounds)
    return -found.fun


@pytest.mark.parametrize("units", [1e-4, 1.0, 1e4])
def test_it_succeeds_where_a_linear_program_says_that_it_can(units):
    """In whatever units the alarm counts; the fixed weight of ``goal="undetected"`` cannot."""
    model = Rejects(Plane((1, 4, 5), 2), (1, 4, 5), units=units)
    x = images(40, size=(4, 5))
    y = predict(model.network, x)
    model.tau = model.over(x).quantile(0.5).item()
    eps = 0.15
    best = torch.tensor([possible(model, *each, eps) for each in zip(x, y, strict=True)])
    for attack, slack in (
        (AdaptivePGD(eps=eps, steps=30, weights=8), 0.02),
        (AdaptiveFGSM(eps=eps, weights=12), 0.05),
    ):
        reached = won(model, attack(model, x, y), y)
        assert not reached[best < 0].any()
        assert reached[best > slack].all()
        assert (best > slack).sum() > 10
        assert (best < 0).sum() > 3


def test_a_fixed_weight_depends_on_the_units():
    x = images(40, size=(4, 5))
    counts = []
    for units in (1e-4, 1.0, 1e4):
        model = Rejects(Plane((1, 4, 5), 2), (1, 4, 5), units=units)
        y = predict(model.network, x)
        model.tau = model.over(x).quantile(0.5).item()
        fixed = AdaptiveFGSM(eps=0.3, weights=1)
        searched = fixed.changed(weights=12)
        counts.append([int(won(model, a(model, x, y), y).sum()) for a in (fixed, searched)])
    fixed, searched = zip(*counts, strict=True)
    assert max(searched) - min(searched) <= 2
    assert min(fixed) < min(searched) / 2


def smallest(w, a, v, b):
    """The norm of the smallest δ with w·δ ≥ a and v·δ ≤ b: none, one or both hold with equality."""
    rows, values = torch.stack([w, -v]), torch.stack([a, -b])
    sizes = []
    for count in (0, 1, 2):
        for active in map(list, itertools.combinations(range(2), count)):
            delta = torch.zeros_like(w)
            if active:
                delta = torch.linalg.pinv(rows[active]) @ values[active]
            if (rows @ delta >= values - 1e-9).all():
                sizes.append(delta.norm())
    return min(sizes)


@pytest.mark.parametrize("units", [0.1, 10.0])
def test_the_smallest_perturbation_over_a_line_and_under_another(units):
    model = Rejects(Plane((1, 4, 5), 3), (1, 4, 5), units=units)
    x = 0.5 + 0.1 * (images(4, size=(4, 5)) - 0.5)
    y = predict(model.network, x)
    model.tau = model.over(x).min().item() - 0.2  # all are rejected: both must move
    sign = (1 - 2 * y).double()
    z = (x * model.network.w).flatten(1).sum(1) + model.network.b
    w, v = model.network.w.flatten(), model.v.flatten()
    expected = torch.stack(
        [
            smallest(s * w, -s * score, v, -over)
            for s, score, over in zip(sign, z, model.over(x), strict=True)
        ]
    )
    attack = AdaptiveCWL2(steps=100, searches=6, weights=4, c=0.1, abort_early=True)
    x_adv = attack(model, x, y)
    assert won(model, x_adv, y).all()
    size = threat.size(x_adv - x, "L2")
    assert (size >= expected * (1 - 1e-6)).all()
    assert (size / expected).mean() < 1.05


# --- the loss, and the search ---

numbers = st.floats(-20, 20, width=32)


@settings(deadline=None)
@given(st.lists(numbers, min_size=4, max_size=7), st.integers(0, 5), st.floats(1e-3, 1e3))
def test_loss_and_margin_against_loops(values, label, gamma):
    logits = torch.tensor([values], dtype=torch.float64)
    last = len(values) - 1
    label %= last
    y = torch.tensor([label])
    top = max(values[:last])
    noticed = top + gamma * (values[last] - top)
    other = max(v for k, v in enumerate(values[:last]) if k != label)
    goal = Weighed(UNDETECTED, gamma)
    wrong = other - values[label] - gamma * (values[last] - top)
    assert goal.loss(logits, y).item() == pytest.approx(wrong, abs=1e-9)
    short = other - max(values[label], noticed)
    assert goal.margin(logits, y).item() == pytest.approx(short, abs=1e-9)
    assert goal.reached(logits, y).equal(UNDETECTED.reached(logits, y))
    goal = Weighed(TARGETED, gamma)
    wrong = values[label] - other - gamma * (values[last] - top)
    assert goal.loss(logits, y).item() == pytest.approx(wrong, abs=1e-9)
    assert goal.margin(logits, y).item() == pytest.approx(
        values[label] - max(other, noticed), abs=1e-9
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4), st.floats(-3, 3))
def test_bisection_closes_in_on_any_weight(wanted, first):
    search, every = Bisection(len(wanted), 10**first), torch.arange(len(wanted))
    wanted = 10 ** torch.tensor(wanted, dtype=torch.float64)
    for _ in range(20):
        seen = torch.cat([rows for _, rows in search.groups(every)])
        assert seen.sort().values.equal(every)
        for gamma, rows in search.groups(every):
            assert (search.gamma[rows] == gamma).all()
            search.turn(rows, gamma < wanted[rows])
    assert (search.gamma / wanted).log10().abs().max() < 1e-3
