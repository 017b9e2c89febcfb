"""The contract between models and everything that calls them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.models import accuracy, contract, frozen, predict, predict_logits


class Returns(nn.Module):
    """A model that answers whatever ``answer(x)`` gives."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def mixed_modes(device):
    """A network whose submodules and parameters are in different states, as in fine-tuning."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3)),
    ).to(device)
    model.train()
    model[1].eval()
    model[3][2].eval()
    model[0].weight.requires_grad_(False)
    return model


def state_of(model):
    return (
        [module.training for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [p.grad for p in model.parameters()],
        {name: value.clone() for name, value in model.state_dict().items()},
    )


def assert_same_state(model, before):
    after = state_of(model)
    assert after[:3] == before[:3]
    assert all(torch.equal(after[3][name], before[3][name]) for name in before[3])


def test_frozen_is_eval_without_gradients_and_restores_everything(device):
    model = mixed_modes(device)
    before = state_of(model)
    with frozen(model) as same:
        assert same is model
        assert not any(module.training for module in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
    assert_same_state(model, before)
    with pytest.raises(KeyError), frozen(model):
        raise KeyError
    assert_same_state(model, before)


def test_frozen_restores_when_eval_itself_fails(device):
    class Stubborn(nn.Module):
        def train(self, mode=True):
            if not mode:
                raise KeyError("no evaluation mode")
            return super().train(mode)

    model = nn.Sequential(nn.Linear(2, 2), Stubborn(), nn.Linear(2, 2)).train()
    before = state_of(model)
    with pytest.raises(KeyError), frozen(model):
        pass
    assert_same_state(model, before)


def test_frozen_nests(device):
    model = mixed_modes(device)
    before = state_of(model)
    with frozen(model), frozen(model):
        pass
    assert_same_state(model, before)


def test_frozen_refuses_what_is_no_module():
    with (
        pytest.raises(TypeError, match=r"expected a torch.nn.Module, found function"),
        frozen(lambda x: x),
    ):
        pass


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 28, 28), r"expected shape \(N, C, H, W\).*use x\[None\]"),
        (torch.zeros(5, 784), r"expected shape \(N, C, H, W\), found \(5, 784\)"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), r"found torch.uint8; divide by 255"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int64), r"expected floating point, found torch.int64"),
        (torch.full((1, 1, 2, 2), 1.01), r"in \[0, 1\], found 1.01 to 1.01; normalization belongs"),
        (torch.full((1, 1, 2, 2), -0.5), r"in \[0, 1\], found -0.5"),
        (torch.full((1, 1, 2, 2), 255.0), r"in \[0, 1\], found 255"),
        (torch.tensor([0.5, float("nan")]).view(1, 1, 1, 2), r"in \[0, 1\], found nan"),
        (torch.tensor([0.5, float("inf")]).view(1, 1, 1, 2), r"in \[0, 1\], found 0.5 to inf"),
    ],
)
def test_images_that_break_the_contract(x, message, device):
    with pytest.raises(ValueError, match=message):
        contract.check_images(x.to(device))


def test_images_that_keep_it(device):
    for x in (torch.zeros(0, 1, 2, 2), torch.ones(1, 3, 2, 5), torch.rand(2, 1, 1, 1).double()):
        contract.check_images(x.to(device))


def test_images_have_to_be_a_tensor():
    with pytest.raises(TypeError, match=r"x: expected a torch.Tensor, found list"):
        contract.check_images([[0.0]])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), r"expected shape \(2,\), found \(3,\)"),
        (torch.zeros(2, 1, dtype=torch.int64), r"expected shape \(2,\), found \(2, 1\)"),
        (torch.zeros(2), r"torch.int64, found torch.float32"),
        (torch.zeros(2, dtype=torch.int32), r"torch.int64, found torch.int32"),
        (torch.zeros(2, dtype=torch.bool), r"torch.int64, found torch.bool"),
        (torch.tensor([0, -1]), r"class numbers from 0, found -1"),
        (torch.zeros(2, dtype=torch.int64, device="meta"), r"as the images, found on meta"),
    ],
)
def test_labels_that_break_the_contract(y, message):
    with pytest.raises(ValueError, match=message):
        contract.check_labels(y, torch.zeros(2, 1, 3, 3))


def test_labels_have_to_be_a_tensor():
    with pytest.raises(TypeError, match=r"y: expected a torch.Tensor, found list"):
        contract.check_labels([0, 1], torch.zeros(2, 1, 3, 3))


ANSWERS = [
    (lambda x: x, r"shape \(4, K\), found \(4, 1, 2, 2\)"),
    (lambda x: x.flatten(), r"shape \(4, K\), found \(16,\)"),
    (lambda x: x.sum(), r"shape \(4, K\), found \(\)"),
    (lambda x: x.flatten(1)[:2], r"shape \(4, K\), found \(2, 4\)"),
    (lambda x: (x.flatten(1), x), r"shape \(4, K\), found tuple"),
    (lambda x: {"logits": x.flatten(1)}, r"shape \(4, K\), found dict"),
    (lambda x: None, r"shape \(4, K\), found NoneType"),
    (lambda x: x.flatten(1)[:, :1], r"at least 2 classes, found logits of 1"),
    (lambda x: x.flatten(1).long(), r"floating-point logits, found torch.int64"),
    (lambda x: x.flatten(1) / 0, r"finite logits, found NaN or infinity"),
    (lambda x: x.flatten(1) * float("nan"), r"finite logits, found NaN or infinity"),
    (lambda x: x.flatten(1).softmax(1), r"expected logits, found probabilities"),
    (lambda x: x.flatten(1)[:, :2].softmax(1).half(), r"expected logits, found probabilities"),
]


@pytest.mark.parametrize(("answer", "message"), ANSWERS)
def test_answers_that_break_the_contract(answer, message, device):
    x = torch.linspace(0.1, 1, 16, device=device).view(4, 1, 2, 2)
    with pytest.raises(ValueError, match="model: .*" + message):
        predict_logits(Returns(answer), x)


def test_log_softmax_is_a_valid_answer(device):
    x = torch.rand(4, 1, 2, 2, device=device)
    logits = predict_logits(Returns(lambda x: x.flatten(1).log_softmax(1)), x)
    assert torch.equal(logits.argmax(1), x.flatten(1).argmax(1))


def test_predictions_in_batches_of_any_size_and_of_none(device):
    model = mixed_modes(device)
    before = state_of(model)
    x = torch.rand(10, 3, 5, 5, device=device)
    logits = predict_logits(model, x)
    assert logits.shape == (10, 3)
    assert logits.device == x.device
    assert not logits.requires_grad
    for size in (1, 3, 10, 99):
        torch.testing.assert_close(predict_logits(model, x, batch_size=size), logits)
    assert torch.equal(predict(model, x), logits.argmax(1))
    assert predict_logits(model, x[:0]).shape == (0, 3)
    assert_same_state(model, before)


def test_accuracy_counts(device):
    model = Returns(lambda x: x.flatten(1))
    x = torch.eye(4, device=device).view(4, 1, 2, 2) * 0.9
    assert accuracy(model, x, torch.tensor([0, 1, 2, 3], device=device)) == 1.0
    assert accuracy(model, x, torch.tensor([0, 1, 2, 0], device=device)) == 0.75
    assert accuracy(model, x, torch.tensor([1, 1, 0, 0], device=device), batch_size=3) == 0.25
    with pytest.raises(ValueError, match="at least one image, found none"):
        accuracy(model, x[:0], torch.zeros(0, dtype=torch.int64, device=device))
    with pytest.raises(ValueError, match=r"y: expected class numbers below 4, .*found 7"):
        accuracy(model, x, torch.tensor([0, 1, 2, 7], device=device))
    with pytest.raises(TypeError, match=r"x: expected a torch.Tensor"):
        accuracy(model, [0.0], torch.zeros(1, dtype=torch.int64))


def test_a_model_on_another_device_is_told_apart_before_it_is_called(device):
    elsewhere = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to("meta")
    x = torch.rand(2, 1, 2, 2, device=device)
    with pytest.raises(ValueError, match=rf"model is on meta and x on {x.device}; move one with"):
        predict_logits(elsewhere, x)
    assert contract.device_of(elsewhere) == torch.device("meta")
    assert contract.device_of(nn.Flatten()) is None
    with_buffer = nn.BatchNorm2d(3, affine=False)
    assert contract.device_of(with_buffer) == torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3])
def test_forward_gives_the_models_own_answers(channels, device):
    model = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 3)
    ).to(device)
    x = torch.rand(5, channels, 8, 8, device=device)
    torch.testing.assert_close(contract.forward_of(model)(x), model(x))
    x.requires_grad_(True)
    (ours,) = torch.autograd.grad(contract.forward_of(model)(x).sum(), x)
    (plain,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(ours, plain)


def test_forward_on_a_cpu_is_channels_last_without_touching_the_weights():
    layouts = []
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))
    strides = [p.stride() for p in model.parameters()]
    model[1].register_forward_pre_hook(
        lambda _, x: layouts.append(x[0].is_contiguous(memory_format=torch.channels_last))
    )
    contract.forward_of(model)(torch.rand(2, 1, 8, 8))
    assert layouts == [True]
    assert [p.stride() for p in model.parameters()] == strides


def test_forward_serves_a_model_that_asks_for_contiguous_memory(device):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

        def forward(self, x):
            return self.linear(self.conv(x).view(-1, 4 * 36))

    model, calls = Viewing().to(device), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    x = torch.rand(6, 1, 8, 8, device=device)
    expected = model(x)
    calls.clear()
    torch.testing.assert_close(predict_logits(model, x, batch_size=2), expected)
    assert len(calls) <= 3 + 1  # one try too many, once


def test_forward_passes_a_models_own_error_on(device):
    def broken(x):
        raise RuntimeError("the model's own")

    with pytest.raises(RuntimeError, match="the model's own"):
        contract.forward_of(Returns(broken))(torch.rand(1, 1, 2, 2, device=device))


def test_two_logits_that_sum_to_one_nearly_are_no_probabilities():
    x = torch.zeros(1, 1, 2, 2)
    contract.check_logits(torch.tensor([[0.2504, 0.7501]]), x)
    with pytest.raises(ValueError, match="found probabilities"):
        contract.check_logits(torch.tensor([[0.25, 0.75]]), x)
    contract.check_logits(torch.tensor([[0.25, 0.75]]), x, probabilities=False)
    # In half precision a softmax rounds coarsely.
    half = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).half()
    with pytest.raises(ValueError, match="found probabilities"):
        contract.check_logits(half, x)
