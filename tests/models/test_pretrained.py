"""torchvision's networks: where weights are looked for, and what comes out. Nothing is downloaded.

SqueezeNet 1.1 stands for all of them: it is small, and its weights here are random.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import urllib.error
from pathlib import Path

import pytest
import torch

from advlab.data import import_torchvision
from advlab.models import Normalized, count_parameters, predict_logits, pretrained, pretrained_names

NAME = "squeezenet1_1"
models = import_torchvision().models


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty cache of torch's, on a machine without a network. Returns the folder of weights."""

    def no_network(url, *args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    assert folder.is_relative_to(tmp_path)
    return folder


@pytest.fixture
def put(hub, monkeypatch):
    """Put a file of weights there, under a name that holds its hash as torchvision's do."""

    def put(content: bytes) -> Path:
        path = hub / f"{NAME}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        weights = models.get_model_weights(NAME).DEFAULT
        monkeypatch.setattr(weights.value, "url", f"https://example.invalid/{path.name}")
        return path

    return put


@pytest.fixture
def network():
    torch.manual_seed(5)
    return models.get_model(NAME, weights=None).eval()


@pytest.fixture
def weights(put, network) -> Path:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return put(buffer.getvalue())


def test_images_in_0_1_are_normalized_and_then_given_to_the_network(weights, network, device):
    model = pretrained(NAME, device=device, progress=False)
    x = torch.rand(2, 3, 64, 64, device=device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)  # of ImageNet
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)
    with torch.no_grad():
        wanted = network.to(device)((x - mean) / std)
    torch.testing.assert_close(predict_logits(model, x), wanted, atol=1e-4, rtol=1e-4)


def test_normalization_is_the_first_layer_and_the_rest_is_the_network(weights, network):
    model = pretrained(NAME, device="cpu", progress=False)
    first, second = model.children()
    assert isinstance(first, Normalized)
    assert type(second) is type(network)
    assert count_parameters(model) == count_parameters(network) == 1_235_496


def test_it_is_ready_to_use_and_knows_its_classes_and_size(weights, device):
    model = pretrained(NAME, device=device, progress=False)
    assert not any(module.training for module in model.modules())
    assert {p.device.type for p in model.parameters()} == {device.type}
    assert len(model.classes) == 1000
    assert model.classes[281] == "tabby"
    assert model.size == 224


def test_gradients_reach_the_pixels(weights, device):
    model = pretrained(NAME, device=device, progress=False)
    x = torch.rand(1, 3, 64, 64, device=device, requires_grad=True)
    model(x)[0, 281].backward()
    assert x.grad.isfinite().all()
    assert x.grad.any()


def test_loading_leaves_the_random_state_alone(weights):
    before = torch.get_rng_state()
    pretrained(NAME, device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="network: found 'vgg', expected one of ") as told:
        pretrained("vgg")
    assert all(name in str(told.value) for name in pretrained_names())


def test_the_known_names_are_those_of_image_classification():
    names = pretrained_names()
    assert {"vgg16", "resnet18", "inception_v3", NAME} <= set(names)
    assert all(len(models.get_model_weights(n).DEFAULT.meta["categories"]) == 1000 for n in names)


def test_without_a_network_the_error_names_the_file_and_the_folder(hub):
    file = models.get_model_weights(NAME).DEFAULT.url.rsplit("/", 1)[-1]
    with pytest.raises(FileNotFoundError) as told:
        pretrained(NAME, progress=False)
    message = str(told.value)
    assert message.startswith(f"{NAME}: its weights are not in {hub}")
    assert "could not be downloaded" in message
    assert "no route to host" in message
    assert f"Put the file {file} into that folder, or set TORCH_HOME" in message


def test_a_damaged_file_is_refused_and_named(weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"its SHA-256 begins with .* is damaged; delete it") as t:
        pretrained(NAME, progress=False)
    assert str(weights) in str(t.value)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["bomb", "text", "empty"])
def test_a_file_that_is_no_weights_is_refused_and_never_run(kind, put, tmp_path):
    trace = tmp_path / "trace"
    buffer = io.BytesIO()
    torch.save(Bomb(trace), buffer)
    content = {"bomb": buffer.getvalue(), "text": b"<html>not found</html>", "empty": b""}[kind]
    path = put(content)
    with pytest.raises(ValueError, match="cannot be read as weights") as told:
        pretrained(NAME, progress=False)
    assert str(path) in str(told.value)
    assert not trace.exists()


def test_the_bomb_goes_off_when_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace")))
    assert (tmp_path / "trace").exists(), "otherwise the test above shows nothing"
