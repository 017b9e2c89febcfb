"""One neuron, and the logic gates that neurons make. Châtel (2018), "Adversarial examples in deep
learning", computes AND with the weights used here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backend import generator

ACTIVATIONS = {
    "step": lambda z: (z >= 0).to(z.dtype),  # flat on both sides: it has no gradient to learn from
    "sigmoid": torch.sigmoid,
}


class Neuron(nn.Module):
    """y = A(w₁x₁ + … + w_d x_d + b). Inputs (N, d) to outputs (N,).

    A is the step, A(z) = 0 if z < 0 and 1 otherwise, or the sigmoid, A(z) = 1 / (1 + e^−z).

    :param weight: w, a number for each input.
    :param bias: b.
    :param activation: ``"step"`` or ``"sigmoid"``.
    :raises ValueError: another activation, or weights that are not a list of numbers; when called,
        inputs that are not (N, d).
    """

    def __init__(self, weight: Sequence[float], bias: float, activation: str = "step"):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: found {activation!r}, expected step or sigmoid")
        self.activation = activation
        self.weight = nn.Parameter(torch.as_tensor(weight, dtype=torch.float32).clone())
        if self.weight.ndim != 1 or not len(self.weight):
            shape = tuple(self.weight.shape)
            raise ValueError(f"weight: expected a number for each input, found shape {shape}")
        self.bias = nn.Parameter(torch.as_tensor(bias, dtype=torch.float32).clone())

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != len(self.weight):
            raise ValueError(
                f"expected inputs of shape (N, {len(self.weight)}), found {tuple(x.shape)}"
            )
        return ACTIVATIONS[self.activation](x @ self.weight + self.bias)

    def extra_repr(self) -> str:
        return f"weight={self.weight.tolist()}, bias={self.bias.item()}, {self.activation}"


class Layer(nn.Module):
    """k neurons side by side, all of which see the same input. (N, d) to (N, k)."""

    def __init__(self, *neurons: Neuron):
        super().__init__()
        self.neurons = nn.ModuleList(neurons)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([neuron(x) for neuron in self.neurons], dim=1)


def and_gate(activation: str = "step") -> Neuron:
    """1 if both inputs are 1: w = (1, 1), b = −1.5."""
    return Neuron((1, 1), -1.5, activation)


def or_gate(activation: str = "step") -> Neuron:
    """1 if at least one input is 1: w = (1, 1), b = −0.5."""
    return Neuron((1, 1), -0.5, activation)


def nand_gate(activation: str = "step") -> Neuron:
    """0 if both inputs are 1: AND with every sign turned, w = (−1, −1), b = 1.5."""
    return Neuron((-1, -1), 1.5, activation)


def not_gate(activation: str = "step") -> Neuron:
    """1 − x for one input: w = (−1), b = 0.5."""
    return Neuron((-1,), 0.5, activation)


def xor_network(activation: str = "step", seed: int | None = None) -> nn.Sequential:
    """The 2-2-1 network: (N, 2) to (N,), three neurons, 9 parameters.

    x₁ XOR x₂ = (x₁ OR x₂) AND (x₁ NAND x₂). No single neuron computes it.

    :param activation: ``"step"``, with which it computes XOR, or ``"sigmoid"``, with which it
        learns.
    :param seed: draw all weights from N(0, 1) with this seed, to be trained; by default they are
        those of the three gates.
    :raises ValueError: another activation.
    """
    network = nn.Sequential(Layer(or_gate(activation), nand_gate(activation)), and_gate(activation))
    if seed is not None:
        random = generator(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(generator=random)
    return network
