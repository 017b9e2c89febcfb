"""Pretrained networks, with a file of random weights where the real one would be."""

from __future__ import annotations

import hashlib
import urllib.error

import pytest
import torch

from advlab.data import import_torchvision
from advlab.models import predict_logits, pretrained

NAME = "squeezenet1_1"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch's cache folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def weights_file(hub, monkeypatch):
    """Random weights in torch's format under the name that torchvision looks for."""
    models = import_torchvision().models
    torch.manual_seed(1)
    hub.mkdir(parents=True)
    path = hub / "unnamed"
    torch.save(models.get_model(NAME, weights=None).state_dict(), path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(hub / f"{NAME}-{sha[:8]}.pth")
    weights = models.get_model_weights(NAME).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"https://example.invalid/{path.name}")
    return path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("network is unreachable")

    monkeypatch.setattr("torch.hub.urlopen", refuse)


def test_it_takes_images_in_0_1_and_normalizes_them(weights_file, device):
    state = torch.get_rng_state()
    model = pretrained(NAME, device=device)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert (len(model.classes), model.classes[0], model.size) == (1000, "tench", 224)
    x = torch.rand(2, 3, 64, 64).to(device)
    network = import_torchvision().models.get_model(NAME, weights=None).to(device).eval()
    network.load_state_dict(torch.load(weights_file, weights_only=True))
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)
    with torch.no_grad():
        expected = network((x - mean) / std)
    torch.testing.assert_close(predict_logits(model, x), expected, atol=1e-4, rtol=1e-4)


def test_no_network_names_the_file_and_the_folder(hub, no_network):
    with pytest.raises(OSError, match="network is unreachable") as error:
        pretrained("vgg16")
    assert str(hub) in str(error.value)
    assert "vgg16-397923af.pth" in str(error.value)


def test_a_damaged_file_is_refused_by_name(weights_file):
    weights_file.write_bytes(weights_file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="the file is damaged") as error:
        pretrained(NAME)
    assert str(weights_file) in str(error.value)


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran its own code')",))


def test_a_pickle_that_runs_code_is_refused(weights_file, monkeypatch):
    torch.save({"weight": Malicious()}, weights_file)
    sha = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    path = weights_file.rename(weights_file.with_name(f"{NAME}-{sha[:8]}.pth"))
    weights = import_torchvision().models.get_model_weights(NAME).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"https://example.invalid/{path.name}")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        pretrained(NAME)


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(ValueError, match=r"'vgg99', expected one of alexnet.*vgg16"):
        pretrained("vgg99")
