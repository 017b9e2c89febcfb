"""VAT: power iteration finds the Hessian's eigenvector, and no label is needed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev

from advlab.defenses import VAT, GaussianAugmentation
from advlab.models import LogisticRegression, accuracy
from advlab.training import CrossEntropy, fit


@pytest.fixture
def linear(device):
    """A softmax on 3 x 3 images in float64, and four images away from the edges of the box."""
    torch.manual_seed(2)
    model = LogisticRegression(classes=4, size=3).double().to(device).eval()
    with torch.no_grad():
        model.linear.weight *= 4
    return model, torch.rand(4, 1, 3, 3, dtype=torch.float64, device=device)


def top_eigenvectors(model, x):
    """Of the Hessian of r -> KL(p(x) ‖ p(x + r)) at 0, written out in full."""
    found = []
    for image in x:
        p = model(image[None]).log_softmax(1).detach()

        def divergence(r, image=image, p=p):
            q = model((image + r)[None]).log_softmax(1)
            return (p.exp() * (p - q)).sum()

        hessian = jacrev(jacrev(divergence))(torch.zeros_like(image))
        found.append(torch.linalg.eigh(hessian.reshape(image.numel(), -1))[1][:, -1])
    return torch.stack(found)


def cosines(r, vectors):
    r = r.flatten(1)
    return ((r * vectors).sum(1) / r.norm(dim=1)).abs()


def test_power_iteration_finds_the_top_eigenvector_of_the_exact_hessian(linear):
    model, x = linear
    exact = top_eigenvectors(model, x)
    r = VAT(eps=0.7, xi=1e-5, iterations=100).perturbation(model, x)
    assert torch.allclose(r.flatten(1).norm(dim=1), torch.full_like(r[:, 0, 0, 0], 0.7))
    assert cosines(r, exact).min() > 1 - 1e-6


def test_one_iteration_is_already_better_than_a_random_direction(linear):
    model, x = linear
    exact = top_eigenvectors(model, x)
    once = cosines(VAT(xi=1e-5).perturbation(model, x), exact).mean()
    assert once > cosines(torch.randn_like(x), exact).mean() + 0.2


def test_lds_is_half_the_largest_eigenvalue_times_eps_squared(linear):
    """Equation 9, ½ rᵀHr, for small ε. For two classes H = p(1 − p) (w₁ − w₀)(w₁ − w₀)ᵀ."""
    _, x = linear
    torch.manual_seed(0)
    model = LogisticRegression(classes=2, size=3).double().to(x.device).eval()
    p = model(x).softmax(1)[:, 0]
    w = model.linear.weight[1] - model.linear.weight[0]
    expected = (0.5 * p * (1 - p) * w.square().sum() * 1e-6).mean()
    found = VAT(eps=1e-3, xi=1e-5, clip=False).lds(model, x)
    assert torch.isclose(found, expected, rtol=2e-3)


def test_the_loss_is_the_plain_one_plus_the_weighted_smoothness(linear):
    model, x = linear
    y = torch.tensor([0, 1, 2, 3], device=x.device)
    objective = VAT(eps=0.5, weight=3.0)
    torch.manual_seed(5)
    whole = objective(model, x, y)
    torch.manual_seed(5)
    smooth = objective.lds(model, x)
    assert smooth > 0.01
    assert torch.isclose(whole, F.cross_entropy(model(x), y) + 3 * smooth)


@pytest.mark.parametrize("without", [{"eps": 0.0}, {"weight": 0.0}])
def test_without_a_perturbation_or_a_weight_it_is_the_plain_loss(linear, without):
    model, x = linear
    y = torch.tensor([0, 1, 2, 3], device=x.device)
    assert torch.isclose(VAT(**without)(model, x, y), CrossEntropy()(model, x, y))


def test_no_gradient_goes_through_the_target_distribution(linear):
    """The gradient of the KL with a constant p, by hand: (q − p) (x + r)ᵀ for a linear model."""
    model, x = linear
    objective = VAT(eps=0.5, clip=False)
    torch.manual_seed(1)
    r = objective.perturbation(model, x)
    torch.manual_seed(1)
    (found,) = torch.autograd.grad(objective.lds(model, x), model.linear.weight)
    with torch.no_grad():
        change = model(x + r).softmax(1) - model(x).softmax(1)
    assert torch.allclose(found, change.T @ (x + r).flatten(1) / len(x))


def test_unlabeled_images_alone_smooth_a_network(small_model, small_images):
    x, _ = small_images
    objective = VAT(eps=0.5, iterations=2)
    torch.manual_seed(0)
    before = objective.lds(small_model, x).item()
    optimizer = torch.optim.SGD(small_model.parameters(), 20.0)
    for _ in range(20):
        optimizer.zero_grad()
        objective.lds(small_model, x).backward()
        optimizer.step()
    assert objective.lds(small_model, x).item() < 0.5 * before


def two_moons(count, device, seed):
    """Two half circles as 1 x 1 x 2 images, with their classes."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    angle = torch.rand(count, generator=random) * torch.pi
    sign = 1 - 2 * y
    points = torch.stack((angle.cos() * sign + y, angle.sin() * sign + 0.5 * y), 1)
    points = points + 0.05 * torch.randn(count, 2, generator=random)
    x = (0.5 + 0.22 * (points - torch.tensor([0.5, 0.25]))).clamp(0, 1)
    return x.view(-1, 1, 1, 2).to(device), y.to(device)


def test_images_without_labels_help_where_labels_are_few(device):
    """Eight labeled points, 300 without: the paper's reason for VAT."""
    labeled, pool, test = (two_moons(n, device, s) for n, s in ((8, 3), (300, 4), (400, 5)))
    found = {}
    for name, objective in {
        "plain": CrossEntropy(),
        "vat": VAT(eps=0.06, xi=0.01, clip=False, unlabeled=pool[0]),
    }.items():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(2, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(),
            nn.Linear(50, 2),
        ).to(device)  # fmt: skip
        # Ten times each, since a step draws as many images without labels as it has with.
        many = (labeled[0].repeat(10, 1, 1, 1), labeled[1].repeat(10))
        fit(model, many, objective=objective, epochs=120, batch_size=80, lr=1e-2, progress=False)
        found[name] = accuracy(model, *test)
    assert found["vat"] >= found["plain"] + 0.1


def test_unlabeled_images_change_the_loss_and_are_not_copied(linear):
    model, x = linear
    y = torch.tensor([0, 1, 2, 3], device=x.device)
    pool = torch.rand(50, 1, 3, 3, device=x.device)
    objective = VAT(unlabeled=pool)
    assert objective.unlabeled is pool
    torch.manual_seed(0)
    with_pool = objective(model, x, y)
    torch.manual_seed(0)
    assert not torch.isclose(with_pool, VAT()(model, x, y))
    assert "tensor" not in repr(objective)


@settings(max_examples=15, deadline=None)
@given(
    eps=st.floats(0, 4), iterations=st.integers(1, 3), seed=st.integers(0, 99), clip=st.booleans()
)
def test_it_is_at_least_zero_and_finite_for_any_small_network(eps, iterations, seed, clip):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.rand(3, 1, 4, 4)
    objective = VAT(eps=eps, iterations=iterations, clip=clip)
    r = objective.perturbation(model, x)
    assert (r.flatten(1).norm(dim=1) <= eps * (1 + 1e-5)).all()
    assert -1e-6 <= objective.lds(model, x).item() < float("inf")


def test_a_constant_network_has_no_direction_and_no_smoothness_to_lose(device):
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).to(device)
    nn.init.zeros_(model[1].weight)
    x = torch.rand(2, 1, 3, 3, device=device)
    assert VAT().perturbation(model, x).abs().max() == 0
    assert VAT().lds(model, x).item() == pytest.approx(0, abs=1e-7)


def test_modes_batch_statistics_and_gradients_are_left_as_found(device):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3)
    ).to(device)
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.rand(4, 1, 8, 8, device=device)
    VAT().perturbation(model, x)
    assert [m.training for m in model] == [True, False, True, True, True]
    assert not model[0].weight.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_it_composes_with_noisy_copies(linear):
    """Around one another, in both orders: with σ = 0 the copies change nothing."""
    model, x = linear
    y = torch.tensor([0, 1, 2, 3], device=x.device)
    inside = VAT(eps=0.0, objective=GaussianAugmentation(sigma=0.0))
    outside = GaussianAugmentation(sigma=0.0, objective=VAT(eps=0.0))
    plain = F.cross_entropy(model(x), y)
    assert torch.isclose(inside(model, x, y), plain)
    assert torch.isclose(outside(model, x, y), plain)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"eps": -1}, "eps: expected a finite number, at least 0, found -1"),
        ({"xi": 0}, "xi: expected a finite number, at least 1e-06, found 0"),
        ({"iterations": 0}, "iterations: expected a whole number from 1, found 0"),
        ({"weight": -2}, "weight: expected a finite number, at least 0, found -2"),
        ({"unlabeled": torch.rand(3, 4)}, "unlabeled: expected shape"),
        ({"unlabeled": torch.full((1, 1, 2, 2), 2.0)}, "unlabeled: "),
        ({"unlabeled": torch.rand(0, 1, 2, 2)}, "unlabeled: expected at least one image"),
    ],
)
def test_bad_settings_are_told(change, says):
    with pytest.raises(ValueError, match=says):
        VAT(**change)


class Watched(nn.Module):
    """Remembers the images that it was asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.model(x)


@pytest.mark.parametrize("clip", [True, False])
def test_the_moved_images_are_clipped_if_asked(linear, clip):
    model, x = linear
    model = Watched(model)
    VAT(eps=3.0, clip=clip).lds(model, x)
    moved = model.asked[-1]
    assert ((moved >= 0) & (moved <= 1)).all().item() is clip


def test_as_many_images_without_labels_as_with_join_a_step(linear):
    model, x = linear
    model, y = Watched(model), torch.tensor([0, 1, 2, 3], device=x.device)
    pool = torch.rand(500, 1, 3, 3, dtype=x.dtype, device=x.device)
    VAT(unlabeled=pool)(model, x, y)
    assert len(model.asked[0]) == 4  # those with labels alone
    assert len(model.asked[-1]) == 8
    (joined,) = (a for a in model.asked if len(a) == 8 and torch.equal(a[:4], x))
    assert len(joined[4:].unique(dim=0)) == 4
