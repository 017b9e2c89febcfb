"""Kernel density, and the scores of several detectors combined."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KernelDensity as Reference
from torch import nn

from advlab import data
from advlab.attacks import BIM, FGSM, PGD
from advlab.backend import generator
from advlab.detectors import Combined, Detector, KernelDensity, combined, examples
from advlab.detectors.combined import logistic
from advlab.detectors.kernel_density import likeliest_bandwidth, squared_distances
from advlab.models import activations, load_model, predict


@pytest.fixture(scope="module")
def digits():
    model, found = load_model("mnist-cnn", "cpu"), data.load("mnist5k", device="cpu")
    return model, found.train.x[:800], found.train.y[:800], found.test.x[:100], found.test.y[:100]


@pytest.fixture(scope="module")
def density(digits):
    model, x, y, *_ = digits
    return KernelDensity().fit(model, (x, y))


def drawn(n, dimensions, seed=0):
    return torch.randn(n, dimensions, generator=generator(seed))


def test_the_score_is_that_of_scikit_learn(digits, density):
    model, _, _, x, _ = digits
    hidden = activations(model, x, ["classifier.1"])["classifier.1"].detach()
    said = torch.empty(len(x))
    for k, rows in ((k, predict(model, x) == k) for k in range(10)):
        reference = Reference(bandwidth=density.width.item())
        reference.fit(density.hidden[density.classes == k].double().numpy())
        said[rows] = torch.tensor(-reference.score_samples(hidden[rows].double().numpy())).float()
    torch.testing.assert_close(density.score(x), said, rtol=1e-4, atol=1e-2)


def test_activations_that_are_long_and_near_each_other():
    """Of 300 in each unit, float32 squares leave nothing of differences of 0.01."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(4) / 10)
        model[1].bias.fill_(300.0)
        model[2].weight.copy_(torch.tensor([[1.0, 1, -1, -1], [-1, -1, 1, 1]]))
        model[2].bias.zero_()
    x = torch.rand(60, 1, 2, 2, generator=generator(1))
    y = predict(model, x)
    found = KernelDensity(bandwidth=0.01).fit(model, (x, y))
    hidden = model[:2](x).detach().double()
    for k in (0, 1):
        reference = Reference(bandwidth=0.01).fit(found.hidden[found.classes == k].double().numpy())
        said = -torch.tensor(reference.score_samples(hidden[y == k].numpy())).float()
        torch.testing.assert_close(found.score(x[y == k]), said, rtol=1e-4, atol=1e-3)


def test_one_image_of_a_class_gives_a_paraboloid():
    """h = x, one reference a class: −log of one Gaussian, in closed form."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]))
        model[1].bias.zero_()
    x = (
        torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.7, 0.9]])
        .view(2, 1, 2, 2)
        .repeat(2, 1, 1, 1)
    )
    y = torch.tensor([0, 1, 0, 1])
    detector = KernelDensity(bandwidth=0.5, references=1).fit(model, (x, y))
    other = torch.rand(5, 1, 2, 2, generator=generator(0))
    near = x[predict(model, other)]  # rows 0 and 1 are of classes 0 and 1
    wanted = (other - near).flatten(1).square().sum(1) / 0.5 + 2 * math.log(2 * math.pi * 0.25)
    torch.testing.assert_close(detector.score(other), wanted)


def test_the_bandwidth_is_likelier_than_any_of_a_grid():
    points = drawn(60, 3) * torch.tensor([1.0, 2.0, 0.5])

    def likelihood(bandwidth):
        model = Reference(bandwidth=bandwidth)
        return cross_val_score(model, points.double().numpy(), cv=LeaveOneOut()).mean()

    found = likeliest_bandwidth([points])
    best = likelihood(found)
    grid = found * np.array([0.5, 0.8, 0.95, 1.05, 1.25, 2.0])
    assert all(likelihood(bandwidth) < best for bandwidth in grid)


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(1e-2, 1e2), seed=st.integers(0, 99))
def test_the_bandwidth_grows_with_the_activations(scale, seed):
    groups = [drawn(20, 4, seed), drawn(9, 4, seed + 100)]
    first = likeliest_bandwidth(groups)
    assert likeliest_bandwidth([scale * g for g in groups]) == pytest.approx(
        scale * first, rel=1e-3
    )


def test_distances_are_those_of_torch_and_differentiable_at_0():
    a, b = drawn(7, 5, 1), drawn(9, 5, 2)
    torch.testing.assert_close(squared_distances(a, b), torch.cdist(a, b) ** 2)
    a.requires_grad_(True)
    gradient = torch.autograd.grad(squared_distances(a, a.detach()).diagonal().sum(), a)[0]
    torch.testing.assert_close(gradient, torch.zeros_like(a), atol=1e-5, rtol=0)


def test_the_gradient_is_that_of_differences(digits):
    model, x, y, *_ = digits
    found = KernelDensity().fit(model, (x, y))
    wide = model.double(), found.double()
    try:
        # Black pixels tie in max-pooling, which has no slope there.
        noise = torch.rand(1, 1, 28, 28, generator=generator(9))
        image = (0.1 + 0.8 * x[:1] + 0.1 * noise).double().requires_grad_(True)
        gradient = torch.autograd.grad(found(image).sum(), image)[0]
        way = gradient / gradient.norm()
        with torch.no_grad():
            slope = (found(image + 1e-6 * way) - found(image - 1e-6 * way)) / 2e-6
        assert slope.item() == pytest.approx(gradient.norm().item(), rel=1e-3)
    finally:
        for part in wide:
            part.float()


def test_at_most_so_many_images_of_a_class_are_kept(digits):
    model, x, y, *_ = digits
    found = KernelDensity(references=7).fit(model, (x, y))
    assert found.classes.bincount().tolist() == [7] * 10


def test_what_is_saved_gives_the_same_scores(digits, density):
    model, _, _, x, _ = digits
    other = KernelDensity()
    other.load_state_dict(density.state_dict())
    object.__setattr__(other, "model", model)
    assert torch.equal(other.score(x), density.score(x))
    assert other.threshold(0.1) == density.threshold(0.1)


def test_confident_attacks_lie_far_from_natural_images(digits, density):
    model, _, _, x, y = digits
    found = examples(model, PGD(eps=0.3, steps=10), x, y)
    both = torch.cat((density.score(found.natural), density.score(found.adversarial)))
    label = torch.arange(len(both)) >= len(found.y)
    assert roc_auc_score(label, both) > 0.7
    assert roc_auc_score(label, torch.zeros(len(both))) == 0.5, "one that says nothing fails"


def test_an_attack_that_knows_the_detector_is_not_seen(digits, density):
    """The break: what stops at the boundary is seen, and what looks for a quiet place is not."""
    model, _, _, x, y = digits
    x, y = x[:40], y[:40]
    defended = density.defended(0.1)
    plain = predict(defended, BIM(eps=0.3, steps=15, variant="a")(model, x, y))
    known = predict(defended, PGD(eps=0.3, steps=15, goal="undetected")(defended, x, y))
    passes = [((answer != y) & (answer != 10)).double().mean().item() for answer in (plain, known)]
    assert passes[0] < 0.5
    assert passes[1] > 0.8


@pytest.mark.parametrize("bandwidth", [0, -1.0, math.inf, math.nan])
def test_a_bandwidth_that_is_none_is_refused(bandwidth):
    with pytest.raises(ValueError, match="bandwidth: expected a finite number above 0, found"):
        KernelDensity(bandwidth=bandwidth)


def test_bad_input_gets_a_clear_error(digits):
    model, x, y, *_ = digits
    with pytest.raises(ValueError, match="references: expected a whole number"):
        KernelDensity(references=0)
    with pytest.raises(ValueError, match="names: found 'nowhere', expected among"):
        KernelDensity(layer="nowhere").fit(model, (x, y))
    with pytest.raises(ValueError, match="found none of class 9; give more images"):
        KernelDensity().fit(model, (x[y != 9], y[y != 9]))
    with pytest.raises(ValueError, match="two images of a class that differ"):
        likeliest_bandwidth([torch.ones(5, 2), torch.zeros(1, 2)])


# Combined ----------------------------------------------------------------------------------------


class Brightness(Detector):
    def process(self, x):
        return x.flatten(1).mean(1)


class Contrast(Detector):
    def process(self, x):
        return 100 * x.flatten(1).std(1)


def test_the_regression_is_that_of_scikit_learn():
    negative, positive = drawn(40, 2, 3), drawn(25, 2, 4) + torch.tensor([1.0, -2.0])
    weights, bias = logistic(negative, positive)
    rows = torch.cat((negative, positive)).double()
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    label = (torch.arange(65) >= 40).numpy()
    reference = LogisticRegression(class_weight="balanced", max_iter=1000)
    reference.fit(((rows - mean) / deviation).numpy(), label)
    said = reference.decision_function(((rows - mean) / deviation).numpy())
    torch.testing.assert_close(
        (rows.float() @ weights + bias).double(), torch.tensor(said).double()
    )


def test_units_do_not_matter():
    negative, positive = drawn(40, 2, 3), drawn(25, 2, 4) + 1
    units = torch.tensor([1e3, 1e-3])
    first, again = logistic(negative, positive), logistic(units * negative, units * positive)
    torch.testing.assert_close(again[0] * units, first[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(again[1], first[1], rtol=1e-3, atol=1e-5)


def test_the_score_is_the_weighed_sum(digits):
    model, x, y, unseen, _ = digits
    found = Combined([Brightness(), Contrast()], attack=FGSM(eps=0.3), images=50)
    found.fit(model, (x, y))
    parts = torch.stack([d.score(unseen) for d in found.detectors], 1)
    torch.testing.assert_close(found.score(unseen), parts @ found.weights + found.bias)
    assert found.weights[0] > 0, "FGSM makes digits brighter"


def test_the_images_attacked_are_not_those_that_the_detectors_saw(digits):
    model, x, y, *_ = digits
    seen = {"attacked": [], "learned": []}

    class Noted(Brightness):
        def learn(self, x, y, seed):
            seen["learned"].append(x)

    def attack(model, x, y):
        seen["attacked"].append(x)
        return FGSM(eps=0.3)(model, x, y)

    Combined([Noted()], attack=attack, images=30).fit(model, (x, y))
    learned, attacked = (torch.cat(seen[k]).flatten(1) for k in ("learned", "attacked"))
    assert len(attacked) == 30
    assert len(learned) > 100
    assert not (torch.cdist(learned, attacked) == 0).any()


def test_noise_counts_as_natural(digits, monkeypatch):
    model, x, y, *_ = digits
    given = []

    def noted(negative, positive):
        given.extend((negative, positive))
        return logistic(negative, positive)

    monkeypatch.setattr(combined, "logistic", noted)
    Combined([Brightness()], attack=FGSM(eps=0.3), images=30).fit(model, (x, y))
    negative, positive = given
    assert len(negative) == 2 * len(positive) > 0
    natural, noisy = negative.chunk(2)
    assert (noisy > natural).double().mean() > 0.9, "noise makes black pixels brighter"


def test_combined_needs_detectors():
    one = Brightness()
    for wrong, said in (([], "0, 0 different"), ([one, one], "2, 1 different"), ([3], "int")):
        with pytest.raises(ValueError, match=f"detectors: expected different .*, found {said}"):
            Combined(wrong, attack=FGSM())
    with pytest.raises(ValueError, match=r"attack: expected .*, found None"):
        Combined([one], attack=None)
    with pytest.raises(ValueError, match="images: expected a whole number"):
        Combined([Brightness()], attack=FGSM(), images=0)
