"""On a linear model the best attack is known: each attack has to find it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from advlab import threat
from advlab.attacks import BIM, FGSM, PGD, RFGSM, Noise
from advlab.goals import TARGETED, UNTARGETED

from .conftest import BinaryLinear, Nothing

SHAPE = (1, 8, 9)  # 72 pixels: an L1 step goes to a single one


def problem(device, low=0.0, high=1.0, shape=SHAPE):
    """A binary linear model, 30 images with values from ``low`` to ``high``, and labels 0 and 1."""
    x = torch.rand(30, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = (1.4 * x - 0.2).clamp(0, 1) * (high - low) + low
    y = torch.arange(30) % 2
    return BinaryLinear(shape).to(device), x.to(device), y.to(device)


def uphill(model, y, targeted=False):
    """±w: the gradient's direction. The loss rises away from class y, or toward it if targeted."""
    sign = torch.where((y == 1) ^ targeted, -1.0, 1.0).to(model.w.dtype).view(-1, 1, 1, 1)
    return (sign * model.w).detach()


def loss_of(model, x, y, targeted=False):
    with torch.no_grad():
        return (TARGETED if targeted else UNTARGETED).loss(model(x), y)


LINF = [
    FGSM(eps=0.15),
    RFGSM(eps=0.15, alpha=0.0),
    BIM(eps=0.15),
    PGD(eps=0.15),
    PGD(eps=0.15, restarts=2, steps=20),
    PGD(eps=0.15, random_start=False, best=False),
]


def assert_optimal_in_linf(attack, device, targeted=False):
    """The corner of ball and box that the gradient points at; no other point is better."""
    model, x, y = problem(device)
    attack = dataclasses.replace(attack, targeted=targeted)
    x_adv = attack(model, x, y)
    corner = (x + attack.eps * uphill(model, y, targeted).sign()).clamp(0, 1)
    torch.testing.assert_close(x_adv, corner, rtol=0, atol=1e-12)
    best = loss_of(model, x_adv, y, targeted)
    for seed in range(50):
        other = (x + attack.eps * (2 * threat.noise(x, seed, "uniform") - 1)).clamp(0, 1)
        assert (loss_of(model, other, y, targeted) <= best + 1e-12).all()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("attack", LINF, ids=str)
def test_linf_attacks_find_the_best_corner(attack, targeted, device):
    assert_optimal_in_linf(attack, device, targeted)


@pytest.mark.parametrize("attack", [Nothing(eps=0.15), Noise(eps=0.15)], ids=str)
def test_nothing_and_noise_are_far_from_the_best_corner(attack, device):
    with pytest.raises(AssertionError):
        assert_optimal_in_linf(attack, device)


L2 = [
    FGSM(eps=0.5, norm="L2"),
    BIM(eps=0.5, norm="L2"),
    PGD(eps=0.5, norm="L2"),
    PGD(eps=0.5, norm="L2", random_start=False, best=False),
]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("attack", L2, ids=str)
def test_l2_attacks_go_along_the_weights(attack, targeted, device):
    model, x, y = problem(device, 0.4, 0.6)  # the box is out of reach: the ball alone decides
    attack = dataclasses.replace(attack, targeted=targeted)
    x_adv = attack(model, x, y)
    direction = uphill(model, y, targeted) / model.w.detach().norm()
    expected = x + attack.eps * direction
    best = loss_of(model, expected, y, targeted)
    if getattr(attack, "random_start", False):
        # The walk turns away from its random start step by step, and ends a little beside.
        climbed = ((x_adv - x) * direction).flatten(1).sum(1)
        assert (climbed >= 0.97 * attack.eps).all()
    else:
        torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-12)
    for seed in range(50):
        other = x + threat.random_in_ball(x, attack.eps, "L2", seed)
        assert (loss_of(model, other, y, targeted) <= best + 1e-12).all()


L1 = [
    BIM(eps=0.4, norm="L1"),
    PGD(eps=0.4, norm="L1"),
    PGD(eps=0.4, norm="L1", random_start=False, best=False),
]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("attack", L1, ids=str)
def test_l1_attacks_find_the_vertex(attack, targeted, device):
    model, x, y = problem(device, 0.45, 0.55)
    attack = dataclasses.replace(attack, targeted=targeted)
    x_adv = attack(model, x, y)
    # At the best vertex the whole budget is on the pixel of the largest weight.
    g = uphill(model, y, targeted)
    climbed = ((x_adv - x) * g).flatten(1).sum(1)
    most = attack.eps * g.flatten(1).abs().amax(1)
    assert (climbed <= most + 1e-12).all()
    assert (climbed >= 0.97 * most).all()


@pytest.mark.parametrize("shape", [(1, 8, 9), (1, 28, 28)])
def test_l1_fills_the_pixels_that_the_box_stops(shape, device):
    """With a budget of 4 no pixel can take it all: the best is the largest weights in turn."""
    model, x, y = problem(device, shape=shape)
    x_adv = PGD(eps=4, norm="L1")(model, x, y)
    g = uphill(model, y)
    room = torch.where(g > 0, 1 - x, x).flatten(1)
    order = g.flatten(1).abs().argsort(1, descending=True).expand_as(room)
    room = room.gather(1, order)
    used = torch.minimum(room, (4 - (room.cumsum(1) - room)).clamp_min(0))
    most = (used * g.flatten(1).abs().expand_as(used).gather(1, order)).sum(1)
    climbed = ((x_adv - x) * g).flatten(1).sum(1)
    assert (climbed <= most + 1e-9).all()
    assert (climbed / most).mean() > 0.9


def test_l2_fgsm_moves_by_exactly_eps_and_bim_by_steps_times_alpha(device):
    model, x, y = problem(device, 0.4, 0.6)
    length = threat.size(FGSM(eps=0.3, norm="L2")(model, x, y) - x, "L2")
    torch.testing.assert_close(length, torch.full_like(length, 0.3))
    for norm in ("Linf", "L2", "L1"):
        attack = BIM(eps=0.3, norm=norm, steps=4, alpha=0.02)
        length = threat.size(attack(model, x, y) - x, norm)
        torch.testing.assert_close(length, torch.full_like(length, 0.08))
        # By default T steps just reach the edge.
        length = threat.size(BIM(eps=0.3, norm=norm, steps=7)(model, x, y) - x, norm)
        torch.testing.assert_close(length, torch.full_like(length, 0.3))


def test_pgd_steps_are_two_and_a_half_budgets_over_the_steps(device):
    model, x, y = problem(device, 0.4, 0.6)
    attack = PGD(eps=0.3, steps=10, random_start=False, best=False)
    for steps in (1, 2, 3):
        one = dataclasses.replace(attack, steps=steps, alpha=2.5 * 0.3 / 10)
        length = threat.size(one(model, x, y) - x, "Linf")
        torch.testing.assert_close(length, torch.full_like(length, steps * 0.075))
    ten = dataclasses.replace(attack, alpha=0.075)
    torch.testing.assert_close(attack(model, x, y), ten(model, x, y))


def test_rfgsm_is_a_random_step_of_alpha_and_a_gradient_step_of_the_rest(device):
    model, x, y = problem(device, 0.3, 0.7)
    g = uphill(model, y).sign()
    for alpha, random_part in ((None, 0.1), (0.05, 0.05), (0.2, 0.2)):
        delta = RFGSM(eps=0.2, alpha=alpha)(model, x, y) - x
        signs = (delta - (0.2 - random_part) * g) / random_part
        torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
        assert abs(signs.mean()) < 0.1
        assert (signs.sign() == threat.noise(x, 0, "normal").sign()).all()


@pytest.mark.parametrize("alpha", [-0.1, 0.31, float("nan")])
def test_rfgsm_refuses_a_random_step_outside_the_budget(alpha):
    with pytest.raises(ValueError, match=r"alpha: expected in \[0, eps=0.3\], found"):
        RFGSM(eps=0.3, alpha=alpha)


def test_a_pixel_without_gradient_stays(device):
    model, x, y = problem(device)
    with torch.no_grad():
        model.w[:, 0] = 0
    for attack in (FGSM(), FGSM(norm="L2"), BIM(), PGD(random_start=False)):
        x_adv = attack(model, x, y)
        assert torch.equal(x_adv[:, :, 0], x[:, :, 0])
        assert (x_adv[:, :, 1:] != x[:, :, 1:]).any()


def test_noise_has_the_size_asked_for(device):
    x = torch.full((30, 1, 28, 28), 0.5, dtype=torch.float64, device=device)
    x += 0.01 * torch.arange(30, device=device).view(-1, 1, 1, 1) / 30
    model = BinaryLinear((1, 28, 28)).to(device)
    y = torch.zeros(30, dtype=torch.int64, device=device)
    signs = Noise(eps=0.3)(model, x, y) - x
    torch.testing.assert_close(signs.abs(), torch.full_like(signs, 0.3))
    assert abs(signs.mean()) < 0.01
    gaussian = Noise(eps=0.3, norm="L2")(model, x, y) - x
    length = threat.size(gaussian, "L2")
    torch.testing.assert_close(length, torch.full_like(length, 0.3))
    assert not torch.equal(Noise(seed=1)(model, x, y), Noise(seed=2)(model, x, y))


@pytest.mark.parametrize("attack", [FGSM, Noise])
@pytest.mark.parametrize("norm", ["L1", "L0"])
def test_norms_that_an_attack_does_not_have_are_refused(attack, norm):
    with pytest.raises(ValueError, match=f"norm: found '{norm}', expected Linf or L2"):
        attack(norm=norm)
