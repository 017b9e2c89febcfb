"""MI-FGSM, written by others."""

from __future__ import annotations

import pytest
import torch

from advlab.attacks import MIFGSM
from advlab.models import accuracy

from .conftest import art_run, foolbox_run

pytestmark = pytest.mark.peers


def assert_equal_but_for_rounding(ours, theirs, x, eps):
    assert (ours != x).flatten(1).any(1).all()
    difference = (ours - theirs).abs()
    assert (difference > 1e-6).double().mean() <= 1e-4
    assert difference.max() <= 2 * eps + 1e-6


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_mifgsm_equals_torchattacks(decay, targeted, double):
    import torchattacks

    model, x, y = double
    theirs = torchattacks.MIFGSM(model, eps=0.2, alpha=0.03, steps=10, decay=decay)
    if targeted:
        theirs.set_mode_targeted_by_label(quiet=True)
        y = (y + 1) % 10
    ours = MIFGSM(eps=0.2, alpha=0.03, steps=10, decay=decay, targeted=targeted)(model, x, y)
    assert (ours != x).flatten(1).any(1).all()
    torch.testing.assert_close(ours, theirs(x, y), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_mifgsm_equals_art(norm, single):
    from art.attacks.evasion import MomentumIterativeMethod

    # Over ten steps one pixel's rounded sign moves the next gradients: three steps here.
    model, x, y = single
    eps, order = (0.2, "inf") if norm == "Linf" else (1.5, 2)
    settings = {"eps": eps, "eps_step": eps / 4, "max_iter": 3, "batch_size": 80, "norm": order}
    theirs = art_run(MomentumIterativeMethod, model, x, y, verbose=False, **settings)
    ours = MIFGSM(eps=eps, alpha=eps / 4, steps=3, norm=norm)(model, x, y)
    assert_equal_but_for_rounding(ours, theirs, x, eps)


def test_mifgsm_is_no_weaker_than_foolbox_which_sums_signs(single):
    import foolbox

    model, x, y = single
    peer = foolbox.attacks.MIFGSM(abs_stepsize=0.02, steps=10)
    theirs = accuracy(model, foolbox_run(peer, 0.1, model, x, y), y)
    ours = accuracy(model, MIFGSM(eps=0.1, alpha=0.02)(model, x, y), y)
    assert ours <= theirs
    assert ours < accuracy(model, x, y) - 0.2
