"""Auto-PGD: the losses' formulas, the checkpoints, Algorithm 1 step by step, the best point."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import APGD, APGDT
from advlab.attacks.apgd import _Walk, checkpoints
from advlab.attacks.attacked import AttackedModel
from advlab.attacks.losses import dlr, other_classes, targeted_dlr, targeted_margin
from advlab.goals import UNTARGETED, SourceTarget

from .conftest import BinaryLinear, Nothing, images, small_cnn


def logits_and_labels(classes, n=50):
    source = torch.Generator().manual_seed(classes)
    z = torch.randn(n, classes, generator=source, dtype=torch.float64)
    return z, torch.randint(0, classes, (n,), generator=source)


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_dlr_is_its_formula(classes):
    z, y = logits_and_labels(classes)
    for row, label, found in zip(z.tolist(), y.tolist(), dlr(z, y).tolist(), strict=True):
        down = sorted(row, reverse=True)
        other = max(row[:label] + row[label + 1 :])
        assert found == pytest.approx(-(row[label] - other) / (down[0] - down[2]), rel=1e-9)


@pytest.mark.parametrize("classes", [4, 10])
def test_targeted_dlr_is_its_formula(classes):
    z, y = logits_and_labels(classes)
    t = (y + 1) % classes
    for row, label, target, found in zip(
        z.tolist(), y.tolist(), t.tolist(), targeted_dlr(z, y, t).tolist(), strict=True
    ):
        down = sorted(row, reverse=True)
        expected = -(row[label] - row[target]) / (down[0] - (down[2] + down[3]) / 2)
        assert found == pytest.approx(expected, rel=1e-9)


def test_dlr_ignores_shift_and_scale_and_tells_wrong_from_right():
    z, y = logits_and_labels(5)
    t = (y + 2) % 5
    torch.testing.assert_close(dlr(300 * z - 7, y), dlr(z, y))
    torch.testing.assert_close(targeted_dlr(300 * z - 7, y, t), targeted_dlr(z, y, t))
    wrong = z.argmax(1) != y
    assert torch.equal(dlr(z, y) > 0, wrong)
    assert dlr(z, y)[~wrong].min() >= -1
    assert torch.equal(targeted_dlr(z, y, t) > 0, targeted_margin(z, y, t) > 0)


def test_equal_logits_have_a_finite_loss_and_gradient():
    z = torch.zeros(3, 6, requires_grad=True)
    y = torch.tensor([0, 3, 5])
    for loss in (dlr(z, y), targeted_dlr(z, y, (y + 1) % 6)):
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        assert (loss == 0).all()
        assert gradient.isfinite().all()


def test_equal_best_logits_still_have_a_direction():
    """Whichever of the equal logits the sort puts first, y is to fall and another to rise."""
    for row in ([1.0, 1, 1, 0], [1.0, 1, 0, 0.5], [0.0, 1, 1, 1]):
        for y in range(4):
            if row[y] == 1:
                z = torch.tensor([row], dtype=torch.float64, requires_grad=True)
                (gradient,) = torch.autograd.grad(dlr(z, torch.tensor([y])).sum(), z)
                assert gradient[0, y] < 0
                assert gradient[0].max() > 0


def test_other_classes_are_the_likeliest_but_y():
    z = torch.tensor([[5.0, 1.0, 4.0, 3.0], [0.0, 9.0, 2.0, 1.0]])
    y = torch.tensor([0, 2])
    assert other_classes(z, y, 2).tolist() == [[2, 3], [1, 3]]
    assert other_classes(z, y, 9).tolist() == [[2, 3, 1], [1, 3, 0]]


def test_too_few_classes_are_refused_in_words(x):
    y = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"at least 3 classes, the model has 2; use loss='margin'"):
        APGD(loss="dlr", steps=2)(small_cnn(classes=2), x[:4].cpu(), y)
    with pytest.raises(ValueError, match=r"at least 4 classes, the model has 3; use loss='margin'"):
        APGDT(steps=2, eps=1e-6)(
            small_cnn(classes=3), x[:4].cpu(), small_cnn()(x[:4].cpu()).argmax(1)
        )


def test_the_checkpoints_are_the_papers():
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1000) == [10 * w for w in checkpoints(100)]
    assert checkpoints(10) == [0, 3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [0, 1]


def algorithm_1(model, x, y, start, eps, norm, steps, rho):
    """The paper's Algorithm 1 for one image, with plain loops. Returns x_max and the halvings."""

    def f(point):
        point = point.detach().requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(model(point), y)
        (gradient,) = torch.autograd.grad(loss, point)
        return loss.item(), gradient

    def inside(point):
        delta = point - x
        if norm == "Linf":
            delta = delta.clamp(-eps, eps)
        elif delta.norm() > eps:
            delta = eps * delta / delta.norm()
        return (x + delta).clamp(0, 1)

    def step(gradient):
        return gradient.sign() if norm == "Linf" else gradient / gradient.norm()

    turns = checkpoints(steps)
    eta, halvings, halved = 2 * eps, 0, True
    now = before = start
    losses, best, highest, last_highest = [], None, -float("inf"), -float("inf")
    rises = 0
    for k in range(steps):
        loss, gradient = f(now)
        rises += bool(losses) and loss > losses[-1]
        losses.append(loss)
        if loss > highest:
            best, highest = now, loss
        if k in turns and k > 0:
            window = k - turns[turns.index(k) - 1]
            if rises < rho * window or (not halved and highest == last_highest):
                eta, halvings, halved = eta / 2, halvings + 1, True
                now = best
                losses[-1], gradient = f(now)
            else:
                halved = False
            last_highest, rises = highest, 0
        z = inside(now + eta * step(gradient))
        if k:
            z = inside(now + 0.75 * (z - now) + 0.25 * (now - before))
        now, before = z, now
    loss, _ = f(now)
    return (now if loss > highest else best), halvings


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.004), ("L2", 0.02)])
def test_the_walk_is_algorithm_1(norm, eps, device):
    """On a bent model, for images that stand: batch and single image walk the same way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        layers = [nn.Flatten(), nn.Linear(42, 30), nn.Tanh(), nn.Linear(30, 4)]
        model = nn.Sequential(*layers).double().to(device)
    with torch.no_grad():
        model[1].weight *= 30
    x = images(12).to(device)
    y = model(x).argmax(1)
    attack = APGD(eps=eps, norm=norm, steps=40)
    x_adv = attack(model, x, y)
    stands = model(x_adv).argmax(1) == y
    assert stands.sum() >= 4
    start = (x + threat.random_in_ball(x, eps, norm, 0)).clamp(0, 1)
    halvings = []
    for i in stands.nonzero().flatten().tolist():
        one = slice(i, i + 1)
        expected, count = algorithm_1(model, x[one], y[one], start[one], eps, norm, 40, 0.75)
        torch.testing.assert_close(x_adv[one], expected, rtol=0, atol=1e-8)
        halvings.append(count)
    assert min(halvings) >= 1
    assert len(set(halvings)) > 1 or max(halvings) < len(checkpoints(40)) - 1


def test_either_condition_halves_the_step():
    x, y = images(4), torch.zeros(4, dtype=torch.int64)
    walk = _Walk(x, y, y, x, 1.0)
    walk.rises = torch.tensor([2.0, 3.0, 3.0, 3.0])
    walk.highest = torch.ones(4, dtype=x.dtype)
    walk.last_highest = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=x.dtype)
    walk.halved = torch.tensor([False, False, False, True])
    walk.turn(2.5)
    assert walk.eta.tolist() == [0.5, 1, 0.5, 1]
    assert walk.halved.tolist() == [True, False, True, False]
    assert (walk.rises == 0).all()


class Watched(nn.Module):
    """Keeps what it was shown."""

    def __init__(self, model):
        super().__init__()
        self.model, self.shown = model, []

    def forward(self, x):
        self.shown.append(x.detach().clone())
        return self.model(x)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_every_walk_starts_elsewhere(norm, device):
    """Walks of two steps are three looks; APGDT looks at x first."""
    model = Watched(small_cnn(classes=5).to(device))
    x = images(3).to(device)
    y = model.model(x).argmax(1)
    eps = 1e-6
    for attack, walks, before in (
        (APGD(eps=eps, norm=norm, steps=2, restarts=3, seed=5), 3, 0),
        (APGDT(eps=eps, norm=norm, steps=2, restarts=2, targets=2, seed=5), 4, 1),
    ):
        model.shown.clear()
        attack(model, x, y)
        assert len(model.shown) == before + 3 * walks
        for walk, start in enumerate(model.shown[before::3]):
            expected = (x + threat.random_in_ball(x, eps, norm, 5 + walk)).clamp(0, 1)
            torch.testing.assert_close(start, expected, rtol=0, atol=1e-15)


def test_targeted_apgd_leaves_alone_what_is_wrong_from_the_start(device):
    model = small_cnn(classes=5).to(device)
    x = images(10).to(device)
    y = model(x).argmax(1)
    y[::2] = (y[::2] + 1) % 5
    x_adv = APGDT(eps=0.1, steps=3)(model, x, y)
    assert torch.equal(x_adv[::2], x[::2])
    assert (x_adv[1::2] != x[1::2]).flatten(1).any(1).all()


def standing(device, low=0.0, high=1.0):
    """A linear model so sure of class 1 that no attack of the tests gets it away."""
    model = BinaryLinear((1, 8, 9)).to(device)
    with torch.no_grad():
        model.b += 25
    x = low + (high - low) * images(20, size=(8, 9)).to(device)
    return model, x, torch.ones(20, dtype=torch.int64, device=device)


def assert_best_corner(attack, device):
    model, x, y = standing(device)
    corner = (x - attack.eps * model.w.detach().sign()).clamp(0, 1)
    torch.testing.assert_close(attack(model, x, y), corner, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_linf_on_a_linear_model_ends_in_the_best_corner(loss, device):
    assert_best_corner(APGD(eps=0.15, loss=loss), device)
    with pytest.raises(AssertionError):
        assert_best_corner(Nothing(eps=0.15), device)


def test_l2_on_a_linear_model_goes_straight_to_the_edge(device):
    model, x, y = standing(device, 0.3, 0.7)
    w = model.w.detach()
    x_adv = APGD(eps=0.2, norm="L2")(model, x, y)
    torch.testing.assert_close(x_adv, x - 0.2 * w / w.norm(), rtol=0, atol=1e-4)


def test_an_image_that_fell_is_shown_no_more(device):
    """At each look as many images as were right at the look before."""
    model, shown, right = small_cnn(classes=5).to(device), [], []
    x = images(20).to(device)
    y = model(x).argmax(1)

    class Counting(nn.Module):
        def forward(self, x):
            shown.append(len(x))
            return model(x)

    attack = APGD(eps=0.05, steps=20)
    for one in range(20):
        shown.clear()
        x_adv = attack(Counting(), x[one : one + 1], y[one : one + 1])
        right.append((len(shown), bool(model(x_adv).argmax(1) == y[one])))
    looks = [count for count, _ in right]
    assert all(count == 21 for count, stands in right if stands)
    assert min(looks) < 10
    shown.clear()
    attack(Counting(), x, y)
    # Look k takes the images whose own walk has that many looks.
    assert shown == [sum(count > k for count in looks) for k in range(max(looks))]


def test_restarts_and_more_targets_never_make_it_weaker(device):
    model = small_cnn(classes=6).to(device)
    x = images(60, seed=7).to(device)
    y = model(x).argmax(1)

    def left(attack):
        return (model(attack(model, x, y)).argmax(1) == y).double().mean().item()

    for attack in (APGD(eps=0.03, steps=6), APGD(eps=0.03, steps=6, loss="dlr")):
        assert left(dataclasses.replace(attack, restarts=4)) <= left(attack) < 1
    one, all_ = left(APGDT(eps=0.03, steps=6, targets=1)), left(APGDT(eps=0.03, steps=6))
    assert all_ <= one < 1


def test_targeted_dlr_sees_where_the_cross_entropy_is_blind(device):
    """Logits times 10,000: in float32 the cross-entropy's gradient is exactly 0."""
    model = small_cnn(classes=6, dtype=torch.float32).to(device)
    with torch.no_grad():
        model[5].weight *= 1e4
        model[5].bias *= 1e4
    x = images(40, dtype=torch.float32, seed=8).to(device)
    y = model(x).argmax(1)

    def left(attack):
        return (model(attack(model, x, y)).argmax(1) == y).double().mean().item()

    with pytest.warns(match="exactly zero"):
        blind = left(APGD(eps=0.04, steps=10))
    assert left(APGD(eps=0.04, steps=10, loss="dlr")) < blind - 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert left(APGDT(eps=0.04, steps=10)) < blind - 0.3


class Answering(nn.Module):
    """A model that works in one dtype and answers in another."""

    def __init__(self, model, inside, outside):
        super().__init__()
        self.model, self.inside, self.outside = model, inside, outside

    def forward(self, x):
        return self.model(x.to(self.inside)).to(self.outside)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float16),
    ],
)
def test_a_model_may_answer_in_another_dtype(given, answer, device):
    inside = torch.float64 if answer == torch.float64 else torch.float32
    model = Answering(small_cnn(classes=5, dtype=inside).to(device), inside, answer)
    x = images(20).to(device, given)
    y = model(x).argmax(1)
    for attack in (APGD(eps=0.05, steps=8, restarts=2), APGDT(eps=0.05, steps=8)):
        x_adv = attack(model, x, y)
        assert x_adv.dtype == given
        assert 0 < (model(x_adv).argmax(1) == y).sum() < 20  # some fall and some stand


def test_goals(device):
    model = small_cnn(classes=5).to(device)
    x = images(30).to(device)
    y = model(x).argmax(1)
    for loss in ("ce", "margin"):
        wanted = (y + 1) % 5
        x_adv = APGD(eps=0.5, steps=30, loss=loss, targeted=True)(model, x, wanted)
        assert (model(x_adv).argmax(1) == wanted).double().mean() > 0.8
        x_adv = APGD(eps=0.1, steps=30, loss=loss, goal="confidence")(model, x, y)
        sure = model(x_adv).softmax(1).gather(1, y[:, None])
        assert (sure < 0.5).double().mean() > 0.8
    for goal in ("targeted", "confidence", SourceTarget(0, 1)):
        with pytest.raises(ValueError, match="loss: 'dlr' is about leaving a class"):
            APGD(loss="dlr", goal=goal)
        with pytest.raises(ValueError, match="APGDT cannot have"):
            APGDT(goal=goal)


class Noisy(nn.Module):
    """A linear model whose gradient has large noise: the sign of one look is of little use."""

    def __init__(self, model, noise):
        super().__init__()
        self.model, self.noise = model, noise

    def forward(self, x):
        push = torch.randn(x.shape, dtype=x.dtype).to(x.device) * self.noise
        return self.model(x) + torch.stack([(x * push).flatten(1).sum(1), 0 * x.sum((1, 2, 3))], 1)


def test_eot_is_the_mean_of_gradient_loss_and_logits(device):
    model, x, y = standing(device)
    attacked = AttackedModel(Noisy(model, 3.0), x, UNTARGETED)
    torch.manual_seed(0)
    looks = [attacked.gradient(x, y) for _ in range(4)]
    torch.manual_seed(0)
    found = APGD(eot=4).look(attacked, x, y, UNTARGETED.loss, first=False)
    for mean, each in zip(found, zip(*looks, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.stack(each).mean(0))


def test_eot_averages_the_noise_of_a_randomized_model(device):
    model, x, y = standing(device)
    torch.manual_seed(0)

    def loss(eot):
        x_adv = APGD(eps=0.1, steps=20, eot=eot)(Noisy(model, 20.0), x, y)
        return UNTARGETED.margin(model(x_adv), y).mean().item()

    assert loss(30) > loss(1) + 0.2


@pytest.mark.parametrize("kind", [APGD, APGDT])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number from 1, found 0"),
        ({"restarts": 0}, "restarts: expected a whole number from 1"),
        ({"eot": 0.5}, "eot: expected a whole number from 1"),
        ({"rho": 1.5}, "rho: expected a finite number, at least 0, at most 1, found 1.5"),
        ({"norm": "L1"}, "norm: found 'L1', expected Linf or L2"),
        ({"loss": "mse"}, "loss: expected '.*', found 'mse'"),
    ],
)
def test_bad_settings_are_refused(kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**change)


def test_targets_must_be_a_number_of_classes():
    with pytest.raises(ValueError, match="targets: expected a whole number from 1, found 0"):
        APGDT(targets=0)
