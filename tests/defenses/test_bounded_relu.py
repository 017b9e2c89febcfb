"""Bounded ReLU: the definition, the bound that it buys, and the copy of a network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.defenses import BoundedReLU, bounded
from advlab.models import CNN, MLP, LogisticRegression


@settings(max_examples=30, deadline=None)
@given(t=st.floats(0.01, 10), seed=st.integers(0, 99))
def test_it_is_the_definition(t, seed):
    torch.manual_seed(seed)
    x = 8 * torch.randn(50)
    by_hand = torch.minimum(torch.maximum(x, torch.tensor(0.0)), torch.tensor(t))
    assert torch.equal(BoundedReLU(t)(x), by_hand)


def test_its_slope_is_1_between_0_and_t_and_0_elsewhere(device):
    x = torch.tensor([-1.0, 0.0, 0.3, 0.9, 1.0, 5.0], device=device, requires_grad=True)
    (slope,) = torch.autograd.grad(BoundedReLU(1.0)(x).sum(), x)
    assert slope.tolist() == [0, 0, 1, 1, 0, 0]


@settings(max_examples=30, deadline=None)
@given(t=st.floats(0.1, 3), seed=st.integers(0, 99), size=st.floats(0, 1000))
def test_the_output_moves_by_at_most_t_times_the_sum_of_weights(t, seed, size):
    torch.manual_seed(seed)
    model = bounded(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), t)
    x, delta = torch.randn(20, 6), size * torch.randn(20, 6)
    bound = t * model[2].weight.abs().sum(1)
    assert ((model(x + delta) - model(x)).abs() <= bound * (1 + 1e-5) + 1e-6).all()


def test_a_relu_without_a_bound_breaks_that_bound():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))
    x, delta = torch.randn(20, 6), 1000 * torch.randn(20, 6)
    assert ((model(x + delta) - model(x)).abs() > model[2].weight.abs().sum(1)).any()


def test_the_copy_has_the_weights_and_the_original_is_left_alone(device):
    model = CNN().to(device)
    model.classifier.eval()
    copy = bounded(model, 0.5)
    kinds = [type(m) for m in copy.modules()]
    assert kinds.count(BoundedReLU) == 3
    assert nn.ReLU not in kinds
    assert not any(isinstance(m, BoundedReLU) for m in model.modules())
    assert [m.training for m in copy.modules()] == [m.training for m in model.modules()]
    mine, theirs = model.state_dict(), copy.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    with torch.no_grad():
        copy.features[0].weight.zero_()
    assert model.features[0].weight.abs().max() > 0
    assert "BoundedReLU(t=0.5)" in repr(copy)


def test_a_bound_that_nothing_reaches_changes_nothing_and_a_low_one_does(device):
    model = MLP(classes=3, size=4, hidden=(10,)).to(device).eval()
    x = torch.rand(5, 1, 4, 4, device=device)
    assert torch.equal(bounded(model, 1e6)(x), model(x))
    assert not torch.allclose(bounded(model, 0.05)(x), model(x))


def test_one_relu_in_two_places_and_one_that_is_the_whole_model():
    act = nn.ReLU(inplace=True)
    model = bounded(nn.Sequential(nn.Linear(2, 3), act, nn.Linear(3, 3), act), 2.0)
    assert [type(m) for m in model] == [nn.Linear, BoundedReLU, nn.Linear, BoundedReLU]
    assert model[1].inplace
    assert bounded(nn.ReLU(), 1.5).t == 1.5


@pytest.mark.parametrize("t", [0, -1, float("inf"), float("nan"), "1"])
def test_a_bad_bound_is_told(t):
    with pytest.raises(ValueError, match="t: expected a finite number above 0"):
        BoundedReLU(t)
    with pytest.raises(ValueError, match="t: expected a finite number above 0"):
        bounded(CNN(), t)


def test_a_model_without_relu_modules_is_told():
    with pytest.raises(ValueError, match="found none in LogisticRegression"):
        bounded(LogisticRegression(), 1.0)
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module"):
        bounded(torch.relu, 1.0)


class Twisted(nn.Module):
    """Its buffer is computed from a weight: torch cannot copy it."""

    def __init__(self):
        super().__init__()
        self.linear, self.relu = nn.Linear(2, 2), nn.ReLU()
        self.register_buffer("twice", 2 * self.linear.weight)

    def forward(self, x):
        return self.relu(torch.relu(10 * self.linear(x)))


def test_a_model_that_cannot_be_copied_is_told():
    with pytest.raises(ValueError, match=r"Twisted cannot be copied.*detach it"):
        bounded(Twisted(), 1.0)


def test_modules_inside_modules_are_found_and_calls_are_not():
    model = Twisted()
    model.twice = model.twice.detach()
    outer = bounded(nn.Sequential(model, nn.ReLU6()), 0.5)
    assert isinstance(outer[0].relu, BoundedReLU)
    assert isinstance(outer[1], nn.ReLU6)
    assert torch.relu(10 * outer[0].linear(torch.ones(1, 2))).max() > 0.5  # as the docstring warns
