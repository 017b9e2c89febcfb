"""What an image is: floating point, (N, C, H, W), in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def check_images(x: Tensor, name: str = "x") -> None:
    """:raises ValueError: not a floating (N, C, H, W) tensor with all values in [0, 1]."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, found {type(x).__name__}")
    if x.ndim != 4:
        hint = "; for one image use x[None]" if x.ndim == 3 else ""
        raise ValueError(f"{name}: expected shape (N, C, H, W), found {tuple(x.shape)}{hint}")
    if not x.is_floating_point():
        hint = "; divide by 255" if x.dtype == torch.uint8 else ""
        raise ValueError(f"{name}: expected floating point, found {x.dtype}{hint}")
    if x.numel():
        low, high = x.min().item(), x.max().item()
        if not (low >= 0 and high <= 1):  # written so that NaN fails
            raise ValueError(
                f"{name}: expected values in [0, 1], found {low:.4g} to {high:.4g}; "
                "normalization belongs in the model's first layer (advlab.models.Normalized)"
            )
