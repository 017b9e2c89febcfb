"""Wrong and not noticed at once: what holds for every adaptive attack, and the search."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import (
    BIM,
    CWL2,
    EOT,
    FGSM,
    PGD,
    SPSA,
    AdaptiveBIM,
    AdaptiveCWL2,
    AdaptiveFGSM,
    AdaptivePGD,
    AdaptiveSPSA,
    Square,
)
from advlab.goals import TARGETED, UNDETECTED, SourceTarget, Undetected, alarm
from advlab.models import predict

from .conftest import Nothing, images, small_cnn
from .rejecting import Rejects, won
from .test_invariants import assert_inside
from .test_square import Counting

BUDGETED = [
    AdaptiveFGSM(eps=0.1, weights=4),
    AdaptiveFGSM(eps=1.0, norm="L2", weights=4),
    AdaptiveBIM(eps=0.1, steps=4, weights=3),
    AdaptiveBIM(eps=0.1, steps=4, weights=3, variant="a"),
    AdaptivePGD(eps=0.1, steps=5, weights=4),
    AdaptivePGD(eps=1.0, steps=4, weights=2, restarts=2, norm="L2"),
    AdaptivePGD(eps=3.0, steps=4, weights=2, norm="L1", early_stop=False),
    AdaptiveSPSA(eps=0.1, queries=100, samples=2, weights=3, lr=0.05),
]
SMALLEST = AdaptiveCWL2(steps=30, searches=4, c=0.1, weights=3)
every_attack = pytest.mark.parametrize("attack", [*BUDGETED, SMALLEST], ids=str)


# --- what holds for every attack ---


@pytest.mark.parametrize("attack", BUDGETED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inside_the_ball_and_the_box(attack, dtype, device):
    network = small_cnn(3, (6, 5), 4, dtype).to(device)
    model = Rejects(network, (3, 6, 5)).to(device)
    x = images(7, 3, (6, 5), dtype).to(device)
    given_ = x.clone()
    x_adv = attack(model, x, torch.arange(7, device=device) % 4)
    assert_inside(attack, x, x_adv)
    assert torch.equal(x, given_)
    assert torch.equal(attack.changed(eps=0.0)(model, x, x.new_zeros(7).long()), x)


@every_attack
def test_same_answer_at_any_batch_size_in_any_order_and_alone(attack, guarded, x, y):
    x, y = x[:20], y[:20]
    if attack is SMALLEST:  # few descents, some of them from random starts
        attack = attack.changed(steps=10, searches=2, c=3.0, weights=2, restarts=2)
    together = attack(guarded, x, y)
    for size in (1, 7):
        split = attack.changed(batch_size=size)(guarded, x, y)
        torch.testing.assert_close(split, together, rtol=0, atol=1e-9)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3)).to(x.device)
    again = attack(guarded, x[order], y[order])
    torch.testing.assert_close(again, together[order], rtol=0, atol=1e-9)


@every_attack
def test_it_fools_more_than_nothing_does_and_than_the_attack_that_does_not_know(attack, cnn, x, y):
    """Most are rejected as they are, and must become less suspicious."""
    model = Rejects(cnn, x.shape[1:], units=10.0).to(x.device)
    model.tau = model.over(x).quantile(0.2).item()
    if hasattr(attack, "eps"):
        more = {"queries": 500} if isinstance(attack, AdaptiveSPSA) else {}
        attack = attack.changed(eps=1.5 * attack.eps, weights=5, **more)
    plain = {
        AdaptiveFGSM: FGSM,
        AdaptiveBIM: BIM,
        AdaptivePGD: PGD,
        AdaptiveSPSA: SPSA,
        AdaptiveCWL2: CWL2,
    }[type(attack)]
    own = {f.name: getattr(attack, f.name) for f in dataclasses.fields(plain)}
    found = won(model, attack(model, x, y), y).sum()
    assert found > won(model, Nothing()(model, x, y), y).sum()
    assert found > won(model, plain(**own)(cnn, x, y), y).sum()


# --- the search ---


def test_images_that_succeed_are_asked_about_no_more(guarded, x, y):
    attack = AdaptivePGD(eps=0.2, steps=5, weights=4)
    x_adv = attack(guarded, x, y)
    done = won(guarded, x_adv, y)
    assert 0 < done.sum() < len(x)
    more = attack.changed(weights=8)(guarded, x, y)
    assert torch.equal(more[done], x_adv[done])
    assert won(guarded, more, y)[done].all()


def test_spsa_asks_no_gradient_and_no_more_than_it_may(guarded, x, y):
    class Dark(nn.Module):
        rejected = -1

        def forward(self, z):
            with torch.no_grad():
                return guarded(z)

    attack = AdaptiveSPSA(eps=0.3, queries=300, samples=2, lr=0.05)
    x, y = x[:15], y[:15]
    found = attack(Dark(), x, y)
    torch.testing.assert_close(found, attack(guarded, x, y), rtol=0, atol=1e-9)
    assert won(guarded, found, y).sum() > won(guarded, x, y).sum()
    for i in range(3):
        model = Counting(guarded)
        model.rejected = -1
        attack(model, x[i : i + 1], y[i : i + 1])
        assert model.shown <= 300


def test_each_weight_starts_elsewhere(cnn, x, y):
    """At x; of further restarts start r of γ number w has the seed + w * restarts + r."""

    class Seen(nn.Module):
        rejected = -1

        def __init__(self):
            super().__init__()
            self.shown = []

        def forward(self, x):
            z = cnn(x)
            if x.requires_grad:
                self.shown.append(x.detach().clone())
            return torch.cat((z, z.amax(1, keepdim=True) + 1), 1)

    model = Seen()
    AdaptivePGD(eps=0.1, steps=1, restarts=2, weights=3, seed=4)(model, x[:1], y[:1])
    assert len(model.shown) == 6
    for k, start in enumerate(model.shown):
        delta = threat.random_in_ball(x[:1], 0.1, "Linf", 4 + k)
        expected = x[:1] + (k % 2) * delta
        torch.testing.assert_close(start, expected.clamp(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [None, 0.02])
def test_steps_shrink_to_the_last(alpha):
    """A straight walk up a plane from x: step t has the length α (1 − t / T)."""
    v = torch.ones(1, 4, 4, dtype=torch.float64)

    class Slope(nn.Module):
        rejected = -1

        def __init__(self):
            super().__init__()
            self.shown = []

        def forward(self, x):
            self.shown.append(x.detach().clone())
            z = (x * v).flatten(1).sum(1)
            return torch.stack([0 * z + 100, z, 0 * z - 200], 1)

    model, x = Slope(), torch.full((1, 1, 4, 4), 0.2, dtype=torch.float64)
    AdaptivePGD(eps=0.4, steps=5, alpha=alpha, weights=1)(model, x, torch.tensor([0]))
    alpha = 0.2 if alpha is None else alpha
    walk = [float((seen - x).max()) for seen in model.shown[1:7]]  # the first look is a check
    lengths = [alpha * (1 - t / 5) for t in range(5)]
    expected = [min(sum(lengths[:t]), 0.4) for t in range(6)]
    assert walk == pytest.approx(expected)


# --- goals, and what is refused ---


@pytest.mark.parametrize("attack", [BUDGETED[4].changed(eps=0.4, steps=15), SMALLEST], ids=str)
def test_a_class_that_is_wanted_and_no_alarm(attack, guarded, x, y):
    source = y == y[0]
    target = int(y[y != y[0]][0])
    wanted = torch.full_like(y, target)
    found = attack.changed(targeted=True)(guarded, x, wanted)
    assert ((predict(guarded, found) == target) & source).sum() > source.sum() / 4
    pair = attack.changed(goal=SourceTarget(int(y[0]), target))(guarded, x, y)
    torch.testing.assert_close(pair[source], found[source], rtol=0, atol=1e-9)
    assert torch.equal(pair[~source], x[~source])


def test_the_goal_is_undetected_unless_it_is_told():
    assert AdaptivePGD().aim == UNDETECTED
    assert AdaptivePGD(targeted=True).aim == TARGETED
    assert AdaptivePGD(goal="undetected") == AdaptivePGD(goal=UNDETECTED)


def test_errors(guarded, x, y):
    for wrong in ("untargeted", "confidence"):
        with pytest.raises(ValueError, match=r"goal: AdaptivePGD .*use 'undetected'"):
            AdaptivePGD(goal=wrong)
    for field, value in (("gamma", 0.0), ("gamma", float("inf")), ("weights", 0)):
        with pytest.raises(ValueError, match=field):
            AdaptiveFGSM(**{field: value})
    with pytest.raises(ValueError, match="restarts"):
        AdaptiveCWL2(restarts=0)
    with pytest.raises(ValueError, match=r"queries: one step of 16 samples .* takes 103"):
        AdaptiveSPSA(queries=102)
    last = torch.full_like(y, 3)
    for attack in (BUDGETED[0], SMALLEST):
        with pytest.raises(ValueError, match="y: found class 3, the last of the model's 4 logits"):
            attack(guarded, x, last)


@every_attack
def test_a_model_that_does_not_say_that_it_may_reject_is_refused(attack, cnn, guarded, x, y):
    """Else the last of its classes would count as a rejection."""
    message = "model: expected one that may reject, found {}.* attribute 'rejected'"
    for aim in ({}, {"targeted": True}):
        with pytest.raises(ValueError, match=message.format(type(cnn).__name__)):
            attack.changed(**aim)(cnn, x, torch.zeros_like(y))
    whole = nn.Sequential(nn.Identity(), guarded)
    with pytest.raises(ValueError, match=message.format("Sequential")):
        attack(whole, x, y)
    whole.rejected = -1
    assert torch.equal(attack(whole, x[:3], y[:3]), attack(guarded, x[:3], y[:3]))


@pytest.mark.parametrize(
    "attack",
    [
        PGD(eps=0.1, steps=3, goal="undetected"),
        CWL2(steps=5, searches=2, goal="undetected"),
        Square(eps=0.1, queries=20, goal=Undetected(gamma=2.0)),
        EOT(attack=PGD(eps=0.1, steps=3, goal="undetected"), samples=2),
    ],
    ids=str,
)
def test_so_it_is_by_every_attack_with_that_goal(attack, cnn, guarded, x, y):
    for model in (cnn, nn.Sequential(nn.Identity(), guarded)):
        with pytest.raises(ValueError, match="model: expected one that may reject"):
            attack(model, x, y)
    model.rejected = -1
    assert torch.equal(attack(model, x[:3], y[:3]), attack(guarded, x[:3], y[:3]))


def test_an_alarm_that_always_rings_cannot_be_fooled(cnn, x, y):
    class Rings(nn.Module):
        rejected = -1

        def forward(self, x):
            z = cnn(x)
            return torch.cat((z, z.amax(1, keepdim=True) + 1), 1)

    x_adv = BUDGETED[4](Rings(), x, y)
    with torch.no_grad():
        logits = Rings()(x_adv)
    assert (alarm(logits) > 0).all()
    # What is returned then is what came nearest: by now the classes are wrong.
    assert (logits[:, :-1].argmax(1) != y).double().mean() > 0.5
