"""The L1 distance of what the model says of an image and of the image squeezed."""

import pytest
import torch
from torch import nn

from advlab import data
from advlab.attacks import BIM, CWL2, PGD
from advlab.defenses import BitDepth, MedianSmoothing
from advlab.detectors import SqueezingL1
from advlab.goals import Undetected
from advlab.models import BPDA, load_model, predict


@pytest.fixture(scope="module")
def digits():
    loaded = data.load("mnist5k", device="cpu")
    (x, y), (x_test, y_test) = loaded.train, loaded.test
    model = load_model("mnist-cnn", "cpu")
    x_test, y_test = x_test[:30], y_test[:30]
    return SqueezingL1().fit(model, (x[:600], y[:600])), x_test, y_test


def undetected(defended, x, y):
    answer = predict(defended, x)
    return ((answer != y) & (answer != 10)).double().mean().item()


def test_the_score_by_brute_force(digits):
    detector, x, _ = digits
    model = detector.model
    with torch.no_grad():
        for image, found in zip(x[:6], detector.score(x[:6]), strict=True):
            answers = [model(g(image[None]))[0].exp() for g in (BitDepth(1), MedianSmoothing(2))]
            first = model(image[None])[0].exp()
            apart = []
            for other in answers:
                pairs = zip(first / first.sum(), other / other.sum(), strict=True)
                apart.append(sum(abs(p - q) for p, q in pairs))
            assert torch.allclose(found, max(apart), atol=1e-5)


def test_it_lies_between_0_and_2():
    class Sure(nn.Module):
        """Class 1 where the mean is above one half, by 1,000 logits."""

        def forward(self, x):
            z = 1000 * (x.flatten(1).mean(1) - 0.5).sign()
            return torch.stack((-z, z), 1)

    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = predict(Sure(), x)
    same = SqueezingL1([MedianSmoothing(1)]).fit(Sure(), (x, y))
    assert (same.score(x) == 0).all()
    turned = SqueezingL1([MedianSmoothing(1), BPDA(lambda x: 1 - x)]).fit(Sure(), (x, y))
    assert (turned.score(x) == 2).all()  # the largest of the distances counts


def test_small_perturbations_are_rejected(digits):
    detector, x, y = digits
    defended = detector.defended(0.05)
    for attack in (PGD(eps=0.3, steps=20), BIM(eps=3.0, steps=30, norm="L2", variant="a")):
        plain = attack(detector.model, x, y)
        assert (predict(detector.model, plain) != y).double().mean() > 0.9
        assert undetected(defended, plain, y) <= 0.2


def test_the_break(digits):
    """The softmax and the rounding hide the gradient; their stand-ins show it."""
    detector, x, y = digits
    defended = detector.defended(0.05)
    x, y = x[:20], y[:20]
    attack = PGD(eps=5.0, steps=40, norm="L2", goal=Undetected(gamma=1.0))
    own = undetected(defended, attack(defended, x, y), y)
    knows = undetected(defended, attack.changed(backward="substitute")(defended, x, y), y)
    assert own <= 0.2
    assert knows >= 0.9


def test_the_smallest_perturbation_that_all_branches_agree_on(digits):
    """C&W's attack: f(x) is held, so that the squeezed images come to its class, and not it back.

    With early abort a descent ends while the saturated score still stands.
    """
    detector, x, y = digits
    learned = [part[:500] for part in data.load("mnist5k", device="cpu").train]
    joint = SqueezingL1([BitDepth(1), MedianSmoothing(3)]).fit(detector.model, tuple(learned))
    defended = joint.defended(0.05)
    x, y = x[:2], y[:2]
    attack = CWL2(goal="undetected", steps=60, searches=2, c=3.0, lr=0.04, abort_early=False)
    x_adv = attack.changed(backward="substitute")(defended, x, y)
    assert undetected(defended, x_adv, y) == 1
    assert (x_adv - x).flatten(1).norm(dim=1).mean() < 6


def test_the_substitute_keeps_the_value_and_has_the_gradient_of_the_cooler_softmax(digits):
    detector, x, _ = digits
    x = x[:8].clone().requires_grad_()
    model, heat = detector.model, detector.temperature
    detector.backward = "substitute"
    for squeezer in detector.squeezers:
        squeezer.backward = "substitute"
    try:
        score = detector(x)
        (gradient,) = torch.autograd.grad(score.sum(), x)
        parts = [model(squeezer(x)) / heat for squeezer in detector.squeezers]
        first = (model(x) / heat).softmax(1).detach()  # f(x) does not come back
        apart = torch.stack([(first - part.softmax(1)).abs().sum(1) for part in parts])
        (wanted,) = torch.autograd.grad(apart.amax(0).sum(), x)
    finally:
        detector.backward = "own"
        for squeezer in detector.squeezers:
            squeezer.backward = "own"
    assert torch.allclose(score, detector.score(x.detach()), atol=1e-6)
    assert torch.allclose(gradient, wanted, atol=1e-6)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_bad_input_is_told():
    for wrong in ([], [nn.Identity()]):
        with pytest.raises(ValueError, match=r"squeezers: expected steps such as .*BitDepth"):
            SqueezingL1(wrong)
    with pytest.raises(ValueError, match="temperature: expected a finite number"):
        SqueezingL1(temperature=0)
    x = torch.rand(9, 1, 2, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="images of at least"):
        SqueezingL1([MedianSmoothing(7)]).fit(model, (x, predict(model, x)))
