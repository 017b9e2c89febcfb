"""The smallest perturbation that is not noticed, and the detectors that adaptive attacks break."""

from __future__ import annotations

import warnings

import pytest
import torch

from advlab import data
from advlab.attacks import CWL2, PGD, AdaptiveCWL2, AdaptivePGD, GradientWarning
from advlab.detectors import AnyOf, Detector, NeuralFingerprint
from advlab.goals import UNDETECTED
from advlab.models import load_model, predict

from .rejecting import won
from .test_adaptive_detectors import SMALLEST

# --- C&W's attack: γ by γ, and its starts ---


def test_the_smallest_of_all_starts_and_weights(guarded, x, y):
    how = {"steps": 20, "searches": 3, "c": 3.0, "lr": 0.03}
    attack = AdaptiveCWL2(**how)
    x, y = x[:12], y[:12]

    def sizes(**change):
        x_adv = attack.changed(**change)(guarded, x, y)
        reached = won(guarded, x_adv, y)
        return x_adv, torch.where(reached, (x_adv - x).flatten(1).norm(dim=1), torch.inf)

    one, first = sizes(weights=1)
    more, second = sizes(weights=1, restarts=3)
    assert (second <= first).all()
    assert (second < first).any()
    assert not torch.equal(more, sizes(weights=1, restarts=3, seed=9)[0])
    assert (sizes(weights=3)[1] <= first).all()
    assert first.isfinite().sum() >= 5
    alone = CWL2(**how, goal="undetected", abort_early=False)
    assert torch.equal(one, alone(guarded, x, y))  # γ = 1, from x
    # γ / 10 and 10 γ come next, in that order.
    tenth, tenfold = sizes(weights=1, gamma=0.1)[1], sizes(weights=1, gamma=10.0)[1]
    assert torch.equal(sizes(weights=2)[1], torch.minimum(first, tenth))
    assert torch.equal(sizes(weights=3)[1], torch.minimum(torch.minimum(first, tenth), tenfold))


def test_what_is_wrong_and_unnoticed_by_kappa_is_left_alone(guarded, cnn, x):
    """By γ = 1, that is: with γ / 10 it would seem to be in need of more."""
    y = (predict(cnn, x) + 1) % 3
    guarded.tau += guarded.over(x).max().item() + 2
    margin = UNDETECTED.margin(guarded(x), y)
    kappa = margin.median().item()
    x_adv = SMALLEST.changed(kappa=kappa, steps=10, searches=2)(guarded, x, y)
    done = margin >= kappa
    assert done.sum() >= 5
    assert torch.equal(x_adv[done], x[done])
    assert not torch.equal(x_adv[~done], x[~done])


# --- detectors ---


class Top(Detector):
    """The largest softmax: images of which the network is not sure are rejected."""

    def process(self, x):
        return -self.model(x).softmax(1).amax(1)


class Rounded(Top):
    """The same in whole steps, which have no slope."""

    def process(self, x):
        return (50 * super().process(x)).round() / 50

    def substitute(self, x):
        return super().process(x)


class Rough(Detector):
    """How much neighboring pixels differ."""

    def process(self, x):
        return sum(x.diff(dim=d).abs().flatten(1).sum(1) for d in (2, 3))


@pytest.fixture(scope="module")
def digits():
    model = load_model("mnist-cnn", "cpu")
    x, y = data.load("mnist5k", device="cpu").test
    right = predict(model, x) == y
    return model, (x[right][:300], y[right][:300]), (x[right][300:330], y[right][300:330])


@pytest.mark.parametrize(
    ("detector", "more"),
    [(Top, 10), (Rounded, 10), (lambda: AnyOf([Top(), Rough()]), 5)],
    ids=["one", "without a slope", "any of two"],
)
def test_the_break(detector, more, digits):
    """The attacks that do not know of the detector, or weigh it wrongly, are caught."""
    model, learned, (x, y) = digits
    defended = detector().fit(model, learned).defended(0.05)
    attack = AdaptivePGD(eps=0.25, steps=15, weights=5, backward="substitute")
    found = int(won(defended, attack(defended, x, y), y).sum())
    fixed = PGD(eps=0.25, steps=15, goal="undetected", backward="substitute")
    assert int(won(defended, fixed(defended, x, y), y).sum()) <= found - more
    assert found >= 15
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientWarning)
        smallest = CWL2(steps=30, searches=3, c=1.0)(model, x, y)
    assert int(won(defended, smallest, y).sum()) <= found - more


def test_a_larger_budget_does_not_make_it_weaker():
    """Fingerprints: at ε = 1, steps of one length or a random start lose half of them or all."""
    model = load_model("mnist-fingerprint", "cpu")
    x, y = data.load("mnist5k", device="cpu").test
    defended = NeuralFingerprint().fit(model, (x[:300], y[:300])).defended(0.05)
    x, y = x[300:320], y[300:320]
    right = predict(defended, x) == y
    x, y = x[right][:12], y[right][:12]
    for eps in (0.2, 1.0):
        attack = AdaptivePGD(eps=eps, steps=20, weights=5)
        assert won(defended, attack(defended, x, y), y).sum() >= 11
