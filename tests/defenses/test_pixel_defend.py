"""PixelDefend: greedy as defined, within its budget, and each pixel likelier than it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.attacks import FGSM, GradientWarning
from advlab.defenses import BitDepth, PixelCNN, PixelDefend
from advlab.models import LogisticRegression

SIZE = 5


def pixel_cnn(seed: int = 0, levels: int = 6) -> PixelCNN:
    """A model with opinions: weights larger than the first ones."""
    torch.manual_seed(seed)
    model = PixelCNN(levels=levels, channels=8, depth=1, size=SIZE).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def images(seed: int, n: int = 4) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, SIZE, SIZE, generator=random, dtype=torch.float64)


def slowly(model: PixelCNN, x: torch.Tensor, eps: float) -> torch.Tensor:
    """The paper's algorithm 1, word for word: a whole pass of the network for each pixel."""
    out = x.clone()
    for image in range(len(x)):
        for p in range(SIZE * SIZE):
            i, j = divmod(p, SIZE)
            logits = model(out[image : image + 1])[0, :, i, j]
            low, high = max(x[image, 0, i, j] - eps, 0), min(x[image, 0, i, j] + eps, 1)
            best = None
            for level in range(model.levels):
                middle = level / (model.levels - 1)
                value = torch.as_tensor(min(max(middle, low), high), dtype=x.dtype)
                inside = model.quantize(value) == level
                if inside and (best is None or logits[level] > best[0]):
                    best = logits[level], value
            out[image, 0, i, j] = best[1]
    return out


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3, 1.0])
def test_it_is_the_papers_algorithm(eps):
    model, x = pixel_cnn(), images(1)
    with torch.no_grad():
        assert torch.equal(PixelDefend(model, eps_defend=eps)(x), slowly(model, x, eps))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), eps=st.floats(0, 1), levels=st.integers(2, 16))
def test_it_keeps_its_budget_and_no_pixel_becomes_less_likely(seed, eps, levels):
    model, x = pixel_cnn(seed % 7, levels), images(seed)
    with torch.no_grad():
        out = PixelDefend(model, eps_defend=eps)(x)
        assert (out - x).abs().max() <= eps + 1e-12
        assert (out >= 0).all()
        assert (out <= 1).all()
        # Given the pixels before it, as they are by now.
        log_p = model(out).log_softmax(1)
        now = log_p.gather(1, model.quantize(out))
        left_alone = log_p.gather(1, model.quantize(x))
    assert (now >= left_alone - 1e-9).all()


def test_a_budget_of_zero_changes_nothing_and_one_of_one_forgets_the_image():
    model, x = pixel_cnn(), images(2)
    assert torch.equal(PixelDefend(model, eps_defend=0)(x), x)
    free = PixelDefend(model, eps_defend=1)(x)
    assert torch.equal(free, free[:1].expand_as(free)), "the same likeliest image for all"


def test_it_makes_noisy_images_likelier_and_brings_them_back():
    bars = torch.zeros(64, 1, SIZE, SIZE)
    bars[::2, ..., :2] = 1
    bars[1::2, ..., 3:] = 1
    torch.manual_seed(0)
    model = PixelCNN(levels=6, channels=8, depth=1, size=SIZE)
    model.fit(bars, passes=30, batch_size=16, lr=1e-2)
    noisy = (bars + 0.3 * torch.randn(bars.shape).sign()).clamp(0, 1)
    step = PixelDefend(model, eps_defend=0.35)
    assert (step.bits_per_dimension(noisy) > 10 * step.bits_per_dimension(bars)).all()
    assert (step.bits_per_dimension(step(noisy)) < step.bits_per_dimension(noisy)).all()
    assert (step(noisy) - bars).abs().mean() < 0.2 * (noisy - bars).abs().mean()


def test_an_answer_depends_on_the_image_alone():
    step, x = PixelDefend(pixel_cnn()), images(3, 6)
    together = step(x)
    assert torch.equal(step(x), together)
    assert torch.equal(torch.cat([step(image[None]) for image in x]), together)
    with torch.inference_mode():
        assert torch.equal(step(x), together)


def test_no_images_are_no_error():
    assert PixelDefend(pixel_cnn())(images(3)[:0]).shape == (0, 1, SIZE, SIZE)


def test_images_of_another_precision_come_back_in_theirs():
    model = pixel_cnn().float()
    x = images(1).half()
    for dtype in (torch.float16, torch.float64):
        out = PixelDefend(model, eps_defend=0.25)(x.to(dtype))
        assert out.dtype == dtype
        assert (out - x.to(dtype)).abs().max() <= 0.25 + 1e-3
        assert not torch.equal(out, x.to(dtype))


def test_a_plain_attack_sees_no_gradient_and_an_adaptive_one_sees_the_networks():
    torch.manual_seed(0)
    linear = LogisticRegression(classes=2, size=SIZE).double()
    model, x = nn.Sequential(PixelDefend(pixel_cnn()), linear), images(4, 8)
    y = model(x).argmax(1)
    with pytest.warns(GradientWarning):
        assert torch.equal(FGSM(eps=0.1)(model, x, y), x)
    weight = linear.linear.weight.detach()
    up = (weight[1 - y] - weight[y]).sign().view_as(x)
    x_adv = FGSM(eps=0.1, backward="substitute")(model, x, y)
    torch.testing.assert_close(x_adv, (x + 0.1 * up).clamp(0, 1))


def test_another_step_may_stand_behind_it():
    x, step = images(5), PixelDefend(pixel_cnn(), eps_defend=0.2)
    model = nn.Sequential(step, BitDepth(bits=1), LogisticRegression(2, size=SIZE).double())
    torch.testing.assert_close(model(x), model[2]((step(x) >= 0.5).double()))
    x_adv = FGSM(eps=0.1, backward="substitute")(model, x, model(x).argmax(1))
    torch.testing.assert_close((x_adv - x).abs().amax((1, 2, 3)), torch.full((4,), 0.1).double())


@pytest.mark.parametrize("eps", [-0.1, 1.5, float("nan")])
def test_a_budget_out_of_range_is_refused(eps):
    with pytest.raises(ValueError, match=r"eps_defend: expected in \[0, 1\], found"):
        PixelDefend(pixel_cnn(), eps_defend=eps)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"PixelDefend: expected images \(N, 1, 5, 5\), .*found"):
        PixelDefend(pixel_cnn())(torch.zeros(2, 3, 5, 5))
