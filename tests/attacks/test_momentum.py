"""MI-FGSM: the sum of the gradients, each over its L1 norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.attacks import BIM, MIFGSM
from advlab.goals import TARGETED, UNTARGETED

from .conftest import Nothing, images, small_cnn


def reference(model, image, label, eps, alpha, steps, decay, targeted=False, scale=None):
    """Algorithm 1 for one image, line by line; ``scale`` stands in for the L1 norm."""
    goal = TARGETED if targeted else UNTARGETED
    x, g = image.clone(), torch.zeros_like(image)
    for _ in range(steps):
        point = x[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(goal.loss(model(point), label[None]).sum(), point)
        gradient = gradient[0]
        g = decay * g + (scale or (lambda v: v / v.abs().sum()))(gradient)
        for i in range(g.numel()):
            moved = x.view(-1)[i] + alpha * g.view(-1)[i].sign()
            low, high = image.view(-1)[i] - eps, image.view(-1)[i] + eps
            x.view(-1)[i] = min(max(moved, low, torch.zeros_like(low)), high, torch.ones_like(low))
    return x


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_it_is_the_algorithm(decay, targeted):
    model, x = small_cnn().requires_grad_(False), images(4)
    y = (model(x).argmax(1) + targeted) % 3
    attack = MIFGSM(eps=0.2, alpha=0.05, steps=8, decay=decay, targeted=targeted)
    expected = [reference(model, *pair, 0.2, 0.05, 8, decay, targeted) for pair in zip(x, y)]
    torch.testing.assert_close(attack(model, x, y), torch.stack(expected), rtol=0, atol=1e-12)


def test_what_is_summed_are_neither_signs_nor_gradients_as_they_come():
    model, x = small_cnn().requires_grad_(False), images(4)
    y = model(x).argmax(1)
    found = MIFGSM(eps=0.2, alpha=0.05, steps=8)(model, x, y)
    for scale in (torch.sign, lambda gradient: gradient):
        other = [reference(model, *p, 0.2, 0.05, 8, 1.0, scale=scale) for p in zip(x, y)]
        assert not torch.allclose(found, torch.stack(other))


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
