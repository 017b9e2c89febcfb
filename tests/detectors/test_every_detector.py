"""What holds for every detector. Add one by a line in ``DETECTORS``."""

import copy
import io
import math

import pytest
import torch
from scipy.stats import betabinom
from torch import nn

from advlab import training
from advlab.attacks import PGD
from advlab.backend import generator, seeded
from advlab.defenses import BitDepth
from advlab.detectors import (
    LID,
    ActivationClassifier,
    AnyOf,
    BayesianUncertainty,
    Combined,
    Detector,
    InputClassifier,
    KernelDensity,
    SafetyNet,
    SqueezingL1,
    examples,
)
from advlab.evaluation import sanity
from advlab.models import predict

ATTACK = PGD(eps=0.3, steps=5)


class Doubt(Detector):
    """The simplest: how little the first class is ahead of the second."""

    def process(self, x):
        top = self.fitted()(x.clone()).topk(2, 1).values
        return top[:, 1] - top[:, 0]


class Constant(Detector):
    """It does nothing."""

    def process(self, x):
        return 0 * x.flatten(1).sum(1)


# name: what makes a detector, not fitted. It watches images (N, 1, 8, 8) of 4 classes, by a small
# network with dropout.
DETECTORS = {
    "Doubt": Doubt,
    "InputClassifier": lambda: InputClassifier(ATTACK, epochs=2),
    "ActivationClassifier": lambda: ActivationClassifier(ATTACK, layer="0", epochs=2),
    "SafetyNet": lambda: SafetyNet(ATTACK),
    "SqueezingL1": lambda: SqueezingL1([BitDepth(1)]),
    "KernelDensity": KernelDensity,
    "BayesianUncertainty": BayesianUncertainty,
    "Combined": lambda: Combined([KernelDensity(), BayesianUncertainty()], attack=ATTACK),
    "LID": lambda: LID(attack=ATTACK, k=10, reference=50),
    "AnyOf": lambda: AnyOf([Doubt(), SafetyNet(ATTACK), SqueezingL1([BitDepth(1)])]),
}


def pictures(n, seed, device="cpu"):
    """Four coarse patterns under noise: (n, 1, 8, 8) in [0, 1], and their classes."""
    coarse = torch.rand(4, 1, 4, 4, generator=generator(99)) > 0.5
    pattern = coarse.float().repeat_interleave(2, 2).repeat_interleave(2, 3)
    draw = generator(seed)
    y = torch.randint(0, 4, (n,), generator=draw)
    x = 0.1 + 0.8 * pattern[y] + 0.15 * torch.randn(n, 1, 8, 8, generator=draw)
    return x.clamp(0, 1).to(device), y.to(device)


@pytest.fixture(scope="module")
def watched():
    """A network that has nearly all of the pictures right and is sure of them, on the CPU."""
    with seeded(torch.device("cpu"), 3):
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(384, 24),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(24, 4),
        )
    training.fit(model, pictures(400, 0), epochs=10, lr=0.01, progress=False)
    return model


@pytest.fixture(scope="module")
def fitted(watched):
    """name → that detector, fitted once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = DETECTORS[name]().fit(watched, pictures(320, 1))
        return made[name]

    return get


every = pytest.mark.parametrize("name", DETECTORS)


def auc(natural, adversarial):
    """The chance that the adversarial one of a pair scores higher; a tie counts one half."""
    more = (adversarial[:, None] > natural).double() + (adversarial[:, None] == natural) / 2
    return more.mean().item()


def suspects(detector, watched):
    found = examples(watched, ATTACK, *pictures(120, 2))
    assert len(found.y) > 40
    return auc(detector.score(found.natural), detector.score(found.adversarial))


@every
def test_adversarial_images_score_higher(fitted, watched, name):
    assert suspects(fitted(name), watched) > 0.7


def test_a_detector_that_does_nothing_fails_that_test(watched):
    assert suspects(Constant().fit(watched, pictures(320, 1)), watched) == 0.5


@every
def test_the_score_does_not_depend_on_the_batch(fitted, name):
    detector, (x, _) = fitted(name), pictures(12, 3)
    scores = detector.score(x)
    assert scores.shape == (12,)
    assert scores.isfinite().all()
    assert scores.unique().numel() > 6
    atol = 1e-4 * detector.spread
    assert torch.allclose(scores, detector.score(x, batch_size=1), rtol=1e-4, atol=atol)
    assert torch.allclose(scores.flip(0), detector.score(x.flip(0)), rtol=1e-4, atol=atol)
    assert torch.equal(scores, detector.score(x))
    assert detector.score(x[:0]).shape == (0,)


@every
def test_the_same_seed_learns_the_same(fitted, watched, name):
    x, _ = pictures(12, 3)
    torch.manual_seed(12345)  # what is drawn comes from fit's seed alone
    before = torch.get_rng_state()
    again = DETECTORS[name]().fit(watched, pictures(320, 1))
    assert torch.equal(again.score(x), fitted(name).score(x))
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_copied_and_saved(fitted, watched, name):
    detector, (x, _) = fitted(name), pictures(12, 3)
    scores = detector.score(x)
    assert torch.equal(copy.deepcopy(detector).score(x), scores)
    other = DETECTORS[name]().fit(watched, pictures(320, 7), seed=7)
    file = io.BytesIO()
    torch.save(detector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.score(x), scores)
    # One that was never fitted needs no images.
    fresh = DETECTORS[name]()
    with pytest.raises(ValueError, match="nothing is learned yet"):
        fresh.watch(watched)
    before = torch.get_rng_state()
    fresh.load_state_dict(detector.state_dict())
    assert fresh.watch(watched) is fresh
    assert torch.equal(fresh.score(x), scores)
    assert fresh.threshold(0.1) == detector.threshold(0.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(p is q for p in detector.parameters() for q in watched.parameters())


@every
def test_it_works_where_the_model_is(watched, device, name):
    model = copy.deepcopy(watched).to(device)
    x, _ = pictures(12, 3, device)
    scores = DETECTORS[name]().fit(model, pictures(160, 1, device)).score(x)
    assert scores.device.type == device.type
    assert scores.isfinite().all()


@every
def test_the_model_is_left_as_it_was(watched, name):
    model = copy.deepcopy(watched)
    model.train()
    model[0].weight.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    wanted = [p.requires_grad for p in model.parameters()]
    x, y = pictures(160, 1)
    given = x.clone()
    detector = DETECTORS[name]().fit(model, (x, y))
    detector.score(x[:5])
    PGD(eps=0.1, steps=2, goal="undetected", backward="substitute")(
        detector.defended(0.1), x[:5], y[:5]
    )
    assert torch.equal(x, given)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in [*model.parameters(), *detector.parameters()])
    assert not any(module._forward_hooks for module in model.modules())


@every
def test_natural_images_are_rejected_at_no_more_than_the_rate(fitted, watched, name):
    detector, (x, y) = fitted(name), pictures(600, 4)
    x = x[predict(watched, x) == y]
    n = len(detector.calibration)
    for rate in (0.05, 0.2):
        rejected = int((detector.score(x) > detector.threshold(rate)).sum())
        above = int(rate * n + 1e-9)
        # Natural images and those of the calibration are alike: the count is beta-binomial.
        assert rejected <= betabinom.ppf(0.9995, len(x), above + 1, n - above)


@every
def test_there_is_a_gradient_and_the_value_stays(fitted, watched, name):
    detector, (x, _) = fitted(name), pictures(12, 3)
    x = x + 0.3 * (0.5 - x)  # less sure, so that no softmax is saturated
    judged = detector.score(x)
    x = x.clone().requires_grad_()
    defended = detector.defended(0.1).eval()
    parts = [m for m in defended.modules() if hasattr(m, "takes") and m.takes("substitute")]
    for part in parts:
        part.backward = "substitute"
    try:
        score = detector(x)
        (gradient,) = torch.autograd.grad(score.sum(), x)
    finally:
        for part in parts:
            part.backward = "own"
    atol = 1e-4 * detector.spread
    assert torch.allclose(score.detach(), judged, rtol=1e-4, atol=atol)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().amax(1) > 0).double().mean() > 0.5


@every
def test_sanity_gives_a_verdict(fitted, name):
    """Every check, no error, no NaN; and what the white box follows has a gradient."""
    report = sanity(fitted(name).defended(0.1), pictures(24, 2), eps=0.15, steps=4, queries=10)
    assert not report.failed
    assert len(report.checks) == 11
    assert all(check.suspicious is not None for check in report.checks)
    assert all(math.isfinite(v) for check in report.checks for v in check.measured.values())
    for blind in ("zero gradient", "alarm without gradient", "random alarm"):
        assert report[blind].suspicious is False, str(report)


@every
def test_bad_input_is_told(fitted, watched, name):
    x = pictures(20, 5)[0]
    with pytest.raises(ValueError, match=r"not fitted yet; call \.fit"):
        DETECTORS[name]().score(x)
    with pytest.raises(ValueError, match="check the labels"):
        DETECTORS[name]().fit(watched, (x, (predict(watched, x) + 1) % 4))
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        fitted(name).score(x - 1)
    with pytest.raises(ValueError, match="from 0 to 1, found 5"):
        fitted(name).threshold(5)
