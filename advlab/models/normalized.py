"""Normalization as a model's own first layer, so that the model takes images in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """(x − mean) / std, channel by channel. (N, C, H, W) to the same shape.

    Put first, ``nn.Sequential(Normalized(mean, std), network)``, it lets a network that was
    trained on normalized images be attacked in pixels, where ε means what it says.

    :param mean: one number a channel, in [0, 1].
    :param std: one number a channel, above 0.
    :raises ValueError: lists of different length, or a std that is not above 0; when called,
        images with another number of channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(
                "mean, std: expected one number a channel each, "
                f"found {len(mean)} and {len(std)} numbers"
            )
        if not all(s > 0 for s in std):
            raise ValueError(f"std: expected numbers above 0, found {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.mean):
            # Broadcasting would silently turn a gray image into three equal channels.
            raise ValueError(f"expected images of {len(self.mean)} channels, found {x.shape[1]}")
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        mean, std = ([round(v, 4) for v in t.flatten().tolist()] for t in (self.mean, self.std))
        return f"mean={mean}, std={std}"
