"""How large a model is."""

from __future__ import annotations

from torch import nn


def count_parameters(model: nn.Module) -> int:
    """The number of parameters, trained or frozen; one that is used twice counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
