"""Several detectors, each of which may reject."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom
from torch import nn

from advlab import data
from advlab.attacks import PGD, AdaptivePGD
from advlab.detectors import (
    ActivationClassifier,
    AnyOf,
    Defended,
    Detector,
    InputClassifier,
    KernelDensity,
)
from advlab.models import load_model, predict


class Ones(nn.Module):
    """Class 1 where the last pixel is above one half."""

    def forward(self, x):
        z = x[:, 0, -1, -1] - 0.5
        return torch.stack((-z, z), 1)


class Pixel(Detector):
    """One pixel is the score."""

    def __init__(self, index, scale=1.0):
        super().__init__()
        self.index, self.scale = index, scale

    def learn(self, x, y, seed):
        self.given, self.seed = x, seed

    def process(self, x):
        return self.scale * x.flatten(1)[:, self.index]


class Coarse(Pixel):
    """Rounded, with a stand-in."""

    def process(self, x):
        return (4 * super().process(x)).round() / 4

    def substitute(self, x):
        return super().process(x)


def images(n, seed=0):
    x = torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0, 1, 1] > 0.5).long()


def three(rate=0.05):
    return AnyOf([Pixel(0), Pixel(1, 100.0), Pixel(2, 0.01)], false_positive_rate=rate)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 50), st.floats(0, 0.9))
def test_rejected_by_any_at_its_own_threshold(seed, rate):
    any_of = three(rate).fit(Ones(), images(200))
    x, _ = images(60, seed)
    wanted = torch.zeros(60, dtype=torch.bool)
    for member in any_of.detectors:
        wanted |= member.score(x) > member.threshold(rate)
    assert torch.equal(any_of.score(x) > 0, wanted)
    assert torch.equal(predict(Defended(any_of, 0.0), x) == 2, wanted)


def test_the_score_is_the_largest_in_spreads_over_the_threshold():
    any_of = three().fit(Ones(), images(200))
    x, _ = images(30, 1)
    wanted = [
        max((m.score(row[None]) - m.threshold(0.05)).item() / m.spread for m in any_of.detectors)
        for row in x
    ]
    assert torch.allclose(any_of.score(x), torch.tensor(wanted), atol=1e-5)
    # The scale of a member's score does not matter.
    other = AnyOf([Pixel(0, 7.0), Pixel(1), Pixel(2)]).fit(Ones(), images(200))
    assert torch.allclose(other.score(x), any_of.score(x), atol=1e-4)


def test_the_members_learn_from_the_same_images_and_none_from_those_of_the_joint_threshold():
    any_of = three().fit(Ones(), images(200), seed=5)
    first, *others = any_of.detectors
    assert len(first.given) == 112  # three quarters of three quarters
    assert first.seed == 5
    assert all(torch.equal(other.given, first.given) for other in others)
    seen = first.given.flatten(1)[:, 0].tolist() + first.calibration.tolist()
    assert len(seen) == 150
    held_out = [row for row in images(200)[0] if row[0, 0, 0].item() not in seen]
    assert torch.equal(any_of.calibration, any_of.score(torch.stack(held_out)).sort().values)


def test_the_joint_threshold_keeps_the_rate_and_the_separate_ones_exceed_it():
    any_of = three(0.1).fit(Ones(), images(3000))
    x, _ = images(2000, 1)
    n = len(any_of.calibration)
    joint = int((any_of.score(x) > any_of.threshold(0.1)).sum())
    low, high = betabinom.ppf([0.0005, 0.9995], len(x), n // 10 + 1, n - n // 10)
    assert low <= joint <= high
    # Three independent ones at 10% each reject 1 − 0.9³ = 27%.
    separate = (any_of.score(x) > 0).double().mean().item()
    assert separate == pytest.approx(0.271, abs=0.06)


def test_the_substitute_follows_all_that_are_loud_and_each_ones_own():
    any_of = AnyOf([Pixel(0), Coarse(1)]).fit(Ones(), images(200))
    x, _ = images(20, 1)
    judged = any_of.score(x)
    x = x.clone().requires_grad_()
    with torch.no_grad():
        alarms = any_of.alarms(x)
    for part in (any_of, *any_of.detectors):
        part.backward = "substitute"
    score = any_of(x)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    assert torch.equal(score, judged)
    spreads = torch.tensor([member.spread for member in any_of.detectors])
    wanted = alarms.softmax(1) / spreads
    assert torch.allclose(gradient.flatten(1)[:, :2], wanted, atol=1e-5)
    assert (gradient.flatten(1)[:, 2:] == 0).all()
    # As it is, only the loudest has one, and a rounded one has none.
    for part in (any_of, *any_of.detectors):
        part.backward = "own"
    (gradient,) = torch.autograd.grad(any_of(x).sum(), x)
    assert torch.equal(gradient.flatten(1)[:, 0] != 0, alarms.argmax(1) == 0)
    assert (gradient.flatten(1)[:, 1] == 0).all()


def test_the_break():
    """The attack on the model alone is rejected where it was; one that knows lowers all scores."""
    any_of = AnyOf([Pixel(0), Coarse(1), Pixel(2)]).fit(Ones(), images(2000))
    defended = Defended(any_of, 0.0)
    x, y = images(300, 1)
    x[:, 0, 1, 1] = 0.4 + 0.2 * x[:, 0, 1, 1]
    alarmed = predict(defended, x) == 2
    x, y = x[alarmed], y[alarmed]
    assert len(x) > 20
    plain = PGD(eps=0.4, steps=20, random_start=False)(Ones(), x, y)
    assert (predict(Ones(), plain) != y).all()
    assert (predict(defended, plain) == 2).all()
    knows = PGD(eps=0.4, steps=40, goal="undetected", backward="substitute")(defended, x, y)
    answer = predict(defended, knows)
    assert ((answer != y) & (answer != 2)).double().mean() > 0.95


def test_three_that_were_not_made_for_each_other_fall_together():
    """The three of He et al. (2017), on digits: the attack on the network alone is noticed."""
    loaded = data.load("mnist5k", device="cpu")
    (x, y), (x_test, y_test) = loaded.train, loaded.test
    model = load_model("mnist-cnn", "cpu")
    any_of = AnyOf(
        [
            InputClassifier(epochs=2),
            ActivationClassifier(layer="features.2", epochs=2),
            KernelDensity(),
        ]
    ).fit(model, (x[:500], y[:500]))
    defended, x, y = any_of.defended(0.05), x_test[:12], y_test[:12]
    assert (predict(defended, x) == y).sum() >= 11

    def undetected(x_adv):
        answer = predict(defended, x_adv)
        return int(((answer != y) & (answer != 10)).sum())

    plain = PGD(eps=4.0, norm="L2", steps=20)(model, x, y)
    assert (predict(model, plain) != y).all()
    assert undetected(plain) <= 6
    knows = AdaptivePGD(eps=4.0, norm="L2", steps=25, weights=3)(defended, x, y)
    assert undetected(knows) >= 11


def test_bad_input_is_told():
    same = Pixel(0)
    for wrong, found in (
        ([], "found 0, 0 different"),
        ([same, same], "found 2, 1 different"),
        ([nn.Identity()], "found Identity"),
    ):
        with pytest.raises(ValueError, match=rf"detectors: expected different .*{found}"):
            AnyOf(wrong)
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="from 0 to below 1, found"):
            AnyOf([Pixel(0)], false_positive_rate=rate)
    with pytest.raises(ValueError, match="AnyOf: not fitted yet"):
        three().score(images(3)[0])
