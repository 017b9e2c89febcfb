"""Fingerprints: how they are drawn, what they ask of a network, and how they are kept."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.defenses import (
    Fingerprinted,
    Fingerprints,
    FingerprintTraining,
    GaussianAugmentation,
    LabelSmoothing,
    PGDTraining,
)
from advlab.training import CrossEntropy, fit


def drawn(shape=(1, 8, 8), classes=5, *, seed=3, **changes) -> Fingerprints:
    return Fingerprints.draw(shape, classes, seed=seed, **changes)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).double()


@pytest.mark.parametrize("signs", ["random", "plus"])
def test_the_class_moves_one_way_by_beta_and_all_others_the_other_way_by_alpha(signs):
    dy = drawn(n=40, alpha=0.2, beta=0.9, signs=signs).dy
    for i in range(40):
        sign = dy[i, 0, 0].sign()
        for j in range(5):
            for k in range(5):
                wanted = 0.9 if j == k else -0.2
                assert dy[i, j, k].item() == pytest.approx(sign.item() * wanted)
    both = set(dy[:, 0, 0].sign().tolist())
    assert both == ({-1.0, 1.0} if signs == "random" else {1.0})


@pytest.mark.parametrize(
    ("distribution", "deviation", "kurtosis"), [("uniform", 0.2 / 3**0.5, 1.8), ("normal", 0.2, 3)]
)
def test_the_directions_are_uniform_in_a_box_or_normal(distribution, deviation, kurtosis):
    dx = drawn((2, 40, 40), n=20, eps=0.2, distribution=distribution).dx
    assert dx.shape == (20, 2, 40, 40)
    assert dx.mean().item() == pytest.approx(0, abs=0.004)
    assert dx.std().item() == pytest.approx(deviation, rel=0.02)
    assert (dx.pow(4).mean() / dx.var() ** 2).item() == pytest.approx(kurtosis, rel=0.04)
    assert (dx.abs().max() <= 0.2).item() is (distribution == "uniform")


def test_the_seed_is_all_and_the_global_random_state_is_left_alone():
    torch.manual_seed(1)
    first, after = drawn(seed=2**62 + 5), torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    again, other = drawn(seed=2**62 + 5), drawn(seed=2**62 + 6)
    assert torch.equal(first.dx, again.dx)
    assert torch.equal(first.dy, again.dy)
    assert not torch.equal(first.dx, other.dx)


def test_on_a_linear_network_the_response_is_that_of_w_dx(device):
    """h(x + Δx) = h(x) + WΔx, nothing clipped, and then normalized."""
    model, x = linear().to(device), torch.rand(6, 1, 8, 8, dtype=torch.float64, device=device)
    fingerprints = drawn(n=3, eps=2.0).to(device)
    h = x.flatten(1) @ model[1].weight.T + model[1].bias
    moved = h[:, None] + fingerprints.dx.double().flatten(1) @ model[1].weight.T
    expected = moved / moved.norm(dim=2, keepdim=True) - (h / h.norm(dim=1, keepdim=True))[:, None]
    found = fingerprints.response(model, x)
    torch.testing.assert_close(found, expected)
    assert torch.equal(drawn(n=3, eps=0.0).to(device).response(model, x), torch.zeros_like(found))


def test_distances_and_losses_by_a_slow_loop(small_model, small_images):
    x, y = small_images
    fingerprints = drawn(n=4).to(x.device)
    distances = fingerprints.distances(small_model, x)
    losses = fingerprints.losses(small_model, x)
    loss = fingerprints.loss(small_model, x, y)

    def phi(image):
        h = small_model(image[None])[0]
        return h / h.pow(2).sum().sqrt()

    for row, image in enumerate(x):
        for j in range(5):
            parts = [
                phi(image + dx) - phi(image) - dy[j]
                for dx, dy in zip(fingerprints.dx, fingerprints.dy, strict=True)
            ]
            norms = torch.stack([part.pow(2).sum().sqrt() for part in parts])
            assert distances[row, j].item() == pytest.approx(norms.mean().item(), abs=1e-5)
            assert losses[row, j].item() == pytest.approx(norms.pow(2).sum().item(), abs=1e-4)
        assert loss[row] == losses[row, y[row]]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), n=st.integers(1, 6), images=st.integers(0, 5))
def test_neither_their_order_nor_the_batch_counts(seed, n, images):
    model, x = linear(seed), torch.rand(images, 1, 8, 8, dtype=torch.float64)
    fingerprints = drawn(n=n, seed=seed)
    order = torch.randperm(n)
    mixed = Fingerprints(fingerprints.dx[order], fingerprints.dy[order])
    whole = fingerprints.distances(model, x)
    assert whole.shape == (images, 5)
    torch.testing.assert_close(mixed.distances(model, x), whole)
    for row in range(images):
        torch.testing.assert_close(
            fingerprints.distances(model, x[row : row + 1]), whole[row : row + 1]
        )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 50))
def test_logits_may_be_of_any_scale(seed, scale):
    model, x = linear(seed), torch.rand(3, 1, 8, 8, dtype=torch.float64)
    found = drawn(n=3).distances(lambda x: scale * model(x), x)
    torch.testing.assert_close(found, drawn(n=3).distances(model, x))


def test_with_both_signs_no_network_makes_all_changes():
    """φ, φ + d and φ − d are of length 1 only for d = 0; with one sign there is such a φ."""
    torch.manual_seed(0)
    d = drawn(classes=10, n=1, signs="plus").dy[0, 3]
    phi = nn.functional.normalize(torch.randn(20_000, 10), dim=1)
    side = (phi @ d / d.norm())[:, None]
    # Every cosine between φ and d, from −1 to 1.
    cosine = torch.linspace(-1, 1, len(phi))[:, None]
    unit = d / d.norm()
    phi = cosine * unit + (1 - cosine**2).sqrt() * nn.functional.normalize(phi - side * unit, dim=1)
    away = [((phi + sign * d).norm(dim=1) - 1).abs() for sign in (1, -1)]
    assert away[0].min() < 1e-3
    assert (away[0].square() + away[1].square()).min() > 0.4


def test_the_objective_is_l0_and_the_weighted_loss(small_model, small_images):
    x, y = small_images
    fingerprints = drawn().to(x.device)
    plain, away = CrossEntropy()(small_model, x, y), fingerprints.loss(small_model, x, y).mean()
    for weight in (0.0, 0.3, 2.0):
        found = FingerprintTraining(fingerprints=fingerprints, weight=weight)(small_model, x, y)
        torch.testing.assert_close(found, plain + weight * away)


def test_its_gradient_goes_through_both_images(device):
    model = linear().to(device)
    x, y = torch.rand(4, 1, 8, 8, dtype=torch.float64, device=device), torch.tensor([0, 1, 2, 4])
    y = y.to(device)
    fingerprints, weight = drawn(n=2).to(device), model[1].weight
    objective = FingerprintTraining(fingerprints=fingerprints, weight=0.7)
    (found,) = torch.autograd.grad(objective(model, x, y), weight)
    step, flat = 1e-6, weight.detach().clone()
    for row, column in ((0, 0), (3, 17), (4, 63)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.copy_(flat)
                weight[row, column] += sign * step
            values.append(objective(model, x, y).item())
        slope = (values[0] - values[1]) / (2 * step)
        assert found[row, column].item() == pytest.approx(slope, abs=1e-6)


def test_it_composes_around_and_inside_other_objectives(small_model, small_images):
    x, y = small_images
    fingerprints = drawn().to(x.device)
    small_model.train()
    smooth = LabelSmoothing()
    inside = FingerprintTraining(fingerprints=fingerprints, weight=1.0, objective=smooth)
    expected = smooth(small_model, x, y) + fingerprints.loss(small_model, x, y).mean()
    torch.testing.assert_close(inside(small_model, x, y), expected)
    around = GaussianAugmentation(sigma=0.0, objective=inside)
    torch.testing.assert_close(around(small_model, x, y), expected)
    harder = FingerprintTraining(fingerprints=fingerprints, objective=PGDTraining(eps=0.2, steps=3))
    plain = FingerprintTraining(fingerprints=fingerprints)
    assert harder(small_model, x, y) > plain(small_model, x, y)
    ramp = FingerprintTraining(
        fingerprints=fingerprints, objective=PGDTraining(eps=0.2, ramp=0.5)
    ).at(0.25)
    assert ramp.objective.eps == pytest.approx(0.1)
    assert ramp.fingerprints is fingerprints
    assert small_model.training


def test_training_lowers_the_loss_for_the_true_class_and_keeps_the_task(small_model, small_images):
    """Further than training without it does from the same weights."""
    x, y = small_images
    fingerprints = drawn(n=3, eps=0.5).to(x.device)
    start, found = copy.deepcopy(small_model.state_dict()), {}
    for weight in (0.0, 1.0):
        small_model.load_state_dict(start)
        objective = FingerprintTraining(fingerprints=fingerprints, weight=weight)
        fit(small_model, (x, y), objective=objective, epochs=60, lr=0.01, progress=False)
        with torch.no_grad():
            found[weight] = fingerprints.loss(small_model, x, y).mean().item()
            assert (small_model(x).argmax(1) == y).all()
    assert found[1.0] < 0.7 * found[0.0]


def test_saved_and_loaded(tmp_path):
    first = drawn(n=4, distribution="normal")
    path = first.save(tmp_path / "deep" / "secret.safetensors")
    assert [p.name for p in path.parent.iterdir()] == ["secret.safetensors"]
    again = Fingerprints.load(path)
    assert torch.equal(first.dx, again.dx)
    assert torch.equal(first.dy, again.dy)
    assert torch.equal(first[1:3].dx, first.dx[1:3])
    assert len(first[1:3]) == 2


def test_a_file_that_holds_something_else_is_told(tmp_path):
    path = drawn().save(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is damaged"):
        Fingerprints.load(path)
    from safetensors.torch import save_file

    save_file({"dx": torch.ones(1)}, tmp_path / "b")
    with pytest.raises(ValueError, match="holds no fingerprints"):
        Fingerprints.load(tmp_path / "b")
    with pytest.raises(FileNotFoundError, match="no fingerprints at"):
        Fingerprints.load(tmp_path / "c")


def test_a_network_carries_them_among_its_weights(small_model, small_images):
    x, _ = small_images
    model = Fingerprinted(small_model, drawn().to(x.device))
    assert torch.equal(model(x), small_model(x))
    other = Fingerprinted(small_model, drawn(seed=9).to(x.device))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.fingerprints.dx, model.fingerprints.dx)
    assert not any(p is b for p in model.parameters() for b in model.fingerprints.buffers())
    assert model.double().fingerprints.dx.dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": 0}, "n: expected a whole number, at least 1, found 0"),
        ({"classes": 1}, "classes: expected a whole number, at least 2, found 1"),
        ({"seed": -1}, "seed: expected a whole number, at least 0, found -1"),
        ({"eps": -0.1}, "eps: expected a finite number, at least 0, found -0.1"),
        ({"alpha": float("nan")}, "alpha: expected a finite number"),
        ({"distribution": "box"}, "distribution: found 'box', expected 'uniform' or 'normal'"),
        ({"signs": "minus"}, "signs: found 'minus', expected 'random' or 'plus'"),
    ],
)
def test_bad_settings_are_told(change, says):
    with pytest.raises(ValueError, match=says):
        drawn(**change)


def test_what_does_not_fit_is_told(small_model, small_images):
    x, y = small_images
    with pytest.raises(ValueError, match=r"expected images \(1, 9, 9\), as the fingerprints are"):
        drawn((1, 9, 9)).to(x.device).response(small_model, x)
    with pytest.raises(ValueError, match="expected 7 logits"):
        drawn(classes=7).to(x.device).response(small_model, x)
    with pytest.raises(ValueError, match="expected dx of shape"):
        Fingerprints(torch.rand(2, 1, 4, 4), torch.rand(3, 5, 5))
    with pytest.raises(ValueError, match="expected finite numbers"):
        Fingerprints(torch.full((1, 1, 4, 4), torch.nan), torch.zeros(1, 5, 5))
    with pytest.raises(ValueError, match="weight: expected a finite number, at least 0"):
        FingerprintTraining(fingerprints=drawn(), weight=-1.0)
    with pytest.raises(ValueError, match=r"fingerprints: expected advlab.defenses.Fingerprints"):
        FingerprintTraining(fingerprints=(x, y))
