"""What the walks of BIM and PGD do on the way: stopping, keeping the best, starting again."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import BIM, PGD
from advlab.goals import TARGETED, UNTARGETED


def judge(model, x, y, targeted=False):
    """Success and loss of each image."""
    with torch.no_grad():
        logits = model(x)
    goal = TARGETED if targeted else UNTARGETED
    return goal.reached(logits, y), goal.loss(logits, y)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize("targeted", [False, True])
def test_bim_a_stops_each_image_at_its_first_success_and_b_never(norm, targeted, cnn, x, y):
    if targeted:
        y = (y + 1) % 3
    eps = {"Linf": 0.15, "L2": 0.7, "L1": 4}[norm]
    common = {"eps": eps, "alpha": eps / 6, "norm": norm, "targeted": targeted}
    # With a fixed step the result after T steps is the T-th iterate.
    a = [x] + [BIM(variant="a", steps=t, **common)(cnn, x, y) for t in range(1, 9)]
    b = [x] + [BIM(variant="b", steps=t, **common)(cnn, x, y) for t in range(1, 9)]
    stopped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    moving = []
    for t in range(8):
        stopped |= judge(cnn, b[t], y, targeted)[0]
        assert torch.equal(a[t + 1][stopped], a[t][stopped])  # fell: never moved again
        torch.testing.assert_close(a[t + 1][~stopped], b[t + 1][~stopped], rtol=0, atol=1e-12)
        moving.append(int((~stopped).sum()))
        # b goes on from a success too, until the ball's or the box's edge holds it.
        if t < 5:
            assert (b[t + 1] != b[t]).flatten(1).any(1).all()
    assert moving[-1] < moving[0]  # some fell on the way: the test saw what it is about
    finished = judge(cnn, b[8], y, targeted)[0]
    assert torch.equal(judge(cnn, a[8], y, targeted)[0] | ~finished, torch.ones_like(finished))


def test_bim_a_leaves_alone_what_is_wrong_from_the_start(cnn, x, y):
    wrong = (y + 1) % 3
    assert torch.equal(BIM(variant="a")(cnn, x, wrong), x)
    assert not torch.equal(BIM(variant="b")(cnn, x, wrong), x)


class Wave(nn.Module):
    """The loss goes up and down along each pixel: long steps jump over the hills."""

    def forward(self, x):
        z = torch.sin(12 * x).flatten(1)[:, :3]
        return 3 * z


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_pgd_returns_the_best_iterate_seen(norm, device):
    x = torch.rand(40, 1, 2, 3, generator=torch.Generator().manual_seed(1)).double().to(device)
    model, y = Wave(), torch.arange(40, device=device) % 3
    attack = PGD(eps=0.4, steps=6, alpha=0.3, norm=norm)
    best = attack(model, x, y)
    fooled, loss = judge(model, best, y)
    # With a fixed step, best=False after t steps is the t-th iterate of the same walk.
    seen = [dataclasses.replace(attack, steps=t, best=False)(model, x, y) for t in range(1, 7)]
    start = (x + threat.random_in_ball(x, 0.4, norm, seed=0)).clamp(0, 1)
    verdicts = [judge(model, iterate, y) for iterate in (start, *seen)]
    fooled_at = torch.stack([v[0] for v in verdicts])
    loss_at = torch.stack([v[1] for v in verdicts])
    assert torch.equal(fooled, fooled_at.any(0))
    # Among the iterates that succeed, or among all where none does, the one of highest loss.
    ranked = torch.where(fooled_at == fooled, loss_at, -torch.inf)
    torch.testing.assert_close(loss, ranked.amax(0))
    assert (loss > loss_at[-1] + 1e-3).sum() > 5  # and often better than the last


def images_shown(model):
    """A list that grows by the number of images at each call of the model."""
    shown = []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    return shown


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.06), ("L2", 0.3), ("L1", 2.0)])
@pytest.mark.parametrize("targeted", [False, True])
def test_early_stop_fools_the_same_images_with_less_work(norm, eps, targeted, cnn, x, y):
    if targeted:
        y, eps = (y + 1) % 3, 1.5 * eps
    attack = PGD(eps=eps, steps=10, norm=norm, targeted=targeted)
    shown = images_shown(cnn)
    full = judge(cnn, attack(cnn, x, y), y, targeted)[0]
    work = sum(shown[:-1])
    shown.clear()
    stopped = dataclasses.replace(attack, early_stop=True)(cnn, x, y)
    less = sum(shown)
    assert torch.equal(judge(cnn, stopped, y, targeted)[0], full)
    assert 0 < full.sum() < len(x)
    assert work == len(x) * 11  # T gradients and a last look
    assert less < work
    # An image that fell is returned as it was when it fell: the first success of its walk.
    first = torch.full_like(x, torch.nan)
    fell = torch.zeros_like(full)
    alpha = 2.5 * eps / 10
    walk = [(x + threat.random_in_ball(x, eps, norm, seed=0)).clamp(0, 1)] + [
        dataclasses.replace(attack, steps=t, alpha=alpha, best=False)(cnn, x, y)
        for t in range(1, 11)
    ]
    for iterate in walk:
        now = judge(cnn, iterate, y, targeted)[0] & ~fell
        first[now] = iterate[now]
        fell |= now
    torch.testing.assert_close(stopped[full], first[full], rtol=0, atol=1e-9)
    # work = T + 1 looks at each image that stands, and one look at each iterate of one that fell.
    looks = sum(int((~_fell_before(walk, t, cnn, y, targeted)).sum()) for t in range(11))
    assert less == looks


def _fell_before(walk, t, model, y, targeted):
    fell = torch.zeros_like(y, dtype=torch.bool)
    for iterate in walk[:t]:
        fell |= judge(model, iterate, y, targeted)[0]
    return fell


def test_restarts_go_on_with_the_survivors_alone_and_only_help(cnn, x, y):
    one = PGD(eps=0.05, steps=3)
    shown = images_shown(cnn)
    outs, fooled, work = [], [], []
    for restarts in (1, 2, 3):
        shown.clear()
        outs.append(dataclasses.replace(one, restarts=restarts)(cnn, x, y))
        work.append(sum(shown))
        fooled.append(judge(cnn, outs[-1], y)[0])
        # What fell stays exactly as it was; nothing that fell stands up again.
        if restarts > 1:
            assert torch.equal(outs[-1][fooled[-2]], outs[-2][fooled[-2]])
            assert not (fooled[-2] & ~fooled[-1]).any()
            before, after = (judge(cnn, out, y)[1] for out in outs[-2:])
            assert (after >= before - 1e-12)[~fooled[-1]].all()
    assert work[0] == 4 * len(x)
    assert work[1] - work[0] == 4 * int((~fooled[0]).sum())
    assert work[2] - work[1] == 4 * int((~fooled[1]).sum())
    assert 0 < fooled[0].sum() < len(x)
    # Restart r is the walk from seed + r.
    second = dataclasses.replace(one, seed=1)(cnn, x, y)
    both = judge(cnn, second, y)[0] & ~fooled[0]
    torch.testing.assert_close(outs[1][both], second[both], rtol=0, atol=1e-9)
    survivors = ~fooled[0]
    assert (outs[1][survivors] != outs[0][survivors]).any()


def test_restarts_help_where_one_start_is_not_enough(device):
    """On a wavy loss what one start reaches is luck."""
    source = torch.Generator().manual_seed(1)
    x = torch.rand(200, 1, 1, 3, generator=source).double().to(device)
    y = torch.arange(200, device=device) % 3
    rates = [
        judge(Wave(), PGD(eps=0.3, steps=3, alpha=0.02, restarts=r)(Wave(), x, y), y)[0].sum()
        for r in (1, 5)
    ]
    assert rates[1] > rates[0] + 5


def test_random_start_is_in_the_ball_and_follows_the_seed(cnn, x, y):
    for norm, eps in (("Linf", 0.1), ("L2", 1.0), ("L1", 3.0)):
        still = PGD(eps=eps, steps=1, alpha=0.0, norm=norm, best=False)
        start = still(cnn, x, y)
        expected = (x + threat.random_in_ball(x, eps, norm, seed=0)).clamp(0, 1)
        torch.testing.assert_close(start, expected, rtol=0, atol=1e-12)
        assert not torch.equal(start, dataclasses.replace(still, seed=1)(cnn, x, y))
        assert torch.equal(dataclasses.replace(still, random_start=False)(cnn, x, y), x)


@pytest.mark.parametrize("attack", [BIM, PGD])
def test_steps_out_of_range_are_refused(attack):
    for steps in (0, -1, 1.5, "3", None):
        with pytest.raises(ValueError, match="steps: expected a whole number from 1, found"):
            attack(steps=steps)
    for alpha in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="alpha: expected a finite number, at least 0"):
            attack(alpha=alpha)
    with pytest.raises(ValueError, match="norm: found 'L0', expected Linf, L2 or L1"):
        attack(norm=0)


def test_combinations_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="variant: expected 'a' or 'b', found 'c'"):
        BIM(variant="c")
    for restarts in (0, 1.5):
        with pytest.raises(ValueError, match="restarts: expected a whole number from 1, found"):
            PGD(restarts=restarts)
    for change in ({"random_start": False}, {"best": False}):
        with pytest.raises(ValueError, match="restarts: more than 1 needs"):
            PGD(restarts=2, **change)
    with pytest.raises(ValueError, match="early_stop: needs best=True"):
        PGD(early_stop=True, best=False)


class Ridge(nn.Module):
    """A pixel at 0.5 is right with loss 1.10; at 0.7 it is wrong, and its loss is only 0.74."""

    def forward(self, x):
        p = x.flatten(1)[:, 0]
        return torch.stack([0 * p + 0.01, (p - 0.5) / 2, -50 * (p - 0.6).relu()], 1)


def test_an_iterate_that_succeeds_goes_before_one_of_higher_loss(device):
    x = torch.full((2, 1, 1, 1), 0.5, dtype=torch.float64, device=device)
    y = torch.zeros(2, dtype=torch.int64, device=device)
    x_adv = PGD(eps=0.2, steps=1, alpha=0.2, random_start=False)(Ridge(), x, y)
    assert judge(Ridge(), x_adv, y)[0].all()
    assert (judge(Ridge(), x_adv, y)[1] < judge(Ridge(), x, y)[1]).all()


def test_default_steps_are_eps_over_t_for_bim_and_two_and_a_half_for_pgd(cnn, x, y):
    for attack, alpha in ((BIM(eps=0.08, steps=4), 0.02), (PGD(eps=0.08, steps=4), 0.05)):
        assert attack.alpha is None
        stated = dataclasses.replace(attack, alpha=alpha)
        other = dataclasses.replace(attack, alpha=1.25 * alpha)
        torch.testing.assert_close(attack(cnn, x, y), stated(cnn, x, y), rtol=0, atol=1e-12)
        assert (attack(cnn, x, y) - other(cnn, x, y)).abs().max() > 1e-3
