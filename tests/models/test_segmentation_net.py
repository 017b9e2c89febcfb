"""A class for every pixel: the network, its contract, its training, and how good it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from advlab.data import SCENE_CLASSES, load, scenes
from advlab.models import (
    SegmentationNet,
    class_iou,
    confusion,
    load_model,
    pixel_accuracy,
    predict_maps,
    read_card,
)
from advlab.models.segmentation import check_map_logits, check_maps
from advlab.training import fit


@pytest.fixture(scope="module")
def fresh():
    """Scenes that neither the recipe's training nor its test has seen."""
    return scenes(60, seed=77)


def test_the_network_of_the_zoo_is_good_on_fresh_scenes(fresh):
    x, y = fresh
    iou = class_iou(predict_maps(load_model("scenes-segmentation", "cpu"), x), y, 7)
    assert iou.mean() >= 0.85
    assert iou[SCENE_CLASSES.index("pedestrian")] >= 0.7


def test_its_card_says_what_is_measured():
    card, test = read_card("scenes-segmentation"), load("scenes", device="cpu").test
    model = load_model("scenes-segmentation", "cpu")
    assert card.tested_on == test.y.numel() == 200 * 48 * 96
    assert card.unit == "pixels"
    assert pixel_accuracy(model, *test) == pytest.approx(card.accuracy, abs=1e-4)
    assert tuple(card.iou) == SCENE_CLASSES
    found = class_iou(predict_maps(model, test.x), test.y, 7)
    assert found.tolist() == pytest.approx(list(card.iou.values()), abs=1e-3)


@pytest.mark.parametrize("size", [(4, 4), (48, 96), (20, 36)])
def test_logits_have_the_size_of_the_images(size, device):
    model = SegmentationNet(classes=5, channels=1, width=4).to(device).eval()
    assert model(torch.rand(2, 1, *size, device=device)).shape == (2, 5, *size)


@pytest.mark.parametrize("size", [(46, 96), (48, 95)])
def test_a_size_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match=r"multiples of 4, found 4\d × 9\d; crop or pad"):
        SegmentationNet().eval()(torch.rand(1, 3, *size))


def test_training_learns_a_map_and_repeats_to_the_bit():
    """Bright and dark stripes, to be told apart pixel by pixel."""
    y = (torch.arange(16) // 4 % 2).expand(24, 8, 16).contiguous()
    x = (0.3 * torch.rand(24, 3, 8, 16) + 0.6 * y[:, None]).clamp(0, 1)
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        model = SegmentationNet(classes=2, width=4)
        history = fit(
            model, (x, y), epochs=12, batch_size=8, lr=1e-2, validation=(x, y), progress=False
        )
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert history.accuracy[-1] == pixel_accuracy(model, x, y) > 0.95


def test_training_refuses_maps_that_do_not_fit():
    x = torch.rand(4, 3, 8, 8)
    with pytest.raises(ValueError, match=r"y: expected shape \(4, 8, 8\), found \(4, 8, 4\)"):
        fit(SegmentationNet(), (x, torch.zeros(4, 8, 4, dtype=torch.int64)), epochs=1)
    with pytest.raises(ValueError, match="y: expected class numbers below 7"):
        fit(SegmentationNet(), (x, torch.full((4, 8, 8), 7)), epochs=1)


def test_predictions_leave_the_model_as_it_was():
    model = SegmentationNet(width=4).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    maps = predict_maps(model, torch.rand(3, 3, 8, 8), batch_size=2)
    assert (maps.shape, maps.dtype) == ((3, 8, 8), torch.int64)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_confusion_and_iou_by_hand():
    y = torch.tensor([[[0, 0, 1], [1, 1, 0]]])
    maps = torch.tensor([[[0, 1, 1], [1, 0, 0]]])
    assert confusion(maps, y, 3).tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 0]]
    iou = class_iou(maps, y, 3).tolist()
    assert iou[:2] == [0.5, 0.5]
    assert math.isnan(iou[2])


def test_confusion_refuses_what_cannot_be_counted():
    y = torch.zeros(1, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"maps: expected as y \(1, 2, 2\), found \(1, 2, 3\)"):
        confusion(torch.zeros(1, 2, 3, dtype=torch.int64), y, 2)
    with pytest.raises(ValueError, match="maps: expected classes from 0 to 1, found 2 to 2"):
        confusion(y + 2, y, 2)


X = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(2, 7), r"expected logits of shape \(2, K, 4, 4\).*found \(2, 7\)"),
        (torch.zeros(2, 7, 2, 2), r"expected logits of shape \(2, K, 4, 4\)"),
        (torch.zeros(1, 7, 4, 4), r"expected logits of shape \(2, K, 4, 4\)"),
        ("maps", "found str"),
        (torch.zeros(2, 1, 4, 4), "at least 2 classes"),
        (torch.zeros(2, 7, 4, 4, dtype=torch.int64), "floating-point"),
        (torch.full((2, 7, 4, 4), math.nan), "finite"),
        (torch.zeros(2, 7, 4, 4).softmax(1), "found probabilities"),
    ],
)
def test_answers_that_break_the_contract_are_told(logits, message):
    with pytest.raises(ValueError, match=message):
        check_map_logits(logits, X)


class Image(nn.Module):
    """A classifier: one answer an image."""

    def forward(self, x):
        return x.mean((2, 3))


def test_a_classifier_of_images_is_refused():
    with pytest.raises(ValueError, match="a class for each pixel, found"):
        predict_maps(Image(), X)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([[0]], TypeError, "y: expected a torch.Tensor, found list"),
        (torch.zeros(2, dtype=torch.int64), ValueError, r"expected shape \(2, 4, 4\)"),
        (torch.zeros(2, 4, 4), ValueError, "expected class numbers as torch.int64"),
        (torch.full((2, 4, 4), -1), ValueError, "from 0, found -1"),
    ],
)
def test_maps_that_cannot_be_right_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        check_maps(y, X)


def test_no_image_has_no_accuracy():
    with pytest.raises(ValueError, match="at least one image"):
        pixel_accuracy(SegmentationNet(), X[:0], torch.zeros(0, 4, 4, dtype=torch.int64))
