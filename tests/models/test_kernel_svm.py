"""The kernel machine in torch is scikit-learn's, differentiable, and small in a file."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from advlab.attacks import FGSM
from advlab.backend import generator
from advlab.data import load
from advlab.models import KernelSVM, Normalized, accuracy, load_model, predict_logits

GAMMA, C = 0.05, 3.0


@pytest.fixture(scope="module")
def problem():
    """200 images 5 × 5 on 16 levels of gray, in three classes around three centers."""
    source = generator(0)
    y = torch.arange(200) % 3
    centers = torch.rand(3, 1, 5, 5, generator=source)
    x = (centers[y] + 0.2 * torch.randn(200, 1, 5, 5, generator=source)).clamp(0, 1)
    return (x * 15).round() / 15, y


@pytest.fixture(scope="module")
def fitted(problem):
    return KernelSVM(classes=3, size=5).fit(*problem, gamma=GAMMA, C=C)


@pytest.fixture(scope="module")
def reference(problem):
    x, y = problem
    pixels = (x.double() * 15).round() / 15  # the solver stops early: it sees the last digit
    return OneVsRestClassifier(SVC(kernel="rbf", gamma=GAMMA, C=C)).fit(pixels.flatten(1), y)


def test_the_logits_are_the_decision_values_of_scikit_learn(fitted, reference, device):
    x = torch.rand(50, 1, 5, 5, generator=generator(1))
    expected = torch.from_numpy(reference.decision_function(x.flatten(1).numpy())).float()
    found = predict_logits(fitted.to(device), x.to(device)).cpu()
    fitted.cpu()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_it_holds_each_support_vector_once_and_exactly(fitted, reference, problem):
    used = np.unique(np.concatenate([m.support_ for m in reference.estimators_]))
    rows = problem[0].flatten(1)[used]
    torch.testing.assert_close(fitted.support, rows, atol=1e-7, rtol=0)
    assert 0 < len(used) < 200
    assert fitted.coefficients.shape == (len(used), 3)
    # Some belong to one machine only: its coefficients for the others are 0.
    assert (fitted.coefficients == 0).any()
    assert (fitted.coefficients != 0).any(1).all()


def test_the_pixels_are_rounded_before_anything_is_learned(problem, fitted):
    x, y = problem
    shaken = (x + 0.02 * torch.rand(x.shape, generator=generator(2))).clamp(0, 1)
    again = KernelSVM(classes=3, size=5).fit(shaken, y, gamma=GAMMA, C=C)
    assert torch.equal(again.support, fitted.support)
    assert torch.equal(again.coefficients, fitted.coefficients)


def test_it_is_fitted_in_the_precision_that_it_had(problem, fitted):
    x, y = problem
    model = KernelSVM(classes=3, size=5).double().fit(x.double(), y, gamma=GAMMA, C=C)
    assert {t.dtype for t in (model.support, model.gamma, *model.parameters())} == {torch.float64}
    torch.testing.assert_close(model(x.double()).float(), fitted(x), atol=2e-5, rtol=1e-5)


def test_two_classes_are_two_machines_that_mirror_each_other(problem):
    x, y = problem[0][problem[1] < 2], problem[1][problem[1] < 2]
    model = KernelSVM(classes=2, size=5).fit(x, y, gamma=GAMMA, C=C)
    levels = (x.flatten(1).double() * 15).round() / 15
    one = SVC(kernel="rbf", gamma=GAMMA, C=C).fit(levels, y).decision_function(levels)
    logits = model(x)
    expected = torch.from_numpy(one).float()
    # The solver stops at a tolerance of 1e-3, from either side.
    torch.testing.assert_close(logits[:, 1], expected, atol=3e-3, rtol=0)
    torch.testing.assert_close(logits[:, 0], -expected, atol=3e-3, rtol=0)


def test_the_gradient_is_that_of_differences(fitted):
    model = KernelSVM(classes=3, size=5)
    model.load_state_dict(fitted.state_dict())
    model.double()
    x = torch.rand(2, 1, 5, 5, dtype=torch.float64, generator=generator(3)).requires_grad_(True)
    assert torch.autograd.gradcheck(model, x)


def test_the_gradient_is_finite_at_a_support_vector(fitted):
    x = fitted.support[:3].view(3, 1, 5, 5).clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(fitted(x).sum(), x)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_far_from_the_data_the_gradient_vanishes_and_the_logits_are_the_bias(problem):
    x, y = problem
    model = KernelSVM(classes=3, size=5).fit(x, y, gamma=200.0, C=C)
    far = (1 - x[:4]).requires_grad_(True)
    logits = model(far)
    (gradient,) = torch.autograd.grad(logits.sum(), far)
    torch.testing.assert_close(logits, model.bias.expand(4, 3))
    assert gradient.abs().max() < 1e-6


def test_it_goes_through_a_file_and_needs_half_a_byte_a_pixel(fitted, problem):
    content = safetensors.torch.save(fitted.state_dict())
    support = len(fitted.support)
    assert fitted.packed.nbytes == support * 13, "25 pixels take 12.5 bytes"
    assert len(content) < support * (13 + 3 * 4) + 1000
    again = KernelSVM(classes=3, size=5)
    again.load_state_dict(safetensors.torch.load(content))
    x = problem[0]
    assert torch.equal(again(x), fitted(x))
    inside = torch.nn.Sequential(Normalized([0.0], [1.0]), KernelSVM(classes=3, size=5))
    wanted = torch.nn.Sequential(Normalized([0.0], [1.0]), fitted)
    inside.load_state_dict(wanted.state_dict())
    assert torch.equal(inside(x), fitted(x))


@pytest.mark.parametrize("other", [{"size": 6}, {"classes": 4}])
def test_a_file_of_another_shape_is_refused(fitted, other):
    model = KernelSVM(**{"classes": 3, "size": 5} | other)
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(fitted.state_dict())


def test_before_a_fit_all_logits_are_zero():
    assert not KernelSVM()(torch.rand(2, 1, 28, 28)).any()
    assert "0 support vectors" in repr(KernelSVM())


def test_an_attack_fools_it(fitted, problem):
    x, y = problem
    assert accuracy(fitted, x, y) > 0.95
    assert accuracy(fitted, FGSM(eps=0.3)(fitted, x, y), y) < 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 0.0}, "gamma: expected a finite number above 0, found 0.0"),
        ({"C": float("nan")}, "C: expected a finite number above 0"),
        ({"x": torch.rand(200, 1, 4, 4)}, r"x: expected images of 25 numbers each, found shape"),
        ({"x": torch.rand(0, 1, 5, 5), "y": torch.zeros(0).long()}, "found classes \\[\\]"),
        ({"y": torch.zeros(200).long()}, r"every class from 0 to 2, found classes \[0\]"),
        ({"y": torch.arange(200) % 4}, "every class from 0 to 2, found classes"),
        ({"x": torch.full((200, 1, 5, 5), 2.0)}, r"values in \[0, 1\]"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(problem, change, message):
    settings = {"x": problem[0], "y": problem[1], "gamma": GAMMA, "C": C} | change
    with pytest.raises(ValueError, match=message):
        KernelSVM(classes=3, size=5).fit(settings.pop("x"), settings.pop("y"), **settings)


def test_the_one_of_the_zoo_is_good_and_knows_where_to_go():
    """Its gradient is far from rounding: FGSM fools it as it fools other models."""
    model, (x, y) = load_model("mnist-svm", "cpu"), load("mnist5k", device="cpu").test
    x, y = x[:100], y[:100]
    assert accuracy(model, x, y) > 0.9
    assert accuracy(model, FGSM(eps=0.2)(model, x, y), y) < 0.2
