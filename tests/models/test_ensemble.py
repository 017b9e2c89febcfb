"""Several models as one: averages worked out by hand, and every attack runs on them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.attacks import FGSM, PGD
from advlab.models import Ensemble, frozen, leave_one_out, predict_logits


class Fixed(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, *logits):
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, x):
        return self.logits.expand(len(x), -1) + 0 * x.flatten(1).sum(1, keepdim=True)


class Overwrites(nn.Module):
    """A model whose first layer works in place."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.mul_(0.5))


@pytest.fixture
def other(device):
    torch.manual_seed(11)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).to(device)


def test_the_mean_of_probabilities_and_of_logits_by_hand():
    x = torch.rand(2, 1, 2, 2)
    first, second = Fixed(0.2, 0.8).double(), Fixed(0.6, 0.4).double()
    for model in (first, second):
        model.logits.log_()  # the softmax of log p is p
    x = x.double()
    mean = predict_logits(Ensemble(first, second), x).softmax(1)
    torch.testing.assert_close(mean, torch.tensor([[0.4, 0.6]] * 2, dtype=x.dtype))
    weighted = predict_logits(Ensemble(first, second, weights=(3, 1)), x).softmax(1)
    torch.testing.assert_close(weighted, torch.tensor([[0.3, 0.7]] * 2, dtype=x.dtype))
    logits = predict_logits(Ensemble(first, second, average="logits"), x)
    torch.testing.assert_close(logits, ((first.logits + second.logits) / 2).expand(2, 2))
    logits = predict_logits(Ensemble(first, second, average="logits", weights=(3, 1)), x)
    torch.testing.assert_close(logits, (0.75 * first.logits + 0.25 * second.logits).expand(2, 2))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_an_ensemble_of_one_is_the_model(small_model, small_images, average):
    x, y = small_images
    one = Ensemble(small_model, average=average)
    expected = predict_logits(small_model, x).log_softmax(1)
    torch.testing.assert_close(predict_logits(one, x).log_softmax(1), expected)
    attack = PGD(eps=0.1, steps=5)
    torch.testing.assert_close(attack(one, x, y), attack(small_model, x, y), atol=1e-5, rtol=0)


def test_a_weight_of_zero_leaves_a_model_out(small_model, small_images, other):
    x, y = small_images
    both = Ensemble(small_model, other, weights=(1, 0))
    expected = predict_logits(small_model, x).log_softmax(1)
    torch.testing.assert_close(predict_logits(both, x), expected)
    attack = FGSM(eps=0.1)
    torch.testing.assert_close(attack(both, x, y), attack(small_model, x, y))


def test_logits_far_apart_do_not_overflow():
    x = torch.rand(2, 1, 2, 2)
    logits = predict_logits(Ensemble(Fixed(1e4, -1e4), Fixed(-1e4, 1e4)), x)
    torch.testing.assert_close(logits.softmax(1), torch.full((2, 2), 0.5))


def test_a_member_that_works_in_place_does_not_spoil_the_next(small_model, small_images, other):
    x, _ = small_images
    found = predict_logits(Ensemble(Overwrites(small_model), other, average="logits"), x)
    expected = (predict_logits(small_model, x / 2) + predict_logits(other, x)) / 2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_what_fools_the_ensemble_of_logits_raises_the_mean_loss(small_model, small_images, other):
    """And members are attacked in evaluation mode, and left in the modes that they had."""
    x, y = small_images
    both = Ensemble(small_model.train(), other.eval())
    x_adv = PGD(eps=0.1, steps=10)(both, x, y)
    assert (small_model.training, other.training) == (True, False)
    before, after = (predict_logits(both, images).log_softmax(1) for images in (x, x_adv))
    rows = torch.arange(len(y), device=y.device)
    assert (after[rows, y] < before[rows, y]).all()


def test_it_freezes_and_moves_its_members(small_model, other):
    both = Ensemble(small_model, other)
    with frozen(both):
        assert not any(p.requires_grad for p in other.parameters())
    assert len(both.state_dict()) == len(small_model.state_dict()) + len(other.state_dict())


def test_leave_one_out_holds_all_the_others(small_model, other):
    third = nn.Identity()
    models = {"a": small_model, "b": other, "c": third}
    held = {name: list(e.models) for name, e in leave_one_out(models, average="logits").items()}
    assert held == {
        "all but a": [other, third],
        "all but b": [small_model, third],
        "all but c": [small_model, other],
    }
    assert leave_one_out(models, average="logits")["all but a"].average == "logits"
    with pytest.raises(ValueError, match="at least two, found 1"):
        leave_one_out({"a": small_model})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda m: Ensemble(), ValueError, "models: expected at least one, found none"),
        (lambda m: Ensemble([m, m]), TypeError, "expected a torch.nn.Module, found list"),
        (lambda m: Ensemble(m, average="votes"), ValueError, "average: found 'votes', expected"),
        (lambda m: Ensemble(m, weights=(1, 2)), ValueError, "weights: expected 1 numbers"),
        (lambda m: Ensemble(m, m, weights=(1, -1)), ValueError, "weights: expected 2 numbers"),
        (lambda m: Ensemble(m, weights=(0,)), ValueError, "not all 0, found"),
        (lambda m: Ensemble(m, weights=(float("nan"),)), ValueError, "weights: expected"),
    ],
)
def test_what_makes_no_ensemble_is_refused(small_model, make, error, message):
    with pytest.raises(error, match=message):
        make(small_model)


def test_models_of_different_classes_are_refused(small_model, small_images):
    x, _ = small_images
    three = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).to(x.device)
    with pytest.raises(ValueError, match="expected one number of classes, found 5, 3"):
        predict_logits(Ensemble(small_model, three), x)
