"""Each step that hides its gradient seems to stop the attack, and does not stop one that knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab import data
from advlab.attacks import EOT, FGSM, PGD, DeepFool, GradientWarning
from advlab.defenses import JPEGCompression, MedianSmoothing, RandomResizePad
from advlab.goals import UNTARGETED
from advlab.models import load_model, predict
from advlab.threat import size


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist5k").to("cpu").test


@pytest.fixture(autouse=True)
def _draws():
    torch.manual_seed(0)


def known(model, digits, n=40):
    """The first digits that the model has right."""
    x, y = digits
    right = predict(model, x[: 2 * n]) == y[: 2 * n]
    return x[: 2 * n][right][:n], y[: 2 * n][right][:n]


def fooled(model, x, y, draws=1):
    """The share of answers that are wrong, over draws that no attack has seen."""
    return sum((predict(model, x) != y).double().mean().item() for _ in range(draws)) / draws


def blind(attack, model, x, y):
    with pytest.warns(GradientWarning, match="masks gradients"):
        return fooled(model, attack(model, x, y), y)


def test_one_bit(digits):
    model = load_model("mnist-bits", "cpu")
    x, y = known(model, digits)
    attack = PGD(eps=3.5, norm="L2", steps=20)
    assert blind(attack, model, x, y) <= 0.05
    through = {
        backward: fooled(model, attack.changed(backward=backward)(model, x, y), y)
        for backward in ("identity", "substitute")
    }
    assert through["substitute"] >= 0.9
    assert through["identity"] <= through["substitute"] - 0.15, "the stand-in counts"


def test_one_bit_in_the_largest_change_of_a_pixel(digits):
    """No ε below ½ turns black into white: here squeezing is more than a hidden gradient."""
    model, plain = load_model("mnist-bits", "cpu"), load_model("mnist-cnn", "cpu")
    x, y = known(model, digits)
    attack = PGD(eps=0.3, steps=20)
    assert fooled(plain, attack(plain, x, y), y) >= 0.95
    x_adv = attack.changed(backward="substitute")(model, x, y)
    assert 0.1 <= fooled(model, x_adv, y) <= 0.5
    beyond = FGSM(eps=0.55, backward="substitute")
    assert fooled(model, beyond(model, x, y), y) >= 0.9


def flipped(model, x, y, eps):
    """Greedy: of the pixels that may cross ½, the one that costs the most margin, again and again.

    One image. The best black-and-white picture found is judged by the network behind the bit.
    """
    network = model[1]
    picture = (x > 0.5).to(x.dtype).flatten()
    free = ((x - eps > 0.5) != (x + eps > 0.5)).flatten().nonzero().squeeze(1)
    highest = -float("inf")
    while True:
        near = picture.repeat(len(free), 1)
        near[torch.arange(len(free)), free] = 1 - picture[free]
        with torch.no_grad():
            margin = UNTARGETED.margin(network(near.view(-1, *x.shape[1:])), y.expand(len(free)))
        if highest > 0 or margin.max() <= highest:
            return bool(highest > 0)
        highest, picture = margin.max(), near[margin.argmax()]


def test_a_search_among_the_pictures_of_one_bit_finds_no_more_than_the_gradient(digits):
    """The one-bit network's 22% in L∞ is not the gradient's fault, as far as flips can tell."""
    model = load_model("mnist-bits", "cpu")
    x, y = known(model, digits, n=8)
    x_adv = PGD(eps=0.3, steps=20, backward="substitute")(model, x, y)
    by_gradient = predict(model, x_adv) != y
    by_flips = torch.tensor(
        [flipped(model, *pair, 0.3) for pair in zip(x.split(1), y.split(1), strict=True)]
    )
    assert by_gradient.any()
    assert by_flips.any()
    assert (by_flips & ~by_gradient).sum() <= 1
    assert (by_gradient & ~by_flips).sum() <= 1


def test_thermometer(digits):
    model = load_model("mnist-thermometer", "cpu")
    x, y = known(model, digits)
    attack = PGD(eps=0.2, steps=20)
    assert blind(attack, model, x, y) <= 0.05
    assert fooled(model, attack.changed(backward="substitute")(model, x, y), y) >= 0.95

    def ramp_above(x):  # without a slope in black pixels
        k = torch.arange(1, 17).view(-1, 1, 1) / 16
        return (x[:, :, None] - k).clamp(0, 1).flatten(1, 2)

    assert fooled(model, attack.changed(backward=ramp_above)(model, x, y), y) <= 0.8


def test_jpeg(digits):
    plain = load_model("mnist-cnn", "cpu")
    model = nn.Sequential(JPEGCompression(quality=50), plain)
    x, y = known(model, digits)
    attack = PGD(eps=0.2, steps=20)
    assert blind(attack, model, x, y) <= 0.05
    assert fooled(model, attack.changed(backward="substitute")(model, x, y), y) >= 0.9
    # It hides the gradient and little else: an attack on the bare network passes through.
    assert fooled(model, attack(plain, x, y), y) >= 0.9


def test_random_size_and_place(digits):
    """Perturbations that just fool the bare network do not survive; those of an expectation do."""
    bare = load_model("mnist-cnn-full", "cpu")
    model = nn.Sequential(RandomResizePad(24, 28), bare)
    x, y = known(bare, digits)
    assert fooled(model, x, y, draws=3) <= 0.03
    x_adv = DeepFool()(bare, x, y)
    assert fooled(bare, x_adv, y) >= 0.95
    assert fooled(model, x_adv, y, draws=3) <= 0.2
    adaptive = EOT(attack=PGD(eps=0.2, steps=20), samples=4)
    assert fooled(model, adaptive(model, x, y), y, draws=3) >= 0.9


def test_the_median(digits):
    """It hides no gradient: an attacker needs only to look at the whole model."""
    bare = load_model("mnist-cnn", "cpu")
    model = nn.Sequential(MedianSmoothing(size=3), bare)
    x, y = known(model, digits)
    oblivious, aware = DeepFool()(bare, x, y), DeepFool()(model, x, y)
    assert fooled(bare, oblivious, y) >= 0.95
    assert fooled(model, oblivious, y) <= 0.45
    assert fooled(model, aware, y) >= 0.95
    assert size(aware - x, "L2").median() <= 1.1 * size(oblivious - x, "L2").median()


def test_total_variation(digits):
    bare, model = load_model("mnist-cnn", "cpu"), load_model("mnist-tv", "cpu")
    x, y = known(bare, digits, n=30)
    assert fooled(model, x, y, draws=3) <= 0.08
    assert fooled(model, DeepFool()(bare, x, y), y, draws=3) <= 0.4
    adaptive = EOT(attack=PGD(eps=0.25, steps=8, backward="substitute"), samples=3)
    assert fooled(model, adaptive(model, x, y), y, draws=3) >= 0.9
