"""Semantic segmentation: a class for every pixel. Images (N, C, H, W) to logits (N, K, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backend import in_batches
from .contract import (
    are_probabilities,
    check_answers,
    check_classes,
    check_device,
    check_images,
    forward_of,
    frozen,
)


def _convolution(before: int, after: int, **how) -> nn.Sequential:
    """3 × 3, with batch normalization and a ReLU."""
    reach = how.get("dilation", 1)
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=reach, bias=False, **how),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


class SegmentationNet(nn.Module):
    """A small fully convolutional encoder and decoder. (N, C, H, W) to (N, K, H, W).

    The encoder halves the resolution twice; dilated convolutions (1, 2, 4, 8) then see far. To
    each position is added what the mean over all positions says, as in ParseNet (Liu et al.,
    2015): a network that looks at the whole scene knows more, and can be misled from anywhere in
    it. The decoder goes back to half the resolution and adds what the encoder knew there, as the
    skips of Long et al. (2015) do. The logits are interpolated to the full resolution.

    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param width: the number of filters at full resolution; twice, then four times as many at half
        and at a quarter of it.
    :raises ValueError: in the forward pass, images whose H or W is no multiple of 4.
    """

    def __init__(self, classes: int = 7, channels: int = 3, width: int = 16):
        super().__init__()
        half, quarter = 2 * width, 4 * width
        self.to_half = nn.Sequential(
            _convolution(channels, width), _convolution(width, half, stride=2)
        )
        self.to_quarter = nn.Sequential(
            _convolution(half, quarter, stride=2),
            *[_convolution(quarter, quarter, dilation=reach) for reach in (1, 2, 4, 8)],
        )
        self.whole = nn.Conv2d(quarter, quarter, 1)
        self.mix = _convolution(quarter, quarter)
        self.back = nn.Conv2d(quarter, half, 1)
        self.join = _convolution(half, half)
        self.classifier = nn.Conv2d(half, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % 4 or x.shape[-1] % 4:
            raise ValueError(
                f"x: expected a height and a width that are multiples of 4, found "
                f"{x.shape[-2]} × {x.shape[-1]}; crop or pad the images"
            )
        half = self.to_half(x)
        quarter = self.to_quarter(half)
        whole = self.whole(quarter.mean((2, 3), keepdim=True))
        back = self.back(self.mix(F.relu(quarter + whole)))
        logits = self.classifier(self.join(half + F.interpolate(back, scale_factor=2)))
        return F.interpolate(logits, scale_factor=2, mode="bilinear")


def check_maps(y: Tensor, x: Tensor, name: str = "y") -> None:
    """Maps of classes for the images x: (N, H, W) int64, on their device.

    :raises ValueError: anything else.
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, found {type(y).__name__}")
    expected = (len(x), *x.shape[2:])
    if y.shape != expected:
        raise ValueError(f"{name}: expected shape {tuple(expected)}, found {tuple(y.shape)}")
    if y.dtype != torch.int64:
        raise ValueError(f"{name}: expected class numbers as torch.int64, found {y.dtype}")
    if y.device != x.device:
        raise ValueError(f"{name}: expected on {x.device} as the images, found on {y.device}")
    if y.numel() and y.min() < 0:
        raise ValueError(f"{name}: expected class numbers from 0, found {y.min().item()}")


def check_map_logits(logits: Tensor, x: Tensor, y: Tensor | None = None) -> None:
    """What a model answered: (N, K, H, W) floating point, finite, and not probabilities.

    :raises ValueError: a broken contract, or a class in the maps y that is not below K.
    """
    n, _, height, width = x.shape
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 4 or shape[::2] + shape[3:] != (
        n, height, width
    ):  # fmt: skip
        raise ValueError(
            f"model: expected logits of shape ({n}, K, {height}, {width}), a class for each "
            f"pixel, found {shape}"
        )
    check_answers(logits)
    if are_probabilities(logits):
        raise ValueError(
            "model: expected logits, found probabilities (they sum to 1 at each pixel); "
            "drop the last softmax"
        )
    check_classes(logits, y)


def predict_map_logits(model: nn.Module, x: Tensor, *, batch_size: int | None = None) -> Tensor:
    """The model's logits for each pixel, in evaluation mode, without gradients.

    :param x: (N, C, H, W) in [0, 1].
    :returns: (N, K, H, W), on the device of x.
    :raises ValueError: images or answers that break the contract.
    """
    return _answers(model, x, batch_size, lambda logits: logits)


def predict_maps(model: nn.Module, x: Tensor, *, batch_size: int | None = None) -> Tensor:
    """The class that the model names for each pixel, (N, H, W) int64.

    See :func:`advlab.models.predict_logits`.
    """
    return _answers(model, x, batch_size, lambda logits: logits.argmax(1))


def _answers(model, x, batch_size, take: Callable[[Tensor], Tensor]) -> Tensor:
    check_images(x)
    check_device(model, x)
    forward = forward_of(model)

    def answer(x: Tensor) -> Tensor:
        logits = forward(x)
        check_map_logits(logits, x)
        return take(logits)

    with frozen(model), torch.no_grad():
        return in_batches(answer, x, batch_size=batch_size)


def pixel_accuracy(
    model: nn.Module, x: Tensor, y: Tensor, *, batch_size: int | None = None
) -> float:
    """The fraction of pixels whose predicted class is that of the maps y, between 0 and 1."""
    check_images(x)
    check_maps(y, x)
    if not len(x):
        raise ValueError("pixel_accuracy: expected at least one image, found none")
    return (predict_maps(model, x, batch_size=batch_size) == y).double().mean().item()


def confusion(maps: Tensor, y: Tensor, classes: int) -> Tensor:
    """How many pixels of class i (in y) the maps give to class j: (K, K) int64.

    :param maps: (N, H, W) int64, classes that a model predicted.
    :param y: (N, H, W) int64, the true classes, or other predictions to compare with.
    :param classes: K.
    :raises ValueError: maps of different shape, or a class that is not in 0 to K − 1.
    """
    if maps.shape != y.shape:
        raise ValueError(f"maps: expected as y {tuple(y.shape)}, found {tuple(maps.shape)}")
    for name, tensor in (("maps", maps), ("y", y)):
        if tensor.numel() and (tensor.min() < 0 or tensor.max() >= classes):
            raise ValueError(
                f"{name}: expected classes from 0 to {classes - 1}, found "
                f"{tensor.min().item()} to {tensor.max().item()}"
            )
    pairs = y.flatten() * classes + maps.flatten()
    return pairs.bincount(minlength=classes**2).view(classes, classes)


def class_iou(maps: Tensor, y: Tensor, classes: int) -> Tensor:
    """The intersection over union of each class, (K,) float64, over all the maps together.

    The pixels that are predicted and truly k, over those that are either; NaN for a class that is
    in neither. See :func:`advlab.models.confusion` for the parameters.
    """
    counts = confusion(maps, y, classes).double()
    both = counts.diagonal()
    return both / (counts.sum(0) + counts.sum(1) - both)
