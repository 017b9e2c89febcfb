"""Defense-GAN and PixelDefend in the zoo: each seems to hold, and neither does."""

from __future__ import annotations

import pytest
import torch

from advlab import threat
from advlab.attacks import PGD, GradientWarning
from advlab.data import load
from advlab.defenses import ManifoldAttack
from advlab.models import load_model


@pytest.fixture(scope="module")
def digits():
    test = load("mnist5k", device="cpu").test
    return test.x[:20], test.y[:20]


def right(model, x, y) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


@pytest.mark.parametrize(
    ("name", "eps"), [("mnist-defense-gan", 0.15), ("mnist-pixel-defend", 0.3)]
)
def test_attacks_that_do_not_know_of_it_fail_and_one_that_does_does_better(name, eps, digits):
    x, y = digits
    model = load_model(name, "cpu")
    assert right(model, x, y) >= 0.85
    with pytest.warns(GradientWarning):
        blind = PGD(eps=eps, steps=1, random_start=False)(model, x, y)
    assert torch.equal(blind, x), "there is no gradient to follow"
    on_bare = PGD(eps=eps, steps=20)(model[1], x, y)
    assert right(model[1], on_bare, y) <= 0.3, "without the step the classifier falls"
    seems = right(model, on_bare, y)
    assert seems >= 0.5, "behind it, it seems to stand"
    adaptive = PGD(eps=eps, steps=12, alpha=eps / 3, backward="substitute", early_stop=True)
    assert right(model, adaptive(model, x, y), y) <= seems - 0.1


def test_pixel_defend_falls_outside_of_its_budget(digits):
    x, y = digits
    adaptive = PGD(eps=0.4, steps=15, alpha=0.1, backward="substitute", early_stop=True)
    model = load_model("mnist-pixel-defend", "cpu")
    assert right(model, adaptive(model, x, y), y) <= 0.2


def test_some_image_of_the_generator_is_near_every_digit_and_misclassified(digits):
    x, y = digits
    model = load_model("mnist-defense-gan", "cpu")
    projection, classifier = model
    attack = ManifoldAttack(generator=projection.generator, projection=projection, steps=60)
    x_adv = attack(classifier, x, y)
    assert right(classifier, x_adv, y) <= 0.1
    assert right(model, x_adv, y) <= 0.4, "most survive the search for the nearest one"
    with torch.no_grad():
        own = threat.size(projection(x) - x, "L2")
    assert (threat.size(x_adv - x, "L2") < 1.5 * own + 1).float().mean() > 0.8, (
        "hardly farther than the image that the defense itself puts in the place of x"
    )
