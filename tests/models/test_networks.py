"""The networks: gates that compute, sizes that are known, layers that do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab import backend
from advlab.models import (
    CNN,
    MLP,
    LogisticRegression,
    Neuron,
    Normalized,
    ResNet,
    and_gate,
    architecture,
    count_parameters,
    nand_gate,
    not_gate,
    or_gate,
    predict_logits,
    xor_network,
)

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("gate", "table"),
    [
        (and_gate, [0, 0, 0, 1]),
        (or_gate, [0, 1, 1, 1]),
        (nand_gate, [1, 1, 1, 0]),
        (xor_network, [0, 1, 1, 0]),
    ],
)
def test_gates_compute_their_truth_tables(gate, table, device):
    assert gate().to(device)(CORNERS.to(device)).tolist() == table
    # The sigmoid is on the same side of one half.
    if gate is not xor_network:
        soft = gate("sigmoid").to(device)(CORNERS.to(device))
        assert (soft > 0.5).tolist() == [bool(value) for value in table]


def test_and_has_the_sources_weights_and_not_inverts():
    gate = and_gate()
    assert gate.weight.tolist() == [1, 1]
    assert gate.bias.item() == -1.5
    assert not_gate()(torch.tensor([[0.0], [1.0]])).tolist() == [1, 0]


def test_the_step_is_one_at_zero():
    neuron = Neuron((1,), 0.0)
    assert neuron(torch.tensor([[-1e-6], [0.0], [1e-6]])).tolist() == [0, 1, 1]


def test_no_neuron_of_a_grid_computes_xor():
    grid = torch.linspace(-3, 3, 25)
    w1, w2, b = torch.meshgrid(grid, grid, grid, indexing="ij")
    outputs = [(w1 * x1 + w2 * x2 + b >= 0) for x1, x2 in CORNERS.tolist()]
    xor = ~outputs[0] & outputs[1] & outputs[2] & ~outputs[3]
    both = ~outputs[0] & ~outputs[1] & ~outputs[2] & outputs[3]
    assert not xor.any()
    assert both.any()  # the same search finds AND


def test_xor_has_nine_parameters_and_random_ones_come_from_the_seed():
    assert count_parameters(xor_network()) == 9
    one, again, other = (
        torch.cat([p.detach().flatten() for p in xor_network("sigmoid", seed=s).parameters()])
        for s in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_neurons_refuse_what_they_cannot_take():
    with pytest.raises(ValueError, match="step or sigmoid"):
        Neuron((1, 1), 0.0, "relu")
    with pytest.raises(ValueError, match=r"\(N, 2\), found \(4, 3\)"):
        and_gate()(torch.zeros(4, 3))


def test_parameter_counts():
    assert count_parameters(architecture("vgg16")) == 138_357_544
    assert count_parameters(CNN()) == 171_158
    assert count_parameters(LogisticRegression()) == 7_850
    # The paper's table 6 says 0.27M for ResNet-20; two 1 x 1 shortcuts add 2,752 to 269,722
    # (weights, and batch normalization after each).
    assert count_parameters(ResNet(channels=3, blocks=3)) == 269_722 + 16 * 32 + 64 + 32 * 64 + 128


def test_a_shared_parameter_counts_once():
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("build", [CNN, MLP, LogisticRegression, ResNet])
def test_networks_keep_the_contract(build, channels, size, device):
    options = {} if build is ResNet else {"size": size}
    model = build(classes=7, channels=channels, **options).to(device)
    x = torch.rand(3, channels, size, size, generator=backend.generator(0)).to(device)
    logits = predict_logits(model, x)
    assert logits.shape == (3, 7)
    one_by_one = torch.cat([predict_logits(model, image[None]) for image in x])
    torch.testing.assert_close(logits, one_by_one, atol=1e-5, rtol=1e-4)


def test_logistic_regression_is_one_linear_map(device):
    model = LogisticRegression(size=5).to(device)
    x = torch.rand(4, 1, 5, 5, device=device)
    expected = x.flatten(1) @ model.linear.weight.T + model.linear.bias
    torch.testing.assert_close(model(x), expected)


def test_cnn_refuses_images_that_cannot_be_halved_twice():
    with pytest.raises(ValueError, match="at least 4"):
        CNN(size=3)


def test_normalized_is_the_formula_and_moves_with_the_model(device):
    layer = Normalized((0.5, 0.25, 0.1), (0.5, 0.2, 0.3)).to(device)
    x = torch.rand(2, 3, 4, 4, device=device)
    for c, (mean, std) in enumerate([(0.5, 0.5), (0.25, 0.2), (0.1, 0.3)]):
        torch.testing.assert_close(layer(x)[:, c], (x[:, c] - mean) / std)
    assert count_parameters(layer) == 0


def test_normalized_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="3 channels, found 1"):
        Normalized((0.5,) * 3, (0.5,) * 3)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="found 1 and 2"):
        Normalized((0.5,), (0.5, 0.5))
    with pytest.raises(ValueError, match="above 0"):
        Normalized((0.5,), (0.0,))
