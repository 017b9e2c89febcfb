"""C&W and EAD at the budget of Foolbox's and ART's: as many succeed, and no larger."""

from __future__ import annotations

import pytest
import torch

from advlab import threat
from advlab.attacks import CWL0, CWL2, EAD, CWLinf

from .conftest import art_run, foolbox_run

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
    else:  # what this rule makes small; the iterates that we judge for free cost a little of it
        net, peers = ((0.01 * l1 + l2**2).mean() for l1, l2 in (mine, other))
        assert net <= 1.05 * peers


def test_linf_against_art(some):
    from art.attacks.evasion import CarliniLInfMethod

    model, x, y = some
    x, y = x[::6], y[::6]
    theirs = art_run(CarliniLInfMethod, model, x, y, max_iter=100, learning_rate=0.1, verbose=False)
    ours = CWLinf()(model, x, y)
    assert_no_larger(model, x, y, ours, theirs, "Linf")


def test_l0_against_art(some):
    from art.attacks.evasion import CarliniL0Method

    model, x, y = some
    x, y = x[::6], y[::6]
    settings = {"max_iter": 10, "binary_search_steps": 5, "batch_size": 5, "verbose": False}
    theirs = art_run(CarliniL0Method, model, x, y, **settings)
    ours = CWL0(steps=100)(model, x, y)
    assert_no_larger(model, x, y, ours, theirs, "L0")
