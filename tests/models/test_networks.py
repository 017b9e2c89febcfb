"""The networks of the course and of torchvision: shapes, sizes, the contract, normalization."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.models import (
    CNN,
    MLP,
    LogisticRegression,
    Normalized,
    ResNet,
    architecture,
    count_parameters,
    predict_logits,
)


def resnet(classes=10, channels=1, size=28):
    return ResNet(classes, channels)  # it takes any size


NETWORKS = [LogisticRegression, MLP, CNN, resnet]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [2, 10, 43])
def test_images_to_logits(network, classes, channels, size, device):
    model = network(classes=classes, channels=channels, size=size).to(device)
    x = torch.rand(3, channels, size, size, device=device)
    logits = predict_logits(model, x)  # checks the contract
    assert logits.shape == (3, classes)
    assert logits.device.type == device.type


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_reach_every_pixel_and_every_parameter(network, device):
    model = network().to(device).eval()
    x = torch.rand(2, 1, 28, 28, device=device, requires_grad=True)
    logits = model(x)
    logits[:, 3].sum().backward()
    for tensor in (x, *model.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()
    assert (x.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("network", NETWORKS)
def test_an_image_is_answered_alike_alone_and_in_a_batch(network, device):
    model, x = network().to(device), torch.rand(5, 1, 28, 28, device=device)
    together = predict_logits(model, x)
    alone = torch.cat([predict_logits(model, one[None]) for one in x])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_logistic_regression_is_one_matrix(device):
    model, x = LogisticRegression().to(device), torch.rand(2, 1, 28, 28, device=device)
    x.requires_grad_(True)
    logits = model(x)
    by_hand = x.detach().flatten(1) @ model.linear.weight.T + model.linear.bias
    torch.testing.assert_close(logits, by_hand)
    (row,) = torch.autograd.grad(logits[0, 4], x)
    torch.testing.assert_close(row[0].flatten(), model.linear.weight[4])


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (lambda: CNN(), 171_158),
        (
            lambda: CNN(43, 3, 32),
            3 * 16 * 25 + 16 + 16 * 32 * 25 + 32 + 2048 * 100 + 100 + 101 * 43,
        ),
        (
            lambda: CNN(channels=3, size=48, stride=2),
            3 * 16 * 25 + 16 + 16 * 32 * 25 + 32 + 32 * 6 * 6 * 100 + 100 + 101 * 10,
        ),
        (lambda: LogisticRegression(), 7_850),
        (lambda: LogisticRegression(2, 3, 32), 3072 * 2 + 2),
        (lambda: MLP(), 785 * 200 + 201 * 200 + 201 * 10),
        (lambda: MLP(hidden=(5,)), 785 * 5 + 6 * 10),
        (lambda: MLP(hidden=()), 7_850),
    ],
)
def test_parameters_as_counted_by_hand(model, parameters):
    assert count_parameters(model()) == parameters


def test_the_residual_network_is_small_and_as_deep_as_the_paper_says():
    assert count_parameters(ResNet()) == 77_754
    assert count_parameters(ResNet(43, 3, blocks=3)) <= 300_000

    def layers(model):  # the shortcuts' 1 x 1 convolutions are not counted
        kinds = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return sum(not (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)) for m in kinds)

    assert [layers(ResNet(blocks=n)) for n in (1, 2, 3)] == [8, 14, 20]


def test_each_stage_of_the_residual_network_halves_and_doubles(device):
    model = ResNet(channels=3).to(device).eval()
    x = model.stem(torch.rand(1, 3, 32, 32, device=device))
    shapes = [tuple((x := stage(x)).shape[1:]) for stage in model.stages]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_a_shared_parameter_counts_once_and_a_frozen_one_too():
    layer = nn.Linear(3, 3)
    layer.weight.requires_grad_(False)
    assert count_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 12


def test_a_cnn_for_images_too_small_to_halve_twice_is_refused():
    with pytest.raises(ValueError, match=r"size: expected at least 4, .* found 3"):
        CNN(size=3)
    assert CNN(size=4)(torch.rand(1, 1, 4, 4)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"size: expected at least 8, .* found 7"):
        CNN(size=7, stride=2)
    with pytest.raises(ValueError, match="stride: expected at least 1, found 0"):
        CNN(stride=0)


@pytest.mark.parametrize("size", [8, 9, 47, 48, 50])
def test_a_cnn_with_strides_takes_images_of_any_size(size):
    model = CNN(3, channels=2, size=size, stride=2)
    assert model(torch.rand(2, 2, size, size)).shape == (2, 3)


# Normalization -----------------------------------------------------------------------------------


def test_normalized_is_x_minus_mean_over_std_channel_by_channel(device):
    mean, std = (0.1, 0.5, 0.9), (0.2, 1.0, 4.0)
    x = torch.rand(2, 3, 4, 5, device=device)
    answer = Normalized(mean, std).to(device)(x)
    for channel in range(3):
        wanted = (x[:, channel] - mean[channel]) / std[channel]
        torch.testing.assert_close(answer[:, channel], wanted)


def test_normalized_learns_nothing_and_is_saved_with_the_model():
    layer = Normalized([0.5], [0.25])
    assert list(layer.parameters()) == []
    assert set(layer.state_dict()) == {"mean", "std"}
    assert "mean=[0.5], std=[0.25]" in repr(layer)


def test_a_normalized_model_has_gradients_in_pixels(device):
    """d f((x - m) / s) / dx = f'((x - m) / s) / s."""
    network = LogisticRegression(3, 1, 4).to(device)
    x = torch.rand(1, 1, 4, 4, device=device, requires_grad=True)
    model = nn.Sequential(Normalized([0.5], [0.25]), network).to(device)
    (gradient,) = torch.autograd.grad(model(x)[0, 1], x)
    torch.testing.assert_close(gradient.flatten(), network.linear.weight[1] / 0.25)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [0.5, 0.5], "found 1 and 2 numbers"),
        ([], [], "found 0 and 0 numbers"),
        ([0.5], [0.0], r"std: expected numbers above 0, found \[0.0\]"),
        ([0.5], [-1.0], "std: expected numbers above 0"),
        ([0.5], [float("nan")], "std: expected numbers above 0"),
    ],
)
def test_normalizations_that_make_no_sense_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalized(mean, std)


@pytest.mark.parametrize(("layer", "image"), [(3, 1), (1, 3)])
def test_images_with_another_number_of_channels_are_refused(layer, image):
    message = f"expected images of {layer} channels, found {image}"
    with pytest.raises(ValueError, match=message):
        Normalized([0.5] * layer, [0.5] * layer)(torch.rand(2, image, 4, 4))


# torchvision's architectures ---------------------------------------------------------------------


def test_vgg16_is_counted_without_weights(monkeypatch):
    def download(url, *args, **kwargs):
        raise AssertionError(f"downloads {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    before = torch.get_rng_state()
    model = architecture("vgg16")
    assert count_parameters(model) == 138_357_544
    # Tensors on the meta device have a shape and no numbers: 553 MB are not taken.
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"found 'vgg17', expected one of .*vgg16, vgg16_bn"):
        architecture("vgg17")
