"""TRADES: the paper's loss, which way its divergence points, and where the walk starts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from advlab.defenses import TRADES


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_it_equals_the_loss_written_by_hand(small_model, small_images, beta):
    x, y = small_images
    torch.manual_seed(1)
    loss = TRADES(eps=0.1, beta=beta, steps=4, alpha=0.04)(small_model, x, y)
    torch.manual_seed(1)
    x_adv = (x + 0.001 * torch.randn_like(x)).clamp(0, 1)
    p = small_model(x).softmax(1)
    for _ in range(4):
        x_adv = x_adv.detach().requires_grad_(True)
        q = small_model(x_adv).softmax(1)
        divergence = (p.detach() * (p.detach() / q).log()).sum()
        (gradient,) = torch.autograd.grad(divergence, x_adv)
        x_adv = x_adv.detach() + 0.04 * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - 0.1), x + 0.1).clamp(0, 1)
    q = small_model(x_adv).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    assert divergence > 1e-3
    wanted = F.cross_entropy(small_model(x), y) + beta * divergence
    torch.testing.assert_close(loss, wanted, atol=1e-6, rtol=1e-4)
    # Through both answers: with the natural one held fixed, these gradients would be others.
    parameters = list(small_model.parameters())
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(wanted, parameters))
    for found, right in pairs:
        torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-3)


def test_without_beta_it_is_plain_cross_entropy(small_model, small_images):
    x, y = small_images
    loss = TRADES(eps=0.3, beta=0.0)(small_model, x, y)
    torch.testing.assert_close(loss, F.cross_entropy(small_model(x), y))


def test_the_attack_needs_no_labels_and_goes_on_where_the_model_is_already_wrong(
    small_model, small_images
):
    x, y = small_images
    torch.manual_seed(1)
    right = TRADES(eps=0.1, steps=3).adversarial(small_model, x, y)
    torch.manual_seed(1)
    assert torch.equal(TRADES(eps=0.1, steps=3).adversarial(small_model, x), right)


def test_the_natural_answer_comes_first_in_the_divergence():
    """KL(p ‖ q) of p = (0.9, 0.1) and q = (0.5, 0.5) is 0.368; the other way it is 0.511."""
    from advlab.defenses.trades import kl

    p, q = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert kl(p, q).item() == pytest.approx(0.36806, abs=1e-4)
    assert kl(q, p).item() == pytest.approx(0.51083, abs=1e-4)
    assert kl(p + 3, p).item() == pytest.approx(0, abs=1e-6)


def test_from_the_image_itself_the_walk_would_not_move(small_model, small_images):
    """The divergence is 0 at its smallest there: its gradient is rounding, and the noise leaves."""
    from advlab.defenses.trades import kl

    x, _ = small_images
    here = x.clone().requires_grad_(True)
    (at_x,) = torch.autograd.grad(kl(small_model(x).detach(), small_model(here)).sum(), here)
    near = (x + 0.001 * torch.randn_like(x)).clamp(0, 1).requires_grad_(True)
    (beside,) = torch.autograd.grad(kl(small_model(x).detach(), small_model(near)).sum(), near)
    assert at_x.abs().max() < 1e-2 * beside.abs().max()
