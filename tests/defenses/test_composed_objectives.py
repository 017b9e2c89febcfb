"""What holds for every objective around another one: maps of labels, modes, batch statistics."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlab.defenses import (
    VAT,
    GaussianAugmentation,
    HardLabels,
    LabelSmoothing,
    SoftLabels,
    StabilityTraining,
)


class Everywhere(nn.Module):
    """The same answer at each pixel: logits (N, K) to maps (N, K, H, W)."""

    def __init__(self, model, size):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, x):
        return self.model(x)[:, :, None, None].expand(-1, -1, self.size, self.size)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()


def objectives(teacher) -> list:
    return [
        VAT(eps=0.5),
        GaussianAugmentation(copies=2),
        StabilityTraining(),
        StabilityTraining(distance="l2"),
        LabelSmoothing(),
        HardLabels(temperature=3.0),
        SoftLabels(teacher=teacher, temperature=3.0),
    ]


@pytest.mark.parametrize("index", range(7))
def test_a_map_of_one_answer_costs_what_the_answer_costs(index):
    """Also where the loss is a mean over pixels: more of them weigh no more."""
    model, x, y = linear(), torch.rand(4, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(1)
    plain = objectives(linear(5))[index](model, x, y)
    maps = y[:, None, None].expand(-1, 4, 4)
    torch.manual_seed(1)
    found = objectives(Everywhere(linear(5), 4))[index](Everywhere(model, 4), x, maps)
    torch.testing.assert_close(found, plain)


def shaky() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(64, 3),
    )  # fmt: skip


def test_vats_smoothness_is_that_of_the_network_in_use(device):
    """With dropout or batch statistics of another batch, KL would not be 0 at r = 0."""
    model, x = shaky().to(device), torch.rand(6, 1, 4, 4, device=device)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert VAT(eps=0.0).lds(model, x).item() == pytest.approx(0, abs=1e-7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    torch.manual_seed(2)
    found = VAT(eps=1.0).lds(model, x)
    torch.manual_seed(2)
    assert torch.isclose(found, VAT(eps=1.0).lds(model.eval(), x))
    assert torch.autograd.grad(found, model[0].weight)[0].abs().max() > 0


@pytest.mark.parametrize("index", range(7))
def test_every_mode_is_left_as_it_was(index, device):
    model, x = shaky().to(device), torch.rand(6, 1, 4, 4, device=device)
    model[4].eval()
    y = torch.arange(6, device=device) % 3
    objectives(shaky().to(device))[index](model, x, y).backward()
    assert [m.training for m in model] == [True, True, True, True, False, True]
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("index", range(7))
def test_a_batch_of_one_is_taken(index):
    model, x, y = linear(), torch.rand(1, 1, 4, 4, dtype=torch.float64), torch.tensor([1])
    assert objectives(linear(5))[index](model, x, y).isfinite()


def test_a_student_of_other_classes_is_told(small_model, small_images):
    x, y = small_images
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 7)).to(x.device)
    with pytest.raises(ValueError, match=r"teacher: expected logits of shape \(12, 5\).*\(12, 7\)"):
        SoftLabels(teacher=teacher)(small_model, x, y)


def test_unlabeled_images_of_another_shape_are_told_and_no_part_of_equality(small_images):
    x, y = small_images
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).to(x.device)
    with pytest.raises(ValueError, match=r"unlabeled: expected .* \(1, 8, 8\), found \(1, 4, 4\)"):
        VAT(unlabeled=torch.rand(3, 1, 4, 4))(model, x, y)
    assert VAT(unlabeled=x) == VAT(unlabeled=x.flip(0))


def test_pixels_are_counted_once_in_the_divergence():
    from advlab.defenses.composed import divergence

    torch.manual_seed(0)
    p, q = (torch.randn(2, 3, 4, 5).log_softmax(1) for _ in range(2))
    by_hand = (p.exp() * (p - q)).sum(1).mean()
    assert torch.isclose(divergence(p, q), by_hand)
    assert not torch.isclose(divergence(q, p), by_hand)
    flat = divergence(p[:, :, 0, 0], q[:, :, 0, 0])
    assert torch.isclose(flat, F.kl_div(q[:, :, 0, 0], p[:, :, 0, 0].exp(), reduction="sum") / 2)
