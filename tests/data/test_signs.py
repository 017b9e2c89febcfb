"""Made road signs: faces, photographs of them, and the data set."""

from __future__ import annotations

import pytest
import torch

from advlab.attacks import EOT, PGD
from advlab.backend import generator
from advlab.data import (
    SIGN_CLASSES,
    SIGN_PALETTE,
    Roadside,
    load,
    sign_face,
    sign_mask,
    signs,
)
from advlab.models import load_model, predict

TEN = range(len(SIGN_CLASSES))


@pytest.fixture(scope="module")
def data():
    return load("signs", device="cpu")


@pytest.fixture(scope="module")
def model():
    return load_model("signs-cnn", device="cpu")


# Faces -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [24, 47, 96, 224])
@pytest.mark.parametrize("sign", TEN)
def test_a_face_and_its_mask_are_images_of_any_size(sign, size):
    face, mask = sign_face(sign, size), sign_mask(sign, size)
    assert (face.shape, face.dtype) == ((1, 3, size, size), torch.float32)
    assert (mask.shape, mask.dtype) == ((1, 1, size, size), torch.float32)
    for image in (face, mask):
        assert image.min() >= 0
        assert image.max() <= 1
    assert torch.equal(face, sign_face(SIGN_CLASSES[sign], size)), "by name or by number"
    assert mask[0, 0, size // 2, size // 2] == 1
    assert 0.35 < mask.mean() < 0.95
    outside = face[(mask == 0).expand_as(face)]
    assert len(outside) > 0
    assert (outside == outside[0]).all(), "one gray around the sign"


def test_masks_have_the_shapes_of_the_signs():
    def width(sign, row):
        return sign_mask(sign, 100)[0, 0, row].sum().item()

    assert width("yield", 20) > 1.5 * width("yield", 60), "a triangle on its tip"
    assert width("curve", 80) > 1.5 * width("curve", 40), "a triangle on its side"
    assert width("crossing", 30) == width("crossing", 70), "a square"
    assert width("limit 30", 50) > 95
    assert sign_mask("stop", 100)[0, 0, 5, 5] == 0, "an octagon has no corner there"


def test_what_a_caller_does_to_a_face_stays_with_the_caller():
    sign_face("stop").zero_()
    sign_mask("stop").zero_()
    assert sign_face("stop").mean() > 0.3
    assert sign_mask("stop").mean() > 0.5


def test_no_two_faces_are_alike():
    faces = torch.cat([sign_face(sign, 48) for sign in TEN]).flatten(1)
    far = torch.cdist(faces, faces).fill_diagonal_(99)
    assert far.min() > 5, "in L2; 30 and 80 are the nearest"
    assert len(set(SIGN_CLASSES)) == len(SIGN_PALETTE) == 10
    assert torch.cdist(SIGN_PALETTE, SIGN_PALETTE).fill_diagonal_(1).min() > 0.2


# Photographs -------------------------------------------------------------------------------------


def test_photographs_of_one_face_are_all_different_and_repeat_with_their_seed():
    look, face = Roadside(sign="yield"), sign_face("yield")
    state = torch.get_rng_state()
    photos = look.photos(face, 12, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert photos.shape == (12, 3, 48, 48)
    assert photos.min() >= 0
    assert photos.max() <= 1
    assert torch.cdist(photos.flatten(1), photos.flatten(1)).fill_diagonal_(99).min() > 1
    assert torch.allclose(look.photos(face, 5, seed=3), photos[:5], atol=1e-6)
    assert (look.photos(face, 12, seed=4) - photos).flatten(1).norm(dim=1).min() > 1


def test_two_faces_are_seen_in_the_same_poses():
    """What is not the sign is the same: the same street, by the same light."""
    look = Roadside(sign="stop", noise=0.0, blur=0.0)
    face = sign_face("stop")
    red, blue = (look.photos(x, 6, seed=1) for x in (face, face.flip(1)))
    same = (red == blue).all(1).float().mean((1, 2))
    assert ((same > 0.1) & (same < 0.9)).all()


def test_without_pose_light_or_noise_the_photograph_is_the_face():
    look = Roadside(
        sign="no entry", distance=1.0, tilt=0.0, turn=0.0, shift=0.0, exposure=0.0, uneven=0.0,
        blur=0.0, noise=0.0,
    )  # fmt: skip
    face, mask = sign_face("no entry", 48), sign_mask("no entry", 48)
    photo = look.photos(face, 3)
    on = (mask == 1).expand_as(photo)
    assert (photo - face)[on].abs().max() < 1e-3
    assert (photo[0] - photo[1])[:, mask[0, 0] == 0].abs().max() > 0.05, "other streets"


def test_the_gradient_reaches_the_face_where_the_sign_is_and_nowhere_else():
    face, mask = sign_face("curve").requires_grad_(), sign_mask("curve")
    photos = Roadside(sign="curve").photos(face, 30, seed=0)
    (gradient,) = torch.autograd.grad(photos.sum(), face)
    assert (gradient[(mask == 0).expand_as(face)] == 0).all()
    on = gradient[(mask == 1).expand_as(face)]
    assert (on > 0).float().mean() > 0.99


def test_the_gradient_is_that_of_finite_differences():
    look = Roadside(sign="stop", noise=0.0)
    face = sign_face("stop", 32).double() * 0.8 + 0.1
    weight = torch.rand(4, 3, 48, 48, generator=generator(0), dtype=torch.float64)
    direction = torch.rand(face.shape, generator=generator(1), dtype=torch.float64)

    def value(x):
        return (weight * look.photos(x, 4, seed=2)).sum()

    x = face.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    step = 1e-6
    slope = (value(face + step * direction) - value(face - step * direction)) / (2 * step)
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


def test_farther_is_smaller_and_more_exposure_is_brighter():
    face = sign_face("stop").fill_(1.0)

    def bright(**change):
        fixed = {"noise": 0.0, "exposure": -1.0, "distance": 1.2}
        return Roadside(sign="stop", **fixed | change).photos(face, 20, seed=0)

    near, far, light = bright(), bright(distance=2.4), bright(exposure=-0.5)
    assert (near.mean((1, 2, 3)) > far.mean((1, 2, 3))).all()
    assert (light.mean((1, 2, 3)) > near.mean((1, 2, 3))).all()


def coverage(sign, n=80, **change):
    """How much of each pixel the sign covers, in n photographs of it, (n, 48, 48)."""
    fixed = {"noise": 0, "exposure": 0, "uneven": 0, "blur": 0, "shift": 0, "turn": 0, "tilt": 0}
    look, white = Roadside(sign=sign, **fixed | change), sign_face(sign).fill_(1)
    return (look.photos(white, n) - look.photos(torch.zeros_like(white), n)).mean(1)


def test_widths_are_uniform():
    """From the full width to a quarter of it: 5/8 on average; by distance it would be 0.46."""
    whole = coverage("crossing", 1, distance=1).sum().sqrt()
    widths = coverage("crossing", distance=(1, 4)).sum((1, 2)).sqrt() / whole
    assert widths.min() < 0.3
    assert widths.max() > 0.95
    assert widths.mean().item() == pytest.approx(5 / 8, abs=0.06)


def test_it_is_turned_away_to_the_side_more_than_up_or_down():
    seen = coverage("crossing", distance=1.5, tilt=60)
    wide, high = seen[:, 24].sum(1), seen[:, :, 24].sum(1)
    assert wide.min() < 0.65 * wide.max()
    assert high.min() > 0.85 * high.max()


def test_a_photograph_depends_on_its_face_and_the_seed_not_on_the_batch():
    faces = torch.cat([sign_face("limit 30"), sign_face("limit 80"), sign_face("no entry")])
    look = Roadside(sign="limit 30")
    together = look.sample(faces, seed=5)
    alone = torch.cat([look.sample(face[None], seed=5) for face in faces])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sign": "halt"}, "sign: found 'halt', expected 0 to 9 or one of stop, yield"),
        ({"sign": 10}, "sign: found 10, expected 0 to 9"),
        ({"sign": True}, "sign: found True"),
        ({"distance": (2.0, 1.0)}, "distance: expected"),
        ({"distance": 0.0}, "distance: expected"),
        ({"tilt": 90}, "tilt: expected"),
        ({"turn": -1}, "turn: expected"),
        ({"shift": -0.1}, "shift: expected"),
        ({"exposure": (0, 9)}, "exposure: expected"),
        ({"uneven": -1.0}, "uneven: expected"),
        ({"blur": (-1, 0)}, "blur: expected"),
        ({"noise": 2.0}, "noise: expected"),
        ({"streets": -1}, "streets: expected"),
    ],
)
def test_a_roadside_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Roadside(**wrong)


def test_what_is_no_face_is_refused():
    with pytest.raises(ValueError, match=r"size: expected a whole number, at least 16, found 8"):
        sign_face("stop", 8)
    with pytest.raises(ValueError, match=r"size: expected a whole number, at least 16, found 20.5"):
        sign_mask("stop", 20.5)
    with pytest.raises(ValueError, match=r"face: expected one, \(1, 3, S, S\), found \(2, 3"):
        Roadside().photos(torch.rand(2, 3, 32, 32), 3)
    with pytest.raises(ValueError, match=r"x: expected faces \(N, 3, S, S\), found \(3, 1, 32"):
        Roadside().photos(torch.rand(1, 1, 32, 32), 3)
    with pytest.raises(ValueError, match="values in"):
        Roadside().photos(2 * sign_face(0) + 1, 3)
    with pytest.raises(ValueError, match="n: expected a whole number, at least 1, found 0"):
        Roadside().photos(sign_face(0), 0)


# The data set ------------------------------------------------------------------------------------


def test_signs_are_quantized_images_of_ten_balanced_classes():
    x, y = signs(100, seed=6)
    assert (x.shape, x.dtype) == ((100, 3, 48, 48), torch.float32)
    assert (y.shape, y.dtype) == ((100,), torch.int64)
    assert torch.equal((255 * x).round() / 255, x), "256 levels, as a camera gives"
    assert y.bincount().tolist() == [10] * 10
    assert x.flatten(1).mean(1).std() > 0.03, "by different light"


def test_a_sign_depends_on_its_seed_and_number_alone():
    x, y = signs(40, seed=6)
    few, labels = signs(13, seed=6)
    # Sums in another order may fall on the other side of half a level.
    assert (few - x[:13]).abs().max() <= 1.001 / 255
    assert ((few - x[:13]) != 0).float().mean() < 1e-3
    assert torch.equal(labels, y[:13])
    other = signs(13, seed=7).x
    assert (other - few).flatten(1).norm(dim=1).min() > 1
    assert signs(0).x.shape == (0, 3, 48, 48)


def test_the_data_set_is_balanced_and_its_test_images_are_new(data):
    assert data.shape == (3, 48, 48)
    assert data.classes == SIGN_CLASSES
    assert data.train.y.bincount().tolist() == [300] * 10
    assert data.test.y.bincount().tolist() == [60] * 10
    nearest = torch.cdist(data.test.x.flatten(1), data.train.x.flatten(1)).amin(1)
    assert nearest.min() > 1, "no pose, street and light of the test was trained on"


@pytest.mark.parametrize("seed", [0, 1])
def test_photographs_of_one_face_are_none_of_the_data_set(seed, data):
    photos = Roadside(sign="stop", streets=seed).photos(sign_face("stop", 64), 30, seed=seed)
    split = data.test if seed else data.train
    stops = split.x[split.y == 0].flatten(1)
    assert torch.cdist(photos.flatten(1), stops).min() > 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": -1}, "n: expected a whole number, at least 0, found -1"),
        ({"n": 2.5}, "n: expected a whole number"),
        ({"n": 1, "seed": -1}, "seed: expected a whole number"),
    ],
)
def test_what_cannot_be_photographed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        signs(**wrong)


# The network -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", TEN)
def test_the_network_reads_every_sign_in_poses_that_it_has_not_seen(sign, model):
    photos = Roadside(sign=sign, streets=11).photos(sign_face(sign), 100, seed=11)
    assert (predict(model, photos) == sign).float().mean() >= 0.95


def test_an_attack_paints_on_the_sign_through_the_roadside(model):
    """EOT over the roadside: a face that the network misreads in poses the attack never saw."""
    face, y = sign_face("stop", 48), torch.tensor([0])
    look = Roadside(sign="stop")
    attack = EOT(attack=PGD(eps=0.3, steps=10), transformation=look, samples=8)
    painted = attack(model, face, y)
    plain, fooled = (
        (predict(model, look.photos(x, 60, seed=9)) == 0).float().mean() for x in (face, painted)
    )
    assert plain >= 0.95
    assert fooled <= 0.4
