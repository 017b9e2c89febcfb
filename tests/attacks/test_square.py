"""Square: its windows and bumps against the paper's loops, its queries counted."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import Square
from advlab.attacks.square import DRAWN, bumps, eta, squares, stripes, windows
from advlab.goals import ConfidenceReduction, SourceTarget

from .conftest import BinaryLinear, Nothing, images, small_cnn

both_norms = pytest.mark.parametrize("norm", ["Linf", "L2"])
EPS = {"Linf": 0.1, "L2": 1.0}


class Counting(nn.Module):
    """Counts the images that it is shown."""

    def __init__(self, model):
        super().__init__()
        self.model, self.shown = model, 0

    def forward(self, x):
        self.shown += len(x)
        return self.model(x)


def fooled(model, x, y):
    with torch.no_grad():
        return model(x).argmax(1) != y


@both_norms
@pytest.mark.parametrize("queries", [1, 2, 3, 30])
def test_never_more_queries_than_allowed_and_none_when_done(norm, queries, cnn, x, y):
    attack = Square(eps=EPS[norm], norm=norm, queries=queries)
    alone = []
    for i in range(len(x)):
        model = Counting(cnn)
        x_adv = attack(model, x[i : i + 1], y[i : i + 1])
        alone.append(model.shown)
        if not fooled(cnn, x_adv, y[i : i + 1]):
            assert model.shown == queries  # all that it may ask
    assert max(alone) == queries
    assert queries < 30 or min(alone) < queries  # some were done early
    model = Counting(cnn)
    attack(model, x, y)
    assert model.shown == sum(alone)


@both_norms
def test_an_image_that_is_wrong_from_the_start_costs_one_query(norm, cnn, x, y):
    model = Counting(cnn)
    wrong = (y + 1) % 3
    assert torch.equal(Square(norm=norm)(model, x, wrong), x)
    assert model.shown == len(x)


def test_one_query_is_the_image_itself(cnn, x, y):
    assert torch.equal(Square(queries=1)(cnn, x, y), x)


def p_of_the_paper(step, p):
    """Section 3.2, for 10,000 iterations; the authors' code has 500 as well."""
    for i in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        if step > i:
            p /= 2
    return p


@pytest.mark.parametrize("scale", [1, 10])
def test_the_squares_shrink_as_in_the_paper(scale):
    attack = Square(queries=10_000 // scale)
    for step in range(1, 10_000 // scale):
        side = max(round(math.sqrt(p_of_the_paper(step * scale, 0.8) * 28 * 28)), 1)
        assert attack.side(step, 28, 28) == side
    assert [Square(queries=10_000).side(s, 28, 28) for s in (1, 11, 51, 9000)] == [25, 18, 13, 1]
    # In L2, the nearest odd number above, and at least 3.
    attack = Square(norm="L2", queries=10_000)
    assert [attack.side(s, 28, 28) for s in (1, 11, 51, 9000)] == [25, 19, 13, 3]
    assert attack.side(1, 28, 4) == 4  # never more than there is room for


def uniform(n, channels, seed=0):
    return torch.rand(
        n, 5 + channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def test_a_step_sets_one_square_to_the_edge_of_the_ball():
    n, side, eps = 4000, 3, 0.1
    x = images(1, channels=3, size=(6, 5)).expand(n, -1, -1, -1)
    x_adv = (x + eps * (images(n, channels=3, size=(6, 5), seed=2) * 2 - 1)).clamp(0, 1)
    candidate = squares(x, x_adv, eps, side, uniform(n, 3))
    assert torch.equal(x_adv, x_adv.clone())
    up, down = (x + eps).clamp(0, 1), (x - eps).clamp(0, 1)
    corners = {}
    for i in range(n):
        rows, columns = (candidate[i] != x_adv[i]).any(0).nonzero().unbind(1)
        top, left = int(rows.min()), int(columns.min())
        assert (int(rows.max()), int(columns.max())) == (top + side - 1, left + side - 1)
        square = (slice(top, top + side), slice(left, left + side))
        for c in range(3):  # one sign for each channel
            found = candidate[i, c][square]
            assert torch.equal(found, up[i, c][square]) or torch.equal(found, down[i, c][square])
        corners[top, left] = corners.get((top, left), 0) + 1
    # Every place is as likely as another: 4 × 3 of them.
    assert len(corners) == 12
    expected = n / 12
    assert sum((count - expected) ** 2 / expected for count in corners.values()) < 31.3  # p = 0.001


def test_the_corners_of_the_image_are_reached():
    x = torch.full((2, 1, 5, 4), 0.5, dtype=torch.float64)
    draw = torch.tensor([[0.0] * 6, [1 - 1e-16] * 6], dtype=torch.float64)
    changed = squares(x, x, 0.1, 2, draw) != x
    assert changed[0, 0, :2, :2].all()
    assert changed[1, 0, 3:, 2:].all()
    assert changed.sum() == 8


def test_a_square_always_changes_something():
    x = images(500, channels=1, size=(5, 5))
    x_adv = (x + 0.1).clamp(0, 1)
    assert (squares(x, x_adv, 0.1, 1, uniform(500, 1)) != x_adv).flatten(1).any(1).all()


def test_the_start_is_stripes():
    x = torch.full((50, 2, 6, 7), 0.5, dtype=torch.float64)
    x = x + 0.001 * torch.arange(50).view(-1, 1, 1, 1)  # streams are keyed by the image
    delta = stripes(x, 0.1, threat.Streams(x, 0), torch.arange(50)) - x
    assert torch.allclose(delta.abs(), torch.full_like(delta, 0.1))
    assert torch.allclose(delta, delta[:, :, :1].expand_as(delta))  # along each column
    assert abs(delta[:, :, 0].sign().mean()) < 0.2
    assert len(delta[:, :, 0].sign().flatten(1).unique(dim=0)) > 45


def eta_of_the_paper(h):
    """Equation (2), entry by entry, counted from 1."""

    def half(h1, h2):
        n = max(h1, h2) // 2
        out = torch.zeros(h1, h2, dtype=torch.float64)
        for r in range(1, h1 + 1):
            for s in range(1, h2 + 1):
                m = n - max(abs(r - h1 // 2 - 1), abs(s - h2 // 2 - 1))
                out[r - 1, s - 1] = sum(1 / (n + 1 - k) ** 2 for k in range(m + 1))
        return out

    bump = torch.cat([half(h // 2, h), -half(h - h // 2, h)])
    return bump / bump.norm()


@pytest.mark.parametrize("side", [2, 3, 4, 5, 9, 25])
def test_the_bump_is_the_paper_s(side):
    torch.testing.assert_close(eta(side), eta_of_the_paper(side))
    assert eta(side).norm() == pytest.approx(1)


def windows_of_the_paper(x, x_adv, eps, h, corners, bump, signs):
    """Algorithm 3, channel by channel."""
    (r1, s1), (r2, s2) = corners
    nu = x_adv - x
    w1 = torch.zeros(x.shape[1:], dtype=torch.bool)
    w2 = w1.clone()
    w1[r1 : r1 + h, s1 : s1 + h] = True
    w2[r2 : r2 + h, s2 : s2 + h] = True
    unused = eps**2 - nu.square().sum()
    new = nu.clone()
    for i in range(len(x)):
        held = nu[i][w1].view(h, h)
        temp = signs[i] * bump + (held / held.norm() if held.any() else 0)
        available = (nu[i][w1 | w2].square().sum() + unused / len(x)).sqrt()
        new[i][w2] = 0
        new[i][w1] = (temp / temp.norm() * available).flatten()
    return new


def test_a_step_in_l2_is_algorithm_3():
    n, h, eps = 200, 3, 0.4
    x = 0.5 + 0.01 * images(n, channels=2, size=(6, 7))  # far from the box
    delta = images(n, channels=2, size=(6, 7), seed=5) - 0.5
    delta[:, 0, :3] = 0  # some windows hold nothing
    x_adv = x + 0.3 * threat.step(delta, "L2")
    draw = uniform(n, 2)
    found = windows(x, x_adv, eps, h, draw)
    for i in range(n):
        r1, s1, r2, s2 = (int(u * m) for u, m in zip(draw[i, :4].tolist(), (4, 5, 4, 5)))
        bump = eta_of_the_paper(h) if draw[i, 4] < 0.5 else eta_of_the_paper(h).T
        signs = [-1 if u < 0.5 else 1 for u in draw[i, 5:].tolist()]
        nu = windows_of_the_paper(x[i], x_adv[i], eps, h, ((r1, s1), (r2, s2)), bump, signs)
        torch.testing.assert_close(found[i] - x[i], nu, rtol=0, atol=1e-12)
        assert nu.norm() == pytest.approx(eps)  # it spends all of the budget


def test_the_start_in_l2_is_a_grid_of_bumps():
    x = torch.full((30, 2, 12, 11), 0.5, dtype=torch.float64)
    x = x + 0.001 * torch.arange(30).view(-1, 1, 1, 1)
    delta = bumps(x, 0.4, threat.Streams(x, 0), torch.arange(30)) - x
    torch.testing.assert_close(threat.size(delta, "L2"), torch.full((30,), 0.4).double())
    # Tiles of side 2, 6 down and 5 across, all of one size, upright or lying, either sign.
    tiles = delta[..., :10].reshape(30, 2, 6, 2, 5, 2).transpose(3, 4).flatten(0, 3)
    tiles = tiles.reshape(-1, 2, 2)
    bump = eta(2) * tiles[0].norm()
    kinds = torch.stack([bump, -bump, bump.T, -bump.T])
    match = (tiles[:, None] - kinds).abs().amax((2, 3)) < 1e-12
    assert (match.sum(1) == 1).all()
    assert (match.double().mean(0) > 0.2).all()


def test_a_linear_model_s_worst_point_is_found_in_linf():
    """The squares end as single pixels: on a linear model, each takes its best value."""
    model, x = BinaryLinear((1, 6, 7)), images(5)
    model.b.data.fill_(100.0)  # out of reach: it never stops early
    y = torch.ones(5, dtype=torch.int64)
    best = (x - 0.2 * model.w.sign()).clamp(0, 1)
    x_adv = Square(eps=0.2, queries=2000)(model, x, y)
    torch.testing.assert_close(x_adv, best, rtol=0, atol=1e-12)
    assert not torch.equal(Nothing()(model, x, y), best)


def test_a_linear_model_s_worst_point_is_nearly_found_in_l2():
    model, x = BinaryLinear((1, 6, 7)), 0.5 + 0.05 * images(5)
    model.b.data.fill_(100.0)
    y = torch.ones(5, dtype=torch.int64)
    with torch.no_grad():
        drop = model(x)[:, 1] - model(Square(eps=0.3, norm="L2", queries=1000)(model, x, y))[:, 1]
    best = 0.3 * model.w.norm().item()
    assert (drop > 0.7 * best).all()
    assert (drop <= best * (1 + 1e-9)).all()


@both_norms
def test_fools_far_more_than_noise_with_any_goal(norm, cnn, x, y):
    attack = Square(eps=EPS[norm], norm=norm, queries=300)
    noise = (x + threat.random_in_ball(x, EPS[norm], norm, seed=9)).clamp(0, 1)
    rate = fooled(cnn, attack(cnn, x, y), y).double().mean()
    assert rate > fooled(cnn, noise, y).double().mean() + 0.3
    wanted = (y + 1) % 3
    targeted = dataclasses.replace(attack, targeted=True)(cnn, x, wanted)
    assert (~fooled(cnn, targeted, wanted)).double().mean() > 0.2
    goal = ConfidenceReduction(below=0.34)
    lowered = dataclasses.replace(attack, goal=goal)(cnn, x, y)
    with torch.no_grad():
        before, after = goal.reached(cnn(x), y), goal.reached(cnn(lowered), y)
    assert after.sum() > before.sum() + 5
    source = int(y[0])
    goal = SourceTarget(source, (source + 1) % 3)
    moved = dataclasses.replace(attack, goal=goal)(cnn, x, y)
    assert torch.equal(moved[y != source], x[y != source])
    assert (moved[y == source] != x[y == source]).any()


@both_norms
def test_needs_no_gradient(norm, cnn, x, y):
    class Detached(nn.Module):
        def forward(self, x):
            return cnn(x.detach())

    attack = Square(eps=EPS[norm], norm=norm, queries=60)
    assert torch.equal(attack(Detached(), x, y), attack(cnn, x, y))


class Lowered(nn.Module):
    """Logits below 0: of two logits, 0 and something close to 1 would pass for probabilities."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) - 99


@both_norms
def test_long_runs_do_not_depend_on_the_batch(norm):
    """Beyond the numbers that are drawn at once."""
    model, x = BinaryLinear((3, 4, 5)), images(6, channels=3, size=(4, 5))
    y = torch.ones(6, dtype=torch.int64)
    eps = {"Linf": 0.2, "L2": 1.0}[norm]
    reach = eps * threat.size(model.w[None].detach(), "L1" if norm == "Linf" else "L2").item()
    with torch.no_grad():  # half of the images are within 0.6 of the reach
        model.b += 0.6 * reach - model(x)[:, 1].median()
    model = Lowered(model)
    attack = Square(eps=eps, norm=norm, queries=DRAWN + 100)
    together = attack(model, x, y)
    done = fooled(model, together, y)
    assert 0 < done.sum() < 6  # some stop, some go on
    for i in range(6):
        torch.testing.assert_close(
            attack(model, x[i : i + 1], y[i : i + 1])[0], together[i], rtol=0, atol=1e-12
        )
    assert not torch.equal(dataclasses.replace(attack, seed=1)(model, x, y), together)


@both_norms
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 9), (31, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_and_narrow_images(norm, size, dtype):
    model, x = small_cnn(3, size, 1000, dtype), images(4, 3, size, dtype)
    y = model(x).argmax(1)
    x_adv = Square(eps=EPS[norm], norm=norm, queries=100, p=1)(model, x, y)
    assert (threat.size(x_adv.double() - x.double(), norm) <= EPS[norm] * (1 + 1e-5)).all()
    assert (x_adv != x).flatten(1).any(1).all()


@both_norms
def test_a_model_that_says_the_same_of_everything(norm, x, y):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([1.0, 2.0, 0.0]).to(x).expand(len(x), 3)

    x_adv = Square(norm=norm, queries=20)(Constant(), x, torch.ones_like(y))
    assert x_adv.isfinite().all()


def test_bad_hyper_parameters_and_labels_are_refused(cnn, x, y):
    for change, message in [
        ({"queries": 0}, "queries: expected a whole number from 1, found 0"),
        ({"queries": 2.5}, "queries: expected a whole number"),
        ({"p": 0}, "p: expected above 0"),
        ({"p": 1.5}, "p: expected a finite number, at least 0, at most 1, found 1.5"),
        ({"norm": "L1"}, "norm: found 'L1', expected Linf or L2"),
        ({"eps": -1}, "eps: expected a finite number"),
    ]:
        with pytest.raises(ValueError, match=message):
            Square(**change)
    with pytest.raises(ValueError, match="y: expected class numbers below 3"):
        Square()(cnn, x, y * 0 + 3)


def test_the_squares_of_a_run_shrink_as_in_the_paper():
    """Of 2,000 queries, each compared with the best image before it."""
    model, sides = BinaryLinear((1, 28, 28)), []
    model.b.data.fill_(1000.0)  # out of reach: it never stops early
    kept = {"score": torch.inf, "image": None}

    class Logged(nn.Module):
        def forward(self, z):
            logits = model(z)
            if kept["image"] is not None:
                rows, columns = (z != kept["image"])[0, 0].nonzero().unbind(1)
                sides.append(int(max(rows.max() - rows.min(), columns.max() - columns.min())) + 1)
            if looked and logits[0, 1] < kept["score"]:
                kept.update(score=logits[0, 1].item(), image=z.clone())
            looked.append(None)
            return logits

    looked = []
    x = 0.3 + 0.4 * images(1, size=(28, 28))
    Square(eps=0.1, queries=2000)(Logged(), x, torch.ones(1, dtype=torch.int64))
    assert len(sides) == 1998  # after the first look and the start
    expected = [
        max(round(math.sqrt(p_of_the_paper(step * 5, 0.8) * 28 * 28)), 1) for step in range(1998)
    ]
    assert all(side <= most for side, most in zip(sides, expected, strict=True))
    for side in set(expected[11:]):  # of steps that are many, some change all of their square
        assert max(s for s, most in zip(sides, expected, strict=True) if most == side) == side
