"""The same method, written by others, gives the same images."""

from __future__ import annotations

import pytest
import torch

from advlab import threat
from advlab.attacks import BIM, FGSM, PGD, RFGSM
from advlab.goals import UNTARGETED
from advlab.models import accuracy

from .conftest import art_run, foolbox_run

pytestmark = pytest.mark.peers


def assert_equal(ours, theirs, x, atol):
    assert (ours != x).flatten(1).any(1).all()  # two libraries that do nothing also agree
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def assert_equal_but_for_rounding(ours, theirs, x, eps):
    """In float32 a gradient of about 1e-9 has a random sign; both libraries round for themselves.

    Such pixels are counted: at most one in 10,000 may differ. The others agree to the last bits.
    """
    assert (ours != x).flatten(1).any(1).all()
    difference = (ours - theirs).abs()
    assert (difference > 1e-6).double().mean() <= 1e-4
    assert difference.max() <= 2 * eps + 1e-6


def test_fgsm_equals_foolbox(double):
    import foolbox

    model, x, y = double
    theirs = foolbox_run(foolbox.attacks.LinfFastGradientAttack(), 0.2, model, x, y)
    assert_equal(FGSM(eps=0.2)(model, x, y), theirs, x, 1e-15)


def test_l2_fgsm_equals_foolbox(double):
    import foolbox

    model, x, y = double
    theirs = foolbox_run(foolbox.attacks.L2FastGradientAttack(), 1.5, model, x, y)
    # Foolbox divides by no less than 1e-12; images with a gradient above that are compared.
    xg = x.clone().requires_grad_(True)
    loss = UNTARGETED.loss(model(xg), y)
    (gradient,) = torch.autograd.grad(loss.sum(), xg)
    seen = threat.size(gradient, "L2") > 1e-11
    assert seen.double().mean() > 0.9
    ours = FGSM(eps=1.5, norm="L2")(model, x, y)
    assert_equal(ours[seen], theirs[seen], x[seen], 1e-12)


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_equals_torchattacks(targeted, double):
    import torchattacks

    model, x, y = double
    theirs = torchattacks.FGSM(model, eps=0.2)
    if targeted:
        theirs.set_mode_targeted_by_label(quiet=True)
        y = (y + 1) % 10
    assert_equal(FGSM(eps=0.2, targeted=targeted)(model, x, y), theirs(x, y), x, 1e-15)


def test_fgsm_equals_art(single):
    from art.attacks.evasion import FastGradientMethod

    model, x, y = single
    theirs = art_run(FastGradientMethod, model, x, y, eps=0.2, batch_size=64)
    assert_equal_but_for_rounding(FGSM(eps=0.2)(model, x, y), theirs, x, 0.2)


def test_rfgsm_equals_torchattacks_with_the_same_noise(double, monkeypatch):
    import torchattacks

    model, x, y = double
    ours = RFGSM(eps=0.3, seed=5)(model, x, y)
    noise = threat.noise(x, 5, "normal")
    monkeypatch.setattr(torch, "randn_like", lambda images: noise)
    # One step size for both steps, half of our budget.
    theirs = torchattacks.RFGSM(model, eps=0.3, alpha=0.15, steps=1)(x, y)
    assert_equal(ours, theirs, x, 1e-15)


def test_bim_b_equals_torchattacks(double):
    import torchattacks

    model, x, y = double
    theirs = torchattacks.BIM(model, eps=0.2, alpha=0.03, steps=10)(x, y)
    assert_equal(BIM(eps=0.2, alpha=0.03, steps=10)(model, x, y), theirs, x, 1e-6)


def test_bim_b_equals_foolbox(double):
    import foolbox

    model, x, y = double
    peer = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.03, steps=10, random_start=False)
    theirs = foolbox_run(peer, 0.2, model, x, y)
    assert_equal(BIM(eps=0.2, alpha=0.03, steps=10)(model, x, y), theirs, x, 1e-6)


def test_bim_b_equals_art(single):
    from art.attacks.evasion import BasicIterativeMethod

    # Over ten steps one pixel's rounded sign moves the next gradients: three steps here.
    model, x, y = single
    settings = {"eps": 0.2, "eps_step": 0.05, "max_iter": 3, "batch_size": 64, "verbose": False}
    theirs = art_run(BasicIterativeMethod, model, x, y, **settings)
    ours = BIM(eps=0.2, alpha=0.05, steps=3)(model, x, y)
    assert_equal_but_for_rounding(ours, theirs, x, 0.2)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.2), ("L2", 1.5)])
def test_pgd_without_start_equals_foolbox(norm, eps, targeted, double):
    import foolbox

    model, x, y = double
    wanted = (y + 1) % 10 if targeted else None
    peer = {"Linf": foolbox.attacks.LinfPGD, "L2": foolbox.attacks.L2PGD}[norm]
    peer = peer(abs_stepsize=eps / 8, steps=20, random_start=False)
    theirs = foolbox_run(peer, eps, model, x, y, wanted)
    attack = PGD(
        eps=eps,
        alpha=eps / 8,
        steps=20,
        norm=norm,
        random_start=False,
        best=False,
        targeted=targeted,
    )
    ours = attack(model, x, wanted if targeted else y)
    assert_equal(ours, theirs, x, 1e-6)


@pytest.mark.parametrize("eps", [5.0, 10.0])
def test_l1_pgd_is_at_least_as_strong_as_foolbox_and_art(eps, single):
    import foolbox
    from art.attacks.evasion import ProjectedGradientDescent

    model, x, y = single
    alpha = 2.5 * eps / 20
    ours = accuracy(model, PGD(eps=eps, norm="L1", steps=20)(model, x, y), y)
    peer = foolbox.attacks.L1PGD(abs_stepsize=alpha, steps=20, random_start=True)
    theirs = accuracy(model, foolbox_run(peer, eps, model, x, y), y)
    assert ours <= theirs
    settings = {"norm": 1, "eps": eps, "eps_step": alpha, "max_iter": 20, "num_random_init": 1}
    found = art_run(ProjectedGradientDescent, model, x, y, batch_size=64, verbose=False, **settings)
    assert ours <= accuracy(model, found, y)
    assert ours < accuracy(model, x, y) - 0.1
