"""The same attacks by other libraries, each as a function of a model, images and labels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab import data
from advlab.models import load_model

data.import_torchvision()  # torchattacks imports it, which fails by itself where torch is CPU-only


def foolbox_run(attack, eps, model, x, y, wanted=None):
    """Foolbox returns (raw, clipped, success); the clipped images are what it is judged by."""
    import foolbox

    criterion = foolbox.criteria.Misclassification(y)
    if wanted is not None:
        criterion = foolbox.criteria.TargetedMisclassification(wanted)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
    return attack(wrapped, x, criterion, epsilons=eps)[1]


def art_run(attack, model, x, y, **settings):
    """ART works in float32 and gets its labels from us, not from the model's own predictions."""
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="gpu" if x.is_cuda else "cpu",
    )
    found = attack(classifier, **settings).generate(x.cpu().numpy(), y.cpu().numpy())
    return torch.from_numpy(found).to(x)


@pytest.fixture(scope="session")
def digits():
    """80 test images of mnist5k, 8 of each digit, with their labels."""
    x, y = data.load("mnist5k").test
    chosen = torch.cat([(y == digit).nonzero().squeeze(1)[:8] for digit in range(10)])
    return x[chosen], y[chosen]


@pytest.fixture
def single(digits, device):
    """The zoo's CNN in float32, and the digits."""
    x, y = digits
    return load_model("mnist-cnn").to(device), x.to(device), y.to(device)


class Contiguous(nn.Module):
    """A model that computes in one memory layout, whoever calls it.

    In flat regions of an image max-pooling finds ties, up to rounding, and layouts round apart.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.clone(memory_format=torch.contiguous_format))


@pytest.fixture
def double(single):
    """The same in float64 and one layout: what differs is the method, not the arithmetic."""
    model, x, y = single
    return Contiguous(model.double()), x.double(), y
