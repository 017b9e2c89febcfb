"""SPSA: the estimate is unbiased, and it sees through masked gradients."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from advlab.attacks import PGD, SPSA, GradientWarning, spsa_gradient
from advlab.attacks import spsa as module
from advlab.goals import ConfidenceReduction

from .conftest import BinaryLinear, images
from .test_square import Counting, fooled

D = 5
ALL = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=D)), dtype=torch.float64)


def draw(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def test_over_all_directions_the_mean_on_a_quadratic_is_the_gradient():
    a, b, x = draw(D, D), draw(D, seed=1), draw(3, D, seed=2)
    signs = ALL.expand(3, -1, -1)

    def quadratic(z):
        return torch.einsum("nmi,ij,nmj->nm", z, a, z) + z @ b

    for delta in (0.01, 1.0):  # however far the differences reach
        found = spsa_gradient(quadratic, x, delta, signs)
        torch.testing.assert_close(found, x @ (a + a.T) + b, rtol=1e-9, atol=1e-9)


def test_over_all_directions_the_mean_on_a_cubic_is_off_by_delta_squared():
    c, x, delta = draw(D), draw(3, D, seed=1), 0.1
    found = spsa_gradient(lambda z: z**3 @ c, x, delta, ALL.expand(3, -1, -1))
    torch.testing.assert_close(found, c * (3 * x**2 + delta**2))


def test_random_directions_are_right_on_average():
    a, x, n = draw(D, D), draw(1, D, seed=1), 20_000
    signs = draw(1, n, D, seed=2).sign()

    def quadratic(z):
        return torch.einsum("nmi,ij,nmj->nm", z, a, z)

    truth = (x @ (a + a.T))[0]
    error = spsa_gradient(quadratic, x, 0.1, signs)[0] - truth
    # One direction's estimate of entry i is gᵢ + Σ_{j ≠ i} gⱼ vⱼ vᵢ.
    spread = (truth.square().sum() - truth.square()).sqrt() / n**0.5
    assert (error.abs() < 4 * spread).all()
    few = spsa_gradient(quadratic, x, 0.1, signs[:, :10])[0] - truth
    assert few.norm() > 5 * error.norm()


def test_one_direction_by_hand():
    # f(x) = 3x₁ + x₂ along (1, −1): slope 2, so the estimate is (2, −2).
    found = spsa_gradient(
        lambda z: 3 * z[..., 0] + z[..., 1], torch.zeros(1, 2), 0.5, torch.tensor([[[1.0, -1.0]]])
    )
    assert found.tolist() == [[2.0, -2.0]]


def test_the_attack_s_estimate_is_that_of_its_margin(cnn, x, y, monkeypatch):
    """In however small blocks the points go through the model."""
    seen = []
    real = spsa_gradient

    def spying(function, x, delta, signs):
        seen.append(function(x[:, None]).shape)
        return real(function, x, delta, signs)

    monkeypatch.setattr(module, "spsa_gradient", spying)
    attack = SPSA(eps=0.2, queries=3 * 201, samples=100, lr=0.02)
    together = attack(cnn, x[:6], y[:6])
    small = dataclasses.replace(attack, batch_size=7)(cnn, x[:6], y[:6])
    torch.testing.assert_close(small, together, rtol=0, atol=1e-9)
    assert len(seen) > 6
    largest = 0

    def look(model, inputs):
        nonlocal largest
        largest = max(largest, len(inputs[0]))

    cnn.register_forward_pre_hook(look)
    dataclasses.replace(attack, batch_size=7)(cnn, x[:6], y[:6])
    assert largest <= 7


@pytest.mark.parametrize("queries", [1, 8, 9, 26, 27, 90])
def test_never_more_queries_than_allowed_and_none_when_done(queries, cnn, x, y):
    attack = SPSA(eps=0.1, queries=queries, samples=4, lr=0.03)
    assert attack.steps == queries // 9
    alone = []
    for i in range(len(x)):
        model = Counting(cnn)
        x_adv = attack(model, x[i : i + 1], y[i : i + 1])
        alone.append(model.shown)
        if not fooled(cnn, x_adv, y[i : i + 1]):
            assert model.shown == attack.steps * 9
        if not attack.steps:
            assert torch.equal(x_adv, x[i : i + 1])
    assert max(alone) <= queries
    assert queries < 90 or min(alone) < max(alone)
    model = Counting(cnn)
    attack(model, x, y)
    assert model.shown == sum(alone)


def test_an_image_that_is_wrong_from_the_start_costs_one_query(cnn, x, y):
    model = Counting(cnn)
    wrong = (y + 1) % 3
    assert torch.equal(SPSA()(model, x, wrong), x)
    assert model.shown == len(x)


def test_nearly_the_worst_point_of_a_linear_model():
    model, x = BinaryLinear((1, 6, 7)), images(5)
    model.b.data.fill_(100.0)  # out of reach: it never stops early
    y = torch.ones(5, dtype=torch.int64)
    attack = SPSA(eps=0.1, queries=65 * 60, samples=32)
    with torch.no_grad():
        start = model(x)[:, 1]
        best = start - model((x - 0.1 * model.w.sign()).clamp(0, 1))[:, 1]
        drop = start - model(attack(model, x, y))[:, 1]
    assert (drop > 0.9 * best).all()


class Masked(nn.Module):
    """Pixels in 17 levels: the gradient is zero everywhere; or cut, with ``levels=None``."""

    def __init__(self, model, levels):
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, x):
        return self.model(x.detach() if self.levels is None else (x * self.levels).round() / 16)


def test_a_gradient_that_is_cut_off_does_not_matter(cnn, x, y):
    with pytest.raises(ValueError, match="use a black-box attack"):
        PGD(eps=0.2)(Masked(cnn, None), x, y)
    attack = SPSA(eps=0.2, queries=1000, samples=8, lr=0.02)
    assert torch.equal(attack(Masked(cnn, None), x, y), attack(cnn, x, y))


def test_rounding_hides_the_gradient_from_pgd_and_not_from_spsa(cnn, x):
    model = Masked(cnn, 16)
    with torch.no_grad():
        y = model(x).argmax(1)
    with pytest.warns(GradientWarning, match="exactly zero for 40 of 40"):
        blind = fooled(model, PGD(eps=0.2, random_start=False)(model, x, y), y).double().mean()
    # The differences have to reach over the steps, 1/16 wide.
    attack = SPSA(eps=0.2, queries=1000, samples=8, delta=0.05, lr=0.02)
    seeing = fooled(model, attack(model, x, y), y).double().mean()
    assert seeing > blind + 0.5


def test_targeted_and_other_seeds(cnn, x, y):
    attack = SPSA(eps=0.2, queries=500, samples=8, lr=0.02)
    first = attack(cnn, x, y)
    assert fooled(cnn, first, y).double().mean() > 0.5
    assert not torch.equal(dataclasses.replace(attack, seed=1)(cnn, x, y), first)
    wanted = (y + 1) % 3
    assert (~fooled(cnn, x, wanted)).sum() == 0
    targeted = dataclasses.replace(attack, targeted=True)(cnn, x, wanted)
    assert (~fooled(cnn, targeted, wanted)).double().mean() > 0.3
    goal = ConfidenceReduction(below=0.33)
    lowered = dataclasses.replace(attack, goal=goal)(cnn, x, y)
    with torch.no_grad():
        assert goal.reached(cnn(lowered), y).sum() > goal.reached(cnn(x), y).sum() + 10


def test_a_model_that_says_the_same_of_everything(x, y):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([1.0, 2.0, 0.0]).to(x).expand(len(x), 3)

    x_adv = SPSA(queries=100, samples=2)(Constant(), x, torch.ones_like(y))
    assert torch.equal(x_adv, x)  # no difference anywhere: no step


def test_bad_hyper_parameters_and_labels_are_refused(cnn, x, y):
    for name, value in [
        ("queries", 0),
        ("samples", 0),
        ("delta", 0),
        ("lr", 0.0),
        ("eps", float("nan")),
    ]:
        with pytest.raises(ValueError, match=f"{name}: expected a"):
            SPSA(**{name: value})
    with pytest.raises(ValueError, match="y: expected class numbers below 3"):
        SPSA()(cnn, x, y * 0 + 3)


def test_the_points_asked_about_are_at_plus_and_minus_delta_in_every_pixel():
    shown = []

    class Logged(nn.Module):
        def forward(self, z):
            shown.append(z)
            return torch.stack([2 + 0 * z[:, 0, 0, 0], z[:, 0, 0, 0]], 1)

    x = images(1)
    SPSA(queries=33, samples=16, delta=0.02)(Logged(), x, torch.zeros(1, dtype=torch.int64))
    signs = (torch.cat(shown)[1:] - x) / 0.02
    assert len(signs) == 32
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    torch.testing.assert_close(signs[:16], -signs[16:])
    assert signs[:16].mean().abs() < 0.15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_takes_the_same_steps(dtype):
    """In float16 Adam's 1e-8 is 0, and the square of a large slope infinite."""

    class Sum(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, z):
            score = self.scale * z.float().flatten(1).sum(1)
            return torch.stack([-score, score], 1).to(z.dtype) - 1

    x, y = images(3, dtype=dtype), torch.ones(3, dtype=torch.int64)
    attack = SPSA(eps=0.1, queries=50 * 9, samples=4)
    assert torch.equal(attack(Sum(0), x, 1 - y), x)
    found = attack(Sum(50), x, y)
    assert found.dtype == dtype
    assert found.isfinite().all()
    lowest = (x - 0.1).clamp_min(0)
    moved = (x - found).float().sum((1, 2, 3)) / (x - lowest).float().sum((1, 2, 3))
    assert (moved > 0.5).all()
