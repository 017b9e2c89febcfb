"""AutoAttack and its parts against torchattacks', which is a port of the authors' program."""

from __future__ import annotations

import pytest
import torch

from advlab import threat
from advlab.attacks import APGD, APGDT, FABT, AutoAttack
from advlab.attacks.losses import dlr, targeted_dlr
from advlab.models import load_model

pytestmark = pytest.mark.peers

# Where many digits stand and many fall, so that strength shows.
BUDGETS = [("mnist-mlp", "Linf", 0.05), ("mnist-mlp", "L2", 0.9)]
budgets = pytest.mark.parametrize(("name", "norm", "eps"), BUDGETS)
STEPS = 30


def right_images(name, digits, device):
    model = load_model(name).to(device)
    x, y = (each.to(device) for each in digits)
    right = model(x).argmax(1) == y
    return model, x[right], y[right]


def left(model, x_adv, y):
    with torch.no_grad():
        return (model(x_adv).argmax(1) == y).sum().item()


def test_the_ratios_are_the_same(device):
    import torchattacks

    source = torch.Generator().manual_seed(0)
    z = torch.randn(40, 10, generator=source, dtype=torch.float64).to(device)
    y = torch.randint(0, 10, (40,), generator=source).to(device)
    model = torch.nn.Identity()
    theirs = torchattacks.APGD(model).dlr_loss(z, y)
    torch.testing.assert_close(dlr(z, y), theirs)
    t = (y + 4) % 10
    theirs = torchattacks.APGDT(model).dlr_loss_targeted(z, y, t)
    torch.testing.assert_close(targeted_dlr(z, y, t), theirs)


@pytest.mark.parametrize(("name", "norm", "eps"), [*BUDGETS, ("mnist-cnn", "Linf", 0.11)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_is_as_strong(name, norm, eps, loss, digits, device):
    import torchattacks

    model, x, y = right_images(name, digits, device)
    ours = APGD(eps=eps, norm=norm, steps=100, loss=loss)(model, x, y)
    theirs = torchattacks.APGD(model, eps=eps, norm=norm, steps=100, loss=loss)(x, y)
    assert left(model, ours, y) <= left(model, theirs, y)
    assert 0 < left(model, ours, y) < len(x) - 10


@budgets
def test_targeted_apgd_is_as_strong(name, norm, eps, digits, device):
    import torchattacks

    model, x, y = right_images(name, digits, device)
    ours = APGDT(eps=eps, norm=norm, steps=STEPS)(model, x, y)
    theirs = torchattacks.APGDT(model, eps=eps, norm=norm, steps=STEPS)(x, y)
    assert left(model, ours, y) <= left(model, theirs, y)
    assert 0 < left(model, ours, y) < len(x) - 10


@budgets
def test_fab_is_as_strong(name, norm, eps, digits, device):
    import torchattacks

    model, x, y = right_images(name, digits, device)
    near = FABT(norm=norm, steps=STEPS)(model, x, y)
    theirs = torchattacks.FAB(
        model, eps=eps, norm=norm, steps=STEPS, multi_targeted=True, n_classes=10
    )(x, y)
    ours = torch.where((threat.size(near - x, norm) <= eps).view(-1, 1, 1, 1), near, x)
    assert left(model, ours, y) <= left(model, theirs, y)
    assert 0 < left(model, ours, y) < len(x) - 10


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_fab_comes_as_near(norm, digits, device):
    """Toward one target, as torchattacks stops at the first that succeeds inside its eps."""
    import torchattacks

    model, x, y = right_images("mnist-mlp", digits, device)
    near = FABT(norm=norm, steps=STEPS, targets=1)(model, x, y)
    peer = torchattacks.FAB(model, norm=norm, steps=STEPS, multi_targeted=True)
    peer.target_class = 2  # the likeliest other class
    theirs = peer.attack_single_run_targeted(x, y)
    ours_size, their_size = threat.size(near - x, norm), threat.size(theirs - x, norm)
    assert (ours_size > 0).sum() >= (their_size > 0).sum() > 60
    both = (ours_size > 0) & (their_size > 0)
    assert ours_size[both].mean() <= their_size[both].mean()
    assert ours_size[both].median() <= their_size[both].median()


@budgets
def test_autoattack_is_as_strong(name, norm, eps, digits, device):
    """torchattacks' comes with 10 steps for each gradient attack: so does ours here."""
    import torchattacks

    model, x, y = right_images(name, digits, device)
    peer = torchattacks.AutoAttack(model, eps=eps, norm=norm, seed=0)
    assert peer._autoattack.attacks[0].steps == 10
    peer._autoattack.attacks[3].n_queries = 300
    ours = AutoAttack(eps=eps, norm=norm, steps=10, queries=300)(model, x, y)
    assert left(model, ours, y) <= left(model, peer(x, y), y)
    assert 0 < left(model, ours, y) < len(x) - 10
