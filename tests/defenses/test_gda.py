"""Noisy copies: what they are, what they cost, and how they compose."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.defenses import GaussianAugmentation, LabelSmoothing, PGDTraining, bounded
from advlab.training import CrossEntropy


class Watched(nn.Module):
    """Remembers the images that it was asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.model(x)


@settings(max_examples=20, deadline=None)
@given(copies=st.integers(1, 4), clip=st.booleans(), seed=st.integers(0, 99))
def test_with_no_noise_it_is_the_plain_loss(copies, clip, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    x, y = torch.rand(5, 1, 4, 4, dtype=torch.float64), torch.randint(3, (5,))
    objective = GaussianAugmentation(sigma=0.0, copies=copies, clip=clip)
    assert torch.isclose(objective(model, x, y), CrossEntropy()(model, x, y))


def test_the_images_come_first_and_then_the_copies_each_with_its_label(small_model, small_images):
    x, y = small_images
    model = Watched(small_model)
    loss = GaussianAugmentation(sigma=0.1, copies=3)(model, x, y)
    (asked,) = model.asked
    assert asked.shape == (48, 1, 8, 8)
    assert torch.equal(asked[:12], x)
    logits = small_model(asked).view(4, 12, -1)
    by_hand = torch.stack([F.cross_entropy(part, y) for part in logits]).mean()
    assert torch.isclose(loss, by_hand)


def test_the_noise_is_gaussian_of_that_size_and_its_own_for_each_copy(device):
    x = torch.full((8, 1, 40, 40), 0.5, device=device)
    y = torch.zeros(8, dtype=torch.int64, device=device)
    model = Watched(nn.Sequential(nn.Flatten(), nn.Linear(1600, 2)).to(device))
    GaussianAugmentation(sigma=0.2, copies=2, clip=False)(model, x, y)
    noise = model.asked[0][8:] - 0.5
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert (noise.pow(4).mean() / noise.var() ** 2).item() == pytest.approx(3, abs=0.15)
    overlap = torch.corrcoef(noise.flatten(1)) - torch.eye(16, device=device)
    assert overlap.abs().max() < 0.15


@pytest.mark.parametrize("clip", [True, False])
def test_the_copies_are_clipped_if_asked(small_model, small_images, clip):
    x, y = small_images
    model = Watched(small_model)
    GaussianAugmentation(sigma=0.5, clip=clip)(model, x, y)
    inside = (model.asked[0] >= 0) & (model.asked[0] <= 1)
    assert inside.all().item() is clip


def test_on_a_linear_score_the_noise_is_a_penalty_on_the_weights(device):
    """E[((w·(x+n) − y)²] = (w·x − y)² + σ²‖w‖²: Bishop's reading of training with noise."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 1)).double().to(device)
    x, y = torch.rand(1, 1, 3, 3, dtype=torch.float64, device=device), torch.ones(1, device=device)

    def squares(model, x, y):
        return (model(x).squeeze(1) - y).square().mean()

    copies = 20_000
    noisy = GaussianAugmentation(sigma=0.4, copies=copies, clip=False, objective=squares)
    extra = (noisy(model, x, y) - squares(model, x, y)) * (copies + 1) / copies
    assert extra.item() == pytest.approx(0.16 * model[1].weight.square().sum().item(), rel=0.1)


def test_it_composes_with_adversarial_training_and_a_bounded_network(small_model, small_images):
    """The copies are attacked too: every image asked about is within ε of an image or a copy."""
    x, y = small_images
    model = Watched(bounded(small_model, 1.0))
    objective = GaussianAugmentation(
        sigma=0.2, objective=PGDTraining(eps=0.1, steps=2, objective=LabelSmoothing())
    )
    loss = objective(model, x, y)
    loss.backward()
    last = model.asked[-1]
    assert len(last) == 24
    moved = (last[:12] - x).abs().flatten(1).amax(1)
    assert (moved <= 0.1 + 1e-6).all()
    assert (moved > 0).all()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_what_changes_while_it_trains_changes_inside(device):
    """A ramp of ε inside the noisy copies: ``fit`` asks ``at``."""
    objective = GaussianAugmentation(sigma=0.1, objective=PGDTraining(eps=0.2, ramp=0.5))
    assert objective.at(0.25).objective.eps == pytest.approx(0.1)
    assert objective.at(0.25).sigma == 0.1
    assert objective.at(0.5) is objective
    plain = GaussianAugmentation()
    assert plain.at(0.0) is plain


def test_the_same_random_state_gives_the_same_loss_and_no_mode_changes(small_model, small_images):
    x, y = small_images
    objective = GaussianAugmentation(sigma=0.3)
    small_model.train()
    torch.manual_seed(3)
    first = objective(small_model, x, y)
    second = objective(small_model, x, y)
    torch.manual_seed(3)
    assert objective(small_model, x, y) == first != second
    assert small_model.training


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sigma": -0.1}, "sigma: expected a finite number, at least 0, found -0.1"),
        ({"sigma": float("nan")}, "sigma: expected a finite number"),
        ({"copies": 0}, "copies: expected a whole number from 1, found 0"),
        ({"copies": 1.5}, "copies: expected a whole number from 1, found 1.5"),
    ],
)
def test_bad_settings_are_told(change, says):
    with pytest.raises(ValueError, match=says):
        GaussianAugmentation(**change)
