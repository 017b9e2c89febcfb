"""One neuron and the gates: truth tables, and values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from advlab.models import (
    Layer,
    Neuron,
    and_gate,
    count_parameters,
    nand_gate,
    not_gate,
    or_gate,
    xor_network,
)

PAIRS = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("gate", "table"),
    [
        (and_gate, [0, 0, 0, 1]),
        (or_gate, [0, 1, 1, 1]),
        (nand_gate, [1, 1, 1, 0]),
        (xor_network, [0, 1, 1, 0]),
    ],
)
def test_truth_tables_of_two_inputs(gate, table, device):
    answer = gate().to(device)(torch.tensor(PAIRS, device=device))
    assert answer.shape == (4,)
    assert answer.tolist() == table


def test_not(device):
    assert not_gate().to(device)(torch.tensor([[0.0], [1.0]], device=device)).tolist() == [1, 0]


def test_the_step_is_1_at_0_and_0_just_below(device):
    neuron = Neuron([1.0], 0.0).to(device)
    z = torch.tensor([[0.0], [-0.0], [-1e-30], [1e-30]], device=device)
    assert neuron(z).tolist() == [1, 1, 0, 1]


def test_what_and_computes_on_the_way(device):
    """One input on: z = -0.5, so A(z) = 0. Both on: z = 0.5, so A(z) = 1."""
    gate, x = and_gate().to(device), torch.tensor([[0.0, 1.0], [1.0, 1.0]], device=device)
    assert (x @ gate.weight + gate.bias).tolist() == [-0.5, 0.5]
    assert gate(x).tolist() == [0, 1]


def test_xor_is_or_and_nand_with_nine_parameters(device):
    network = xor_network().to(device)
    assert count_parameters(network) == 9
    hidden, output = network
    assert hidden(torch.tensor(PAIRS, device=device)).tolist() == [[0, 1], [1, 1], [1, 1], [1, 0]]
    assert isinstance(output, Neuron)


def test_xor_with_a_seed_is_drawn_anew_without_touching_other_random_numbers():
    before = torch.get_rng_state()
    weights = [
        nn.utils.parameters_to_vector(xor_network("sigmoid", s).parameters()) for s in (0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    again = nn.utils.parameters_to_vector(xor_network("sigmoid", 0).parameters())
    assert torch.equal(weights[0], again)
    assert len(weights[0].unique()) == 9
    assert not torch.isclose(weights[0], weights[1]).any()


def test_a_neuron_by_hand(device):
    """w = (2, -3), b = 0.5. x = (1, 0.5): z = 2 - 1.5 + 0.5 = 1. x = (0, 1): z = -2.5."""
    x = torch.tensor([[1.0, 0.5], [0.0, 1.0]], device=device)
    step, sigmoid = Neuron([2, -3], 0.5).to(device), Neuron([2, -3], 0.5, "sigmoid").to(device)
    assert step(x).tolist() == [1, 0]
    wanted = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2.5))]
    assert sigmoid(x).tolist() == pytest.approx(wanted, abs=1e-6)


def test_the_sigmoid_learns_and_the_step_cannot(device):
    """dA/dw = A(1 - A) x; at w = 0, b = 0 it is x / 4. The step gives no gradient at all."""
    x = torch.tensor([[1.0, -2.0]], device=device)
    neuron = Neuron([0, 0], 0, "sigmoid").to(device)
    neuron(x).sum().backward()
    assert neuron.weight.grad.tolist() == pytest.approx([0.25, -0.5])
    assert neuron.bias.grad.item() == pytest.approx(0.25)
    assert not and_gate().to(device)(x).requires_grad


def test_a_layer_sets_neurons_side_by_side(device):
    layer = Layer(and_gate(), or_gate(), nand_gate()).to(device)
    answer = layer(torch.tensor(PAIRS, device=device))
    assert answer.tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 1], [1, 1, 0]]
    assert count_parameters(layer) == 9


def test_a_neuron_keeps_its_own_copy_of_the_weights():
    weight = torch.tensor([1.0, 1.0])
    neuron = Neuron(weight, -1.5)
    weight.zero_()
    assert neuron.weight.tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 1), (1, 2, 1)])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected inputs of shape \(N, 2\), found \("):
        and_gate()(torch.zeros(shape))


@pytest.mark.parametrize("weight", [1.0, [[1.0, 1.0]], []])
def test_weights_that_are_not_a_list_of_numbers_are_refused(weight):
    with pytest.raises(ValueError, match="weight: expected a number for each input"):
        Neuron(weight, 0.0)


@pytest.mark.parametrize("make", [and_gate, xor_network, lambda a: Neuron([1], 0, a)])
def test_another_activation_is_refused(make):
    with pytest.raises(ValueError, match="found 'relu', expected step or sigmoid"):
        make("relu")
