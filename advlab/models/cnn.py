"""The course's standard network: two convolutions and two linear layers."""

from __future__ import annotations

from torch import nn


class CNN(nn.Sequential):
    """Convolution, ReLU, pooling, twice; then two linear layers. Images (N, C, H, W) to (N, K).

    The filters are 5 × 5, 16 and then 32 of them; pooling halves height and width. For 28 × 28
    images with one channel and ten classes it has 171,158 parameters.

    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param size: H = W of the images, at least 4 strides.
    :param stride: of the first convolution; 2 halves height and width once more, and the time of
        larger images by a factor of 4.
    :raises ValueError: a stride below 1, or a size below 4 strides.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 28, stride: int = 1):
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride: expected at least 1, found {stride}")
        if size < 4 * stride:
            raise ValueError(
                f"size: expected at least {4 * stride}, since it is halved twice, found {size}"
            )
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 5, stride=stride, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(32 * (-(-size // stride) // 4) ** 2, 100),
            nn.ReLU(),
            nn.Linear(100, classes),
        )
