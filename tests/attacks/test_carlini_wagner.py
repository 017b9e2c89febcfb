"""C&W: closed forms on a linear model, what success means, and which pixels move."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations

import pytest
import torch
from torch import nn

from advlab import data, threat
from advlab.attacks import CWL0, CWL2, CWLinf
from advlab.goals import ConfidenceReduction
from advlab.models import load_model

from .conftest import BinaryLinear, Nothing, images, small_cnn

L2 = CWL2(steps=100, searches=9)
L0 = CWL0(steps=60)
LINF = CWLinf(steps=100, rounds=40)
ALL = [L2, CWL2(steps=150, searches=9, space="tanh"), L0, LINF]
every_attack = pytest.mark.parametrize("attack", ALL, ids=str)


def linear(n=12, shape=(1, 4, 5), seed=0, edge=0.25):
    """A linear model, images around the middle of the box, and what the model says of them."""
    model = BinaryLinear(shape, seed)
    source = torch.Generator().manual_seed(seed + 1)
    x = torch.rand(n, *shape, generator=source, dtype=torch.float64) * (1 - 2 * edge) + edge
    with torch.no_grad():
        logits = model(x)
    return model, x, logits.argmax(1), (logits[:, 1] - logits[:, 0]).abs()


def judged(attack, model, x, y):
    with torch.no_grad():
        return attack.aim.reached(model(x), y)


@pytest.mark.parametrize("space", ["pixels", "tanh"])
def test_l2_is_the_distance_to_the_plane(space):
    """Far from the edges the nearest adversarial image is at margin / ‖w‖₂."""
    model, x, y, margin = linear()
    near = margin / model.w.norm() < 0.2
    assert near.sum() >= 4
    x, y, optimum = x[near], y[near], (margin / model.w.detach().norm())[near]
    x_adv = CWL2(steps=400, searches=12, space=space)(model, x, y)
    assert judged(L2, model, x_adv, y).all()
    ratio = threat.size(x_adv - x, "L2") / optimum
    assert ratio.min() >= 1
    assert ratio.max() < 1.05


def test_l2_at_the_edges_of_the_box_is_the_projected_optimum():
    """With bounds the optimum is δᵢ = clip(λ wᵢ), with the λ that just reaches the plane."""
    model = BinaryLinear((1, 4, 5))
    x = images(12, 1, (4, 5))
    with torch.no_grad():
        logits = model(x)
    y, w = logits.argmax(1), model.w.detach()
    toward = torch.where(y == 1, -1.0, 1.0).double()[:, None, None, None] * w
    low, high = torch.zeros(12).double(), torch.full((12,), 1e3).double()
    for _ in range(80):
        middle = (low + high) / 2
        x_opt = (x + middle[:, None, None, None] * toward).clamp(0, 1)
        there = model(x_opt).argmax(1) != y
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    possible = there | (model((x + 1e3 * toward).clamp(0, 1)).argmax(1) != y)
    optimum = threat.size((x + high[:, None, None, None] * toward).clamp(0, 1) - x, "L2")
    x_adv = CWL2(steps=400, searches=12)(model, x, y)
    assert torch.equal(judged(L2, model, x_adv, y), possible)
    possible &= optimum > 0.05  # a nearer one is passed over by Adam's first step, 0.01 √20
    ratio = (threat.size(x_adv - x, "L2") / optimum)[possible]
    assert possible.sum() >= 6
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() < 1.05


def test_linf_is_the_distance_to_the_plane():
    """Far from the edges the optimum is margin / ‖w‖₁; the bound is one step of τ and 2%."""
    model, x, y, margin = linear()
    optimum = margin / model.w.detach().abs().sum()
    near = optimum < 0.2
    assert near.sum() >= 6
    x, y = x[near], y[near]
    x_adv = CWLinf(lr=0.001, shrink=0.97)(model, x, y)
    assert judged(LINF, model, x_adv, y).all()
    ratio = threat.size(x_adv - x, "Linf") / optimum[near]
    assert ratio.min() >= 1
    assert ratio.max() < 1.05


def test_l0_finds_the_fewest_pixels():
    """Brute force over all sets of pixels: never more than one pixel too many, mostly none."""
    model = BinaryLinear((1, 3, 3), seed=3)
    model.w.data = model.w.sign() * (1 + model.w.abs() / 4)  # no pixel decides alone
    w = model.w.detach()
    # On one side of the plane, from near to far.
    depth = torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(4)).double()
    x = 0.5 + 0.5 * depth * torch.linspace(0.1, 1, 20).double()[:, None, None, None] * w.sign()
    with torch.no_grad():
        logits = model(x)
    y, margin = logits.argmax(1), (logits[:, 1] - logits[:, 0]).abs()
    toward = torch.where(y == 1, -1.0, 1.0).double()[:, None, None, None] * w
    gain = torch.where(toward > 0, toward * (1 - x), -toward * x).flatten(1)
    fewest = []
    for image, needed in zip(gain, margin, strict=True):
        enough = [
            count
            for count in range(1, 10)
            if any(image[list(s)].sum() > needed for s in combinations(range(9), count))
        ]
        fewest.append(min(enough) if enough else 0)
    fewest = torch.tensor(fewest)
    assert fewest.unique().numel() >= 3
    x_adv = L0(model, x, y)
    count = threat.size(x_adv - x, "L0")
    assert torch.equal(judged(L0, model, x_adv, y), fewest > 0)
    assert (count >= fewest).all()
    assert (count == fewest).double().mean() >= 0.6
    assert (count <= fewest + 1).all()


def test_l0_counts_pixels_not_channels(device):
    model = small_cnn(3, (5, 4)).to(device)
    x = images(8, 3, (5, 4)).to(device)
    y = model(x).argmax(1)
    x_adv = L0(model, x, y)
    assert judged(L0, model, x_adv, y).all()
    moved = x_adv != x
    assert (moved.any(1).flatten(1).sum(1) < 20).all()
    # Once a pixel is paid for, its other channels are free: they are used.
    assert moved.sum() > 1.5 * moved.any(1).sum()


@pytest.mark.parametrize("attack", [L2, LINF, L0], ids=str)
@pytest.mark.parametrize("targeted", [False, True])
def test_kappa_is_the_margin_that_is_reached(attack, targeted, cnn, x, y):
    kappa = 0.05 if targeted else 0.2
    x, y = x[:6], (y[:6] + 1) % 3 if targeted else y[:6]
    plain = dataclasses.replace(attack, targeted=targeted)
    sure = dataclasses.replace(plain, kappa=kappa)
    with torch.no_grad():
        far = sure.aim.margin(cnn(sure(cnn, x, y)), y)
        near = plain.aim.margin(cnn(plain(cnn, x, y)), y)
    found = far > 0
    assert found.double().mean() >= 0.8
    assert (far[found] >= kappa).all()
    assert (near < kappa).double().mean() > 0.5  # it takes κ to get there
    more = threat.size(sure(cnn, x, y) - x, attack.norm)
    assert (more >= threat.size(plain(cnn, x, y) - x, attack.norm))[found].double().mean() >= 0.9


@every_attack
def test_pixels_at_0_and_1_move(attack, device):
    """Images of pure 0 and 1: nothing can be done without moving such a pixel."""
    model = small_cnn().to(device)
    x = images(10).round().to(device)
    y = model(x).argmax(1)
    x_adv = attack(model, x, y)
    assert judged(attack, model, x_adv, y).all()
    assert not judged(Nothing(), model, Nothing()(model, x, y), y).any()
    moved = (x_adv - x).abs()
    assert moved[x == 0].max() > 0.05
    assert moved[x == 1].max() > 0.05
    if attack.norm == "L2":  # as near as an attack that starts inside of the box
        inside = x * 0.98 + 0.01
        again = attack(model, inside, y)
        size = threat.size(x_adv - x, "L2")
        assert (size <= 1.1 * threat.size(again - x, "L2")).all()


def test_the_papers_shrunk_tanh_freezes_such_pixels(device):
    """What we leave behind: x = ½(tanh w + 1) at w = atanh(0.999999 (2x − 1))."""
    w = torch.tensor(0.999999, dtype=torch.float64).atanh()
    after = ((w - 100 * 0.01).tanh() + 1) / 2  # 100 steps of 0.01
    assert 1 - after < 1e-5
    attack = CWL2(space="tanh")
    w, low, high = attack.variable(torch.tensor([[[[0.0, 1.0]]]]).double())
    after, _ = attack.image(torch.stack([w + 1, w - 1]))
    assert (after[0, ..., 0] > 0.2).all()
    assert (after[1, ..., 1] < 0.8).all()
    torch.testing.assert_close(w.flatten(), torch.tensor([low, high]).double())


class Shrunk(CWL2):
    """The paper's x′ = ½(tanh w + 1), from w = atanh(0.999999 (2x − 1))."""

    def variable(self, x):
        return (0.999999 * (2 * x - 1)).atanh(), -math.inf, math.inf

    def image(self, w):
        return (w.tanh() + 1) / 2, (1 - w.tanh() ** 2) / 2


def test_the_papers_shrunk_tanh_fails_on_digits_and_ours_do_not():
    """The figures in the docstring of CWL2: the first two of each digit in 300 test images."""
    model = load_model("mnist-cnn").eval()
    x, y = (part[:300] for part in data.load("mnist5k").test)
    with torch.no_grad():
        right = model(x).argmax(1) == y
    rows = torch.cat([(right & (y == digit)).nonzero().squeeze(1)[:2] for digit in range(10)])
    x, y = x[rows], y[rows]
    settings = {"steps": 100, "searches": 5}
    assert judged(L2, model, Shrunk(**settings)(model, x, y), y).sum() < 10  # 6
    for space, mean in (("pixels", 1.76), ("tanh", 1.87)):
        x_adv = CWL2(space=space, **settings)(model, x, y)
        assert judged(L2, model, x_adv, y).all()
        assert threat.size(x_adv - x, "L2").mean() == pytest.approx(mean, rel=0.02)


def test_linf_goes_on_from_where_it_failed(cnn, x, y):
    """One descent of 50 steps of 0.002 gets no further than 0.1."""
    x, y = x[:6], (y[:6] + 1) % 3
    settings = {"lr": 0.002, "steps": 50, "targeted": True}
    once = CWLinf(searches=1, **settings)(cnn, x, y)
    again = CWLinf(searches=8, **settings)(cnn, x, y)
    assert not judged(CWLinf(targeted=True), cnn, once, y).all()
    assert judged(CWLinf(targeted=True), cnn, again, y).all()
    assert threat.size(again - x, "Linf").max() > 0.15


@every_attack
def test_a_tie_is_no_success(attack, x):
    """Where both logits are 0 the margin is 0 too, and the answer is still the class 0."""

    class Tie(nn.Module):
        def forward(self, x):
            score = (x.flatten(1).mean(1) - 0.3).relu()
            return torch.stack([score, 0 * score], 1)

    y = torch.zeros(4, dtype=torch.int64, device=x.device)
    assert (Tie()(x[:4])[:, 0] > 0).all()
    assert torch.equal(attack(Tie(), x[:4], y), x[:4])


@every_attack
def test_goals(attack, cnn, x, y):
    x, y = x[:6], y[:6]
    wanted = (y + 1) % 3
    targeted = dataclasses.replace(attack, targeted=True)(cnn, x, wanted)
    assert (cnn(targeted).argmax(1) == wanted).double().mean() >= 0.9
    assert not (cnn(x).argmax(1) == wanted).any()
    lower = dataclasses.replace(attack, goal=ConfidenceReduction(0.3))(cnn, x, y)
    probability = cnn(lower).softmax(1).gather(1, y[:, None])
    assert (probability < 0.3).double().mean() >= 0.9


@pytest.mark.parametrize("attack", [L2, LINF], ids=str)
def test_float32_is_adversarial_alone_and_in_a_batch(attack):
    """What is returned is an iterate that the model judged; another batch rounds otherwise."""
    model = small_cnn(1, (8, 8), 10, torch.float32)
    x = images(60, 1, (8, 8), torch.float32)
    with torch.no_grad():
        y = model(x).argmax(1)
        x_adv = attack(model, x, y)
        assert (model(x_adv).argmax(1) != y).all()
        assert all((model(x_adv[i : i + 1]).argmax(1) != y[i]).all() for i in range(60))


def test_budget_of_forward_passes(cnn, x, y):
    """No more than the first look and searches × steps; early abort only takes away."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.seen = cnn, 0

        def forward(self, x):
            self.seen += len(x)
            return self.model(x)

    seen = {}
    for abort in (False, True):
        counting = Counting()
        CWL2(steps=40, searches=6, abort_early=abort)(counting, x, y)
        seen[abort] = counting.seen / len(x)
    assert seen[False] == 1 + 6 * 40
    assert seen[True] < 0.9 * seen[False]


def test_early_abort_costs_little(cnn, x, y):
    x, y = x[:15], y[:15]
    sizes = [
        threat.size(CWL2(steps=100, searches=9, abort_early=abort)(cnn, x, y) - x, "L2")
        for abort in (False, True)
    ]
    assert sizes[1].mean() < 1.02 * sizes[0].mean()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CWL2, {"kappa": -1}, "kappa: expected a finite number, at least 0"),
        (CWL2, {"steps": 0}, "steps: expected a whole number from 1"),
        (CWL2, {"c": 0}, "c: expected a finite number"),
        (CWL2, {"space": "sphere"}, "space: expected 'pixels' or 'tanh', found 'sphere'"),
        (CWL0, {"shrink": 1.5}, "shrink: expected a finite number, at least 0, at most 1"),
        (CWLinf, {"rounds": 0}, "rounds: expected a whole number from 1"),
    ],
)
def test_bad_settings_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)
