"""Distillation: the losses at temperature T, and the gradient that vanishes at T = 1."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.attacks import FGSM, GradientWarning
from advlab.defenses import GaussianAugmentation, HardLabels, SoftLabels, Temperature
from advlab.training import CrossEntropy, fit


def network(seed, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).double()


@settings(max_examples=25, deadline=None)
@given(temperature=st.floats(0.1, 200), seed=st.integers(0, 99))
def test_soft_labels_are_the_cross_entropy_of_two_distributions(temperature, seed):
    teacher, student = network(seed), network(seed + 1)
    x, y = torch.rand(5, 1, 4, 4, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    p = (teacher(x) / temperature).softmax(1)
    q = (student(x) / temperature).softmax(1)
    objective = SoftLabels(teacher=teacher, temperature=temperature)
    assert torch.isclose(objective(student, x, y), -(p * q.log()).sum(1).mean())


@settings(max_examples=25, deadline=None)
@given(temperature=st.floats(0.1, 200), seed=st.integers(0, 99))
def test_the_gradient_in_the_logits_is_the_difference_over_the_temperature(temperature, seed):
    torch.manual_seed(seed)
    z = (5 * torch.randn(4, 3, dtype=torch.float64)).requires_grad_(True)
    soft, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0])

    class Fixed(nn.Module):
        """Whatever it is shown, it answers the same."""

        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, x):
            return self.logits

    x = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    q = (z / temperature).softmax(1)
    hard = HardLabels(temperature=temperature)(Fixed(z), x, y)
    (found,) = torch.autograd.grad(hard, z, retain_graph=True)
    assert torch.allclose(found, (q - F.one_hot(y, 3)) / temperature / 4)
    from_teacher = SoftLabels(teacher=Fixed(soft), temperature=temperature)(Fixed(z), x, y)
    (found,) = torch.autograd.grad(from_teacher, z)
    assert torch.allclose(found, (q - (soft / temperature).softmax(1)) / temperature / 4)


def test_at_temperature_1_the_teacher_learns_the_plain_loss(small_model, small_images):
    x, y = small_images
    found = HardLabels(temperature=1.0)(small_model, x, y)
    assert torch.isclose(found, CrossEntropy()(small_model, x, y))
    assert not torch.isclose(HardLabels(temperature=5.0)(small_model, x, y), found)


def test_a_student_that_answers_like_its_teacher_has_no_gradient_left(small_model, small_images):
    x, y = small_images
    loss = SoftLabels(teacher=small_model, temperature=10.0)(small_model, x, y)
    gradients = torch.autograd.grad(loss, list(small_model.parameters()))
    assert max(g.abs().max().item() for g in gradients) < 1e-6
    assert loss > 0


def test_the_teacher_is_asked_in_evaluation_mode_and_left_as_found(device):
    teacher = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    teacher.to(device).train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).to(device)
    x, y = torch.rand(6, 1, 4, 4, device=device), torch.zeros(6, dtype=torch.int64, device=device)
    objective = SoftLabels(teacher=teacher, temperature=4.0)
    first = objective(student, x, y)
    assert objective(student, x, y) == first
    first.backward()
    assert all(m.training for m in teacher.modules())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


def test_temperature_is_a_layer_that_keeps_the_classes(small_model, small_images):
    x, _ = small_images
    cooled = nn.Sequential(small_model, Temperature(30.0))
    assert torch.equal(cooled(x), small_model(x) / 30)
    assert torch.equal(cooled(x).argmax(1), small_model(x).argmax(1))
    assert "temperature=30" in repr(cooled)


@pytest.fixture
def saturated(small_model):
    """Logits ten thousand times as large, as after training at T = 10,000."""
    with torch.no_grad():
        small_model[3].weight *= 10_000
        small_model[3].bias *= 10_000
    return small_model


def test_large_logits_hide_the_gradient_and_the_temperature_brings_it_back(saturated, small_images):
    """The plain attack seems to fail; the one that knows of the defense does not."""
    x, y = small_images
    with pytest.warns(GradientWarning, match="exactly zero"):
        stuck = FGSM(eps=0.3)(saturated, x, y)
    assert (stuck == x).flatten(1).all(1).float().mean() > 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradientWarning)
        freed = FGSM(eps=0.3)(nn.Sequential(saturated, Temperature(1e4)), x, y)
    right = [(saturated(images).argmax(1) == y).float().mean() for images in (stuck, freed)]
    assert right[1] < right[0] - 0.4


def test_training_at_temperature_t_makes_logits_t_times_as_large(device):
    """Exactly so, for gradient descent from 0 with steps T² as long: z/T runs as z does at 1."""
    x, y = torch.rand(30, 1, 4, 4, dtype=torch.float64, device=device), torch.arange(30) % 3
    logits = {}
    for temperature in (1.0, 20.0):
        model = network(0).to(device)
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        fit(model, (x, y.to(device)), objective=HardLabels(temperature=temperature), epochs=10,
            lr=0.1 * temperature**2, optimizer="sgd", batch_size=30, progress=False)  # fmt: skip
        logits[temperature] = model(x)
    assert logits[1.0].abs().mean() > 0.05
    assert torch.allclose(logits[20.0], 20 * logits[1.0])


def test_it_composes_with_noisy_copies_and_its_card_holds_no_network(small_model, small_images):
    x, y = small_images
    soft = SoftLabels(teacher=small_model, temperature=2.0, name="mnist-teacher")
    noisy = GaussianAugmentation(sigma=0.0, objective=soft)
    assert torch.isclose(noisy(small_model, x, y), soft(small_model, x, y))
    assert repr(soft) == "SoftLabels(temperature=2.0, name='mnist-teacher')"


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "hot"])
def test_a_bad_temperature_is_told(small_model, temperature):
    for make in (
        Temperature,
        lambda t: HardLabels(temperature=t),
        lambda t: SoftLabels(teacher=small_model, temperature=t),
    ):
        with pytest.raises(ValueError, match="temperature: expected a finite number"):
            make(temperature)


def test_a_teacher_that_is_no_network_is_told():
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, found str"):
        SoftLabels(teacher="mnist-teacher")
