"""Randomized smoothing: exact where it can be worked out, honest about its chance of error."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from torch import nn

from advlab.attacks import EOT, PGD
from advlab.data import load
from advlab.guarantees import (
    ABSTAIN,
    Certificates,
    GaussianNoise,
    Smoothed,
    SmoothingInterrupted,
    lower_bound,
)
from advlab.models import load_model
from advlab.threat import size


class Answers(nn.Module):
    """Looks at nothing but one number: class 1 where the first pixel is above ``level``."""

    def __init__(self, level: float):
        super().__init__()
        self.level = level

    def forward(self, x):
        over = (x[:, 0, 0, 0] > self.level).to(x.dtype) * 5
        return torch.stack([torch.full_like(over, 2.0), over], 1)


def coin(p: float, sigma: float = 1.0) -> Answers:
    """Class 1 with probability p, at a pixel of 0.5."""
    return Answers(0.5 - sigma * norm.ppf(p))


def half(count: int = 1) -> torch.Tensor:
    """Images that differ, all with a first pixel of 0.5."""
    x = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    x[:, 0, 0, 0] = 0.5
    return x


@pytest.fixture
def linear(device):
    """Two classes; g is the classifier itself, and its radius is |margin| / ‖w‖, exactly."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).to(device)
    x = torch.rand(40, 1, 3, 3, device=device)
    with torch.no_grad():
        model[1].bias -= model(x).mean(0)
        z = model(x)
    w = model[1].weight.detach()
    return model, x, z.argmax(1), (z[:, 0] - z[:, 1]).abs() / (w[0] - w[1]).norm()


# A linear classifier -----------------------------------------------------------------------------


def test_the_radius_of_a_linear_classifier_is_below_the_exact_one_and_near_it(linear):
    model, x, y, exact = linear
    smoothed = Smoothed(model, sigma=0.3)
    found = smoothed.certify(x, n=10_000)
    sure = ~found.abstained
    assert torch.equal(found.classes[sure], y[sure])
    assert (found.radius <= exact + 1e-6).all()
    inside = sure & (exact < 2 * 0.3)
    assert inside.sum() > 20
    assert (exact - found.radius)[inside].max() < 0.1 * 0.3 + 0.08 * exact[inside].max()
    assert exact[~sure].numel() == 0 or exact[~sure].max() < 0.02
    fewer = smoothed.certify(x, n=500)
    assert fewer.radius.sum() < found.radius.sum(), "fewer draws certify less"


def test_moved_by_less_than_the_radius_the_answer_stays(linear):
    model, x, y, exact = linear
    smoothed = Smoothed(model, sigma=0.3, seed=1)
    found = smoothed.certify(x, n=2000)
    w = model[1].weight.detach()
    toward = (w[0] - w[1]) / (w[0] - w[1]).norm()
    sign = torch.where(y == 0, -1.0, 1.0)[:, None]
    for share, stays in ((0.99, True), (1.6, False)):
        step = sign * (found.radius if stays else exact)[:, None].to(x) * share * toward
        with torch.no_grad():
            moved = model[1](x.flatten(1) + step).argmax(1)
        assert ((moved == y)[~found.abstained]).all() == stays


def test_the_largest_radius_is_that_of_n_equal_draws():
    found = Smoothed(Answers(-1e9), sigma=0.7).certify(half(2), n=300, alpha=0.01)
    assert found.radius.tolist() == pytest.approx([0.7 * norm.ppf(0.01 ** (1 / 300))] * 2)
    assert found.classes.tolist() == [1, 1]


# Chance ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.floats(0.001, 0.5), st.data())
def test_clopper_pearson_is_the_tail_of_the_binomial(n, alpha, data):
    """At p the chance of k or more out of n is α, and smaller p would make k more surprising."""
    k = data.draw(st.integers(1, n))
    p = lower_bound(k, n, alpha)
    assert 0 < p < k / n or k == n
    assert binom.sf(k - 1, n, p) == pytest.approx(alpha, rel=1e-6)
    assert lower_bound(0, n, alpha) == 0


def test_votes_may_be_counted_by_a_tensor():
    votes = torch.tensor([80, 15, 5])
    assert lower_bound(votes[0], votes.sum(), 0.01) == lower_bound(80, 100, 0.01)
    for wrong in (votes, votes[:1], votes[0] / 2, votes[0] > 3):
        with pytest.raises(ValueError, match="k: expected a whole number, at least 0, found"):
            lower_bound(wrong, 100, 0.01)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [10, 100])
def test_the_bound_is_above_the_truth_at_most_alpha_of_the_time(p, n):
    """Not by simulation: every k, with its own chance. And not by much less than α."""
    alpha = 0.05
    wrong = sum(binom.pmf(k, n, p) for k in range(n + 1) if lower_bound(k, n, alpha) > p)
    assert wrong <= alpha
    if n == 100 and p < 0.99:
        assert wrong > 0.02


def test_certificates_are_wrong_at_most_alpha_of_the_time():
    """The true probability is 0.8. A radius above σΦ⁻¹(0.8) is wrong; so is class 0."""
    alpha, count = 0.1, 400
    found = Smoothed(coin(0.8), sigma=1.0).certify(half(count), n0=20, n=50, alpha=alpha)
    wrong = (found.radius > norm.ppf(0.8)) | (found.classes == 0)
    spread = math.sqrt(count * alpha * (1 - alpha))
    assert wrong.sum() < count * alpha + 3 * spread
    assert wrong.any(), "and α is used: such errors do happen"


def test_the_class_is_chosen_by_other_draws_than_those_that_are_counted():
    """At p = ½ a class is certified with chance α at most; chosen by the same draws, with 2α."""
    alpha, count = 0.2, 400
    found = Smoothed(coin(0.5), sigma=1.0).certify(half(count), n0=100, n=100, alpha=alpha)
    spread = math.sqrt(alpha * (1 - alpha) / count)
    assert (~found.abstained).double().mean() < alpha + 3 * spread


def test_predictions_are_wrong_at_most_alpha_of_the_time():
    alpha, count = 0.1, 400
    found = Smoothed(coin(0.52), sigma=1.0).predict(half(count), n=60, alpha=alpha)
    spread = math.sqrt(count * alpha * (1 - alpha))
    assert 0 < (found == 0).sum() < count * alpha + 3 * spread
    assert (found == ABSTAIN).any()
    assert (found == 1).any()


def test_a_tie_abstains():
    smoothed, x = Smoothed(coin(0.5), sigma=1.0), half(60)
    found = smoothed.certify(x, n=200, alpha=1e-6)
    assert found.abstained.all()
    assert not found.radius.any()
    assert (smoothed.predict(x, n=200, alpha=1e-6) == ABSTAIN).all()


def test_what_is_clear_is_answered():
    smoothed, x = Smoothed(coin(0.9), sigma=1.0), half(30)
    assert (smoothed.predict(x, n=200) == 1).all()
    assert (smoothed.certify(x, n=200).classes == 1).all()


def test_predict_is_the_binomial_test():
    """Of 10 draws, 9 against 1 have p = 22/1024, and 8 against 2 have p = 112/1024."""
    x = half(100)
    smoothed = Smoothed(coin(0.7), sigma=1.0)
    strict, loose = (smoothed.predict(x, n=10, alpha=a) for a in (21.9 / 1024, 22.1 / 1024))
    source = [came_up(smoothed, image) for image in x]
    assert torch.equal(loose != ABSTAIN, torch.tensor([max(k, 10 - k) >= 9 for k in source]))
    assert torch.equal(strict != ABSTAIN, torch.tensor([max(k, 10 - k) == 10 for k in source]))


def came_up(smoothed: Smoothed, image: torch.Tensor) -> int:
    """How often class 1 came in the 10 draws of this image."""
    counts = []

    class Watched(nn.Module):
        def forward(self, x):
            z = smoothed.model(x)
            counts.append(int(z.argmax(1).sum()))
            return z

    Smoothed(Watched(), sigma=smoothed.sigma).predict(image[None], n=10)
    return sum(counts)


# The same answer, whatever the company -----------------------------------------------------------


def test_an_images_answer_does_not_depend_on_the_others(small_model, small_images):
    x, _ = small_images
    smoothed = Smoothed(small_model, sigma=0.5)
    settings = {"n0": 50, "n": 450, "alpha": 0.2}
    together = smoothed.certify(x, **settings)
    turned = smoothed.certify(x.flip(0), **settings)
    assert torch.equal(turned.radius.flip(0), together.radius)
    for index in (0, 7):
        alone = smoothed.certify(x[index : index + 1], **settings)
        assert alone.radius[0] == together.radius[index]
        assert alone.classes[0] == together.classes[index]
    predicted = smoothed.predict(x, n=300)
    assert torch.equal(smoothed.predict(x[3:5], n=300), predicted[3:5])


def test_the_seed_decides_and_nothing_else_moves(small_model, small_images):
    x, _ = small_images
    small_model.train()
    state = torch.get_rng_state()
    first = Smoothed(small_model, sigma=0.5).certify(x, n=200, alpha=0.3)
    assert torch.equal(torch.get_rng_state(), state)
    assert small_model.training
    torch.manual_seed(5)
    assert torch.equal(Smoothed(small_model, sigma=0.5).certify(x, n=200, alpha=0.3).radius,
                       first.radius)  # fmt: skip
    other = Smoothed(small_model, sigma=0.5, seed=1).certify(x, n=200, alpha=0.3)
    assert not torch.equal(other.radius, first.radius)


def test_ctrl_c_keeps_what_was_done():
    calls = []

    class Stops(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            if len(calls) == 7:
                raise KeyboardInterrupt
            return Answers(0.0)(x)

    x = half(10)
    whole = Smoothed(Answers(0.0), sigma=0.1).certify(x, n=100)
    with pytest.raises(SmoothingInterrupted, match="interrupted after 3 images") as told:
        Smoothed(Stops(), sigma=0.1).certify(x, n=100)
    assert torch.equal(told.value.done.radius, whole.radius[:3])
    calls[:] = []
    with pytest.raises(SmoothingInterrupted) as told:
        Smoothed(Stops(), sigma=0.1).predict(x, n=100)
    assert told.value.done.tolist() == [1] * 6


def test_no_images_are_no_answers(small_model):
    found = Smoothed(small_model, sigma=0.5).certify(torch.zeros(0, 1, 8, 8))
    assert found.classes.shape == found.radius.shape == (0,)


# Noise, accuracy, and the attack -----------------------------------------------------------------


def test_the_noise_has_its_sigma_and_is_not_clipped():
    x = torch.zeros(50, 1, 20, 20)
    for noisy in (
        GaussianNoise(sigma=0.3)(x, torch.Generator().manual_seed(0)),
        GaussianNoise(sigma=0.3).sample(x + torch.rand(50, 1, 1, 1) * 1e-3),
    ):
        assert noisy.std() == pytest.approx(0.3, rel=0.03)
        assert noisy.mean() == pytest.approx(0, abs=0.01)
        assert noisy.min() < -0.5


def test_certified_accuracy_counts_the_right_class_beyond_the_radius():
    found = Certificates(
        torch.tensor([3, 3, ABSTAIN, 5]),
        torch.tensor([0.5, 0.2, 0.0, 0.9], dtype=torch.float64),
    )
    y = torch.tensor([3, 3, 3, 4])
    curve = [found.certified_accuracy(y, r) for r in (0, 0.1, 0.2, 0.4, 0.5, 0.9)]
    assert curve == [0.5, 0.5, 0.25, 0.25, 0.0, 0.0]
    assert found.abstained.tolist() == [False, False, True, False]


def test_no_attack_gets_inside_the_certified_radius():
    """PGD through the noise fools g, and everywhere it does, it is beyond the radius."""
    test = load("mnist5k", device="cpu").test
    x, y = test.x[::50], test.y[::50]
    smoothed = Smoothed(load_model("mnist-smoothing", "cpu"), sigma=0.5)
    found = smoothed.certify(x, n=500)
    attack = EOT(
        attack=PGD(eps=1.5, norm="L2", steps=10, alpha=0.4, best=False),
        transformation=GaussianNoise(sigma=0.5),
        samples=4,
        average="probability",
    )
    x_adv = attack(smoothed.model, x, y)
    answer = smoothed.predict(x_adv, n=500)
    fooled = (answer != ABSTAIN) & (answer != found.classes) & ~found.abstained
    assert fooled.sum() >= 3, "the attack is strong enough for this test to mean something"
    assert (size(x_adv - x, "L2") >= found.radius)[fooled].all()
    assert found.certified_accuracy(y, 0.5) > 0.5


# Bad input ---------------------------------------------------------------------------------------


def test_bad_input_is_named(small_model):
    smoothed, x = Smoothed(small_model, sigma=0.5), torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="sigma: expected above 0, found 0"):
        Smoothed(small_model, sigma=0)
    with pytest.raises(ValueError, match="sigma: expected a finite number, at least 0"):
        Smoothed(small_model, sigma=-0.5)
    with pytest.raises(ValueError, match="sigma: expected a finite number, at least 0"):
        GaussianNoise(sigma=math.nan)
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, found str"):
        Smoothed("mnist-cnn", sigma=0.5)
    for alpha in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="alpha: expected a number between 0 and 1"):
            smoothed.certify(x, alpha=alpha)
        with pytest.raises(ValueError, match="alpha: expected a number between 0 and 1"):
            lower_bound(1, 2, alpha)
    for name in ("n", "n0"):
        with pytest.raises(ValueError, match=f"{name}: expected a whole number, at least 1"):
            smoothed.certify(x, **{name: 0})
    with pytest.raises(ValueError, match=r"n: expected a whole number, at least 1, found 1\.5"):
        smoothed.predict(x, n=1.5)
    with pytest.raises(ValueError, match="k: expected at most n = 2, found 3"):
        lower_bound(3, 2, 0.1)
    with pytest.raises(ValueError, match=r"x: .*expected"):
        smoothed.predict(x + 1)
    done = Certificates(torch.tensor([1]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="radius: expected a number of at least 0, found -1"):
        done.certified_accuracy(torch.tensor([1]), -1)
    with pytest.raises(ValueError, match=r"y: expected shape \(1,\), found \(2,\)"):
        done.certified_accuracy(torch.tensor([1, 2]))
