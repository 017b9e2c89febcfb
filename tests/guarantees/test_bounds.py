"""Bounds: below every value that search finds, exact where theory says so, and in order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from advlab.attacks import PGD
from advlab.data import load
from advlab.defenses.bounded_relu import BoundedReLU
from advlab.guarantees import (
    ConvexTraining,
    IBPTraining,
    certified,
    certified_accuracy,
    interval_bounds,
    margin_bounds,
)
from advlab.guarantees.layers import Clamp
from advlab.guarantees.relaxation import lines
from advlab.models import Normalized, ResNet, load_model, predict, predict_logits
from advlab.training import CrossEntropy, fit

METHODS = ("ibp", "convex", "crown")
ROUNDING = 1e-9
quick = settings(max_examples=12, deadline=None)


def network(seed: int) -> nn.Sequential:
    """A small network for images (2, 6, 6), its layers drawn from all that there are bounds for."""
    random = torch.Generator().manual_seed(seed)

    def pick(*choices):
        return choices[int(torch.randint(len(choices), (), generator=random))]

    def active():
        return pick(nn.ReLU(), BoundedReLU(0.4), nn.ReLU6())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = nn.Conv2d(
            2, 4, 3, stride=pick(1, 2), padding=pick(1, 2), dilation=pick(1, 2), groups=pick(1, 2)
        )
        layers = [
            pick(Normalized([0.4, 0.5], [0.3, 0.2]), nn.Identity()),
            nn.Sequential(first, pick(nn.BatchNorm2d(4), nn.Dropout(0.5))),
            active(),
            pick(
                nn.MaxPool2d(2),
                nn.MaxPool2d(3, 1, 1),
                nn.AvgPool2d(2, padding=1),
                nn.AvgPool2d((2, 3), 2, (0, 1), ceil_mode=True, count_include_pad=False),
                nn.Identity(),
            ),
            nn.Conv2d(4, 3, 2, padding=1),
            shared := active(),
            pick(nn.AdaptiveAvgPool2d((2, 1)), nn.MaxPool2d(2, dilation=1), nn.Identity()),
            nn.Flatten(),
            nn.LazyLinear(5),
            pick(nn.BatchNorm1d(5), nn.Identity()),
            pick(active(), shared),  # a module may stand in two places
            nn.Linear(5, 3),
            pick(nn.Identity(), nn.Identity(), nn.ReLU()),
        ]
        model = nn.Sequential(*layers).double()
        model.eval()(torch.zeros(1, 2, 6, 6, dtype=torch.float64))
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.6, generator=random)
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.3, generator=random)
                module.running_var.uniform_(0.5, 2, generator=random)
    return model.eval().requires_grad_(False)


def images(seed: int, n: int = 3, shape=(2, 6, 6)) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1000 + seed)
    x = torch.rand(n, *shape, generator=random, dtype=torch.float64)
    if seed % 3 == 0:
        x[0] = x[0].round()  # a corner of the box
    return x, torch.randint(3, (n,), generator=random)


def search(x: torch.Tensor, eps: float, norm: str, points: int) -> torch.Tensor:
    """Points of the ball inside the box, many at its corners or on its sphere: (P, N, C, H, W)."""
    random = torch.Generator().manual_seed(7)
    delta = torch.randn(points, *x.shape, generator=random, dtype=x.dtype)
    if norm == "Linf":
        delta[: points // 2] = delta[: points // 2].sign()
        delta = eps * delta.clamp(-1, 1)
    else:
        delta = eps * delta / delta.flatten(2).norm(dim=2)[..., None, None, None]
    return (x + delta).clamp(0, 1)


def true_margins(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """f_y − f_j at points (P, N, ...): (P, N, K), and +∞ at j = y."""
    z = model(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    here = y.expand(len(x), -1)[..., None]
    return (z.gather(2, here) - z).scatter(2, here, torch.inf)


# Sound -------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 10**6), st.sampled_from(["Linf", "L2"]), st.floats(0, 1.5))
def test_no_point_that_search_finds_is_outside_the_bounds(seed, norm, eps):
    model, (x, y) = network(seed), images(seed)
    points = search(x, eps, norm, 200)
    low, high = interval_bounds(model, x, eps, norm)
    values = model(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    assert (values >= low - ROUNDING).all()
    assert (values <= high + ROUNDING).all()
    found = true_margins(model, points, y).amin(0)
    for method in METHODS:
        bound = margin_bounds(model, x, y, eps, method=method, norm=norm)
        assert (bound <= found + ROUNDING).all()


@quick
@given(st.integers(0, 10**6), st.floats(0.01, 0.6), st.floats(0.2, 1))
def test_every_corner_of_a_ball_of_eight_pixels_is_inside_the_bounds(seed, eps, top):
    """By a fine grid in two of the pixels too: a ReLU network may be worst inside the ball."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), BoundedReLU(top),
            nn.Linear(6, 3),
        ).double()  # fmt: skip
    for parameter in model.parameters():
        parameter.data.normal_(generator=random)
    model.requires_grad_(False)
    x, y = images(seed, 1, (1, 2, 4))
    low, high = (x - eps).clamp_min(0), (x + eps).clamp_max(1)
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)), dtype=x.dtype)
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 15, dtype=x.dtype)] * 2)
    shares = torch.cat([corners, torch.cat([grid, corners[::256].expand(225, 8)[:, 2:]], 1)])
    points = low + shares.view(-1, 1, 1, 2, 4) * (high - low)
    found = true_margins(model, points, y).amin(0)
    for method in METHODS:
        assert (margin_bounds(model, x, y, eps, method=method) <= found + ROUNDING).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_bound_without_the_perturbation_fails_these_tests(method):
    """The forward pass in place of the bound: the search finds lower values at once."""
    model, (x, y) = network(1), images(1)
    points = search(x, 0.3, "Linf", 100)
    at_x = margin_bounds(model, x, y, 0.0, method=method)
    assert (true_margins(model, points, y).amin(0) < at_x - 1e-3).any()


# Exact -------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 10**6), st.floats(0, 0.4), st.sampled_from(["Linf", "L2"]))
def test_on_one_affine_layer_the_bound_is_reached(seed, eps, norm):
    random = torch.Generator().manual_seed(seed)
    model = nn.Sequential(Normalized([0.3], [0.5]), nn.Flatten(), nn.Linear(16, 3)).double()
    for parameter in model.parameters():
        parameter.data.normal_(generator=random)
    model.requires_grad_(False)
    # Far enough from the box that it does not cut the ball.
    x = 0.4 + 0.2 * torch.rand(2, 1, 4, 4, generator=random, dtype=torch.float64)
    y = torch.tensor([0, 2])
    weight = model[2].weight / 0.5
    w = weight[y][:, None] - weight  # (N, K, pixels)
    worst = -w.sign() if norm == "Linf" else -w / w.norm(dim=2, keepdim=True).clamp_min(1e-30)
    points = (x[:, None] + eps * worst.view(2, 3, 1, 4, 4)).movedim(1, 0)
    at = true_margins(model, points, y)
    reached = torch.stack([at[j, :, j] for j in range(3)], 1)
    for method in METHODS:
        bound = margin_bounds(model, x, y, eps, method=method, norm=norm)
        torch.testing.assert_close(bound, reached, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_at_eps_0_the_bound_is_the_margin(method, norm):
    for seed in range(12):
        model, (x, y) = network(seed), images(seed)
        bound = margin_bounds(model, x, y, 0.0, method=method, norm=norm)
        torch.testing.assert_close(bound, true_margins(model, x[None], y)[0], rtol=0, atol=1e-10)


def test_an_l2_ball_through_two_layers_without_a_relu_between():
    """f = 3 Σx moves by ε · 3 · 2 with four pixels; three sums that move together are not round."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)
    ).double()
    for parameter in model.parameters():
        parameter.data.fill_(1)
    low, high = interval_bounds(model, torch.full((1, 1, 2, 2), 0.5).double(), 0.1, "L2")
    assert (low.max().item(), high.min().item()) == (pytest.approx(5.4), pytest.approx(6.6))


def test_a_ball_larger_than_the_box_is_the_box():
    model, (x, y) = network(5), images(5)
    for method in METHODS:
        bounds = [margin_bounds(model, x, y, eps, method=method) for eps in (1.0, 7.0)]
        assert torch.equal(*bounds)
        elsewhere = margin_bounds(model, 1 - x, y, 1.0, method=method)
        torch.testing.assert_close(elsewhere, bounds[0])


def linear_program(model: nn.Sequential, x: torch.Tensor, eps: float, row: np.ndarray) -> float:
    """The least of row · logits where each ReLU is anywhere in its triangle: by a solver.

    For Flatten, Linear, ReLU, Linear, ReLU, ..., Linear. The bounds of the hidden layers are found
    by linear programs too, so nothing here comes from the package.
    """
    pixels = x.flatten().numpy()
    sizes = [len(pixels)]
    bounds = list(zip(np.maximum(pixels - eps, 0), np.minimum(pixels + eps, 1), strict=True))
    equal, at, below, under = [], [], [], []
    linears = [m for m in model if isinstance(m, nn.Linear)]
    column, total = 0, len(pixels) + sum(2 * m.out_features for m in linears[:-1])

    def least(objective):
        answer = linprog(
            objective,
            A_eq=np.array(equal) if equal else None, b_eq=at or None,
            A_ub=np.array(below) if below else None, b_ub=under or None,
            bounds=bounds + [(None, None)] * (total - len(bounds)), method="highs",
        )  # fmt: skip
        assert answer.status == 0
        return answer.fun

    for index, linear in enumerate(linears):
        weight, bias = linear.weight.numpy(), linear.bias.numpy()
        if index == len(linears) - 1:
            objective = np.zeros(total)
            objective[column : column + sizes[-1]] = row @ weight
            return least(objective) + row @ bias
        z = column + sizes[-1]
        h = z + len(bias)
        for i in range(len(bias)):
            line = np.zeros(total)
            line[column : column + sizes[-1]], line[z + i] = weight[i], -1
            equal.append(line)
            at.append(-bias[i])
        ends = []
        for i in range(len(bias)):
            unit = np.eye(total)[z + i]
            ends.append((least(unit), -least(-unit)))
        for i, (low, high) in enumerate(ends):
            z_i, h_i = np.eye(total)[z + i], np.eye(total)[h + i]
            if high <= 0 or low >= 0:
                equal.append(h_i - (z_i if low >= 0 else 0))
                at.append(0.0)
            else:
                slope = high / (high - low)
                below.extend([-h_i, z_i - h_i, h_i - slope * z_i])
                under.extend([0.0, 0.0, -slope * low])
        column = h
        sizes.append(len(bias))
    raise AssertionError("no layers")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hidden", [(7,), (6, 5)])
def test_the_linear_program_is_at_least_its_dual_bounds(seed, hidden):
    random = torch.Generator().manual_seed(seed)
    widths = [5, *hidden]
    layers = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], 3)).double()
    for parameter in model.parameters():
        parameter.data.normal_(generator=random)
    model.requires_grad_(False)
    x = torch.rand(1, 1, 1, 5, generator=random, dtype=torch.float64)
    y = torch.tensor([1])
    for eps in (0.02, 0.2):
        optimum = [linear_program(model, x, eps, np.eye(3)[1] - np.eye(3)[j]) for j in (0, 2)]
        points = search(x, eps, "Linf", 2000)
        found = true_margins(model, points, y).amin((0, 1))[[0, 2]].numpy()
        assert (np.array(optimum) <= found + 1e-7).all()
        for method in METHODS:
            bound = margin_bounds(model, x, y, eps, method=method)[0, [0, 2]].numpy()
            assert (bound <= np.array(optimum) + 1e-7).all()


def test_with_one_neuron_open_the_better_slope_reaches_the_linear_program():
    """f = (0, relu(z)) on z = 2x − 1 and ε = 0.3 around 0.4: l = −0.8, u = 0.4, all by hand."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    values = {"1.weight": [[2.0]], "1.bias": [-1.0], "3.weight": [[0.0], [1.0]], "3.bias": [0, 0.0]}
    model.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    x = torch.full((1, 1, 1, 1), 0.4, dtype=torch.float64)
    below = {"convex": 0.0, "crown": 0.0, "ibp": 0.0}
    for method, wanted in below.items():
        # f_0 − f_1 = −relu(z) ≥ −u, by the chord; f_1 − f_0 = relu(z) ≥ 0, by the interval.
        up = margin_bounds(model, x, torch.tensor([0]), 0.3, method=method)[0, 1].item()
        down = margin_bounds(model, x, torch.tensor([1]), 0.3, method=method)[0, 0].item()
        assert up == pytest.approx(-0.4)
        assert down == pytest.approx(wanted)
    program = linear_program(model.requires_grad_(False), x, 0.3, np.array([1.0, -1.0]))
    assert program == pytest.approx(-0.4)


@pytest.mark.parametrize("top", [math.inf, 2.0, 0.3])
@pytest.mark.parametrize("slopes", ["convex", "crown"])
def test_the_lines_hold_everywhere_between_the_ends(slopes, top):
    ends = torch.cartesian_prod(*[torch.linspace(-3, 3, 13, dtype=torch.float64)] * 2)
    low, high = ends[ends[:, 0] <= ends[:, 1]].T
    found = lines(Clamp(top), low, high, slopes)
    z = low + torch.linspace(0, 1, 101, dtype=torch.float64)[:, None] * (high - low)
    value = z.clamp(0, top)
    assert (found.below * z + found.below_at_0 <= value + ROUNDING).all()
    assert (found.above * z + found.above_at_0 >= value - ROUNDING).all()


def test_the_slopes_below_a_relu_are_those_of_the_papers():
    """u/(u − l) of Wong & Kolter; 1 or 0, whichever is nearer, of Zhang et al. By hand."""
    low, high = torch.tensor([-1.0, -3.0, -2.0, 1.0]), torch.tensor([3.0, 1.0, -1.0, 2.0])
    assert lines(Clamp(), low, high, "convex").below.tolist() == [0.75, 0.25, 0, 1]
    assert lines(Clamp(), low, high, "crown").below.tolist() == [1, 0, 0, 1]


def test_a_margin_counts_from_the_slack_on():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[2.0], [0.0]]))
    x, y = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([0])
    for slack, sure in ((0.79, True), (0.81, False)):  # the least margin is 2(0.5 − 0.1) = 0.8
        assert certified(model, x, y, 0.1, slack=slack).item() == sure
    assert not certified(model, x, y, 0.49998).any(), "4e-5, which float32 may lose"
    assert not certified(model, x, 1 - y, 0.0).any(), "the wrong class is never certified"


# In order ----------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 10**6), st.floats(0, 0.5), st.sampled_from(["Linf", "L2"]))
def test_walking_back_is_never_worse_than_intervals(seed, eps, norm):
    """Also where the wide layers keep their intervals, which lies in between."""
    model, (x, y) = network(seed), images(seed)
    intervals = margin_bounds(model, x, y, eps, method="ibp", norm=norm)
    for method in ("convex", "crown"):
        for widest in (None, 0, 20):
            bound = margin_bounds(model, x, y, eps, method=method, norm=norm, widest=widest)
            assert (bound >= intervals - ROUNDING).all()


def test_walking_back_is_tighter_than_intervals_by_a_lot():
    shares = []
    for seed in range(16):
        model, (x, y) = network(seed), images(seed)
        ibp, crown = (margin_bounds(model, x, y, 0.05, method=m) for m in ("ibp", "crown"))
        true = true_margins(model, search(x, 0.05, "Linf", 300), y).amin(0)
        finite = true.isfinite()
        gap, smaller = ((true - bound)[finite].mean().item() for bound in (ibp, crown))
        if gap > 1e-6:  # not where a last ReLU has cut all logits to 0
            shares.append(smaller / gap)
    assert len(shares) > 8
    assert np.mean(shares) < 0.8  # of the gap to the search


@quick
@given(st.integers(0, 10**6), st.floats(0, 0.3), st.floats(0, 0.3))
def test_interval_bounds_fall_with_eps(seed, one, other):
    model, (x, y) = network(seed), images(seed)
    small, large = sorted([one, other])
    for norm in ("Linf", "L2"):
        bounds = [
            margin_bounds(model, x, y, eps, method="ibp", norm=norm) for eps in (small, large)
        ]
        assert (bounds[1] <= bounds[0] + ROUNDING).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_image_gets_the_same_bound_in_any_batch(method):
    model, (x, y) = network(11), images(11, 6)
    together = margin_bounds(model, x, y, 0.1, method=method)
    alone = margin_bounds(model, x, y, 0.1, method=method, batch_size=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["convex", "crown"])
def test_neurons_in_pieces_give_what_they_give_together(method, monkeypatch):
    model, (x, y) = network(4), images(4)
    whole = margin_bounds(model, x, y, 0.2, method=method)
    monkeypatch.setattr("advlab.guarantees.relaxation.ENTRIES", 1)
    torch.testing.assert_close(
        margin_bounds(model, x, y, 0.2, method=method), whole, rtol=0, atol=1e-12
    )


# Beside attacks ----------------------------------------------------------------------------------

ZOO = {"mnist-cnn": ("ibp",), "mnist-ibp": METHODS[:1], "mnist-convex": METHODS}


@pytest.mark.parametrize("name", ZOO)
def test_what_is_certified_is_not_broken_by_an_attack(name):
    x, y = (t[:200] for t in load("mnist5k", device="cpu").test)
    model = load_model(name, device="cpu")
    right = predict(model, x) == y
    for eps in (0.05, 0.1):
        x_adv = PGD(eps=eps, steps=10, early_stop=True)(model, x, y)
        stands = predict(model, x_adv) == y
        for method in ZOO[name]:
            sure = certified(model, x, y, eps, method=method)
            assert (right | ~sure).all()
            assert (stands | ~sure).all()


def test_training_for_the_bound_is_what_makes_the_bound_say_something():
    x, y = (t[:200] for t in load("mnist5k", device="cpu").test)
    plain, ibp, convex = (load_model(name, device="cpu") for name in ZOO)
    assert certified_accuracy(plain, x, y, 0.1, method="ibp") == 0
    assert certified_accuracy(ibp, x, y, 0.1, method="ibp") > 0.75
    assert certified_accuracy(convex, x, y, 0.1, method="convex") > 0.6


# Training ----------------------------------------------------------------------------------------


def test_ibp_training_is_the_equation_by_hand():
    """One linear layer, ε = 0.1: ẑ_j = (w_j − w_y)·x + b_j − b_y + ε ‖w_j − w_y‖₁."""
    random = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x = 0.5 + 0.2 * torch.rand(2, 1, 2, 2, generator=random)
    y = torch.tensor([2, 0])
    weight, bias = model[1].weight, model[1].bias
    difference = weight - weight[y][:, None]
    worst = (difference @ x.flatten(1)[:, :, None]).squeeze(2) + bias - bias[y][:, None]
    worst = worst + 0.1 * difference.abs().sum(2)
    cross_entropy = nn.functional.cross_entropy
    plain, bound = cross_entropy(model(x), y), cross_entropy(worst, y)
    found = IBPTraining(eps=0.1, kappa=0.3)(model, x, y)
    torch.testing.assert_close(found, 0.3 * plain + 0.7 * bound)
    torch.testing.assert_close(ConvexTraining(eps=0.1)(model, x, y), bound)
    torch.testing.assert_close(
        torch.autograd.grad(found, weight)[0],
        torch.autograd.grad(0.3 * plain + 0.7 * bound, weight)[0],
    )


@quick
@given(st.integers(0, 10**6), st.sampled_from(["convex", "crown"]), st.floats(0, 0.3))
def test_the_robust_loss_is_above_every_loss_in_the_ball(seed, slopes, eps):
    model, (x, y) = network(seed), images(seed)
    points = search(x, eps, "Linf", 100)
    z = model(points.flatten(0, 1))
    losses = nn.functional.cross_entropy(z, y.repeat(100), reduction="none").view(100, 3)
    found = ConvexTraining(eps=eps, slopes=slopes)(model, x, y)
    assert found >= losses.amax(0).mean() - ROUNDING


@pytest.mark.parametrize(
    "objective",
    [
        IBPTraining(eps=0.1),
        ConvexTraining(eps=0.1),
        ConvexTraining(eps=0.1, slopes="crown", norm="L2"),
        ConvexTraining(eps=0.1, widest=0),
    ],
)
def test_the_gradient_of_an_objective_is_its_slope(objective):
    """Through convolutions, both kinds of pooling, and the bounds of the hidden layers."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(3, 2, 2), BoundedReLU(0.4),
        nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(8, 3),
    ).double()  # fmt: skip
    x, y = images(1)
    for parameter in model.parameters():
        (gradient,) = torch.autograd.grad(objective(model, x, y), parameter)
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-6)
                values.append(objective(model, x, y).item())
                parameter.sub_(direction, alpha=sign * 1e-6)
        slope = (values[0] - values[1]) / 2e-6
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-7)
        assert gradient.any()


def test_neurons_without_weights_have_a_gradient():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[1].weight[0] = 0
    for objective in (ConvexTraining(norm="L2"), ConvexTraining(), IBPTraining()):
        loss = objective(model, *images(0))
        for gradient in torch.autograd.grad(loss, list(model.parameters())):
            assert gradient.isfinite().all()


def test_an_augmented_image_beyond_the_box_is_in_its_ball():
    """The bound is above the loss at the image itself, wherever that is."""
    for seed in range(5):
        model, (x, y) = network(seed), images(seed)
        x = x + torch.tensor([0.7, 0.0, -0.6])[:, None, None, None]
        plain = CrossEntropy()(model, x, y)
        for objective in (IBPTraining(eps=0.1, kappa=0.0), ConvexTraining(eps=0.1)):
            assert objective(model, x, y) >= plain - ROUNDING


def test_the_ramp_goes_from_the_plain_loss_to_the_full_one():
    objective = IBPTraining(eps=0.2, kappa=0.5, warm=0.2, ramp=0.6)
    assert [(objective.at(t).eps, objective.at(t).kappa) for t in (0.0, 0.2)] == [(0, 1)] * 2
    middle = objective.at(0.4)
    assert (middle.eps, middle.kappa) == (pytest.approx(0.1), pytest.approx(0.75))
    assert objective.at(0.6) == objective.at(1.0) == objective
    assert ConvexTraining(eps=0.2, warm=0.0, ramp=0.0).at(0.0).eps == 0.2
    step = ConvexTraining(eps=0.2, warm=0.5, ramp=0.5)
    assert [step.at(t).eps for t in (0.0, 0.4, 0.5, 1.0)] == [0, 0, 0.2, 0.2]
    model, (x, y) = network(0), images(0)
    plain = CrossEntropy()(model, x, y)
    for start in (objective, ConvexTraining()):
        torch.testing.assert_close(start.at(0.0)(model, x, y), plain)


def test_a_resumed_run_takes_up_the_ramp_where_it_was(tmp_path):
    random = torch.Generator().manual_seed(0)
    data = torch.rand(40, 1, 4, 4, generator=random), torch.randint(3, (40,), generator=random)

    def run(**settings):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        stop = settings.pop("stop", None)
        objective = IBPTraining(eps=0.2)
        if stop is not None:
            with pytest.raises(KeyboardInterrupt):
                fit(model, data, objective=objective, augment=stop, progress=False, **settings)
        else:
            fit(model, data, objective=objective, augment=unchanged, progress=False, **settings)
        return model.state_dict()

    calls = []

    def unchanged(x, random):
        calls.append(1)
        if interrupt and len(calls) == 6:  # in the third of four epochs
            raise KeyboardInterrupt
        return x

    settings = {"epochs": 4, "batch_size": 20, "lr": 0.01}
    interrupt = False
    whole = run(**settings)
    interrupt = True
    calls.clear()
    run(stop=unchanged, checkpoint=tmp_path / "run", **settings)
    interrupt = False
    resumed = run(checkpoint=tmp_path / "run", **settings)
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name])


def test_bounds_leave_the_model_as_it_was():
    model = network(1).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    x, y = images(1)
    margin_bounds(model, x, y, 0.1)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    # And training mode does not change them: a guarantee is about the network that is used.
    assert torch.equal(margin_bounds(model, x, y, 0.1), margin_bounds(model.eval(), x, y, 0.1))


def test_float32_images_are_bounded_in_float64():
    model, (x, y) = network(2).float(), images(2)
    x = x.float()
    bound = margin_bounds(model, x, y, 0.0)
    assert bound.dtype == torch.float64
    z = predict_logits(model.double(), x.double())
    torch.testing.assert_close(
        bound, (z.gather(1, y[:, None]) - z).scatter(1, y[:, None], torch.inf), rtol=0, atol=1e-12
    )


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Sequential(nn.Sigmoid()), r"'1\.0' is Sigmoid"),
        (nn.MaxPool2d(2, ceil_mode=True), "'1' is MaxPool2d"),
        (nn.Conv2d(2, 2, 1, padding_mode="circular"), "'1' is Conv2d"),
        (nn.Hardtanh(), "'1' is Hardtanh"),
        (nn.BatchNorm2d(2, track_running_stats=False), "'1' is BatchNorm2d"),
    ],
)
def test_the_first_layer_without_bounds_is_named(layer, named):
    model = nn.Sequential(nn.ReLU(), layer, nn.Tanh(), nn.Flatten(), nn.Linear(72, 3)).double()
    x, y = images(0)
    for call in (lambda: margin_bounds(model, x, y, 0.1), lambda: interval_bounds(model, x, 0.1)):
        with pytest.raises(ValueError, match=named):
            call()


class Tripled(nn.Sequential):
    """Its layers are not all that it does."""

    def forward(self, x):
        return 3 * super().forward(x)


class Rounded(nn.Linear):
    def forward(self, x):
        return super().forward(x).round()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ResNet(), "ResNet"),
        (Tripled(nn.Flatten(), nn.Linear(72, 3)), "'the model itself' is Tripled"),
        (nn.Sequential(nn.Flatten(), Rounded(72, 3)), "'1' is Rounded"),
        (nn.Sequential(nn.Linear(6, 3)), r"expected logits \(N, K\), found \(N, 2, 6, 3\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(72, 1)), "at least 2 classes, found logits of 1"),
    ],
)
def test_a_model_that_is_more_than_its_layers_or_gives_no_logits_is_named(model, message):
    x, y = images(0)
    with pytest.raises(ValueError, match=message):
        margin_bounds(model.double(), x, y, 0.1)


def test_intervals_are_for_images():
    x, _ = images(0)
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]"):
        interval_bounds(network(0), x + 1, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": -0.1}, "eps: expected a finite number, at least 0"),
        ({"method": "lp"}, "method: found 'lp', expected one of ibp, convex, crown"),
        ({"norm": "L1"}, "expected Linf or L2"),
        ({"widest": -1}, "widest: expected a whole number, at least 0"),
        ({"y": torch.tensor([0, 1, 3])}, "y: expected class numbers below 3, found 3"),
        ({"x": torch.full((3, 2, 6, 6), 2.0, dtype=torch.float64)}, "x"),
    ],
)
def test_bad_arguments_are_told(change, message):
    x, y = images(0)
    arguments = {"x": x, "y": y, "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        certified(network(0), **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IBPTraining(eps=-1), "eps"),
        (lambda: IBPTraining(kappa=2), "kappa"),
        (lambda: IBPTraining(warm=0.7, ramp=0.5), "warm: expected at most ramp=0.5, found 0.7"),
        (lambda: ConvexTraining(slopes="ibp"), "slopes: found 'ibp'"),
        (lambda: ConvexTraining(norm="L1"), "norm: found 'L1', expected Linf or L2"),
        (lambda: ConvexTraining(widest=-1), "widest: expected a whole number, at least 0"),
    ],
)
def test_bad_settings_of_training_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_images_are_no_accuracy():
    x, y = images(0)
    with pytest.raises(ValueError, match="at least one image"):
        certified_accuracy(network(0), x[:0], y[:0], 0.1)
    assert certified(network(0), x[:0], y[:0], 0.1).shape == (0,)
