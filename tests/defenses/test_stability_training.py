"""Stability training: the distance in closed form, and what the clean loss does not see."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.defenses import LabelSmoothing, PGDTraining, StabilityTraining
from advlab.models import LogisticRegression
from advlab.training import CrossEntropy


@pytest.fixture
def linear(device):
    torch.manual_seed(0)
    model = LogisticRegression(classes=3, size=4).double().to(device)
    x = torch.rand(4000, 1, 4, 4, dtype=torch.float64, device=device)
    return model, x, torch.zeros(len(x), dtype=torch.int64, device=device)


@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_l2_on_a_linear_model_is_sigma_squared_times_the_squared_weights(linear, sigma):
    model, x, y = linear
    objective = StabilityTraining(sigma=sigma, alpha=1.0, distance="l2", clip=False)
    distance = objective(model, x, y) - CrossEntropy()(model, x, y)
    expected = sigma**2 * model.linear.weight.square().sum()
    assert distance.item() == pytest.approx(expected.item(), rel=0.05)


def test_kl_on_a_linear_model_is_half_the_trace_of_the_hessian_for_small_noise(linear):
    """E KL = ½ σ² tr(Wᵀ (diag p − ppᵀ) W)."""
    model, x, y = linear
    objective = StabilityTraining(sigma=0.02, distance="kl", clip=False)
    distance = objective(model, x, y) - CrossEntropy()(model, x, y)
    p, w = model(x).softmax(1), model.linear.weight
    fisher = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    expected = 0.5 * 0.02**2 * torch.einsum("nij,jd,id->n", fisher, w, w).mean()
    assert distance.item() == pytest.approx(expected.item(), rel=0.05)


@settings(max_examples=20, deadline=None)
@given(
    sigma=st.floats(0, 1), distance=st.sampled_from(["kl", "l2"]), clip=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_distance_is_never_negative_and_alpha_multiplies_it(sigma, distance, clip, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, y = torch.rand(4, 1, 4, 4, dtype=torch.float64), torch.randint(3, (4,))
    plain = CrossEntropy()(model, x, y)

    def extra(alpha):
        torch.manual_seed(seed)
        objective = StabilityTraining(sigma=sigma, alpha=alpha, distance=distance, clip=clip)
        return (objective(model, x, y) - plain).item()

    assert extra(1.0) >= -1e-12
    assert extra(2.5) == pytest.approx(2.5 * extra(1.0), abs=1e-9)
    assert extra(0.0) == pytest.approx(0, abs=1e-12)


def test_gradients_go_through_both_images(small_model, small_images):
    """Not through the noisy one alone: swapping the roles by hand gives the same gradient."""
    x, y = small_images
    objective = StabilityTraining(sigma=0.1, distance="l2", clip=False, objective=nothing)
    torch.manual_seed(4)
    noise = torch.randn_like(x) * 0.1
    torch.manual_seed(4)
    weight = small_model[3].weight
    (found,) = torch.autograd.grad(objective(small_model, x, y), weight)
    difference = small_model(x) - small_model(x + noise)
    (by_hand,) = torch.autograd.grad(difference.square().sum(1).mean(), weight)
    assert torch.allclose(found, by_hand, atol=1e-6)


def nothing(model, x, y):
    return x.new_zeros(())


def test_the_clean_loss_sees_the_clean_images_alone(small_model, small_images):
    x, y = small_images
    seen = []

    def watched(model, x, y):
        seen.append((x, y))
        return F.cross_entropy(model(x), y)

    StabilityTraining(sigma=0.3, objective=watched)(small_model, x, y)
    ((images, labels),) = seen
    assert images is x
    assert labels is y


def test_it_makes_the_answer_more_stable(small_model, small_images):
    x, _ = small_images
    objective = StabilityTraining(sigma=0.2, distance="l2", objective=nothing)
    torch.manual_seed(0)
    before = objective(small_model, x, None).item()
    optimizer = torch.optim.SGD(small_model.parameters(), 1.0)
    for _ in range(30):
        optimizer.zero_grad()
        objective(small_model, x, None).backward()
        optimizer.step()
    assert objective(small_model, x, None).item() < 0.5 * before


def test_it_composes_and_modes_are_kept(small_model, small_images):
    x, y = small_images
    small_model.train()
    smooth = LabelSmoothing()
    found = StabilityTraining(alpha=0.0, objective=smooth)(small_model, x, y)
    assert torch.isclose(found, smooth(small_model, x, y))
    harder = StabilityTraining(alpha=0.0, objective=PGDTraining(eps=0.2, steps=3))
    assert harder(small_model, x, y) > CrossEntropy()(small_model, x, y)
    assert small_model.training


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sigma": -1}, "sigma: expected a finite number, at least 0, found -1"),
        ({"alpha": -0.5}, "alpha: expected a finite number, at least 0, found -0.5"),
        ({"distance": "l1"}, "distance: found 'l1', expected 'kl' or 'l2'"),
    ],
)
def test_bad_settings_are_told(change, says):
    with pytest.raises(ValueError, match=says):
        StabilityTraining(**change)


@pytest.mark.parametrize("clip", [True, False])
def test_the_noisy_images_are_clipped_if_asked(small_model, small_images, clip):
    x, y = small_images
    asked = []
    small_model.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    StabilityTraining(sigma=0.5, clip=clip)(small_model, x, y)
    noisy = asked[0][len(x) :]
    assert ((noisy >= 0) & (noisy <= 1)).all().item() is clip


def test_the_divergences_gradients_go_through_the_clean_answer_too(small_model, small_images):
    x, y = small_images
    torch.manual_seed(4)
    objective = StabilityTraining(sigma=0.3, clip=False, objective=nothing)
    weight = small_model[3].weight
    (found,) = torch.autograd.grad(objective(small_model, x, y), weight)
    torch.manual_seed(4)
    p, q = (small_model(z).softmax(1) for z in (x, x + 0.3 * torch.randn_like(x)))
    (by_hand,) = torch.autograd.grad((p * (p / q).log()).sum(1).mean(), weight)
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=1e-4)
    torch.manual_seed(4)
    p, q = (small_model(z).softmax(1) for z in (x, x + 0.3 * torch.randn_like(x)))
    (held,) = torch.autograd.grad((p.detach() * (p.detach() / q).log()).sum(1).mean(), weight)
    assert not torch.allclose(found, held, atol=1e-6, rtol=1e-2)
