"""DeepFool: exact where the model is linear, and across the boundary where it is not."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from advlab import data, threat
from advlab.attacks import DeepFool, GradientWarning
from advlab.models import load_model

from .conftest import BinaryLinear, Nothing, images, small_cnn


class Linear(nn.Module):
    """K classes, z = Wx + b, in float64."""

    def __init__(self, shape, classes, seed=0):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(classes, *shape, generator=source, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(classes, generator=source, dtype=torch.float64) / 10)

    def forward(self, x):
        return torch.einsum("nchw,kchw->nk", x, self.w) + self.b


def margins(model, x, y, norm):
    """|f_k| / ‖w_k‖ to each class, by hand: the L1 norm of w for steps in L∞. (N, K)."""
    z = model(x).detach()
    w = (model.w.detach()[None] - model.w.detach()[y][:, None]).flatten(2)
    length = w.norm(dim=2) if norm == "L2" else w.abs().sum(2)
    distance = (z - z.gather(1, y[:, None])).abs() / length
    return distance.scatter(1, y[:, None], torch.inf)


def linear_problem(device, shape=(1, 6, 7), classes=5):
    """Gray images, so that no pixel comes near the edge of the box."""
    model = Linear(shape, classes).to(device)
    x = 0.5 + 0.1 * (images(20, size=shape[1:]).to(device) - 0.5)
    return model, x, model(x).argmax(1)


def assert_exact(attack, device):
    model, x, y = linear_problem(device)
    x_adv = attack(model, x, y)
    distance, nearest = margins(model, x, y, attack.norm).min(1)
    size = threat.size(x_adv - x, attack.norm)
    torch.testing.assert_close(size, (1 + attack.overshoot) * distance, rtol=1e-9, atol=0)
    assert torch.equal(model(x_adv).argmax(1), nearest)


def by_hand(model, image, label, norm, candidates):
    """The whole walk of one image, one class at a time."""
    r, share = torch.zeros_like(image), 0.5
    for _ in range(50):
        x = image + r
        z = model(x[None])[0]
        ranked = [k for k in z.argsort(descending=True).tolist() if k != label]
        jacobian = torch.autograd.functional.jacobian(lambda point: model(point[None])[0], x)
        nearest, way = torch.inf, None
        for k in ranked[:candidates]:
            w = jacobian[k] - jacobian[label]
            w[((x <= 0) & (w < 0)) | ((x >= 1) & (w > 0))] = 0
            distance = (z[k] - z[label]).abs() / (w.norm() if norm == "L2" else w.abs().sum())
            if distance < nearest:
                nearest = distance
                way = distance * (w / w.norm() if norm == "L2" else w.sign())
        r, share = (x + share * way).clamp(0, 1) - image, 1
        x_adv = (image + 1.02 * r).clamp(0, 1)
        if model(x_adv[None]).argmax(1) != label:
            return x_adv
    return image


@pytest.mark.parametrize("candidates", [1, 9])
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_it_is_the_walk_by_hand(norm, candidates):
    model = small_cnn(3, (4, 3), 10).requires_grad_(False)
    x = images(16, 3, (4, 3))
    y = model(x).argmax(1)
    x_adv = DeepFool(norm=norm, candidates=candidates)(model, x, y)
    walks = [by_hand(model, *pair, norm, candidates) for pair in zip(x, y)]
    torch.testing.assert_close(x_adv, torch.stack(walks), rtol=0, atol=1e-9)


def test_the_candidates_are_ranked_anew_at_every_step():
    """One pixel. Half of the way to the first class the second, with the steeper slope, leads."""

    class Score(nn.Module):
        def forward(self, x):
            u = x.flatten(1) - 0.2
            return torch.cat([0 * u, 2 * u - 1, 5 * u - 1.5], 1)

    x = torch.full((1, 1, 1, 1), 0.2, dtype=torch.float64)
    y = torch.zeros(1, dtype=torch.int64)
    u = DeepFool(candidates=1)(Score(), x, y).item() - 0.2
    assert u == pytest.approx(1.02 * 0.3)  # where 5u = 1.5; the first class is at u = 0.5


@pytest.mark.parametrize("overshoot", [0.02, 0.3, 0.99])
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_on_a_linear_model_it_is_the_margin_times_the_overshoot(norm, overshoot, device):
    assert_exact(DeepFool(norm=norm, overshoot=overshoot), device)


def test_doing_nothing_is_not_exact(device):
    with pytest.raises(AssertionError):
        assert_exact(type("N", (Nothing,), {"overshoot": 0.02})(norm="L2"), device)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_two_classes(norm, device):
    model = BinaryLinear((1, 6, 7)).to(device)
    x = 0.5 + 0.02 * (images(20).to(device) - 0.5)
    with torch.no_grad():
        # The boundary goes by the middle image; all images lie on the near sides of it.
        model.b -= model(torch.full_like(x[:1], 0.5))[0, 1]
        z = model(x)
    y = z.argmax(1)
    w = model.w.detach()
    expected = 1.02 * z[:, 1].abs() / (w.norm() if norm == "L2" else w.abs().sum())
    x_adv = DeepFool(norm=norm)(model, x, y)
    torch.testing.assert_close(threat.size(x_adv - x, norm), expected, rtol=1e-9, atol=0)
    assert (model(x_adv).argmax(1) != y).all()


def test_only_the_candidates_with_the_highest_logits_are_gone_to(device):
    model, x, y = linear_problem(device)
    distance = margins(model, x, y, "L2")
    order = model(x).detach().scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    for candidates in (1, 2, 4, 9):
        size = threat.size(DeepFool(candidates=candidates)(model, x, y) - x, "L2")
        among = distance.gather(1, order[:, : min(candidates, 4)]).amin(1)
        # Half way, where it looks again, others may have come up; never nearer than the nearest.
        assert (size >= 1.02 * distance.amin(1) * (1 - 1e-9)).all()
        assert (size <= 1.02 * among * (1 + 1e-9)).double().mean() >= 0.8
    nearest = order[:, :1] == distance.argmin(1, keepdim=True)
    assert not nearest.all()  # the nearest class is not always the highest: candidates matter


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_pixels_at_the_edge_of_the_box_leave_the_way_to_the_others(norm, device):
    """Half of the pixels cannot move: the margin is divided by the norm of the others' weights."""
    model = BinaryLinear((1, 6, 7)).to(device)
    x = torch.full((1, 1, 6, 7), 0.5, dtype=torch.float64, device=device)
    w = model.w.detach()
    x[..., :3] = (w[..., :3] > 0).double()[None]  # at the edge, toward the higher score
    with torch.no_grad():
        model.b -= model(x)[0, 1] + 0.5
    y = torch.zeros(1, dtype=torch.int64, device=device)
    assert model(x).argmax(1) == 0
    x_adv = DeepFool(norm=norm)(model, x, y)
    assert model(x_adv).argmax(1) == 1
    free = w[..., 3:]
    expected = 1.02 * 0.5 / (free.norm() if norm == "L2" else free.abs().sum())
    torch.testing.assert_close(threat.size(x_adv - x, norm), expected[None], rtol=1e-9, atol=0)
    assert torch.equal(x_adv[..., :3], x[..., :3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_it_crosses_the_boundary_of_networks_that_are_not_linear(norm, dtype, device):
    for seed in range(2):
        model = small_cnn(3, (6, 5), 10, dtype, seed).to(device)
        x = images(30, 3, (6, 5), dtype, seed).to(device)
        y = model(x).argmax(1)
        x_adv = DeepFool(norm=norm)(model, x, y)
        fooled = model(x_adv).argmax(1) != y
        assert fooled.double().mean() > 0.95
        assert torch.equal(x_adv[~fooled], x[~fooled])
        # It stops near the boundary: most of the way is not enough.
        short = x + 0.8 * (x_adv - x)
        assert (model(short).argmax(1) == y).double().mean() > 0.8


def test_digits(device):
    model = load_model("mnist-cnn").to(device)
    x, y = (part[:16].to(device) for part in data.load("mnist5k").test)
    with torch.no_grad():
        right = model(x).argmax(1) == y
        for norm, most in (("L2", 2.0), ("Linf", 0.15)):
            x_adv = DeepFool(norm=norm)(model, x, y)
            assert (model(x_adv).argmax(1) != y).all()
            assert torch.equal(x_adv[~right], x[~right])
            assert threat.size(x_adv - x, norm)[right].mean() < most


def test_images_that_have_fallen_are_not_shown_again(device):
    model, shown = small_cnn().to(device), []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    x = images(40).to(device)
    with torch.no_grad():
        y = model(x).argmax(1)
    shown.clear()
    DeepFool()(model, x[:1], (y[:1] + 1) % 3)
    assert shown == [1]  # wrong already: one look
    shown.clear()
    DeepFool()(model, x, y)
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 40
    assert shown[-1] < 40


def test_a_budget_of_one_step_is_kept(device):
    model, x, y = linear_problem(device)
    assert torch.equal(DeepFool(steps=1)(model, x, y), x)  # half of the way, on a linear model
    assert not torch.equal(DeepFool(steps=2)(model, x, y), x)


def test_no_warning_for_an_image_that_is_there_already(device):
    class Flat(nn.Module):
        def forward(self, x):
            return 0 * x.flatten(1)[:, :2] + torch.tensor([0.0, 5.0], device=x.device)

    x, y = torch.full((2, 1, 2, 2), 0.5, device=device), torch.tensor([0, 0], device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradientWarning)
        assert torch.equal(DeepFool()(Flat(), x, y), x)
    y[1] = 1
    with pytest.warns(GradientWarning, match="exactly zero for 1 of 2"):
        assert torch.equal(DeepFool()(Flat(), x, y), x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "L1"}, "norm: found 'L1', expected L2 or Linf"),
        ({"steps": 0}, "steps: expected a whole number from 1, found 0"),
        ({"overshoot": -0.1}, "overshoot: expected a finite number, at least 0, found -0.1"),
        ({"overshoot": 1}, "overshoot: expected a number from 0 to below 1, found 1"),
        ({"candidates": 0}, "candidates: expected a whole number from 1, found 0"),
        ({"targeted": True}, "goal: DeepFool cannot have targeted: it goes to the nearest"),
        ({"goal": "confidence"}, "goal: DeepFool cannot have confidence below 0.5"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DeepFool(**wrong)
