"""Made street scenes: the same for everybody, varied, and with the right classes."""

from __future__ import annotations

import pytest
import torch

from advlab.data import SCENE_CLASSES, SCENE_PALETTE, scenes

SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, PEDESTRIAN = range(7)


@pytest.fixture(scope="module")
def sixty():
    return scenes(60, seed=11)


def test_scenes_are_images_with_a_class_for_each_pixel(sixty):
    x, y = sixty
    assert (x.shape, x.dtype) == ((60, 3, 48, 96), torch.float32)
    assert (y.shape, y.dtype) == ((60, 48, 96), torch.int64)
    assert x.min() >= 0
    assert x.max() <= 1
    assert torch.equal((255 * x).round() / 255, x), "256 levels, as a camera gives"


def test_a_scene_depends_on_its_seed_and_number_alone(sixty):
    x, y = sixty
    random = torch.get_rng_state()
    again_x, again_y = scenes(7, seed=11)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(again_x, x[:7])
    assert torch.equal(again_y, y[:7])
    other_x, other_y = scenes(7, seed=12)
    assert not (other_y == y[:7]).flatten(1).all(1).any()
    assert not (other_x == x[:7]).flatten(1).all(1).any()


def test_every_class_is_there_and_pedestrians_are_in_nearly_every_scene(sixty):
    _, y = sixty
    pixels = torch.stack([(y == k).sum((1, 2)) for k in range(7)])
    assert y.unique().tolist() == list(range(7))
    always = pixels[[SKY, BUILDING, ROAD, SIDEWALK]]
    assert (always > 0).float().mean() > 0.98
    assert (pixels[PEDESTRIAN] >= 20).float().mean() >= 0.9
    assert 0.02 < (y == PEDESTRIAN).float().mean() < 0.12
    assert (pixels[CAR] > 0).float().mean() > 0.5
    assert (pixels[CAR] == 0).any(), "and some streets are empty"


def test_sky_is_above_and_road_below(sixty):
    _, y = sixty
    rows = torch.arange(48.0)[None, :, None].expand_as(y)
    middle = [rows[y == k].mean().item() for k in range(7)]
    assert middle[SKY] < middle[BUILDING] < middle[PEDESTRIAN] < middle[ROAD]
    assert not (y[:, -1] == SKY).any()


def test_no_two_scenes_are_alike_in_layout_or_light(sixty):
    x, y = sixty
    agree = (y[:30] == y[30:]).float().mean((1, 2))
    assert agree.max() < 0.95
    assert x.mean((1, 2, 3)).std() > 0.03


def test_a_camera_that_does_not_move_sees_one_street_at_other_moments():
    x, y = scenes(12, seed=3, street=5)
    houses = (y == BUILDING) | (y == SKY)
    at_all_times = houses.all(0) | (~houses).all(0)
    assert at_all_times.float().mean() > 0.5
    moved = ((y == PEDESTRIAN) | (y == CAR)).any(0)
    still = (y == y[0]).all(0)
    assert (still | moved).all(), "only cars and people move"
    assert moved.float().mean() > 0.1
    assert not torch.equal(x[0], x[1])
    elsewhere = scenes(1, seed=3, street=6).y
    assert (elsewhere == y[:1]).float().mean() < 0.95


@pytest.mark.parametrize("size", [(16, 16), (30, 50), (64, 128)])
def test_any_size(size):
    x, y = scenes(2, size=size)
    assert x.shape == (2, 3, *size)
    assert y.shape == (2, *size)


def test_none_is_none():
    x, y = scenes(0)
    assert x.shape == (0, 3, 48, 96)
    assert y.shape == (0, 48, 96)


def test_each_class_has_a_name_and_a_color_of_its_own():
    assert len(SCENE_CLASSES) == len(SCENE_PALETTE) == 7
    assert SCENE_CLASSES[PEDESTRIAN] == "pedestrian"
    assert torch.cdist(SCENE_PALETTE, SCENE_PALETTE).fill_diagonal_(1).min() > 0.2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": -1}, "n: expected a whole number, at least 0, found -1"),
        ({"n": 1.5}, "n: expected a whole number"),
        ({"n": 1, "seed": -3}, "seed: expected a whole number, at least 0, found -3"),
        ({"n": 1, "street": -1}, "street: expected a whole number, at least 0, found -1"),
        ({"n": 1, "size": (48,)}, r"size: expected \(H, W\), each at least 16, found \(48,\)"),
        ({"n": 1, "size": (8, 96)}, r"size: expected \(H, W\), each at least 16"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        scenes(**wrong)
