"""A network that may reject, for the adaptive attacks, and who has won against it."""

from __future__ import annotations

import torch
from torch import nn

from advlab.goals import UNDETECTED


class Rejects(nn.Module):
    """A network and an alarm u (v·x − τ), in units of u: K + 1 logits."""

    rejected = -1

    def __init__(self, network, shape, seed=5, units=1.0, tau=0.0):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.network, self.units = network, units
        v = torch.randn(shape, generator=source, dtype=torch.float64)
        self.register_buffer("v", v / v.abs().sum() * v.numel())
        self.tau = tau

    def over(self, x):
        return (x * self.v.to(x.dtype)).flatten(1).sum(1) - self.tau

    def forward(self, x):
        z = self.network(x)
        return torch.cat((z, (z.amax(1) + self.units * self.over(x))[:, None]), 1)


def won(model, x_adv, y):
    with torch.no_grad():
        return UNDETECTED.reached(model(x_adv), y)
