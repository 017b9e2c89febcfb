"""What is done to an image before the network sees it is exactly what the papers say."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter
from torch import nn
from torch.nn import functional as F

from advlab.backend import generator
from advlab.defenses import (
    BitDepth,
    JPEGCompression,
    MedianSmoothing,
    PGDTraining,
    RandomResizePad,
    Thermometer,
    TotalVariation,
    duality_gap,
    minimize_total_variation,
)
from advlab.models import CNN, LogisticRegression
from advlab.transforms import JPEG

STEPS = [
    BitDepth(bits=2),
    MedianSmoothing(size=3),
    Thermometer(levels=4),
    RandomResizePad(8, 12),
    JPEGCompression(quality=30),
    TotalVariation(steps=20),
]
RANDOM = (RandomResizePad, TotalVariation)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=generator(seed), dtype=dtype)


def image(*rows):
    return torch.tensor(rows)[None, None]


def slope(step, x):
    """Of the sum of what comes out, in each pixel."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(step(x).sum(), x)[0]


# Squeezing


def test_one_bit_is_black_and_white():
    x = image([0.0, 0.49, 0.5, 0.51, 1.0])
    assert torch.equal(BitDepth(bits=1)(x), image([0.0, 0.0, 0.0, 1.0, 1.0]))


@given(bits=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_each_pixel_goes_to_the_nearest_of_the_levels(bits, seed):
    x = draw(2, 3, 5, 5, seed=seed)
    levels = torch.linspace(0, 1, 2**bits)
    nearest = levels[(x[..., None] - levels).abs().argmin(-1)]
    torch.testing.assert_close(BitDepth(bits=bits)(x), nearest, rtol=0, atol=1e-6)
    assert torch.equal(BitDepth(bits=bits)(nearest), BitDepth(bits=bits)(x))


def test_eight_bits_leave_a_picture_of_bytes_as_it_is(device):
    x = (torch.arange(256, device=device) / 255).view(1, 1, 16, 16)
    assert torch.equal(BitDepth(bits=8)(x), x)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_more_levels_than_half_precision_counts(bits, device):
    """65,535 levels are beyond its largest number, 65,504."""
    x = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float16, device=device).view(1, 1, 2, 2)
    for backward in ("own", "substitute"):
        out = BitDepth(bits=bits, backward=backward)(x)
        assert out.dtype == x.dtype
        torch.testing.assert_close(out, x, rtol=0, atol=0.5 / 255 + 1e-3)
    assert slope(BitDepth(bits=bits, backward="substitute"), x).isfinite().all()


def test_the_soft_stair_is_steepest_where_a_pixel_crosses():
    """Its slope, s (1 − s) with s = σ(10 (f − ½)), times 10: the same between any two levels."""
    x = image([0.0, 0.25, 0.5, 0.75, 1.0]).double()
    f = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.0]).double()
    s = (10 * (f - 0.5)).sigmoid()
    found = slope(BitDepth(bits=1, backward="substitute"), x)
    torch.testing.assert_close(found.flatten(), 10 * s * (1 - s))
    between = slope(BitDepth(bits=2, backward="substitute"), x / 3 + 1 / 3)[..., :4]
    torch.testing.assert_close(between, found[..., :4])


@given(size=st.integers(1, 5), seed=st.integers(0, 99), height=st.integers(3, 7))
@settings(max_examples=40, deadline=None)
def test_the_median_is_scipys(size, seed, height):
    x = draw(2, 3, height, 6, seed=seed)
    expected = median_filter(x.numpy(), size=(1, 1, size, size), mode="reflect")
    assert torch.equal(MedianSmoothing(size=size)(x), torch.from_numpy(expected))


def test_an_even_window_looks_up_and_left_and_takes_the_greater_middle_value():
    x = image([0.1, 0.2], [0.3, 0.4])
    # The windows, mirrored at the edge: 1111, 1122, 1133, 1234.
    assert torch.equal(MedianSmoothing(size=2)(x), image([0.1, 0.2], [0.3, 0.3]))


def test_the_median_has_the_gradient_of_the_pixel_that_it_picks():
    x = draw(1, 1, 6, 6, seed=3)
    step = MedianSmoothing(size=3)
    picked = (step(x)[..., None, None] == x[:, :, None, None]).sum((2, 3))
    assert torch.equal(slope(step, x), picked.to(x.dtype))
    assert picked.sum() == 36


# Thermometer


@pytest.mark.parametrize(
    ("value", "code"),
    [(0.0, "0000000000"), (0.66, "1111110000"), (0.7, "1111111000"), (1.0, "1111111111")],
)
def test_a_code_by_hand(value, code):
    bits = Thermometer(levels=10)(torch.full((1, 1, 1, 1), value)).flatten()
    assert "".join(str(int(bit)) for bit in bits) == code


def test_the_levels_of_a_channel_stand_together():
    x = torch.stack((torch.zeros(3, 3), torch.ones(3, 3), torch.full((3, 3), 0.5)))[None]
    code = Thermometer(levels=4)(x)[0, :, 0, 0]
    assert code.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]


@given(levels=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_ones_count_the_levels_below(levels, seed):
    x = draw(2, 2, 4, 4, seed=seed)
    code = Thermometer(levels=levels)(x).view(2, 2, levels, 4, 4)
    assert torch.equal(code.sum(2), (x * levels).floor())
    assert (code.diff(dim=2) <= 0).all(), "no 1 stands above a 0"


def test_every_value_of_a_byte_that_is_a_level_has_reached_it():
    x = (torch.arange(0, 256, 17) / 255).view(1, 1, 4, 4)
    assert torch.equal(Thermometer(levels=15)(x).sum(1), torch.arange(16.0).view(1, 4, 4))


def test_the_stand_in_of_the_thermometer_is_a_ramp():
    x = image([0.1, 0.3, 0.9])
    assert torch.equal(slope(Thermometer(levels=4), x), torch.zeros_like(x))
    # Levels ¼, ½, ¾, 1 within ½ of the pixel.
    through = slope(Thermometer(levels=4, backward="substitute"), x)
    assert torch.equal(through, image([2.0, 3.0, 3.0]))


# Random size and place


def test_every_size_occurs_at_every_place(device):
    torch.manual_seed(0)
    framed = RandomResizePad(4, 7)(torch.ones(3000, 1, 5, 5, device=device))[:, 0]
    rows, columns = framed.amax(2) > 0, framed.amax(1) > 0
    seen = set(
        zip(
            rows.sum(1).tolist(),
            rows.int().argmax(1).tolist(),
            columns.int().argmax(1).tolist(),
            strict=True,
        )
    )
    assert seen == {(r, i, j) for r in (4, 5, 6) for i in range(8 - r) for j in range(8 - r)}
    assert torch.equal(rows.sum(1), columns.sum(1)), "a square"
    share = torch.stack([(rows.sum(1) == r).double().mean() for r in (4, 5, 6)])
    assert (share - 1 / 3).abs().max() < 0.04, "sizes are equally likely"


@pytest.mark.parametrize("size", [4, 5, 8])
def test_inside_the_frame_stands_the_resized_image(size):
    x = draw(1, 3, 5, 7)
    framed = RandomResizePad(size, size + 1)(x)
    resized = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    places = framed.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    distance = (places - resized).flatten(1).abs().amax(1)
    assert distance.min() < 1e-5
    torch.testing.assert_close(framed.sum(), resized.sum())  # and nothing outside


def test_random_steps_draw_anew_and_from_the_global_seed():
    x = draw(8, 1, 12, 12)
    for step in (RandomResizePad(8, 12), TotalVariation(steps=5), JPEGCompression((5, 95))):
        torch.manual_seed(1)
        first, second = step(x), step(x)
        torch.manual_seed(1)
        assert torch.equal(step(x), first)
        assert not torch.equal(first, second)
        step.eval()
        assert not torch.equal(step(x), first)


def test_the_gradient_of_a_random_frame_is_of_the_draw_that_was_seen():
    x = draw(4, 1, 12, 12)
    for backward in ("own", "substitute"):
        step = RandomResizePad(8, 12, backward=backward)
        inputs = x.clone().requires_grad_()
        out = step(inputs)
        (gradient,) = torch.autograd.grad(out.square().sum(), inputs)
        # Of a linear map A, <x, ∇|Ax|²> = 2|Ax|².
        torch.testing.assert_close((gradient * x).sum(), 2 * out.square().sum())


# JPEG


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 75])
def test_the_step_is_the_transformation(channels, quality):
    x = draw(3, channels, 17, 20)
    assert torch.equal(JPEGCompression(quality)(x), JPEG(quality=quality).sample(x))
    assert not torch.equal(JPEGCompression(quality)(x), x)


def test_rounding_has_no_gradient_and_its_stand_in_has_one():
    x = draw(2, 1, 8, 8)
    assert torch.equal(slope(JPEGCompression(), x), torch.zeros_like(x))
    through = slope(JPEGCompression(backward="substitute"), x)
    torch.testing.assert_close(through, torch.ones_like(x), rtol=0, atol=1e-4)


def test_the_stand_in_of_a_random_quality_is_of_the_draw_that_was_seen():
    """On a random image colors leave the box: what is clipped has its slope by the quality."""
    x = draw(4, 3, 16, 16)
    seen = []
    for step in (JPEGCompression((5, 95)), JPEGCompression((5, 95), backward="substitute")):
        torch.manual_seed(2)
        inputs = x.clone().requires_grad_()
        seen.append((step(inputs), torch.rand(1)))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1]), "as many numbers were drawn"


# Total variation


@pytest.mark.parametrize("weight", [0.03, 0.3])
def test_the_minimum_is_certified(weight):
    x = draw(2, 2, 9, 11, dtype=torch.float64)
    kept = (draw(2, 2, 9, 11, seed=1) >= 0.5).double()
    gap, value = duality_gap(x, kept, weight=weight, steps=50)
    assert (gap >= 0).all()
    assert (gap < 0.1 * value).all()
    gap, value = duality_gap(x, kept, weight=weight, steps=1500)
    assert (gap >= 0).all()
    assert (gap < 1e-3 * value).all()


def objective(z, x, kept, weight):
    """By loops, as it is written."""
    total = 0.0
    height, width = x.shape
    for i in range(height):
        for j in range(width):
            down = z[i + 1, j] - z[i, j] if i + 1 < height else 0.0
            right = z[i, j + 1] - z[i, j] if j + 1 < width else 0.0
            total += kept[i, j] * (z[i, j] - x[i, j]) ** 2 / 2
            total += weight * (down**2 + right**2) ** 0.5
    return float(total)


def test_no_change_of_the_minimizer_lowers_the_objective_as_it_is_written():
    x, kept = draw(5, 6, dtype=torch.float64), (draw(5, 6, seed=1) >= 0.3).double()
    settings = {"weight": 0.1, "steps": 2000}
    z = minimize_total_variation(x[None, None], kept[None, None], **settings)[0, 0]
    _, value = duality_gap(x[None, None], kept[None, None], **settings)
    least = objective(z, x, kept, 0.1)
    assert value.item() == pytest.approx(least, rel=1e-12)
    for seed in range(15):
        other = (z + 0.02 * (draw(5, 6, seed=seed + 2).double() - 0.5)).clamp(0, 1)
        assert objective(other, x, kept, 0.1) > least - 1e-6
    assert objective(x, x, kept, 0.1) > least + 0.1


def test_two_pixels_in_closed_form():
    """½(a − 0.2)² + ½(b − 0.8)² + λ|b − a|: both move by λ toward each other, until they meet."""
    x = image([0.2, 0.8]).double()
    for weight, expected in ((0.1, [0.3, 0.7]), (0.5, [0.5, 0.5])):
        z = minimize_total_variation(x, torch.ones_like(x), weight=weight, steps=1000)
        torch.testing.assert_close(z, image(expected).double(), rtol=0, atol=1e-6)


def test_a_pixel_thrown_away_leaves_no_trace():
    x, kept = draw(4, 1, 8, 8), (draw(4, 1, 8, 8, seed=1) >= 0.5).float()
    other = torch.where(kept > 0, x, draw(4, 1, 8, 8, seed=2))
    first, second = (minimize_total_variation(t, kept, weight=0.03, steps=20) for t in (x, other))
    assert torch.equal(first, second)


def test_a_flat_image_comes_back_and_the_share_of_pixels_is_dropped():
    flat = torch.full((2, 1, 10, 10), 0.3)
    torch.testing.assert_close(TotalVariation()(flat), flat, rtol=0, atol=1e-5)
    # With a tiny weight a kept pixel stays as it is.
    x = draw(1, 1, 60, 60, dtype=torch.float64)
    same = (TotalVariation(dropout=0.7, weight=1e-4)(x) - x).abs() < 1e-3
    assert 0.25 < same.double().mean() < 0.36


# All of them


@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_what_comes_out_is_an_image_of_the_same_kind(step, dtype, device):
    x = draw(3, 1, 12, 12).to(device, dtype)
    before = x.clone()
    out = step(x)
    assert (out.dtype, out.device, len(out)) == (x.dtype, x.device, 3)
    assert (out >= 0).all()
    assert (out <= 1).all()
    assert torch.equal(x, before)
    assert step(x[:0]).shape == (0, *out.shape[1:])


@pytest.mark.parametrize("step", [s for s in STEPS if type(s) not in RANDOM], ids=str)
def test_an_image_does_not_depend_on_its_batch(step):
    x = draw(5, 1, 12, 12)
    alone = torch.cat([step(image) for image in x.split(1)])
    torch.testing.assert_close(step(x), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", STEPS[:3], ids=str)
def test_colors_and_images_that_are_not_square(step):
    x = draw(2, 3, 9, 14)
    out = step(x)
    assert out.shape[2:] == x.shape[2:]
    assert torch.equal(out, torch.cat([step(channel) for channel in x.split(1, dim=1)], 1))


@pytest.mark.parametrize("step", [*STEPS, JPEGCompression((5, 95))], ids=str)
def test_a_copy_does_the_same_and_there_is_nothing_to_save(step):
    x = draw(2, 3, 12, 12)
    for other in (copy.deepcopy(step), pickle.loads(pickle.dumps(step))):
        answers = []
        for one in (step, other):
            torch.manual_seed(4)
            answers.append(one(x))
        assert torch.equal(*answers)
        assert other.backward == step.backward
    assert not step.state_dict()
    with torch.inference_mode():
        torch.manual_seed(4)
        assert torch.equal(step(x), answers[0])


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_every_stand_in_points_somewhere(step):
    before, step.backward = step.backward, "substitute"
    x = draw(2, 1, 12, 12)
    assert (slope(step, x) != 0).flatten(1).any(1).all()
    step.backward = before


def test_one_step_follows_another():
    """A thermometer of a median of a picture of four grays; each is differentiated in its way."""
    x = draw(2, 1, 12, 12)
    grays, smooth, code = BitDepth(bits=2), MedianSmoothing(size=3), Thermometer(levels=3)
    chain = nn.Sequential(grays, smooth, code)
    assert torch.equal(chain(x), code.process(smooth.process(grays.process(x))))
    assert not slope(chain, x).any()
    for step in (grays, code):
        step.backward = "substitute"
    assert slope(chain, x).any()


def test_a_squeezed_network_is_trained_on_the_attacks_of_one_who_knows():
    """Behind one bit PGD training stands still, unless it looks through the step."""
    torch.manual_seed(0)
    model = nn.Sequential(BitDepth(bits=1), LogisticRegression(size=12))
    x, y = draw(16, 1, 12, 12), torch.arange(16) % 10
    blind = PGDTraining(eps=0.3, steps=5)
    knowing = PGDTraining(eps=0.3, steps=5, backward="substitute")
    plain = F.cross_entropy(model(x), y)
    assert blind(model, x, y) < plain + 0.1
    assert knowing(model, x, y) > plain + 0.3
    knowing(model, x, y).backward()
    assert model[1].linear.weight.grad.any()
    assert model[0].backward == "own"


def test_the_network_after_a_thermometer_takes_its_channels():
    assert nn.Sequential(Thermometer(levels=7), CNN(channels=7))(draw(2, 1, 28, 28)).shape == (
        2,
        10,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BitDepth(bits=0), "bits: expected a whole number from 1, found 0"),
        (lambda: BitDepth(bits=17), "bits: expected a whole number from 1 to 16, found 17"),
        (lambda: BitDepth(bits=1.5), "bits: expected a whole number"),
        (lambda: MedianSmoothing(size=0), "size: expected a whole number from 1, found 0"),
        (lambda: Thermometer(levels=0), "levels: expected a whole number from 1"),
        (lambda: RandomResizePad(0, 5), "low: expected a whole number from 1, found 0"),
        (lambda: RandomResizePad(5, 5), "high: expected a whole number from 6, found 5"),
        (lambda: JPEGCompression(0), "quality: expected"),
        (lambda: JPEGCompression(subsampling="4:1:1"), "subsampling: found '4:1:1'"),
        (lambda: TotalVariation(dropout=1.0), "dropout: expected a finite number"),
        (lambda: TotalVariation(weight=0.0), "weight: expected a finite number"),
        (lambda: TotalVariation(steps=0), "steps: expected a whole number"),
        (lambda: BitDepth(backward="bpda"), "backward: found 'bpda'"),
        (lambda: MedianSmoothing(size=9)(draw(1, 1, 3, 3)), "a window of 9 needs images of at"),
        (lambda: JPEGCompression()(draw(1, 2, 8, 8)), "JPEG: expected 1 or 3 channels, found 2"),
        (
            lambda: Thermometer(backward="identity")(draw(1, 1, 3, 3)),
            r"gives shape \(1, 1, 3, 3\), and the step \(1, 16, 3, 3\)",
        ),
    ],
)
def test_bad_input_is_told_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()
