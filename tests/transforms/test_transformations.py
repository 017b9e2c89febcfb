"""What holds for every transformation, and what each does to pictures that can be worked out."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from advlab.transforms import (
    JPEG,
    Blur,
    Brightness,
    Camera,
    Chain,
    Contrast,
    Exposure,
    Gamma,
    Pose,
    Resolution,
    SensorNoise,
    SharedDraws,
    Transformation,
    UnevenLight,
)
from advlab.transforms.geometry import pose_matrix
from advlab.transforms.light import from_linear, to_linear
from advlab.transforms.sensor import resize_matrix

PARTS = [Blur, Brightness, Contrast, Exposure, Gamma, Pose, Resolution, SensorNoise, UnevenLight]
# Each at work, so strong that it clips where it can.
AT_WORK = [
    Blur(sigma=(0.2, 2.0)),
    Brightness(change=(-0.3, 0.3)),
    Contrast(factor=(0.5, 1.5)),
    Exposure(stops=(-1, 1)),
    Gamma(power=(0.5, 2)),
    Pose(tilt=30, turn=20, distance=(0.8, 2.5), shift=0.1, background=0.3),
    Resolution(scale=0.6),
    SensorNoise(shot=0.1, read=0.1),
    UnevenLight(stops=(0, 1)),
    JPEG(quality=(20, 90)),
    JPEG(quality=50, subsampling="4:4:4"),
    Chain(Blur(sigma=1), SensorNoise(read=0.1)),
    Camera(),
]
# Those whose derivative is the true one where nothing is clipped: no rounding.
SMOOTH = [
    Blur(sigma=(0.2, 2.0)),
    Brightness(change=(-0.1, 0.1)),
    Contrast(factor=(0.5, 1.2)),
    Exposure(stops=(-0.3, 0.3)),
    Gamma(power=(0.5, 2)),
    Pose(tilt=30, turn=20, distance=(0.8, 2.5), shift=0.1, background=0.3),
    Resolution(scale=0.6),
    SensorNoise(shot=0.02, read=0.01),
    UnevenLight(stops=(0, 0.3)),
    Camera(quality=None),
]


def pictures(n, channels=3, size=(11, 14), dtype=torch.float64, low=0.0, high=1.0):
    source = torch.Generator().manual_seed(5)
    x = torch.rand(n, channels, *size, generator=source, dtype=torch.float64)
    x = ((x - 0.5) * 1.4 + 0.5).clamp(0, 1) if (low, high) == (0, 1) else low + (high - low) * x
    return x.to(dtype)


@pytest.mark.parametrize("part", PARTS, ids=lambda t: t.__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_defaults_change_nothing(part, channels, device):
    x = pictures(3, channels, dtype=torch.float32).to(device)
    assert torch.allclose(part().sample(x), x, atol=4e-6, rtol=0)


def test_a_camera_that_does_nothing(device):
    still = Camera(
        contrast=1, tilt=0, turn=0, distance=1, shift=0, uneven=0, exposure=0, blur=0,
        shot=0, read=0, gamma=1, quality=None,
    )  # fmt: skip
    x = pictures(3, dtype=torch.float32).to(device)
    assert torch.allclose(still.sample(x), x, atol=4e-6, rtol=0)


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_works_in_the_box_and_by_seed(transformation, dtype, device):
    x = pictures(4, dtype=dtype).to(device)
    out = transformation.sample(x, seed=3)
    assert out.shape == x.shape
    assert out.dtype == dtype
    assert out.device == x.device
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(out, x)
    assert torch.equal(out, transformation.sample(x, seed=3))
    drawn = not isinstance(transformation, Resolution) and transformation != AT_WORK[10]
    assert torch.equal(out, transformation.sample(x, seed=4)) != drawn


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_no_images_give_no_images(transformation, channels, device):
    x = torch.rand(0, channels, 9, 13, device=device)
    assert transformation.sample(x).shape == x.shape


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
def test_pixels_in_a_row_or_alone(transformation, device):
    for size in ((1, 1), (1, 5), (17, 1)):
        x = pictures(2, size=size).to(device)
        out = transformation.sample(x)
        assert out.shape == x.shape
        assert out.isfinite().all()


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(transformation, dtype, device):
    # A random number has few digits as well: the same ones are handed to both.
    x = pictures(1, low=0.3, high=0.6, dtype=dtype).to(device)
    halves = SharedDraws(3).for_copies(x, 1)
    out = transformation.apply(x, halves)
    assert out.dtype == dtype
    halves = SharedDraws(3).for_copies(x, 1)
    expected = transformation.apply(x.float(), lambda kind, shape: halves(kind, shape).float())
    # A level that rounds the other way before JPEG moves a step of it.
    assert (out.float() - expected).abs().mean() < 4 * torch.finfo(dtype).eps + 2 / 255


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
def test_an_image_does_not_depend_on_the_others(transformation, device):
    x = pictures(7).to(device)
    out = transformation.sample(x)
    order = torch.tensor([4, 2, 6], device=device)
    assert torch.allclose(transformation.sample(x[order]), out[order], atol=1e-12)
    assert torch.allclose(transformation.sample(x[3:4]), out[3:4], atol=1e-12)


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
def test_shared_draws_are_the_same_for_all_images(transformation):
    x = pictures(3)
    x = torch.cat((x, x[:1]))
    out = transformation.apply(x, SharedDraws(1).for_copies(x, 1))
    assert torch.allclose(out[3], out[0], atol=1e-12)
    alone = transformation.apply(x[1:2], SharedDraws(1).for_copies(x[1:2], 1))
    assert torch.allclose(out[1:2], alone, atol=1e-12)


@pytest.mark.parametrize("transformation", SMOOTH, ids=str)
def test_its_gradient_is_the_derivative(transformation):
    x = pictures(2, 1, size=(5, 6), low=0.3, high=0.6).requires_grad_()

    def apply(images):
        return transformation.apply(images, SharedDraws(2).for_copies(images, 1))

    assert torch.autograd.gradcheck(apply, (x,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("transformation", AT_WORK, ids=str)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_at_black_and_white_are_finite_and_not_zero(transformation, value):
    x = torch.full((2, 3, 9, 9), value, requires_grad=True)
    out = transformation.apply(x, SharedDraws(0).for_copies(x, 1))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().sum(1) > 1).all()


def test_one_stop_doubles_the_light():
    x = pictures(2, low=0.05, high=0.6)
    brighter = Exposure(stops=1).sample(x)
    assert torch.allclose(to_linear(brighter), (2 * to_linear(x)).clamp(max=1))
    gray = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    # sRGB 0.5 is 0.21404 of the light; half of that is sRGB 0.36078.
    assert Exposure(stops=-1).sample(gray)[0, 0, 0, 0].item() == pytest.approx(0.36078, abs=1e-5)
    assert torch.allclose(from_linear(to_linear(x)), x, atol=1e-12)


def test_contrast_brightness_and_gamma_by_hand():
    x = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64).view(1, 1, 1, 4)
    low = Contrast(factor=0.5).sample(x).flatten().tolist()
    assert low == pytest.approx([0.25, 0.375, 0.5, 0.75])
    high = Contrast(factor=2).sample(x).flatten().tolist()
    assert high == pytest.approx([0, 0, 0.5, 1])
    assert Brightness(change=0.2).sample(x).flatten().tolist() == pytest.approx([0.2, 0.45, 0.7, 1])
    squared = Gamma(power=2).sample(x).flatten().tolist()
    white = 1.01**2 - 1e-4
    assert squared == pytest.approx([0, (0.26**2 - 1e-4) / white, (0.51**2 - 1e-4) / white, 1])


def test_uneven_light_is_centered_and_falls_one_way():
    x = torch.full((20, 1, 9, 9), 0.4, dtype=torch.float64)
    light = to_linear(UnevenLight(stops=0.5).apply(x, SharedDraws(0).for_copies(x[:1], 20)))
    stops = (light / to_linear(x)).log2()
    assert torch.allclose(stops[..., 4, 4], torch.zeros(20, 1).double(), atol=1e-9)
    right, down = stops[..., 4, 5] - stops[..., 4, 4], stops[..., 5, 4] - stops[..., 4, 4]
    # Half a stop over 4.5 pixels, whichever way.
    assert torch.allclose((right**2 + down**2).sqrt(), torch.full((20, 1), 0.5 / 4.5).double())


def test_blur_is_a_gaussian():
    x = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    x[..., 10, 10] = 1
    out = Blur(sigma=1.5).sample(x)[0, 0]
    place = torch.arange(21, dtype=torch.float64) - 10
    assert out.sum().item() == pytest.approx(1, abs=1e-5)
    assert (out.sum(0) * place**2).sum().item() == pytest.approx(1.5**2, rel=1e-3)
    assert (out[10, 10] / out[10, 12]).item() == pytest.approx(math.exp(4 / (2 * 1.5**2)))
    flat = torch.full((1, 1, 5, 5), 0.3, dtype=torch.float64)
    assert torch.allclose(Blur(sigma=3).sample(flat), flat)


@pytest.mark.parametrize("size", [(5, 7), (13, 30), (11, 14)])
def test_resizing_is_the_antialiased_bilinear_filter(size):
    x = pictures(1)
    down, across = (resize_matrix(a, b, x) for a, b in zip(x.shape[-2:], size, strict=True))
    expected = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    assert torch.allclose(down @ x @ across.mT, expected)


def test_resolution_loses_what_the_sensor_cannot_see():
    stripes = (torch.arange(16) % 2).double().expand(1, 1, 16, 16)
    assert (Resolution(scale=0.5).sample(stripes) - 0.5).abs().max() < 0.26
    assert (Resolution(scale=0.25).sample(stripes) - 0.5).abs().max() < 0.07


def test_noise_grows_with_the_root_of_brightness():
    for level in (0.25, 0.64):
        x = torch.full((1, 1, 200, 200), level, dtype=torch.float64)
        noise = SensorNoise(shot=0.05, read=0.02).sample(x) - x
        expected = math.sqrt(0.02**2 + 0.05**2 * level)
        assert noise.std().item() == pytest.approx(expected, rel=0.02)
        assert abs(noise.mean().item()) < 4 * expected / 200


def test_a_camera_is_its_parts():
    camera = Camera(blur=2, quality=None)
    assert camera.chain.parts[4] == Blur(sigma=2)
    x = pictures(3)
    assert torch.equal(camera.sample(x, seed=2), camera.chain.sample(x, seed=2))
    assert str(camera) == "Camera(blur=2, quality=None)"
    assert not any(isinstance(part, JPEG) for part in camera.chain.parts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(sigma=-1), "sigma: expected a number or a pair"),
        (lambda: Blur(sigma=(2, 1)), "low first"),
        (lambda: Blur(sigma=(1, 2, 3)), "pair"),
        (lambda: Blur(sigma=math.nan), "sigma"),
        (lambda: Brightness(change=2), "at most 1"),
        (lambda: Contrast(factor="much"), "factor"),
        (lambda: Exposure(stops=(-9, 1)), "stops"),
        (lambda: Gamma(power=0), "power"),
        (lambda: UnevenLight(stops=-1), "stops"),
        (lambda: Resolution(scale=0), "scale"),
        (lambda: SensorNoise(read=1.5), "read"),
        (lambda: JPEG(quality=0), "quality"),
        (lambda: JPEG(subsampling="4:1:1"), "4:2:0 or 4:4:4"),
        (lambda: Pose(tilt=90), "tilt: expected a finite number, at least 0, at most 80"),
        (lambda: Pose(distance=0), "distance"),
        (lambda: Camera(tilt=-1), "tilt"),
        (lambda: Camera(gamma=(1, 0.5)), "power"),
    ],
)
def test_wrong_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_images_outside_the_box_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Camera().sample(2 * torch.ones(1, 1, 8, 8))


def test_a_transformation_of_your_own():
    class Darker(Transformation):
        def apply(self, x, draw):
            return x / 2

    x = pictures(2)
    assert torch.equal(Chain(Darker(), Darker()).sample(x), x / 4)
    with pytest.raises(TypeError, match="expected transformations, found float"):
        Chain(Darker(), 0.5)


def drawn(value):
    """Every uniform number is that value."""
    return lambda kind, shape: torch.full((1, *shape), value, dtype=torch.float64)


def test_a_print_turns_either_way():
    x = torch.rand(1, 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one_way, other_way = (Pose(turn=90).apply(x, drawn(value)) for value in (0.0, 1.0))
    torch.testing.assert_close(one_way, x.rot90(-1, (2, 3)))
    torch.testing.assert_close(other_way, x.rot90(1, (2, 3)))


def test_light_may_come_from_any_side():
    x = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    light = UnevenLight(stops=0.5)
    right, below, left = (light.apply(x, drawn(value))[0, 0] for value in (0.0, 0.25, 0.5))
    assert (right.diff(dim=1) > 0).all()
    assert (below.diff(dim=0) > 0).all()
    torch.testing.assert_close(left, right.flip(1))


def test_a_print_that_leans_about_both_axes():
    """Where its corner appears, by R_across R_up X + d (0, 0, z₀), worked out in numbers."""
    tilt, view = torch.tensor([[30.0, 50.0]], dtype=torch.float64), 40.0
    nothing = torch.zeros(1, dtype=torch.float64)
    matrix = pose_matrix(
        (10, 10), tilt=tilt, turn=nothing, distance=nothing + 1, shift=tilt * 0, view=view
    )
    up, across = torch.deg2rad(tilt[0]).tolist()
    z = 0.5 / math.tan(math.radians(view) / 2)
    # The corner (½, ½): first about the vertical axis, then about the horizontal one.
    a, b, c = 0.5 * math.cos(up), 0.5, -0.5 * math.sin(up)
    b, c = b * math.cos(across) - c * math.sin(across), b * math.sin(across) + c * math.cos(across)
    seen = torch.tensor([z * a / (c + z) + 0.5, z * b / (c + z) + 0.5, 1.0], dtype=torch.float64)
    corner = matrix[0] @ seen
    torch.testing.assert_close(corner / corner[2], torch.ones(3, dtype=torch.float64))


def test_what_the_camera_does_comes_in_the_order_of_light():
    names = [type(part).__name__ for part in Camera().chain.parts]
    assert names == [
        "Contrast", "Pose", "UnevenLight", "Exposure", "Blur", "Resolution", "SensorNoise",
        "Gamma", "JPEG",
    ]  # fmt: skip
