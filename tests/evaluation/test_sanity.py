"""Each check has a model that trips it, and one that does not."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from advlab import backend, data
from advlab.evaluation import sanity
from advlab.evaluation.chance import at_least, sign_test
from advlab.evaluation.suspect import Suspect
from advlab.models import BPDA, load_model, predict

EPS, N = 0.25, 60
QUICK = {"eps": EPS, "steps": 20, "queries": 60}
GRID = 8


@pytest.fixture
def linear(device):
    """Three classes by a random matrix: what each attack does here is known."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    random = backend.generator(3)
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 16, generator=random))
        model[1].bias.zero_()
    return model.to(device).eval()


@pytest.fixture
def images(device, linear):
    """Images whose pixels are eighths, with the classes that the linear model gives them."""
    levels = torch.randint(0, GRID + 1, (N, 1, 4, 4), generator=backend.generator(5))
    x = (levels / GRID).to(device)
    return x, predict(linear, x)


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def before(function, model):
    return nn.Sequential(Function(function), model)


def after(model, function):
    return nn.Sequential(model, Function(function))


def backward(model):
    """The gradient has the wrong sign."""
    return nn.Sequential(BPDA(lambda x: x, backward=lambda x: 1 - x), model)


def rounded(model):
    """Pixels to quarters: the gradient is 0."""
    return nn.Sequential(BPDA(lambda x: (4 * x).round() / 4, backward="own"), model)


def rippled(model):
    """The identity on the grid, with the right sign of the slope there; in between a trap."""
    turn = 2 * math.pi * GRID
    return before(lambda x: x + 3 / turn * (turn * x).sin(), model)


def noisy(model):
    return before(lambda x: x + 0.1 * torch.randn_like(x), model)


def detached(model):
    return before(lambda x: x.detach(), model)


def no_number(model):
    """The slope of a root at 0 is infinite, and 0 times that is no number."""
    return before(lambda x: x + 0 * (x - x).sqrt(), model)


def saturated(model):
    return after(model, lambda logits: 1e6 * logits)


class Snap(nn.Module):
    """Images with a pixel further than 0.05 from black and white are made black and white."""

    def forward(self, x):
        far = (x - x.round()).abs().flatten(1).amax(1) > 0.05
        return torch.where(far.view(-1, 1, 1, 1), x.round(), x)


class Bright(nn.Module):
    """Class 1 where the first pixels add up to more than a level, less a ridge.

    Every difference within the last pixels, pair by pair, takes away ``steep`` times itself.
    """

    def __init__(self, pixels, level, steep):
        super().__init__()
        self.pixels, self.level, self.steep = pixels, level, steep

    def forward(self, x):
        x = x.flatten(1)
        score = x[:, : self.pixels].sum(1) - self.level
        pairs = x[:, self.pixels :].unflatten(1, (-1, 2))
        score = score - self.steep * (pairs[..., 0] - pairs[..., 1]).abs().sum(1)
        return torch.stack([-score, score], 1) * 5


TRIPS = {
    "zero gradient": (rounded, detached, no_number),
    "saturated loss": (saturated,),
    "random gradient": (noisy,),
    "one step beats many": (rippled,),
    "black box beats white box": (backward, rounded, saturated),
    "random search beats gradient": (backward,),
    "unbounded attack": (backward, rounded, detached, saturated),
    "accuracy over ε": (backward, rounded, saturated),
    "adaptive beats plain": (backward, rounded),
}


def test_a_linear_model_passes_all(linear, images):
    report = sanity(linear, images, **QUICK)
    assert report.passed, str(report)
    assert report.suspicious == []
    assert report.accuracy == 1
    assert report.attacked == N
    assert 0 < report.robust_accuracy < 1
    assert report["adaptive beats plain"].suspicious is None
    assert not report.failed


def test_a_step_that_hides_nothing_passes_the_adaptive_check(linear, images):
    """There is a step to substitute, and the substitute is the step itself."""
    report = sanity(nn.Sequential(BPDA(lambda x: x), linear), images, **QUICK)
    assert report["adaptive beats plain"].suspicious is False
    assert report.passed, str(report)


def test_accuracy_left_is_that_of_the_closed_form(linear, images):
    """On a linear model one step is the best of all perturbations inside the box and the ball."""
    x, y = images
    weights = linear[1].weight
    gaps = []
    for rival in range(3):
        push = (weights[rival] - weights[y]).view_as(x)
        best = torch.where(push > 0, (x + EPS).clamp(max=1), (x - EPS).clamp(min=0))
        gaps.append((best * push).flatten(1).sum(1))
    fooled = (torch.stack(gaps).amax(0) > 1e-5).double().mean().item()
    report = sanity(linear, images, **QUICK)
    assert report.robust_accuracy == pytest.approx(1 - fooled, abs=0.02)


@pytest.mark.parametrize(
    ("name", "disguise"), [(name, how) for name, ways in TRIPS.items() for how in ways]
)
def test_a_disguise_trips_its_check(name, disguise, linear, images):
    model = disguise(linear).eval()
    report = sanity(model, images, **QUICK)
    check = report[name]
    assert check.suspicious, str(report)
    assert check in report.suspicious
    assert not report.passed
    assert check.says in str(report)
    if disguise is saturated:  # the gradient of the margin is there
        assert not report["zero gradient"].suspicious


def test_a_model_that_hardly_looks_at_the_image_trips_the_unbounded_attack(linear, images):
    x, _ = images
    model = after(linear, lambda logits: logits * 0 + torch.arange(3.0, device=x.device))
    report = sanity(model, (x, torch.full_like(images[1], 2)), **QUICK)
    names = [check.name for check in report.suspicious]
    assert {"zero gradient", "unbounded attack", "accuracy over ε"} <= set(names)
    assert report.robust_accuracy == 1


def test_only_few_odd_images_are_no_alarm(linear, images):
    """One image in sixty without a gradient is a stray; half of them are not."""

    def blind(share):
        def forward(x):
            rows = torch.arange(len(x), device=x.device) < share
            return torch.where(rows.view(-1, 1, 1, 1), x.detach(), x)

        return before(forward, linear)

    few = sanity(blind(1), images, **QUICK)["zero gradient"]
    assert few.measured["zero"] == 1
    assert few.suspicious is False
    many = sanity(blind(N // 2), images, **QUICK)["zero gradient"]
    assert many.measured["zero"] == N // 2
    assert many.suspicious is True


def test_more_budget_that_fools_fewer(device):
    """Small steps stay where the model sees them; those of the largest budget leap over it."""
    random = backend.generator(0)
    order = torch.rand(N, 16, generator=random).argsort(1)
    x = (order < 8).float().view(N, 1, 4, 4).to(device)  # eight pixels are white
    model = nn.Sequential(Snap(), Bright(16, 8.1, 0))
    y = torch.zeros(N, dtype=torch.int64, device=device)
    found = sanity(model, (x, y), eps=0.04, steps=20, queries=2)["accuracy over ε"]
    assert found.suspicious
    assert found.measured == {"at 0.02": 0, "at 0.04": 0, "at 0.08": 0, "at 1": 1}
    assert "More budget fools fewer images" in found.says


def test_an_attack_with_too_few_steps_is_told_to_go_on(device):
    """On a ridge a walk swings by the length of its steps: short ones get further along it."""
    x = torch.full((N, 16), 0.5)
    x[:, :8] = torch.linspace(0.26, 0.49, N)[:, None]  # ε = 0.25 reaches the level of 4, in theory
    x, y = x.view(N, 1, 4, 4).to(device), torch.zeros(N, dtype=torch.int64, device=device)
    model = Bright(8, 4.0, 5)
    short = sanity(model, (x, y), eps=EPS, steps=8, queries=2)["more steps keep helping"]
    assert short.suspicious
    assert "20 steps still fool" in short.says
    long = sanity(model, (x, y), eps=EPS, steps=200, queries=2)["more steps keep helping"]
    assert long.measured["PGD-200 fools"] > short.measured["PGD-8 fools"]
    assert not long.suspicious


def test_transfer_from_a_surrogate_is_a_black_box(linear, images):
    """Scores of one class and none tell Square nothing; images made on the model itself do."""
    hard = after(linear, lambda z: torch.eye(3, device=z.device)[z.argmax(1)] * 5)
    alone = sanity(hard, images, eps=EPS, steps=5, queries=1)
    assert not alone["black box beats white box"].suspicious
    helped = sanity(hard, images, eps=EPS, steps=5, queries=1, surrogate=linear)
    found = helped["black box beats white box"]
    assert found.suspicious
    assert found.measured["transfer fools"] > found.measured["Square fools"]
    assert helped.robust_accuracy < alone.robust_accuracy


def test_l2_has_the_same_checks(linear, images):
    assert sanity(linear, images, eps=0.8, norm="L2", steps=20, queries=60).passed
    report = sanity(backward(linear), images, eps=0.8, norm="L2", steps=20, queries=60)
    assert report["unbounded attack"].measured["eps"] == 4  # the diagonal of 16 pixels
    assert report["unbounded attack"].suspicious


@pytest.mark.parametrize("name", ["mnist-cnn", "mnist-pgd"])
def test_the_zoos_networks_pass(name, device):
    x, y = (t[:40] for t in data.load("mnist5k", device=device).test)
    report = sanity(load_model(name, device), (x, y), eps=0.3, steps=10, queries=30)
    assert report.passed, str(report)


def test_a_model_that_hides_from_one_step_is_not_called_robust(device):
    """PGD is not fooled by it, so no check trips; its robust accuracy says what it is worth."""
    x, y = (t[:40] for t in data.load("mnist5k", device=device).test)
    report = sanity(load_model("mnist-fgsm-mix", device), (x, y), eps=0.3, steps=10, queries=2)
    assert report["one step beats many"].measured["FGSM fools"] < 10
    assert report.passed
    assert report.robust_accuracy < 0.1


def test_a_random_model_gives_the_same_report_again(linear, images):
    state = torch.random.get_rng_state()
    first = sanity(noisy(linear), images, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert str(sanity(noisy(linear), images, **QUICK)) == str(first)


def test_what_cannot_be_attacked_is_said(linear, images):
    report = sanity(detached(linear), images, **QUICK)
    assert any("differentiable" in why for why in report.failed.values())
    assert not report["saturated loss"].suspicious  # the logits are flat as well
    for attack, why in report.failed.items():
        assert f"could not be run, and counts as fooling none: {attack}: {why}" in str(report)
    assert "could not be run" not in str(sanity(linear, images, **QUICK))


def test_few_images_are_mentioned_and_give_no_alarm_by_comparison(linear, images):
    x, y = images
    report = sanity(backward(linear), (x[:6], y[:6]), **QUICK)
    assert "Only 6 images" in str(report)
    assert not report["black box beats white box"].suspicious


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0}, "eps: expected"),
        ({"eps": float("nan")}, "eps: expected"),
        ({"norm": "L1"}, "norm: found 'L1'"),
        ({"steps": 0}, "steps"),
        ({"queries": 0}, "queries"),
    ],
)
def test_bad_settings(change, message, linear, images):
    with pytest.raises(ValueError, match=message):
        sanity(linear, images, **{**QUICK, **change})


def test_nothing_to_attack(linear, images):
    x, y = images
    with pytest.raises(ValueError, match="none of the 60 images right"):
        sanity(linear, (x, (y + 1) % 3), **QUICK)
    with pytest.raises(ValueError, match="at least one image"):
        sanity(linear, (x[:0], y[:0]), **QUICK)
    with pytest.raises(KeyError, match="there are: zero gradient"):
        sanity(linear, images, **QUICK)["gradient"]


@given(b=st.integers(0, 12), c=st.integers(0, 12), both=st.integers(0, 3))
def test_the_sign_test_counts_coins(b, c, both):
    better = torch.tensor([True] * b + [False] * c + [True] * both, dtype=torch.bool)
    worse = torch.tensor([False] * b + [True] * c + [True] * both, dtype=torch.bool)
    exact = sum(math.comb(b + c, k) for k in range(b, b + c + 1)) / 2 ** (b + c)
    assert sign_test(better, worse) == pytest.approx(exact)


@given(n=st.integers(1, 40), count=st.integers(0, 40), rate=st.floats(0.001, 0.5))
def test_the_tail_is_a_sum(n, count, rate):
    exact = sum(
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(min(count, n + 1), n + 1)
    )
    assert at_least(count, n, rate) == pytest.approx(exact, abs=1e-12)


WALK = {"eps": EPS, "norm": "Linf", "steps": 2}


def test_a_random_model_is_judged_by_single_looks(linear, images):
    """By many looks together even a model that nobody attacks would have everything wrong."""
    torch.manual_seed(0)
    dice = Suspect(after(linear, lambda z: z + torch.randn_like(z)), *images, **WALK)
    assert dice.random
    assert 0 < dice.n < round(dice.accuracy * N)  # right at the second look as well
    wrong = [dice.judged(dice.x) for _ in range(6)]
    assert dice.standing.sum() == min((~w).sum() for w in wrong)
    assert dice.standing.sum() > (~torch.stack(wrong)).all(0).sum()
    assert not dice.pgd().early_stop  # it would stop at a lucky look
    sure = Suspect(linear, *images, **WALK)
    assert sure.pgd().early_stop
    assert sure.n == N


def test_rounding_is_no_randomness(linear, images):
    shaken = after(linear, lambda z: z * (1 + 1e-6 * torch.randn(1, device=z.device)))
    found = Suspect(shaken, *images, **WALK)
    assert not found.random
    assert not found.margin.moving.any()


def test_the_random_search_draws_at_the_edge_of_the_ball_too(device):
    """Sixteen pixels ε away each add up to 4; drawn inside the ball, to 2 on average."""

    def far(x):
        moved = (x - 0.5).abs().flatten(1).sum(1) - 3.5
        return torch.stack([-moved, moved], 1)

    x = torch.full((5, 1, 4, 4), 0.5, device=device)
    y = torch.zeros(5, dtype=torch.int64, device=device)
    assert Suspect(Function(far), x, y, **WALK).random_search(4).all()
