"""HopSkipJump: the closed form, the estimate, the schedule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab import backend, threat
from advlab.attacks import HopSkipJump
from advlab.attacks.attacked import AttackedModel
from advlab.attacks.decisions import Oracle
from advlab.goals import UNTARGETED

from .conftest import BinaryLinear, images


@pytest.fixture
def linear(device):
    """A linear model, images away from the edges of the box, their classes and scores."""
    model = BinaryLinear((1, 6, 7)).to(device)
    x = 0.3 + 0.4 * images(40).to(device)
    with torch.no_grad():
        score = model(x)[:, 1]
    order = score.abs().argsort()  # the first is so near that the box is out of the way
    x, score = x[order], score[order]
    return model, x, (score > 0).long(), score


@pytest.mark.parametrize(
    ("norm", "dual", "queries", "most"),
    [("L2", 2, 1000, 1.12), ("L2", 2, 4000, 1.03), ("Linf", 1, 1000, 1.2), ("Linf", 1, 4000, 1.08)],
)
def test_the_nearest_point_of_a_linear_boundary(norm, dual, queries, most, linear):
    """|w·x + b| / ‖w‖ with the dual norm. No image may be nearer, none much farther."""
    model, x, y, score = linear
    nearest = score.abs() / model.w.detach().norm(p=dual)
    found = threat.size(HopSkipJump(queries=queries, norm=norm)(model, x, y) - x, norm)
    assert (found >= nearest * (1 - 1e-9)).all()
    assert (found <= nearest * most).all()


def oracle_at(model, image, label, norm="L2", queries=10**6):
    """An oracle for one image that the model has right."""
    attacked = AttackedModel(model, image[None], UNTARGETED)
    return Oracle(attacked, image[None], label[None], norm, queries)


def test_the_estimate_points_along_the_gradient(linear):
    """At the boundary of a linear model the gradient is w. More probes, smaller angle."""
    model, x, y, score = linear
    w = model.w.detach()
    direction = w * (1 - 2 * y[0])  # toward the other class
    away = score[0].abs() / w.norm() * (1 + 1e-9)
    at = x[0] + away * direction / w.norm()
    streams = threat.Streams(x[:1], 0)
    oracle = oracle_at(model, x[0], y[0])
    radius = torch.tensor(1e-3, dtype=torch.float64, device=x.device)
    cosines = []
    for count in (50, 500, 5000):
        v = HopSkipJump()._direction(oracle, streams, 0, at, radius, count)
        assert v.norm().item() == pytest.approx(1)
        cosines.append(((v * direction).sum() / w.norm()).item())
    # Of n signs of normal projections in d dimensions: 1 / √(1 + (π / 2 − 1/n…) d / n), about.
    for count, cosine in zip((50, 500, 5000), cosines, strict=True):
        assert cosine == pytest.approx((1 + torch.pi / 2 * 42 / count) ** -0.5, abs=0.12)
    assert cosines == sorted(cosines)
    sign = HopSkipJump(norm="Linf")._direction(oracle, streams, 0, at, radius, 5000)
    assert set(sign.unique().tolist()) == {-1.0, 1.0}
    assert oracle.left.item() == 10**6 - 1 - 50 - 500 - 5000 - 5000


def test_the_baseline_helps_where_the_probes_are_lopsided(linear):
    """A little off the boundary most probes agree: without φ̄ their mean u adds to the noise."""
    model, x, y, score = linear
    w = model.w.detach()
    direction = w * (1 - 2 * y[0])
    radius = torch.tensor(1e-2, dtype=torch.float64, device=x.device)
    beyond = 1.5 * radius / 42**0.5  # 93% of the probes are on the far side
    at = x[0] + (score[0].abs() / w.norm() + beyond) * direction / w.norm()
    oracle = oracle_at(model, x[0], y[0])
    with_baseline, without = [], []
    for seed in range(20):
        v = HopSkipJump()._direction(oracle, threat.Streams(x[:1], seed), 0, at, radius, 128)
        with_baseline.append(((v * direction).sum() / w.norm()).item())
        u = threat.Streams(x[:1], seed).draw("normal", (128, *at.shape))[0]
        u = u / u.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        with torch.no_grad():
            phi = (model(at + radius * u).argmax(1) != y[0]).double() * 2 - 1
        assert 0.6 < phi.mean() < 1
        plain = torch.tensordot(phi, u, 1)
        without.append(((plain * direction).sum() / plain.norm() / w.norm()).item())
        # And it is the paper's sum, to rounding.
        exact = torch.tensordot(phi - phi.mean(), u, 1)
        torch.testing.assert_close(v, exact / exact.norm(), rtol=0, atol=1e-9)
    assert sum(with_baseline) > 1.2 * sum(without)


def test_a_direction_is_found_where_all_probes_agree(linear, device):
    model, x, y, _ = linear
    streams, oracle = threat.Streams(x[:1], 0), oracle_at(model, x[0], y[0])
    radius = torch.tensor(1e-6, dtype=torch.float64, device=device)
    v = HopSkipJump()._direction(oracle, streams, 0, x[0], radius, 30)
    assert v.norm().item() == pytest.approx(1)


def test_the_schedule_of_the_paper():
    """B_t = B₀√t, each step's probes shown beside those of the others: 100, 141, 173, 200."""
    shown = []

    class Logged(nn.Module):
        def forward(self, x):
            shown.append(len(x))
            mean = x.flatten(1).mean(1)
            return torch.stack([torch.full_like(mean, 10.0), 20 * mean], 1)

    x = torch.full((1, 1, 9, 9), 0.4)
    HopSkipJump(queries=1000)(Logged(), x, torch.zeros(1, dtype=torch.int64))
    probes = [n for n in shown if n > 1]
    # On the CPU at most 128 go through at once: 141 are 71 and 70.
    assert probes[:6] == [100, 71, 70, 87, 86, 100]
    assert sum(shown) <= 1000


@pytest.mark.parametrize("evals", [0, -5, 2.5])
def test_evals_out_of_range_are_refused(evals):
    with pytest.raises(ValueError, match="evals: expected a whole number from 1"):
        HopSkipJump(evals=evals)


def test_probes_are_at_a_distance_of_one_part_in_d(linear, monkeypatch):
    """δ_t = ‖x_t − x‖ / d, with x_t as the bisection left it."""
    model, x, y, _ = linear
    lengths = []
    direction, ask_many = HopSkipJump._direction, Oracle.ask_many
    points = []

    def spying(self, oracle, streams, row, at, *rest):
        points.append(at)
        return direction(self, oracle, streams, row, at, *rest)

    def asked(self, candidates, row, batch_size=None):
        lengths.append(threat.size(candidates - points[-1], "L2") * 42)
        lengths[-1] /= threat.size(points[-1][None] - self.x[[row]], "L2")
        return ask_many(self, candidates, row, batch_size)

    monkeypatch.setattr(HopSkipJump, "_direction", spying)
    monkeypatch.setattr(Oracle, "ask_many", asked)
    HopSkipJump(queries=600)(model, x[:5], y[:5])
    lengths = torch.cat(lengths)
    assert len(lengths) > 5 * 300
    assert (lengths <= 1 + 1e-6).all()
    assert lengths.median().item() == pytest.approx(1)  # some are clipped to the box


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_nearest_image_that_was_asked_about_is_returned(norm, cnn, x, y, monkeypatch):
    """A step can end farther from x than the one before, the more so with few probes."""
    asked = {}
    ask = Oracle.ask

    def spying(self, candidates, rows):
        reached = ask(self, candidates, rows)
        size = threat.size(candidates - self.x[rows], self.norm)
        for row, length in zip(rows[reached].tolist(), size[reached].tolist(), strict=True):
            asked.setdefault(row, []).append(length)
        return reached

    monkeypatch.setattr(Oracle, "ask", spying)
    found = threat.size(HopSkipJump(queries=300, evals=3, norm=norm)(cnn, x, y) - x, norm)
    best = [min(asked[i]) for i in range(len(x))]
    assert found.tolist() == pytest.approx(best, rel=1e-9)
    assert sum(asked[i][-1] > 1.001 * best[i] for i in range(len(x))) > 0


class Limited(nn.Module):
    """Has no memory for more than 16 images."""

    def __init__(self, model):
        super().__init__()
        self.model, self.largest = model, 0

    def forward(self, x):
        self.largest = max(self.largest, len(x))
        if len(x) > 16:
            raise torch.OutOfMemoryError("no room")
        return self.model(x)


def test_probes_go_through_in_batches_and_are_the_same(cnn, x, y, monkeypatch):
    """However large the batch, which depends on the device, and where memory runs out."""
    whole = HopSkipJump(queries=700)(cnn, x[:5], y[:5])
    small = Limited(cnn)
    found = HopSkipJump(queries=700, batch_size=7)(small, x[:5], y[:5])
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-9)
    assert small.largest == 7
    monkeypatch.setitem(backend.BATCH_SIZE, x.device.type, 2048)
    found = HopSkipJump(queries=700)(cnn, x[:5], y[:5])
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-9)
    full = Limited(cnn)
    found = HopSkipJump(queries=700)(full, x[:5], y[:5])
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-9)
    assert full.largest > 16
