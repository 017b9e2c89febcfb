"""AutoAttack: the worst of four, on what still stands, and a word where it cannot be trusted."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import APGD, APGDT, FABT, AutoAttack, RandomnessWarning, Square

from .conftest import Nothing, images, small_cnn

EPS = {"Linf": 0.03, "L2": 0.12}


def problem(device, classes=6, n=60):
    model = small_cnn(classes=classes).to(device)
    x = images(n, seed=7).to(device)
    return model, x, model(x).argmax(1)


def stands(model, x_adv, y):
    with torch.no_grad():
        return model(x_adv).argmax(1) == y


def assert_worst_of_all(attack, norm, device):
    """No image stands that one of the four, run alone, makes fall; all inside ε."""
    model, x, y = problem(device)
    x_adv = attack(model, x, y)
    left = stands(model, x_adv, y)
    eps = EPS[norm]
    assert (threat.size(x_adv - x, norm) <= eps * (1 + 1e-9)).all()
    singles = [
        APGD(eps=eps, norm=norm, steps=10),
        APGDT(eps=eps, norm=norm, steps=10),
        Square(eps=eps, norm=norm, queries=60),
    ]
    for single in singles:
        assert not (left & ~stands(model, single(model, x, y), y)).any()
    near = FABT(norm=norm, steps=10)(model, x, y)
    within = ~stands(model, near, y) & (threat.size(near - x, norm) <= eps)
    assert not (left & within).any()
    assert 0 < left.sum() < 50


@pytest.mark.parametrize("norm", EPS)
def test_it_is_as_strong_as_each_of_its_attacks(norm, device):
    attack = AutoAttack(eps=EPS[norm], norm=norm, steps=10, queries=60)
    assert_worst_of_all(attack, norm, device)
    with pytest.raises(AssertionError):
        assert_worst_of_all(Nothing(eps=EPS[norm], norm=norm), norm, device)


def test_the_published_settings():
    names = [type(attack).__name__ for attack in AutoAttack().attacks(10)]
    assert names == ["APGD", "APGDT", "FABT", "Square"]
    ce, targeted, fab, square = AutoAttack(eps=0.2, norm="L2", seed=3).attacks(10)
    assert ce == APGD(eps=0.2, norm="L2", steps=100, loss="ce", seed=3)
    assert targeted == APGDT(eps=0.2, norm="L2", steps=100, targets=9, loss="dlr", seed=3)
    assert fab == FABT(norm="L2", steps=100, targets=9, seed=3)
    assert square == Square(eps=0.2, norm="L2", queries=5000, seed=3)
    ce, ratio = AutoAttack(version="rand").attacks(10)
    assert (ce.loss, ce.eot, ratio.loss, ratio.eot) == ("ce", 20, "dlr", 20)


@pytest.mark.parametrize("version", ["standard", "rand"])
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_have_a_substitute_for_the_ratio(version, classes, device):
    model, x, y = problem(device, classes, n=20)
    x_adv = AutoAttack(eps=0.3, version=version, steps=8, queries=40)(model, x, y)
    assert stands(model, x_adv, y).double().mean() < 0.5


class Scaled(nn.Module):
    """Logits so large that in float32 the cross-entropy has no gradient."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 1e5 * self.model(x)


class Staircase(nn.Module):
    """Pixels in steps of 1/20: a gradient of exactly 0, by a path that is there."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((20 * x).round() / 20 + 0 * x)


@pytest.mark.parametrize("mask", [Scaled, Staircase])
def test_masked_gradients_do_not_help(mask, device):
    """The cross-entropy alone sees nothing and says so; the ensemble makes images fall."""
    model = mask(small_cnn(classes=6, dtype=torch.float32).to(device))
    x = images(30, dtype=torch.float32, seed=9).to(device)
    y = model(x).argmax(1)
    with pytest.warns(match="exactly zero for"):
        alone = stands(model, APGD(eps=0.06, steps=10)(model, x, y), y).sum()
    with pytest.warns(match="exactly zero for"):
        joint = stands(model, AutoAttack(eps=0.06, steps=10, queries=200)(model, x, y), y).sum()
    assert joint <= alone - 5


def test_images_that_fell_are_not_attacked_again(device):
    model, x, y = problem(device)
    shown = []

    class Counting(nn.Module):
        def forward(self, x):
            shown.append(len(x))
            return model(x)

    x_adv = AutoAttack(eps=0.5, steps=10, queries=1000)(Counting(), x, y)
    assert not stands(model, x_adv, y).any()
    assert len(shown) < 30  # all fall to the first attack
    shown.clear()
    wrong = AutoAttack(eps=0.5)(Counting(), x, (y + 1) % 6)
    assert torch.equal(wrong, x)
    assert len(shown) <= 4


class Random(nn.Module):
    """Looks at the image through noise."""

    def __init__(self, model, noise=0.2):
        super().__init__()
        self.model, self.noise = model, noise

    def forward(self, x):
        return self.model(x + self.noise * torch.randn(x.shape, dtype=x.dtype).to(x.device))


def test_a_randomized_model_is_told_once(device):
    model, x, y = problem(device, n=10)
    torch.manual_seed(0)
    attack = AutoAttack(eps=0.01, steps=2, queries=3, batch_size=4)
    with pytest.warns(RandomnessWarning, match="version='rand'") as caught:
        attack(Random(model), x, y)
    assert len([w for w in caught if w.category is RandomnessWarning]) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(model, x, y)
        AutoAttack(eps=0.01, steps=2, version="rand")(Random(model), x, y)


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 10.0])
def test_randomness_is_measured_by_the_logits(scale, device):
    """A small difference between small logits is one, rounding of large ones is none."""
    model, x, y = problem(device, n=10)

    class Scaled(nn.Module):
        def __init__(self, noise, rounding=0.0):
            super().__init__()
            self.random, self.rounding = Random(model, noise), rounding

        def forward(self, x):
            z = self.random(x)
            return scale * (z + self.rounding * torch.rand(z.shape, dtype=z.dtype).to(z.device))

    torch.manual_seed(0)
    attack = AutoAttack(eps=0.01, steps=2, queries=3)
    with pytest.warns(RandomnessWarning):
        attack(Scaled(0.2), x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(Scaled(0.0, rounding=1e-6), x, y)


def test_rand_fools_the_mean_of_many_looks(device):
    model, x, y = problem(device, n=30)
    torch.manual_seed(0)
    noisy = Random(model)

    def right(x):
        with torch.no_grad():
            return (sum(noisy(x) for _ in range(200)).argmax(1) == y).double().mean().item()

    x_adv = AutoAttack(eps=0.1, steps=10, version="rand")(noisy, x, y)
    assert right(x) > 0.7
    assert right(x_adv) < right(x) - 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "plus"}, "version: expected 'standard' or 'rand', found 'plus'"),
        ({"norm": "L1"}, "norm: found 'L1', expected Linf or L2"),
        ({"steps": 0}, "steps: expected a whole number from 1"),
        ({"queries": 0}, "queries: expected a whole number from 1"),
        ({"targeted": True}, "AutoAttack cannot have targeted: it measures robust accuracy"),
        ({"goal": "confidence"}, "AutoAttack cannot have confidence below 0.5"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AutoAttack(**change)
