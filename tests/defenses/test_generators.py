"""The generative models: what they may see, that they are distributions, that they learn."""

from __future__ import annotations

import itertools

import pytest
import torch

from advlab.defenses import Generator, PixelCNN
from advlab.defenses.generators import MaskedConv2d


def rough(model: torch.nn.Module, scale: float = 3.0) -> torch.nn.Module:
    """Larger weights than the first ones, which give nearly the same answer everywhere."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


@pytest.fixture
def pixel_cnn(device) -> PixelCNN:
    return rough(PixelCNN(levels=4, channels=8, depth=2, size=6).double().to(device))


@pytest.fixture
def bars(device) -> torch.Tensor:
    """Images (64, 1, 8, 8): a white left half or a white right half."""
    x = torch.zeros(64, 1, 8, 8, device=device)
    x[::2, ..., :4] = 1
    x[1::2, ..., 4:] = 1
    return x


# PixelCNN ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("middle", [False, True])
def test_a_masked_convolution_sees_what_comes_before_and_nothing_else(middle):
    """Its Jacobian: entry (p, q) is the slope of the answer at p in the pixel q."""
    layer = MaskedConv2d(1, 1, 3, middle=middle).double()
    x = torch.rand(25, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x.view(1, 1, 5, 5)).flatten(), x)
    for p, q in itertools.product(range(25), repeat=2):
        near = abs(p // 5 - q // 5) <= 1 and abs(p % 5 - q % 5) <= 1
        assert (jacobian[p, q] != 0) == (near and (q < p or (middle and q == p)))


def test_no_pixel_knows_itself_or_a_later_one(pixel_cnn, device):
    x = torch.rand(1, 1, 6, 6, dtype=torch.float64, device=device)
    changed = x.repeat(36, 1, 1, 1)
    for q in range(36):  # one pixel is another, by at least a level
        changed[q, 0, q // 6, q % 6] = (x[0, 0, q // 6, q % 6] + 0.5) % 1
    moved = (pixel_cnn(changed) - pixel_cnn(x)).abs().amax(1).flatten(1) > 1e-9
    for q, p in itertools.product(range(36), repeat=2):
        if p <= q:
            assert not moved[q, p]
        elif p == q + 1 and p % 6:
            assert moved[q, p], "the left neighbor is seen"


def test_the_probabilities_of_all_images_sum_to_one(device):
    model = rough(PixelCNN(levels=2, channels=6, depth=1, size=3).double().to(device), 4)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=9)), dtype=torch.float64)
    bits = 9 * model.bits_per_dimension(images.view(-1, 1, 3, 3).to(device))
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-9)
    assert bits.max() - bits.min() > 1, "and they are not all alike"


def test_walking_pixel_by_pixel_meets_the_same_probabilities(pixel_cnn, device):
    x = torch.rand(5, 1, 6, 6, dtype=torch.float64, device=device)
    level, met = pixel_cnn.quantize(x).squeeze(1), []

    def follow(i, j, logits):
        met.append(logits)
        return level[:, i, j]

    assert torch.equal(pixel_cnn.walk(5, follow), level)
    torch.testing.assert_close(
        torch.stack(met, 2).view(5, 4, 6, 6), pixel_cnn(x), rtol=1e-9, atol=1e-9
    )


def test_samples_come_as_often_as_the_model_says(device):
    model = rough(PixelCNN(levels=2, channels=6, depth=1, size=2).to(device), 4)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).view(-1, 1, 2, 2)
    p = torch.exp2(-4 * model.bits_per_dimension(images.to(device))).cpu()
    drawn = model.sample(4000).cpu().flatten(1) @ torch.tensor([8.0, 4, 2, 1])
    found = torch.bincount(drawn.long(), minlength=16) / 4000
    assert ((found - p).abs() < 5 * (p * (1 - p) / 4000).sqrt() + 1e-3).all()
    assert p.max() > 2 / 16, "a model that finds all alike would be no test"


@pytest.mark.parametrize("levels", [2, 16])
def test_a_level_is_the_nearest_gray(levels):
    model = PixelCNN(levels=levels, channels=2, depth=1, size=4)
    values = torch.linspace(0, 1, levels)
    assert torch.equal(model.quantize(values), torch.arange(levels))
    assert torch.allclose(model.gray(torch.arange(levels)), values)
    x = torch.rand(1000)
    assert (model.gray(model.quantize(x)) - x).abs().max() <= 0.5 / (levels - 1) + 1e-6


def test_a_pixel_cnn_learns_and_tells_its_images_from_others(bars):
    model = PixelCNN(levels=2, channels=8, depth=1, size=8).to(bars.device)
    before = model.bits_per_dimension(bars).mean()
    model.fit(bars, passes=30, batch_size=16, lr=1e-2)
    other = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(bars.device)
    assert model.bits_per_dimension(bars).mean() < 0.1 < before
    assert model.bits_per_dimension(other).min() > 5 * model.bits_per_dimension(bars).max()
    # Two images, one bit: what is left to learn is which of the two.
    assert 64 * model.bits_per_dimension(bars).mean() > 0.9


# Generator ---------------------------------------------------------------------------------------


def test_a_generator_makes_images(device):
    x = rough(Generator(latent=4, hidden=(8, 8), size=5).to(device)).sample(7)
    assert x.shape == (7, 1, 5, 5)
    assert x.device.type == device.type
    assert (x >= 0).all()
    assert (x <= 1).all()


def test_a_generator_learns_to_make_both_kinds_of_images(bars):
    model = Generator(latent=4, hidden=(32, 32), size=8).to(bars.device)
    x = model.fit(bars, steps=400, lr=2e-3).sample(200)
    far = (x[:, None] - bars[:2]).square().mean((2, 3, 4))
    assert far.amin(1).mean() < 0.05, "each sample looks like one of the two; gray is 0.25 away"
    assert 0.2 < far.argmin(1).float().mean() < 0.8, "and both occur"


# Both --------------------------------------------------------------------------------------------

SMALL = [
    (lambda: Generator(latent=3, hidden=(8, 8), size=8), {"steps": 5}),
    (lambda: PixelCNN(levels=3, channels=4, depth=1, size=8), {"passes": 1}),
]


@pytest.mark.parametrize(("make", "settings"), SMALL)
def test_training_repeats_itself_and_leaves_the_random_state_alone(make, settings, bars):
    def weights(seed):
        torch.manual_seed(0)
        model = make().to(bars.device)
        state = torch.get_rng_state()
        model.fit(bars, seed=seed, **settings)
        assert torch.equal(torch.get_rng_state(), state)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(("make", "settings"), SMALL)
def test_samples_repeat_themselves_by_seed(make, settings):
    model = rough(make())
    assert torch.equal(model.sample(3, seed=1), model.sample(3, seed=1))
    assert not torch.equal(model.sample(3, seed=1), model.sample(3, seed=2))


@pytest.mark.parametrize(("make", "settings"), SMALL)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 9, 9), r"\(N, 1, 8, 8\), found \(2, 1, 9, 9\)"),
        (torch.zeros(2, 3, 8, 8), r"found \(2, 3, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), "at least one image"),
        (torch.full((2, 1, 8, 8), 2.0), "0"),
    ],
)
def test_images_of_another_kind_are_refused(make, settings, x, message):
    with pytest.raises(ValueError, match=message):
        make().fit(x, **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Generator(latent=0), "latent: expected a whole number, at least 1, found 0"),
        (lambda: PixelCNN(levels=1), "levels: expected a whole number, at least 2, found 1"),
        (lambda: PixelCNN(depth=0), "depth"),
        (lambda: PixelCNN(channels=1.5), "channels"),
    ],
)
def test_sizes_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
