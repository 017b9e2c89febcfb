"""A residual network for small images."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """ReLU(x + f(x)), f two 3 × 3 convolutions with batch normalization (figure 2 of the paper).

    Where the width or the resolution changes, x goes through a 1 × 1 convolution.
    """

    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(out)))


class ResNet(nn.Module):
    """The residual network of He et al. (2016), section 4.2. Images (N, C, H, W) to (N, K).

    Three stages of ``blocks`` blocks; each stage halves the resolution and doubles the width of
    the one before; then the mean over all positions. It takes any size, 28 and 32 among them.
    With n blocks a stage it is 6n + 2 layers deep. Where the paper's shortcuts pad with zeros,
    these are 1 × 1 convolutions.

    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param blocks: n, for each of the three stages; 3 gives the paper's ResNet-20.
    :param width: the first stage's number of filters.
    """

    def __init__(self, classes: int = 10, channels: int = 1, blocks: int = 1, width: int = 16):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width, width, 2 * width, 4 * width]
        stages = [
            nn.Sequential(
                Block(before, after, stride=1 if before == after else 2),
                *[Block(after, after) for _ in range(blocks - 1)],
            )
            for before, after in pairwise(widths)
        ]
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))
