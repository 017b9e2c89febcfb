"""Networks of linear layers alone: logistic regression, and the multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class LogisticRegression(nn.Sequential):
    """logits = Wx + b: one linear layer on all pixels. Images (N, C, H, W) to (N, K).

    An attack on it can be worked out on paper: the gradient of a logit is a row of W.

    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param size: H = W of the images.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 28):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels * size**2, classes)


class MLP(nn.Sequential):
    """Linear layers with a ReLU between two of them. Images (N, C, H, W) to (N, K).

    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param size: H = W of the images.
    :param hidden: the widths of the hidden layers.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: int = 28,
        hidden: Sequence[int] = (200, 200),
    ):
        super().__init__()
        widths = [channels * size**2, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], classes))
