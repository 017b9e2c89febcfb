"""MI-FGSM: the sum of the gradients, each over its L1 norm."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import BIM, MIFGSM, GradientWarning
from advlab.goals import TARGETED, UNTARGETED

from .conftest import Nothing, images, small_cnn


def reference(
    model, image, label, eps, alpha, steps, decay, targeted=False, scale=None, norm="Linf"
):
    """Algorithm 1 for one image, line by line; ``scale`` stands in for the L1 norm."""
    goal = TARGETED if targeted else UNTARGETED
    x, g = image.clone(), torch.zeros_like(image)
    for _ in range(steps):
        point = x[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(goal.loss(model(point), label[None]).sum(), point)
        gradient = gradient[0]
        g = decay * g + (scale or (lambda v: v / v.abs().sum()))(gradient)
        if norm == "L2":
            delta = x + alpha * g / g.norm() - image
            x = (image + delta * min(1, eps / delta.norm().item())).clamp(0, 1)
            continue
        for i in range(g.numel()):
            moved = x.view(-1)[i] + alpha * g.view(-1)[i].sign()
            low, high = image.view(-1)[i] - eps, image.view(-1)[i] + eps
            x.view(-1)[i] = min(max(moved, low, torch.zeros_like(low)), high, torch.ones_like(low))
    return x


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_it_is_the_algorithm(norm, decay, targeted):
    model, x = small_cnn().requires_grad_(False), images(4)
    y = (model(x).argmax(1) + targeted) % 3
    eps, alpha = (0.2, 0.05) if norm == "Linf" else (1.5, 0.4)
    attack = MIFGSM(eps=eps, alpha=alpha, steps=8, norm=norm, decay=decay, targeted=targeted)
    expected = [
        reference(model, *pair, eps, alpha, 8, decay, targeted, norm=norm) for pair in zip(x, y)
    ]
    torch.testing.assert_close(attack(model, x, y), torch.stack(expected), rtol=0, atol=1e-12)


def test_what_is_not_given_is_the_paper_s():
    """μ = 1, 10 steps, α = ε / 10. A little less momentum is another path."""
    model, x = small_cnn().requires_grad_(False), images(4)
    y = model(x).argmax(1)
    found = MIFGSM(eps=1.5, norm="L2")(model, x, y)
    for decay, same in ((1.0, True), (0.95, False)):
        path = [reference(model, *p, 1.5, 0.15, 10, decay, norm="L2") for p in zip(x, y)]
        assert torch.allclose(found, torch.stack(path), rtol=0, atol=1e-12) is same


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_what_is_summed_are_gradients_over_their_l1_norms(norm):
    """Not their signs, not the gradients as they come, and not over their L2 norms."""
    model, x = small_cnn().requires_grad_(False), images(8)
    y = model(x).argmax(1)
    found = MIFGSM(eps=0.2, alpha=0.05, steps=8, norm=norm)(model, x, y)
    scales = [torch.sign, lambda gradient: gradient]
    if norm == "L2":  # in L∞ the signs of either sum are nearly always the same
        scales.append(lambda gradient: gradient / gradient.norm())
    for scale in scales:
        other = [reference(model, *p, 0.2, 0.05, 8, 1.0, scale=scale, norm=norm) for p in zip(x, y)]
        assert not torch.allclose(found, torch.stack(other), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("decay", [2.0, 1e30])
def test_much_momentum_for_many_steps_is_no_nan(decay, norm):
    """2¹³² is infinite in float32. In the end the first gradient alone counts."""
    model, x = small_cnn(dtype=torch.float32), images(4, dtype=torch.float32)
    y = model(x).argmax(1)
    x_adv = MIFGSM(eps=0.5, steps=140, norm=norm, decay=decay)(model, x, y)
    assert x_adv.isfinite().all()
    assert threat.size(x_adv - x, norm).max() <= 0.5 + 1e-5
    if decay == 1e30:
        once = MIFGSM(eps=0.5, steps=1, norm=norm)(model, x, y)
        torch.testing.assert_close(x_adv, once, rtol=0, atol=1e-4)


def test_without_momentum_it_is_bim(cnn, x, y):
    for norm, eps in (("Linf", 0.1), ("L2", 1.0)):
        ours = MIFGSM(eps=eps, decay=0, norm=norm)(cnn, x, y)
        torch.testing.assert_close(ours, BIM(eps=eps, norm=norm)(cnn, x, y), rtol=0, atol=1e-12)
        assert not torch.equal(ours, Nothing()(cnn, x, y))


class Valley(nn.Module):
    """The slope of the loss turns to −1/3 of itself beyond 0.5, and to 0 beyond 0.65."""

    def forward(self, x):
        x = x.flatten(1)[:, :1]
        score = -(x.clamp(max=0.5)) + (x.clamp(0.5, 0.65) - 0.5) / 3
        return torch.cat([score, torch.zeros_like(score)], 1)


def test_momentum_crosses_a_valley_and_a_plain(device):
    """One pixel: each normalized gradient is +1 or −1, so the sums can be told by hand."""
    model = Valley().to(device)
    x = torch.full((1, 1, 1, 1), 0.25, dtype=torch.float64, device=device)
    y = torch.zeros(1, dtype=torch.int64, device=device)

    def path(decay):
        walks = [MIFGSM(eps=0.6, alpha=0.1, steps=t, decay=decay) for t in range(1, 9)]
        return [round(walk(model, x, y).item(), 9) for walk in walks]

    # From 0.55 the gradient points back: BIM goes to and fro.
    assert path(0) == [0.35, 0.45, 0.55, 0.45, 0.55, 0.45, 0.55, 0.45]
    # The sum is 3 at 0.55, where −1 is added: 2. On the plain, from 0.65, nothing is.
    assert path(1) == [0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.85, 0.85]


def test_a_gradient_of_zero_adds_nothing_and_makes_no_nan(device):
    class Flat(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 2).to(x) + 0 * x.flatten(1)[:, :2]

    x = images(3).to(device)
    y = torch.zeros(3, dtype=torch.int64, device=device)
    with pytest.warns(UserWarning, match="exactly zero for 3 of 3"):
        assert torch.equal(MIFGSM()(Flat(), x, y), x)


def test_no_warning_for_an_image_that_is_there_already(device):
    """The class wanted has the probability 1 for the bright image: no gradient, and no need."""

    class Steep(nn.Module):
        def forward(self, x):
            score = 1e4 * (x.flatten(1).mean(1) - 0.5)
            return torch.stack([-score, score], 1)

    x = torch.tensor([0.9, 0.1], device=device).view(2, 1, 1, 1)
    there, not_there = torch.tensor([1, 0], device=device), torch.tensor([0, 1], device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradientWarning)
        MIFGSM(targeted=True)(Steep(), x, there)
    with pytest.warns(GradientWarning, match="exactly zero for 2 of 2"):
        MIFGSM()(Steep(), x, there)
    with pytest.warns(GradientWarning, match="exactly zero for 1 of 2"):
        MIFGSM()(Steep(), x, torch.ones_like(not_there))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"decay": -0.1}, "decay: expected a finite number, at least 0, found -0.1"),
        ({"decay": float("nan")}, "decay: expected"),
        ({"norm": "L1"}, "norm: found 'L1', expected Linf or L2"),
        ({"steps": 0}, "steps: expected a whole number from 1, found 0"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MIFGSM(**wrong)
