"""C&W and EAD at the budget of Foolbox's, or beside other attacks: no larger."""

from __future__ import annotations

import pytest
import torch

from advlab import threat
from advlab.attacks import CWL0, CWL2, EAD, JSMA, PGD, CWLinf

from .conftest import foolbox_run

pytestmark = pytest.mark.peers
STEPS, SEARCHES = 100, 6


def success(model, x_adv, y):
    with torch.no_grad():
        return model(x_adv).argmax(1) != y


@pytest.fixture
def some(single):
    """The first three of each digit that the network has right."""
    model, x, y = single
    right = ~success(model, x, y)
    rows = torch.cat([(right & (y == digit)).nonzero().squeeze(1)[:3] for digit in range(10)])
    return model.eval(), x[rows], y[rows]


def assert_no_larger(model, x, y, ours, theirs, norm, factor=1.0):
    """All of ours succeed; on what theirs reaches, the mean size is at most ``factor`` times."""
    assert success(model, ours, y).all()
    both = success(model, theirs, y)
    assert both.double().mean() > 0.2
    mine, other = threat.size(ours - x, norm), threat.size(theirs - x, norm)
    assert mine[both].mean() <= factor * other[both].mean()


def test_l2_against_foolbox(some):
    import foolbox as fb

    model, x, y = some
    peer = fb.attacks.L2CarliniWagnerAttack(SEARCHES, STEPS, stepsize=0.01, initial_const=1e-2)
    theirs = foolbox_run(peer, None, model, x, y)
    ours = CWL2(steps=STEPS, searches=SEARCHES, c=1e-2)(model, x, y)
    assert_no_larger(model, x, y, ours, theirs, "L2")


def test_l2_targeted_against_foolbox(some):
    import foolbox as fb

    model, x, y = some
    x, y = x[:10], (y[:10] + 1) % 10
    peer = fb.attacks.L2CarliniWagnerAttack(SEARCHES, STEPS, stepsize=0.05, initial_const=1e-2)
    theirs = foolbox_run(peer, None, model, x, y, wanted=y)
    ours = CWL2(steps=STEPS, searches=SEARCHES, lr=0.05, c=1e-2, targeted=True)(model, x, y)
    hit, met = ~success(model, ours, y), ~success(model, theirs, y)
    assert hit.all()
    assert met.any()
    size = threat.size(ours - x, "L2")[met].mean()
    assert size <= threat.size(theirs - x, "L2")[met].mean()


@pytest.mark.parametrize("rule", ["L1", "EN"])
def test_ead_against_foolbox(rule, some):
    import foolbox as fb

    model, x, y = some
    peer = fb.attacks.EADAttack(SEARCHES, STEPS, initial_const=1e-2, decision_rule=rule)
    theirs = foolbox_run(peer, None, model, x, y)
    ours = EAD(steps=STEPS, searches=SEARCHES, c=1e-2, rule=rule)(model, x, y)
    assert success(model, ours, y).all()
    assert success(model, theirs, y).all()
    mine, other = ((threat.size(a - x, "L1"), threat.size(a - x, "L2")) for a in (ours, theirs))
    if rule == "L1":
        assert mine[0].mean() <= other[0].mean()
    else:
        net, peers = ((0.01 * l1 + l2**2).mean() for l1, l2 in (mine, other))
        assert net <= peers


# ART's CarliniL0Method is no yardstick: with 50 steps of 0.1 it fools the network on none of three
# digits. Its CarliniLInfMethod needs a learning rate of 1 to fool any, and too long for a test.


def test_linf_against_foolboxs_deepfool_and_a_search_of_pgds_eps(some):
    """Smaller on average than DeepFool, and within a tenth of PGD at 29 values of eps."""
    import foolbox as fb

    model, x, y = some
    x, y = x[::3], y[::3]
    theirs = foolbox_run(fb.attacks.LinfDeepFoolAttack(), None, model, x, y)
    ours = CWLinf()(model, x, y)
    assert_no_larger(model, x, y, ours, theirs, "Linf")
    least = torch.full_like(y, torch.inf, dtype=x.dtype)
    for eps in torch.linspace(0.3, 0.02, 29).tolist():
        least[success(model, PGD(eps=eps, alpha=eps / 8, steps=40)(model, x, y), y)] = eps
    assert least.isfinite().all()
    assert threat.size(ours - x, "Linf").mean() <= 1.1 * least.mean()


def test_l0_changes_fewer_pixels_than_jsma(some):
    model, x, y = some
    x, y = x[::3], y[::3]
    theirs = JSMA(gamma=0.9)(model, x, y)
    ours = CWL0(steps=50)(model, x, y)
    assert success(model, theirs, y).all()
    assert_no_larger(model, x, y, ours, theirs, "L0", factor=0.8)
