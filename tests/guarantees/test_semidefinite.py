"""The semidefinite bound: above the worst loss that anybody finds, below the simpler bounds."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.attacks import PGD
from advlab.data import load
from advlab.guarantees import (
    MissingSolver,
    SemidefiniteTraining,
    TwoLayer,
    certified,
    dual_value,
    feasible_prices,
    pair_matrix,
    semidefinite_bound,
    semidefinite_certified,
    semidefinite_program,
)
from advlab.models import CNN, MLP, LogisticRegression, accuracy, load_model, predict
from advlab.training import fit

SIMPLE = ("semidefinite", "spectral", "frobenius")


def network(seed: int, hidden: int = 5, size: int = 3, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return MLP(classes=classes, size=size, hidden=(hidden,)).double().eval()


class Tripled(nn.Sequential):
    """Its layers are not all that it does."""

    def forward(self, x):
        return 3 * super().forward(x)


def corners(count: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=count)), dtype=torch.float64)


def largest_product(model: nn.Module, i: int, j: int) -> float:
    """max of sᵀ Wᵀ diag(v) t, s in [−1, 1]ᵈ and t in [0, 1]ᵐ: every corner of t, the best s."""
    W, V = model.layers[1].weight.detach(), model.layers[-1].weight.detach()
    t = (1 + corners(len(W))) / 2
    return ((t * (V[i] - V[j])) @ W).abs().sum(1).max().item()


# The bound ---------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), eps=st.sampled_from([0.01, 0.1, 1.0]))
def test_no_corner_of_the_ball_gains_more_than_the_bound(seed, eps):
    model = network(seed)
    G = semidefinite_bound(model)
    x = torch.rand(4, 1, 3, 3, dtype=torch.float64)
    delta = eps * corners(9).view(-1, 1, 3, 3)
    with torch.no_grad():
        before = model(x)
        after = torch.stack([model(image + delta) for image in x])
    gain = (after[:, :, :, None] - after[:, :, None, :]).amax(1)
    gain -= before[:, :, None] - before[:, None, :]
    assert (gain <= eps * G + 1e-9).all()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_it_lies_between_the_exact_maximum_and_grothendieck_times_it(seed):
    """Over s in [−1, 1]ᵈ and (1, u) in [−1, 1]^(1 + m), K_G < 1.783 bounds the relaxation."""
    model = network(seed, hidden=6)
    G = semidefinite_bound(model, steps=300)
    for i, j in itertools.permutations(range(3), 2):
        exact = largest_product(model, i, j)
        assert exact <= G[i, j] * (1 + 1e-9)
        assert G[i, j] <= 1.783 * exact


def test_one_neuron_of_one_pixel_is_exact():
    """v w t s is largest at |v w|: no relaxation is left, and all bounds agree."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        model[1].weight.fill_(-3.0)
        model[3].weight.copy_(torch.tensor([[0.5], [-1.5]]))
    for method in (*SIMPLE, "scs"):
        assert semidefinite_bound(model, method=method)[0, 1] == pytest.approx(6.0, rel=1e-3)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), hidden=st.integers(1, 12), size=st.integers(1, 4))
def test_semidefinite_is_below_spectral_is_below_frobenius(seed, hidden, size):
    model = network(seed, hidden, size)
    bounds = [semidefinite_bound(model, method=method, steps=300) for method in SIMPLE]
    assert (bounds[0] <= bounds[1] * 1.001).all()
    assert (bounds[1] <= bounds[2] * (1 + 1e-9)).all()
    for G in bounds:
        assert torch.equal(G, G.T)
        assert not G.diagonal().any()


def test_dead_neurons_and_equal_classes_have_their_bound():
    model = network(0)
    with torch.no_grad():
        model.layers[1].weight[:2] = 0
        model.layers[-1].weight[1] = model.layers[-1].weight[0]
    for method in SIMPLE:
        G = semidefinite_bound(model, method=method)
        assert G[0, 1] == pytest.approx(0, abs=1e-9)
        assert G[0, 2] >= largest_product(model, 0, 2)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_it_is_a_bound_after_any_number_of_steps(steps):
    for seed in range(10):
        model = network(seed)
        G = semidefinite_bound(model, steps=steps)
        assert all(largest_product(model, i, j) <= G[i, j] for i, j in [(0, 1), (0, 2), (1, 2)])


# The program and its dual ------------------------------------------------------------------------


def test_the_matrix_is_that_of_the_derivation():
    model = network(3)
    M, y = pair_matrix(model, 2, 0), corners(14)[::31]
    y = torch.cat([torch.ones(len(y), 1), y], 1)
    s, t = y[:, 1:10], (1 + y[:, 10:]) / 2
    W, V = model.layers[1].weight.detach(), model.layers[-1].weight.detach()
    expected = ((s @ W.T) * (V[2] - V[0]) * t).sum(1)
    torch.testing.assert_close(((y @ M) * y).sum(1) / 4, expected)
    assert torch.equal(M, M.T)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.01, 0.3, 3.0]))
def test_the_dual_is_a_bound_for_every_c(seed, spread):
    model = network(seed, hidden=4)
    M = pair_matrix(model, 0, 1)
    exact = 4 * largest_product(model, 0, 1)
    c = spread * torch.randn(len(M), dtype=torch.float64)
    assert dual_value(M, c) >= exact * (1 - 1e-9)
    held = feasible_prices(M, c)
    assert torch.linalg.eigvalsh(M - torch.diag(held))[-1] <= 1e-9 * held.max()
    assert held.sum() >= exact * (1 - 1e-9)


def test_the_solver_and_taking_turns_find_the_same_number():
    for seed in range(3):
        model = network(seed, hidden=8, size=4)
        M = pair_matrix(model, 0, 1)
        value, c = semidefinite_program(M)
        by_turns = 4 * semidefinite_bound(model, steps=200)[0, 1].item()
        assert by_turns == pytest.approx(value, rel=1e-3)
        held = dual_value(M, feasible_prices(M, c)).item()
        assert held == pytest.approx(by_turns, rel=0.01)
        assert held >= by_turns * (1 - 1e-4), "the dual is never below the optimum"


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_solver_that_is_stopped_early_still_gives_a_bound(steps):
    model = network(1, hidden=6)
    M = pair_matrix(model, 0, 1)
    _, c = semidefinite_program(M, max_steps=steps)
    assert dual_value(M, feasible_prices(M, c)) >= 4 * largest_product(model, 0, 1)


def test_without_the_solver_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(MissingSolver, match=r'pip install "advlab\[certify\]"'):
        semidefinite_program(torch.eye(2))
    assert semidefinite_bound(network(0)).any(), "which the default does not need"


# Certificates ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    test = load("mnist5k", device="cpu").test
    return test.x[::10], test.y[::10]


@pytest.fixture(scope="module")
def two_layer():
    return load_model("mnist-two-layer", "cpu")


@pytest.fixture(scope="module")
def bound(two_layer):
    return semidefinite_bound(two_layer)


@pytest.mark.parametrize("eps", [0.03, 0.1])
def test_pgd_never_fools_a_certified_digit(two_layer, bound, digits, eps):
    x, y = digits
    safe = semidefinite_certified(two_layer, x, y, eps, bound=bound)
    x_adv = PGD(eps=eps, steps=40)(two_layer, x, y)
    right = predict(two_layer, x_adv) == y
    assert right[safe].all()
    assert 0.3 < safe.double().mean() < right.double().mean()


def test_pgd_never_gains_more_than_the_bound(two_layer, bound, digits):
    x, y = digits
    with torch.no_grad():
        after, before = (
            two_layer(images).double() for images in (PGD(eps=0.1, steps=40)(two_layer, x, y), x)
        )
    gain = (after - after.gather(1, y[:, None])) - (before - before.gather(1, y[:, None]))
    assert (gain <= 0.1 * bound[y] + 1e-5).all()
    assert gain.amax() > 0.1 * 0.2 * bound.max()


def test_the_network_carries_its_own_certificate(two_layer, bound, digits):
    own = semidefinite_bound(two_layer, method="trained")
    other = ~torch.eye(10, dtype=bool)
    assert (own >= bound * (1 - 1e-3)).all(), "the optimum is below every dual value"
    assert (own[other] < 1.5 * bound[other]).all()
    spectral = semidefinite_bound(two_layer, method="spectral")
    assert (own[other] < spectral[other]).all()
    safe = semidefinite_certified(two_layer, *digits, 0.1, bound=own)
    assert (safe <= semidefinite_certified(two_layer, *digits, 0.1, bound=bound)).all()
    assert safe.any()


def test_at_eps_0_what_is_right_is_certified(two_layer, digits):
    x, y = digits
    safe = semidefinite_certified(two_layer, x, y, 0.0, slack=0.0)
    assert torch.equal(safe, predict(two_layer, x) == y)


def test_the_other_bounds_read_this_network_too(two_layer, digits):
    x, y = (part[:10] for part in digits)
    assert certified(two_layer, x, y, 0.01, method="ibp").any()


# Training ----------------------------------------------------------------------------------------


def test_the_training_bound_is_the_reported_one():
    torch.manual_seed(0)
    model = TwoLayer(6, classes=4, size=3).double()
    with torch.no_grad():
        model.log_c.normal_()
    found = SemidefiniteTraining(power=500).bound(model)
    own = semidefinite_bound(model, method="trained")
    i, j = torch.triu_indices(4, 4, 1)
    torch.testing.assert_close(found, own[i, j], rtol=1e-4, atol=0)


def test_its_gradient_is_the_slope():
    torch.manual_seed(0)
    model = TwoLayer(5, classes=3, size=2).double()
    objective = SemidefiniteTraining(power=300)
    for parameter in (model.log_c, model.layers[1].weight, model.layers[-1].weight):
        (gradient,) = torch.autograd.grad(objective.bound(model).sum(), parameter)
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-5)
                values.append(objective.bound(model).sum())
                parameter.sub_(direction, alpha=sign * 1e-5)
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-3, abs=1e-5)


def test_strength_0_is_the_plain_loss_and_more_is_a_smaller_bound():
    data = load("mnist5k", device="cpu").train
    data = (data.x[::16], data.y[::16])
    bounds = []
    for strength in (0.0, 0.02):
        torch.manual_seed(0)
        model = TwoLayer(10)
        objective = SemidefiniteTraining(strength=strength, power=3)
        if strength == 0:
            plain = nn.functional.cross_entropy(model(data[0]), data[1])
            torch.testing.assert_close(objective(model, *data), plain)
        fit(model, data, objective=objective, epochs=5, batch_size=32, lr=1e-2, progress=False)
        bounds.append(semidefinite_bound(model, steps=10).max())
        assert accuracy(model, *data) > 0.5, "chance is 0.1"
    assert bounds[1] < 0.7 * bounds[0]


def test_it_composes_with_another_objective():
    torch.manual_seed(0)
    model = TwoLayer(4, classes=3, size=2)
    x, y = torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1])

    def constant(model, x, y):
        return model(x).sum() * 0 + 7

    found = SemidefiniteTraining(strength=0.5, power=200, objective=constant)(model, x, y)
    expected = 7 + 0.5 * SemidefiniteTraining(power=200).bound(model).mean()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (LogisticRegression(), "found Flatten, Linear;"),
        (MLP(), "found Flatten, Linear, ReLU, Linear, ReLU, Linear"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2)), "Sigmoid"),
        (CNN(), "Conv2d"),
        # Of images these make no logits of this network.
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "found Linear, ReLU, Linear"),
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)), "found Linear"),
        (Tripled(*network(0)), "found Tripled"),
    ],
)
def test_another_network_is_refused_by_its_layers(model, found):
    with pytest.raises(ValueError, match=found):
        semidefinite_bound(model)


def test_bad_input_is_named():
    model = network(0)
    x, y = torch.rand(2, 1, 3, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="method: found 'sdp', expected one of semidefinite"):
        semidefinite_bound(model, method="sdp")
    with pytest.raises(ValueError, match="steps: expected a whole number, at least 1, found 0"):
        semidefinite_bound(model, steps=0)
    with pytest.raises(ValueError, match="expected a TwoLayer, which carries prices c, found MLP"):
        semidefinite_bound(model, method="trained")
    with pytest.raises(ValueError, match="j: expected a class below 3, found 3"):
        pair_matrix(model, 0, 3)
    with pytest.raises(ValueError, match="eps: expected a number of at least 0, found -1"):
        semidefinite_certified(model, x, y, -1)
    with pytest.raises(ValueError, match=r"bound: expected shape \(3, 3\), found \(2, 2\)"):
        semidefinite_certified(model, x, y, 0.1, bound=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="y: expected class numbers below 3, found 5"):
        semidefinite_certified(model, x, y + 4, 0.1)
    with pytest.raises(ValueError, match="model: expected a TwoLayer, found MLP"):
        SemidefiniteTraining()(model, x.double(), y)
    with pytest.raises(ValueError, match="strength: expected a finite number, at least 0"):
        SemidefiniteTraining(strength=-1)
