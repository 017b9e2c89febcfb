"""The boundary attack: the closed form, the geometry of a step, the step sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import Boundary
from advlab.attacks.boundary import _follow

from .conftest import BinaryLinear, images


@pytest.mark.parametrize(("queries", "most"), [(1000, 1.05), (3000, 1.01)])
def test_the_nearest_point_of_a_linear_boundary(queries, most, device):
    """|w·x + b| / ‖w‖. No image may be nearer, none much farther."""
    model = BinaryLinear((1, 6, 7)).to(device)
    x = 0.3 + 0.4 * images(40).to(device)
    with torch.no_grad():
        score = model(x)[:, 1]
    nearest = score.abs() / model.w.detach().norm()
    found = threat.size(Boundary(queries=queries)(model, x, (score > 0).long()) - x, "L2")
    assert (found >= nearest * (1 - 1e-9)).all()
    assert (found <= nearest * most).all()


def test_a_sideways_step_stays_on_the_sphere():
    x = torch.full((5, 3, 4, 5), 0.5, dtype=torch.float64)
    source = torch.Generator().manual_seed(0)
    at = x + 0.05 * torch.randn(x.shape, generator=source, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=source, dtype=torch.float64)
    delta = torch.tensor([1e-6, 0.01, 0.1, 0.5, 1.0], dtype=torch.float64)
    moved = Boundary._sideways(x, at, noise, delta)
    radius = threat.size(at - x, "L2")
    torch.testing.assert_close(threat.size(moved - x, "L2"), radius)
    # η = δD at a right angle: the tangent of the angle between the old and the new is δ.
    cosine = ((at - x) * (moved - x)).flatten(1).sum(1) / radius**2
    torch.testing.assert_close(cosine, 1 / (1 + delta**2).sqrt())


def test_a_sideways_step_stays_in_the_box(device):
    x = images(30).to(device)
    at, noise = images(30, seed=2).to(device), torch.randn_like(x)
    moved = Boundary._sideways(x, at, noise, torch.ones(30, dtype=x.dtype, device=device))
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_step_sizes_settle_where_the_wanted_fraction_succeeds():
    """Success with probability exp(−value): at rest the fraction is 0.3, so value is −ln 0.3."""
    value, rows = torch.full((200,), 0.01, dtype=torch.float64), torch.arange(200)
    source = torch.Generator().manual_seed(0)
    scale = 10.0
    history = []
    for _ in range(1500):
        chance = (-scale * value).exp()
        success = torch.rand(200, generator=source, dtype=torch.float64) < chance
        _follow(value, rows, success, 0.3, 0.05)
        history.append(success.double().mean())
    assert torch.stack(history[500:]).mean().item() == pytest.approx(0.3, abs=0.01)
    assert value.median().item() == pytest.approx(-torch.tensor(0.3).log().item() / scale, rel=0.1)
    _follow(value, rows[:100], torch.ones(100, dtype=torch.bool), 0.3, 1e3)
    assert (value[:100] == 1).all()  # a whole distance is the most
    assert (value[100:] < 0.5).all()


def test_every_tenth_step_asks_about_the_sideways_step_alone():
    """1 look, 2 starts at most, 10 bisections; then 11 queries for every 10 steps."""
    shown = []

    class Logged(nn.Module):
        def forward(self, x):
            shown.extend((x - 0.4).flatten(1).norm(dim=1).tolist())
            mean = x.flatten(1).mean(1)
            return torch.stack([torch.full_like(mean, 10.0), 20 * mean], 1)

    x = torch.full((1, 1, 9, 9), 0.4, dtype=torch.float64)
    Boundary(queries=400)(Logged(), x, torch.zeros(1, dtype=torch.int64))
    assert len(shown) == 400


@pytest.mark.parametrize("name", ["delta", "epsilon"])
@pytest.mark.parametrize("value", [0, -0.1, 2, float("nan")])
def test_step_sizes_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a finite number, at least 1e-09"):
        Boundary(**{name: value})
