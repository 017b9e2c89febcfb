"""What a fixed-budget attack keeps of its walks: the best point of each image."""

from __future__ import annotations

import torch
from torch import Tensor


class Best:
    """The best iterate of each image so far: one that succeeds, else the one of highest loss."""

    def __init__(self, x: Tensor):
        self.x = x.clone()
        self.loss = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        self.fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def offer(self, index: Tensor, x: Tensor, loss: Tensor, fooled: Tensor) -> None:
        had = self.fooled[index]
        better = (fooled & ~had) | ((fooled == had) & (loss > self.loss[index]))
        index = index[better]
        self.x[index], self.loss[index] = x[better], loss[better].to(self.loss.dtype)
        self.fooled[index] = fooled[better]
