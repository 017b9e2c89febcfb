"""FAB: the projections are the best ones, and on a linear model so is the attack."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from advlab import threat
from advlab.attacks import FABT
from advlab.attacks.attacked import AttackedModel
from advlab.attacks.fab import project_on_plane
from advlab.goals import UNTARGETED

from .conftest import BinaryLinear, Nothing, images, small_cnn

NORMS = ["Linf", "L2", "L1"]


def planes(n=60, shape=(1, 2, 3)):
    """Points of the box, some at its edge, and planes, some parallel to an axis."""
    source = torch.Generator().manual_seed(0)
    x = (1.5 * torch.rand(n, *shape, generator=source, dtype=torch.float64) - 0.25).clamp(0, 1)
    w = torch.randn(n, *shape, generator=source, dtype=torch.float64)
    w = torch.where(torch.rand(w.shape, generator=source) < 0.15, 0.0, w)
    return x, w, torch.randn(n, generator=source, dtype=torch.float64)


def smallest(x, w, need, norm):
    """The least size of a δ on the plane and in the box, by SciPy; None where there is no δ."""
    n, low, high = len(x), -x, 1 - x
    if norm == "L2":
        if not np.minimum(w * low, w * high).sum() <= need <= np.maximum(w * low, w * high).sum():
            return None
        found = minimize(
            lambda d: d @ d,
            np.zeros(n),
            jac=lambda d: 2 * d,
            constraints={"type": "eq", "fun": lambda d: w @ d - need},
            bounds=[*zip(low, high, strict=True)],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        return np.sqrt(found.fun)
    if norm == "L1":  # δ = a − b with a, b ≥ 0
        bounds = [(0, h) for h in high] + [(0, -v) for v in low]
        found = linprog(np.ones(2 * n), A_eq=[[*w, *-w]], b_eq=[need], bounds=bounds)
    else:  # −r ≤ δ ≤ r
        eye, ones = np.eye(n), np.ones((n, 1))
        found = linprog(
            [0] * n + [1],
            A_ub=np.block([[eye, -ones], [-eye, -ones]]),
            b_ub=np.zeros(2 * n),
            A_eq=[[*w, 0]],
            b_eq=[need],
            bounds=[*zip(low, high, strict=True), (0, None)],
        )
    return found.fun if found.success else None


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_is_scipys(norm):
    x, w, need = planes()
    delta = project_on_plane(x, w, need, norm)
    assert (x + delta).min() >= -1e-12
    assert (x + delta).max() <= 1 + 1e-12
    size = threat.size(delta, norm).tolist()
    on_plane = (w * delta).flatten(1).sum(1) - need
    outside = 0
    for i in range(len(x)):
        best = smallest(x[i].flatten().numpy(), w[i].flatten().numpy(), need[i].item(), norm)
        if best is None:  # the corner that is nearest to the plane
            push = (w[i] * need[i]).sign()
            corner = torch.where(push > 0, 1 - x[i], torch.where(push < 0, -x[i], 0.0))
            torch.testing.assert_close(delta[i], corner)
            outside += 1
        else:
            assert size[i] == pytest.approx(best, abs=1e-6)
            assert on_plane[i].item() == pytest.approx(0, abs=1e-9)
    assert 3 <= outside <= 50


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_without_direction_moves_nothing(norm):
    x, w, need = planes(4)
    assert (project_on_plane(x, 0 * w, need, norm) == 0).all()
    assert (project_on_plane(x, w, 0 * need, norm) == 0).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e30])
def test_the_same_plane_written_in_other_units(norm, scale):
    """In float32, where the square of the scale is 0 or infinite."""
    x, w, need = (each.float() for each in planes())
    expected = project_on_plane(x, w, need, norm)
    found = project_on_plane(x, scale * w, scale * need, norm)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    # A plane that is beyond every corner, far beyond the largest float32.
    corner = project_on_plane(x, scale * w, need.sign() * 1e38, norm)
    if scale < 1:
        moved = (w * need.view(-1, 1, 1, 1)).sign()
        torch.testing.assert_close(x + corner, torch.where(moved == 0, x, moved.clamp_min(0)))


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-76, 2.0**17])  # no digit is lost
@pytest.mark.parametrize("norm", NORMS)
def test_small_and_large_logits_are_attacked_alike(norm, scale, device):
    """In float32. What the cross-entropy cannot see is no reason for a warning."""
    model = small_cnn(classes=5, dtype=torch.float32).to(device)
    x = images(10, dtype=torch.float32).to(device)
    y = model(x).argmax(1)

    class Scaled(nn.Module):
        def forward(self, x):
            return scale * model(x)

    attack = FABT(norm=norm, steps=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x_adv = attack(Scaled(), x, y)
    assert (model(x_adv).argmax(1) != y).all()
    expected = threat.size(attack(model, x, y) - x, norm)
    torch.testing.assert_close(threat.size(x_adv - x, norm), expected, rtol=0.01, atol=1e-5)


def assert_nearest_on_a_linear_model(attack, device):
    """|z₁ − z₀| over the dual norm of w, where the box is far away."""
    model = BinaryLinear((1, 8, 9)).to(device)
    x = 0.45 + 0.1 * images(20, size=(8, 9)).to(device)
    with torch.no_grad():
        model.b -= model(x)[:, 1].mean()
    y = model(x).argmax(1)
    w = model.w.detach().flatten()
    margin = -UNTARGETED.margin(model(x), y).detach()
    dual = {"Linf": w.abs().sum(), "L2": w.norm(), "L1": w.abs().max()}[attack.norm]
    near = margin / dual < 0.4  # away from the box, in L1 too
    assert near.sum() >= 15
    x_adv = attack(model, x, y)
    assert (model(x_adv).argmax(1) != y)[near].all()
    size = threat.size(x_adv - x, attack.norm)
    torch.testing.assert_close(size[near], (margin / dual)[near], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_on_a_linear_model_it_is_the_distance_to_the_plane(norm, device):
    assert_nearest_on_a_linear_model(FABT(norm=norm, steps=5), device)
    with pytest.raises(AssertionError):
        assert_nearest_on_a_linear_model(Nothing(norm=norm), device)


def bent(device, classes=6):
    """A network with several classes near each image."""
    model = small_cnn(classes=classes).to(device)
    x = images(30, seed=5).to(device)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("norm", NORMS)
def test_more_steps_targets_and_restarts_come_nearer(norm, device):
    model, x, y = bent(device)

    def sizes(**change):
        return threat.size(FABT(norm=norm, **change)(model, x, y) - x, norm)

    full = sizes(steps=20)
    assert (full > 0).all()
    assert full.mean() < sizes(steps=1).where(full > 0, full).mean() or norm == "Linf"
    one = sizes(steps=20, targets=1)
    assert (full <= one + 1e-3)[one > 0].all()
    assert (full < one - 1e-6).any()
    again = sizes(steps=20, restarts=3)
    assert again.mean() <= full.mean() + 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_a_restart_begins_at_half_of_what_was_found(norm):
    x = images(3) * 0 + 0.5
    attack, farthest = FABT(norm=norm), threat.size(0 * images(1) + 0.5, norm).item()
    found = torch.tensor([farthest / 10, farthest / 5, torch.inf], dtype=x.dtype)
    for enough, expected in ((0.0, [0.05, 0.1, 0.5]), (farthest / 8, [0.05, 0.0625, 0.0625])):
        size = threat.size(attack.random_start(x, found, enough, 1) - x, norm) / farthest
        # Where the box is no limit.
        near = torch.tensor(expected, dtype=x.dtype)
        torch.testing.assert_close(size[:2], near[:2], rtol=1e-9, atol=0)
        assert 0 < size[2] <= near[2] * (1 + 1e-9)


def test_the_boundary_is_right_before_what_comes_back(device):
    """The final search: a hair nearer to x the answer is right again."""
    model, x, y = bent(device)
    x_adv = FABT(norm="L2", steps=20)(model, x, y)
    assert (model(x_adv).argmax(1) != y).all()
    assert (model(x + 0.998 * (x_adv - x)).argmax(1) == y).double().mean() >= 0.9


def test_enough_ends_the_search_and_is_kept(device):
    """What AutoAttack asks for: any image within ε, and no more looks than that takes."""
    model, x, y = bent(device)
    shown = []

    def forward(x):
        shown.append(len(x))
        return model(x)

    def run(enough):
        shown.clear()
        attack = FABT(steps=20)
        x_adv = attack.closest(AttackedModel(forward, x, UNTARGETED), x, y, enough=enough)
        return threat.size(x_adv - x, "Linf"), sum(shown)

    exact, many = run(0.0)
    eps = exact.median().item()
    within, few = run(eps)
    assert torch.equal(within <= eps, exact <= eps)
    assert few < 0.8 * many


def test_wrong_from_the_start_is_left_alone_and_a_flat_logit_is_no_crash(device):
    model, x, y = bent(device)
    assert torch.equal(FABT(steps=3)(model, x, (y + 1) % 6), x)
    with torch.no_grad():
        model[5].weight[2:] = 0  # classes 2 to 5 never change
        model[5].bias[2:] = -50
    y = model(x).argmax(1)
    for norm in NORMS:
        x_adv = FABT(norm=norm, steps=10)(model, x, y)
        assert x_adv.isfinite().all()
        assert (model(x_adv).argmax(1) != y).any()


def test_a_thousand_classes_ask_for_nine_gradients_a_step(device):
    model = small_cnn(classes=1000).to(device)
    x = images(3).to(device)
    y = model(x).argmax(1)
    calls = []

    class Counting(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return model(x)

    FABT(steps=4)(Counting(), x, y)
    # At x; a gradient and a judgement each step; the final search.
    assert len(calls) == 1 + 9 * 4 * 2 + 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number from 1"),
        ({"targets": 0}, "targets: expected a whole number from 1"),
        ({"restarts": 0}, "restarts: expected a whole number from 1"),
        ({"alpha_max": 1.1}, "alpha_max: expected a finite number, at least 0, at most 1"),
        ({"eta": 0.9}, "eta: expected a finite number, at least 1, found 0.9"),
        ({"beta": -0.1}, "beta: expected a finite number, at least 0, at most 1"),
        ({"norm": "L0"}, "norm: found 'L0', expected Linf, L2 or L1"),
        ({"targeted": True}, "FABT cannot have targeted: it tries many classes"),
        ({"goal": "confidence"}, "FABT cannot have confidence below 0.5"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FABT(**change)
