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


@pytest.fixture(scope="module")
def walk():
    """A run on a linear boundary, of so many pixels that it stays far from its end.

    Of each query from the first step on, (queries, 20 images): the distance, as a part of the
    smallest before it, and whether it was adversarial.
    """
    x = torch.full((20, 1, 28, 28), 0.4, dtype=torch.float64)
    x += 0.001 * torch.arange(20).view(-1, 1, 1, 1)  # streams are keyed by the image
    start = torch.full((1, 1, 28, 28), 0.4, dtype=torch.float64)
    start.view(-1)[::2] = 0.9  # the walk never meets the edges of the box
    nearest = torch.full((20,), torch.inf, dtype=torch.float64)
    parts, answers = [], []

    class Logged(nn.Module):
        def forward(self, z):
            mean = z.flatten(1).mean(1)
            distance, reached = threat.size(z - x, "L2"), mean > 0.5
            parts.append(distance / nearest)
            answers.append(reached)
            nearest[:] = torch.where(reached, distance.minimum(nearest), nearest)
            return torch.stack([torch.full_like(mean, 10.0), 20 * mean], 1)

    labels = torch.zeros(20, dtype=torch.int64)
    Boundary(queries=2003, starts=start)(Logged(), x, labels)
    # The first look, the start, 10 bisections; at the end a step away from the boundary.
    return torch.stack(parts)[12:-1], torch.stack(answers)[12:-1].double()


def test_every_tenth_step_asks_about_the_sideways_step_alone(walk):
    """So 11 queries for every 10 steps, of which the second stays at its distance."""
    parts, _ = walk
    sideways = torch.arange(len(parts)) % 11 == 1
    # At least: the whole step before it may just have come closer.
    assert (parts[sideways] > 1 - 1e-12).all()
    assert (parts[~sideways] < 1 - 1e-8).all()


def test_as_many_steps_succeed_as_wanted(walk):
    """0.2 of the whole steps and 0.3 of the sideways ones, once ε and δ have settled."""
    _, answers = walk
    sideways = torch.arange(len(answers)) % 11 == 1
    settled = torch.arange(len(answers)) > 800
    assert answers[settled & ~sideways].mean().item() == pytest.approx(0.2, abs=0.03)
    assert answers[settled & sideways].mean().item() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("name", ["delta", "epsilon"])
@pytest.mark.parametrize("value", [0, -0.1, 2, float("nan")])
def test_step_sizes_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a finite number, at least 1e-09"):
        Boundary(**{name: value})


def test_where_x_itself_passes_it_ends():
    """A model that decides at random may name another class for x at the second look."""

    class Fickle(nn.Module):
        looks = 0

        def forward(self, x):
            assert x.isfinite().all()
            self.looks += 1
            answer = torch.tensor([3.0, 0.0] if self.looks == 1 else [0.0, 3.0]).to(x)
            return answer.expand(len(x), 2)

    x = images(4)
    x_adv = Boundary(queries=400)(Fickle(), x, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(x_adv, x)
