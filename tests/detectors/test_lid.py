"""Local intrinsic dimensionality."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import nn

from advlab import data
from advlab.attacks import FGSM, PGD
from advlab.backend import generator
from advlab.detectors import LID, examples
from advlab.detectors.lid import equal, lid
from advlab.models import activations, load_model, predict

ATTACK = FGSM(eps=0.3)


@pytest.fixture(scope="module")
def digits():
    model, found = load_model("mnist-cnn", "cpu"), data.load("mnist5k", device="cpu")
    return model, found.train.x[:500], found.train.y[:500], found.test.x[:60], found.test.y[:60]


@pytest.fixture(scope="module")
def watching(digits):
    model, x, y, *_ = digits
    return LID(attack=ATTACK, reference=200, images=100).fit(model, (x, y))


def test_the_estimate_is_that_of_neighbors_by_scikit_learn(digits, watching):
    """Equation 4, with distances in float64 from another library."""
    model, _, _, x, _ = digits
    with torch.no_grad():
        features = watching.features(x)
        for column, name in enumerate(watching.names(x)):
            known = activations(model, watching.natural, [name])[name].flatten(1).double()
            seen = activations(model, x, [name])[name].flatten(1).double()
            search = NearestNeighbors(n_neighbors=20, algorithm="brute").fit(known.numpy())
            r = search.kneighbors(seen.numpy())[0]
            wanted = -1 / np.log(r / r[:, -1:]).mean(1)
            found = features[:, column].double().numpy()
            np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_layers_that_only_reshape_are_left_out(watching):
    names = watching.names(watching.natural)
    assert names == [f"features.{i}" for i in range(6)] + [f"classifier.{i}" for i in range(3)]


@pytest.mark.parametrize("dimensions", [2, 5, 10])
def test_it_counts_dimensions(dimensions):
    """Points uniform in a ball, seen from its center: r has the distribution u^(1/d)."""
    radius = torch.rand(200, 2000, generator=generator(dimensions)) ** (1 / dimensions)
    nearest = radius.sort(1).values[:, :100]
    found = lid(nearest**2)
    # The estimate has a relative deviation of 1/√k; the mean of 200 that over √200.
    assert found.mean().item() == pytest.approx(dimensions, rel=0.05)


def test_scale_does_not_matter():
    squared = torch.rand(6, 20, generator=generator(3)).sort(1).values
    torch.testing.assert_close(lid(100 * squared), lid(squared), rtol=1e-4, atol=0)


def test_ties_and_copies_give_finite_numbers():
    copies = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    found = lid(copies)
    assert found.isfinite().all()
    assert (found > 0).all()
    assert found[2] == found.max(), "all at one distance: as many dimensions as are told"
    assert found[1].item() == pytest.approx(-1 / (math.log(1e-3) / 3))


def test_an_image_is_no_neighbor_of_its_own(watching):
    """An image of the batch has the estimate that it has where it is taken out of the batch."""
    with torch.no_grad():
        inside = watching.features(watching.natural[:3])
        known = watching.known()
        for row in range(3):
            others = torch.arange(len(watching.natural)) != row
            for column, name in enumerate(known):
                h = known[name][row : row + 1]
                nobody = torch.zeros(1, int(others.sum()), dtype=torch.bool)
                outside = watching.estimate(h, known[name][others], nobody)
                torch.testing.assert_close(inside[row, column], outside[0], rtol=1e-3, atol=0)


def test_images_are_one_where_every_pixel_is():
    b = torch.rand(30, 50, generator=generator(4)).round(decimals=1)
    b[3], b[4] = 0, b[5]
    a = torch.cat((b[:8], b[8:12].clone()))
    a[9, 7] += 1e-6
    wanted = (a[:, None] == b).all(2)
    assert wanted.sum() == 13  # one of twelve is another, two are there twice
    assert torch.equal(equal(a, b), wanted)


def test_another_network_is_asked_anew(digits, watching):
    model, _, _, x, _ = digits
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.features[0].weight.mul_(torch.rand(16, 1, 1, 1, generator=generator(7)))
    fresh = LID(attack=ATTACK, reference=200)
    fresh.load_state_dict(watching.state_dict())
    wanted = fresh.watch(other).score(x[:5])
    moved = copy.deepcopy(watching)
    assert torch.equal(moved.score(x[:5]), watching.score(x[:5]))
    assert torch.equal(moved.watch(other).score(x[:5]), wanted)
    assert not torch.equal(wanted, watching.score(x[:5]))


def test_the_score_depends_on_the_image_alone(digits, watching):
    x = digits[3][:8]
    alone = torch.cat([watching.score(image[None]) for image in x])
    torch.testing.assert_close(alone, watching.score(x), rtol=1e-3, atol=1e-3)


def test_what_was_kept_is_computed_anew_where_it_moves(digits, watching):
    model, _, _, x, _ = digits
    other = LID(attack=ATTACK, reference=200)
    other.load_state_dict(watching.state_dict())
    assert torch.equal(other.watch(model).score(x), watching.score(x))
    try:
        model.double(), other.double()
        wide = other.score(x.double())
    finally:
        model.float()
    torch.testing.assert_close(wide.float(), watching.score(x), rtol=1e-3, atol=1e-3)


def test_the_gradient_is_that_of_differences(digits, watching):
    model = digits[0].double()
    watching.double()
    try:
        # Black pixels tie in max-pooling, which has no slope there.
        noise = torch.rand(1, 1, 28, 28, generator=generator(9))
        x = (0.1 + 0.8 * digits[3][:1] + 0.1 * noise).double().requires_grad_(True)
        gradient = torch.autograd.grad(watching(x).sum(), x)[0]
        way = gradient / gradient.norm()
        with torch.no_grad():
            slope = (watching(x + 1e-6 * way) - watching(x - 1e-6 * way)) / 2e-6
        assert slope.item() == pytest.approx(gradient.norm().item(), rel=1e-3)
    finally:
        model.float(), watching.float()


def test_it_tells_natural_images_from_the_attack_that_it_learned(digits, watching):
    model, _, _, x, y = digits
    found = examples(model, ATTACK, x, y)
    scores = torch.cat((watching.score(found.natural), watching.score(found.adversarial)))
    label = torch.arange(len(scores)) >= len(found.y)
    assert roc_auc_score(label, scores) > 0.75
    assert roc_auc_score(label, torch.zeros(len(scores))) == 0.5, "one that says nothing fails"


def test_an_attack_that_knows_the_detector_is_not_seen(digits, watching):
    """The break: the same budget, on model and detector together."""
    model, _, _, x, y = digits
    x, y = x[:25], y[:25]
    defended = watching.defended(0.1)
    plain = predict(defended, ATTACK(model, x, y))
    known = predict(defended, PGD(eps=0.3, steps=10, goal="undetected")(defended, x, y))
    passes = [((answer != y) & (answer != 10)).double().mean().item() for answer in (plain, known)]
    assert passes[0] < 0.6
    assert passes[1] > passes[0] + 0.2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"k": 1}, "k: expected a whole number, at least 2, found 1"),
        ({"layers": []}, "layers: expected at least one name, found none"),
        ({"attack": 3}, r"attack: expected attack\(model, x, y\), such as .*, found 3"),
        ({"k": 20, "reference": 20}, "reference: expected a whole number, at least 21, found 20"),
    ],
)
def test_bad_numbers_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        LID(**{"attack": ATTACK} | fields)


def test_too_few_images_and_unknown_layers_are_told(digits):
    model, x, y, *_ = digits
    with pytest.raises(ValueError, match=r"at least k \+ 1 = 21 natural images to keep, found 1\d"):
        LID(attack=ATTACK).fit(model, (x[:42], y[:42]))
    with pytest.raises(ValueError, match="names: found 'nowhere', expected among"):
        LID(attack=ATTACK, layers=["nowhere"]).fit(model, (x, y))


def test_a_network_of_one_layer_has_one_estimate():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    x = torch.rand(90, 1, 4, 4, generator=generator(5))
    found = LID(attack=FGSM(eps=0.5), k=5, reference=20).fit(model, (x, model(x).argmax(1)))
    assert found.weights.shape == (1,)
    assert found.names(x) == ["1"]
