"""Label smoothing: one loss under two names, and where it is least."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.defenses import GaussianAugmentation, LabelSmoothing
from advlab.training import CrossEntropy


def test_it_is_the_cross_entropy_with_its_own_default(small_model, small_images):
    x, y = small_images
    assert isinstance(LabelSmoothing(), CrossEntropy)
    found = LabelSmoothing()(small_model, x, y)
    assert found == CrossEntropy(label_smoothing=0.1)(small_model, x, y)
    assert found != CrossEntropy()(small_model, x, y)


@settings(max_examples=20, deadline=None)
@given(s=st.floats(0, 0.95), classes=st.integers(2, 12), seed=st.integers(0, 99))
def test_it_is_the_definition(s, classes, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, classes)).double()
    x, y = torch.rand(5, 1, 3, 3, dtype=torch.float64), torch.randint(classes, (5,))
    q = (1 - s) * F.one_hot(y, classes) + s / classes
    by_hand = -(q * model(x).log_softmax(1)).sum(1).mean()
    assert torch.isclose(LabelSmoothing(label_smoothing=s)(model, x, y), by_hand)


@pytest.mark.parametrize(("s", "classes"), [(0.1, 10), (0.3, 4)])
def test_the_loss_is_least_where_the_docstring_says(s, classes):
    """Gradient descent on free logits ends log(1 + K(1 − s)/s) apart."""
    logits = torch.zeros(1, classes, dtype=torch.float64)
    for _ in range(700):
        logits.requires_grad_(True)
        loss = F.cross_entropy(logits, torch.tensor([0]), label_smoothing=s)
        logits = (logits - 5 * torch.autograd.grad(loss, logits)[0]).detach()
    gaps = logits[0, 0] - logits[0, 1:]
    expected = math.log(1 + classes * (1 - s) / s)
    assert torch.allclose(gaps, torch.full_like(gaps, expected), atol=1e-6)


def test_the_other_way_of_writing_it():
    """1 − s′ and s′/(K − 1) is s = s′ K/(K − 1)."""
    classes, other = 10, 0.1
    s = other * classes / (classes - 1)
    assert (1 - s) + s / classes == pytest.approx(1 - other)
    assert s / classes == pytest.approx(other / (classes - 1))


def test_it_composes(small_model, small_images):
    x, y = small_images
    noisy = GaussianAugmentation(sigma=0.0, objective=LabelSmoothing())
    assert torch.isclose(noisy(small_model, x, y), LabelSmoothing()(small_model, x, y))


@pytest.mark.parametrize("s", [-0.1, 1.0, float("nan")])
def test_a_bad_smoothing_is_told(s):
    with pytest.raises(ValueError, match="label_smoothing: expected 0 <= s < 1"):
        LabelSmoothing(label_smoothing=s)
