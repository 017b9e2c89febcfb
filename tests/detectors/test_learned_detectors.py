"""Detectors that learn from attacks: input classifier, activation classifier, SafetyNet."""

import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from torch import nn

from advlab import data
from advlab.attacks import FGSM, PGD
from advlab.detectors import ActivationClassifier, InputClassifier, SafetyNet, examples
from advlab.goals import Undetected
from advlab.models import activations, load_model, predict


@pytest.fixture(scope="module")
def digits():
    """The course's network, 1,000 digits to learn from and 80 to judge by."""
    loaded = data.load("mnist5k", device="cpu")
    (x, y), (x_test, y_test) = loaded.train, loaded.test
    return load_model("mnist-cnn", "cpu"), (x[:1000], y[:1000]), (x_test[:80], y_test[:80])


@pytest.fixture(scope="module")
def fitted(digits):
    """name → detector, fitted once on the digits."""
    makes = {
        "input": lambda: InputClassifier(epochs=3),
        "activations": lambda: ActivationClassifier(layer="features.2", epochs=3),
        "safetynet": SafetyNet,
    }
    made = {}

    def get(name):
        if name not in made:
            made[name] = makes[name]().fit(*digits[:2])
        return made[name]

    return get


def auc(detector, natural, adversarial):
    scores = torch.cat((detector.score(natural), detector.score(adversarial)))
    return roc_auc_score([0] * len(natural) + [1] * len(adversarial), scores)


def undetected(defended, x, y):
    """The share of images that are wrong and not rejected."""
    answer = predict(defended, x)
    return ((answer != y) & (answer != 10)).double().mean().item()


@pytest.mark.parametrize(
    ("name", "least"), [("input", 0.99), ("activations", 0.98), ("safetynet", 0.93)]
)
def test_the_attack_that_was_learned_is_told_from_natural_digits(fitted, digits, name, least):
    model, _, (x, y) = digits
    found = examples(model, FGSM(eps=0.3), x, y)
    assert auc(fitted(name), found.natural, found.adversarial) > least
    # Labels that say nothing would give one half.
    assert abs(auc(fitted(name), found.natural[::2], found.natural[1::2]) - 0.5) < 0.2


@pytest.mark.parametrize(
    ("name", "gamma", "caught", "broken"),
    [("activations", 1.0, 0.05, 0.4), ("safetynet", 10.0, 0.4, 0.85)],
)
def test_the_break(fitted, digits, name, gamma, caught, broken):
    """PGD on the model alone is rejected; PGD on the model and its detector is not."""
    model, _, (x, y) = digits
    x, y = x[:40], y[:40]
    defended = fitted(name).defended(0.05)
    plain = PGD(eps=0.3, steps=20)(model, x, y)
    assert (predict(model, plain) != y).double().mean() > 0.9
    assert undetected(defended, plain, y) <= caught
    knows = PGD(eps=0.3, steps=30, goal=Undetected(gamma=gamma), backward="substitute")
    assert undetected(defended, knows(defended, x, y), y) >= broken


def test_the_break_of_the_input_classifier_in_l2(fitted, digits):
    model, _, (x, y) = digits
    x, y = x[:40], y[:40]
    defended = fitted("input").defended(0.05)
    plain = PGD(eps=4.0, steps=20, norm="L2")(model, x, y)
    assert (predict(model, plain) != y).double().mean() > 0.9
    assert undetected(defended, plain, y) <= 0.2
    knows = PGD(eps=4.0, steps=30, norm="L2", goal="undetected")
    assert undetected(defended, knows(defended, x, y), y) >= 0.8


def small(front=None):
    """An untrained network that gives each of its classes to about a third of the images."""
    torch.manual_seed(0)
    model = front or nn.Sequential(
        nn.Identity(), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)
    )
    x = torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    with torch.no_grad():
        model[-1].bias -= model(x).mean(0)
    return model, x, predict(model, x)


def corner(model, x, y):
    """An attack that adds a bright corner to an image, and another one's inside."""
    other = x.roll(1, 0).clone()
    other[:, :, :4, :4] = 1
    return other


def test_at_the_image_an_activation_classifier_is_the_input_classifier():
    model, x, y = small()
    first = InputClassifier(corner, epochs=2).fit(model, (x, y))
    second = ActivationClassifier(corner, layer="0", epochs=2).fit(model, (x, y))
    assert torch.equal(first.score(x), second.score(x))


def test_what_is_learned_is_seen_at_the_layer():
    model, x, y = small()
    detector = ActivationClassifier(corner, layer="2", epochs=40).fit(model, (x, y))
    marked = x.clone()
    marked[:, :, :4, :4] = 1
    assert auc(detector, x, marked) > 0.95
    # Only the layer counts: another last layer changes nothing.
    before = detector.score(x)
    with torch.no_grad():
        model[4].weight.zero_()
    assert torch.equal(detector.score(x), before)


def test_the_score_is_the_difference_of_the_logits_and_its_gradient_is_right():
    model, x, y = small()
    model, x = model.double(), x.double()
    detector = ActivationClassifier(corner, layer="2", epochs=2).fit(model, (x, y))
    maps = activations(model, x, ["2"])["2"]
    logits = detector.network((maps - detector.low) / detector.range)
    assert torch.allclose(detector.score(x), (logits[:, 1] - logits[:, 0]).detach())
    point = x[:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(detector, point, atol=1e-6)


def test_each_channel_is_scaled_by_its_range_in_training():
    model, x, y = small()
    detector = ActivationClassifier(corner, layer="2", epochs=1).fit(model, (x, y))
    assert detector.low.shape == detector.range.shape == (1, 3, 1, 1)
    maps = activations(model, torch.cat((x, corner(model, x, y))), ["2"])["2"]
    scaled = detector.scaled(maps)
    assert scaled.min() >= -0.2
    assert 0.8 < scaled.amax() < 1.5


def test_several_attacks_and_noise():
    model, x, y = small()
    seen = []

    class Watching(InputClassifier):
        def learn_from(self, images, labels, seed):
            seen.append((len(images), int(labels.sum())))
            super().learn_from(images, labels, seed)

    strong = FGSM(eps=0.5)
    Watching(strong, epochs=1).fit(model, (x, y))
    Watching((strong, corner), epochs=1).fit(model, (x, y))
    Watching((strong, corner), noisy=True, epochs=1).fit(model, (x, y))
    (n1, a1), (n2, a2), (n3, a3) = seen
    assert n1 - a1 == n2 - a2 == 90  # natural: three quarters of the 120 images
    assert 0 < a1 < a2 == a3
    assert n3 - a3 == 90 + a3  # a noisy image for each adversarial one


def test_learning_noise_as_natural_lowers_its_alarm(digits):
    model, (x, y), (x_test, y_test) = digits
    found = examples(model, FGSM(eps=0.3), x_test, y_test)
    plain = InputClassifier(epochs=1).fit(model, (x[:400], y[:400]))
    taught = InputClassifier(noisy=True, epochs=3).fit(model, (x[:400], y[:400]))
    assert auc(plain, found.natural, found.noisy) > 0.9  # noise looks like an attack to it
    assert auc(taught, found.noisy, found.adversarial) > 0.95
    assert auc(taught, found.natural, found.noisy) < 0.9


@pytest.mark.parametrize("bins", [2, 4])
def test_safetynet_is_scikit_learns_machine_on_the_codes(bins):
    model, x, y = small()
    detector = SafetyNet(corner, layer="2", bins=bins, gamma=0.02, C=3.0).fit(model, (x, y))
    kept = {}

    class Watching(SafetyNet):
        def learn_from(self, seen, labels, seed):
            kept.update(seen=seen, labels=labels)
            super().learn_from(seen, labels, seed)

    Watching(corner, layer="2", bins=bins).fit(model, (x, y))
    assert len(detector.thresholds) == bins - 1
    assert detector.thresholds[0] == 0
    assert (detector.thresholds.diff() > 0).all()

    def codes(seen):  # by brute force
        return [[sum(a > t for t in detector.thresholds) for a in row] for row in seen.flatten(1)]

    machine = SVC(gamma=0.02, C=3.0).fit(codes(kept["seen"]), kept["labels"])
    wanted = machine.decision_function(codes(activations(model, x, ["2"])["2"]))
    assert torch.allclose(detector.score(x).double(), torch.from_numpy(wanted), atol=1e-4)


def test_the_bins_above_0_are_filled_evenly(fitted, digits):
    model, _, (x, _) = digits
    detector = fitted("safetynet")
    codes = detector.codes(activations(model, x, ["classifier.1"])["classifier.1"])
    filled = codes[codes > 0].long().bincount()[1:] / (codes > 0).sum()
    assert filled.shape == (3,)
    assert (filled - 1 / 3).abs().max() < 0.05


def test_codes_have_no_gradient_and_the_substitute_has(fitted, digits):
    detector, (x, y) = fitted("safetynet"), digits[2]
    x = x[:20].clone().requires_grad_()
    assert not detector.process(x).requires_grad
    score = detector.substitute(x)
    assert torch.allclose(score.detach(), detector.score(x.detach()), atol=1e-4)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    # Down the gradient the machine's own verdict goes down.
    attacked = examples(digits[0], FGSM(eps=0.3), x.detach(), y[:20]).adversarial
    start = attacked.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detector.substitute(start).sum(), start)
    moved = (attacked - 0.05 * gradient.sign()).clamp(0, 1)
    assert (detector.score(moved) < detector.score(attacked)).double().mean() > 0.8


def test_an_attack_that_does_not_know_goes_blind(fitted, digits):
    (x, y), defended = digits[2], fitted("safetynet").defended(0.05)
    x, y = x[:40], y[:40]
    attack = PGD(eps=0.3, steps=30, goal=Undetected(gamma=10.0))
    blind = undetected(defended, attack(defended, x, y), y)
    sees = undetected(defended, attack.changed(backward="substitute")(defended, x, y), y)
    assert sees > blind + 0.2


def test_bad_input_is_told():
    model, x, y = small()
    for wrong in (3, [], ["FGSM"]):
        with pytest.raises(ValueError, match="attack: expected"):
            InputClassifier(wrong)
    for name in ("epochs", "width", "hidden"):
        with pytest.raises(ValueError, match=f"{name}: expected a whole number from 1, found 0"):
            InputClassifier(**{name: 0})
    for setting in ({"bins": 1}, {"C": 0}, {"gamma": -1}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            SafetyNet(**setting)
    with pytest.raises(ValueError, match="found 'seven', expected among"):
        ActivationClassifier(corner, layer="seven").fit(model, (x, y))
    with pytest.raises(ValueError, match="fools the model on none"):
        InputClassifier(FGSM(eps=0.0)).fit(model, (x, y))
    below, x, y = small(nn.Sequential(Below(), nn.Flatten(), nn.Linear(64, 3)))
    with pytest.raises(ValueError, match="'0' has no output above 0"):
        SafetyNet(corner, layer="0").fit(below, (x, y))


class Below(nn.Module):
    def forward(self, x):
        return x - 2


def test_a_flat_layer_is_read_by_linear_layers_alone():
    model, x, y = small()
    detector = ActivationClassifier(corner, epochs=1).fit(model, (x, y))
    assert detector.looks_at == "3"  # what the last linear layer is given
    assert not any(isinstance(part, nn.Conv2d) for part in detector.network)
