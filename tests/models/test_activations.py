"""The outputs of layers, by name."""

import pytest
import torch
from torch import nn

from advlab.models import CNN, activations, layers, penultimate


class Twice(nn.Module):
    """One linear layer used two times, and one that is never called."""

    def __init__(self):
        super().__init__()
        self.first, self.relu, self.unused = nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(self.first(x.flatten(1)))
        return self.last(self.relu(x))


@pytest.fixture
def x():
    return torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_outputs_are_those_of_the_parts_called_by_hand(x):
    model = Twice()
    found = activations(model, x, ["first", "relu", ""])
    hidden = model.first(model.first(x.flatten(1)))
    # What stood before the ReLU that works in place is kept as it was.
    assert (hidden < 0).any()
    assert torch.allclose(found["first"], hidden)
    assert torch.allclose(found["relu"], hidden.clamp_min(0))
    assert torch.equal(found[""], model(x))


def test_gradients_pass_and_no_hook_stays(x):
    model = CNN(size=8)
    image = torch.rand(2, 1, 8, 8, requires_grad=True)
    out = activations(model, image, ["features.1"])["features.1"]
    (gradient,) = torch.autograd.grad(out.sum(), image)
    assert gradient.abs().sum() > 0
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(RuntimeError):
        activations(model, torch.rand(2, 3, 8, 8), ["features.1"])
    assert not any(m._forward_hooks for m in model.modules())


def test_layers_in_the_order_of_their_calls(x):
    assert layers(Twice(), x) == ["first", "relu", "last"]
    assert penultimate(Twice(), x) == "relu"
    assert penultimate(CNN(), torch.rand(1, 1, 28, 28)) == "classifier.1"


def test_the_model_is_left_as_it_was(x):
    model = Twice().train()
    layers(model, x)
    assert model.training
    assert model.first.weight.requires_grad


def test_what_is_not_there_is_told(x):
    with pytest.raises(ValueError, match="found 'nowhere', expected among first, relu"):
        activations(Twice(), x, ["first", "nowhere"])
    with pytest.raises(ValueError, match="never calls its layer 'unused'"):
        activations(Twice(), x, ["unused"])
    alone = nn.Sequential(nn.Flatten(), nn.ReLU())
    with pytest.raises(ValueError, match="name the layer to look at, one of 0, 1"):
        penultimate(alone, x)
