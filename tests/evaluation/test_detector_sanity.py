"""Each check of a model that may reject has a system that trips it, and one that does not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab import backend
from advlab.attacks import AdaptiveCWL2, AdaptivePGD
from advlab.detectors import Defended, Detector
from advlab.evaluation import sanity
from advlab.evaluation.detector_sanity import (
    Guarded,
    accuracy_over_eps,
    adaptive_beats_plain,
    alarm_gradient,
    another_class,
    black_box,
    false_alarms,
    good_attacks_exist,
    random_alarm,
    random_noise,
    saturated_loss,
    unbounded,
    zero_gradient,
)
from advlab.goals import UNTARGETED, Undetected
from advlab.models import predict, predict_logits

EPS, N = 0.1, 60
QUICK = {"eps": EPS, "steps": 6, "queries": 30}


@pytest.fixture
def linear(device):
    """Three classes of 8 × 8 images by a random matrix: noise of size ε does little here."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 64, generator=backend.generator(3)))
        model[1].weight.sub_(model[1].weight.mean(1, keepdim=True))  # brightness says nothing
        model[1].bias.zero_()
    return model.to(device).eval()


def some(model, count, gap, seed=5):
    """Images whose class is ahead of the others by a gap, in units of ε ‖w_i − w_j‖."""
    x = torch.rand(2000, 1, 8, 8, generator=backend.generator(seed))
    x = x.to(next(model.parameters()).device)
    logits, weight = predict_logits(model, x), model[1].weight.detach()
    lead = logits.amax(1, keepdim=True) - logits
    size = (weight[logits.argmax(1)][:, None] - weight[None]).norm(dim=2)
    ahead = torch.where(size > 0, lead / (EPS * size).clamp_min(1e-9), torch.inf).amin(1)
    x = x[ahead > gap][:count]
    return x, predict(model, x)


@pytest.fixture
def images(linear):
    return some(linear, N, 3)


def two_tones(model, count, seed=5):
    """Images of a light and a dark gray: their contrast is nearly that of all others."""
    random = backend.generator(seed)
    tones = torch.randn(count, 1, 8, 8, generator=random).sign()
    x = 0.5 + (0.24 + 0.02 * torch.rand(count, 1, 1, 1, generator=random)) * tones
    x = x.to(next(model.parameters()).device)
    return x, predict(model, x)


class Score(Detector):
    """A function as a score."""

    def __init__(self, function, stand_in=None):
        super().__init__()
        self.function, self.stand_in = function, stand_in or function

    def process(self, x):
        return self.function(self.model, x)

    def substitute(self, x):
        return self.stand_in(self.model, x)


def unsure(model, x):
    """How little the first class is ahead: an attack that goes on lowers it by itself."""
    top = model(x).topk(2, dim=1).values
    return top[:, 1] - top[:, 0]


def contrast(model, x):
    return (x - 0.5).abs().flatten(1).mean(1)


def detached(model, x):
    return contrast(model, x.detach())


def turned(model, x):
    return -contrast(model, x)


def noisy(model, x):
    return contrast(model, x) * (1 + 0.05 * torch.randn(len(x), device=x.device))


def dull(model, x):
    """An attack draws the tones together: a step towards another class costs contrast."""
    return -contrast(model, x)


def fitted(linear, score, gap=3):
    return score.fit(linear, some(linear, 400, gap, seed=6))


def test_a_detector_that_hides_nothing_passes_all(linear, images):
    """Random noise is harmless, natural images pass, and the attack that knows it wins."""
    report = sanity(fitted(linear, Score(unsure)).defended(0.05), images, eps=0.2, steps=6)
    assert report.passed, str(report)
    assert len(report.checks) == 11
    assert report["false alarms"].measured["promised"] == pytest.approx(0.05, abs=0.01)
    assert report["unbounded attack"].measured["fooled"] == report.attacked
    assert report.robust_accuracy < 0.2


def ask(check, defended, images, **changes):
    """One check alone: the whole report is ten others."""
    return check(Guarded(defended, *images, **{"norm": "Linf", **QUICK, **changes}))


TRIPS = [
    (alarm_gradient, Score(detached)),
    (alarm_gradient, Score(lambda m, x: 0 * x.flatten(1).sum(1))),
    (random_alarm, Score(noisy)),
]
HIDES = [
    (unbounded, Score(dull, contrast)),
    (accuracy_over_eps, Score(dull, contrast)),
    (accuracy_over_eps, Score(lambda m, x: dull(m, x.detach()))),
]


@pytest.mark.parametrize(("check", "score"), TRIPS)
def test_a_disguise_trips_its_check(check, score, linear, images):
    found = ask(check, fitted(linear, score).defended(0.05), images)
    assert found.suspicious, found


@pytest.mark.parametrize(("check", "score"), HIDES)
def test_where_neither_attack_finds_what_must_be_there(check, score, linear):
    """A step to another class is noticed; how not to be is told wrongly, or not at all."""
    defended = score.fit(linear, two_tones(linear, 400, seed=6)).defended(0.05)
    found = ask(check, defended, two_tones(linear, N), eps=2 * EPS)
    assert found.suspicious, found


def test_one_of_two_attacks_is_enough_without_a_bound(linear, images):
    """PGD goes far and is noticed; C&W's attack stays near x, where it need not see the alarm."""
    defended = fitted(linear, Score(detached)).defended(0.05)
    suspect = Guarded(defended, *images, norm="Linf", **QUICK)
    far = suspect.fooled(suspect.pgd(eps=suspect.limit, random_start=False))
    near = suspect.fooled(suspect.smallest())
    assert far.sum() < suspect.n / 2
    found = unbounded(suspect)
    assert found.suspicious is False
    assert found.measured["fooled"] == int((far | near).sum())
    assert "adaptive PGD or C&W" in found.says
    # What PGD has found counts where C&W's attack, here without a step, finds nothing.
    suspect.smallest = lambda: AdaptiveCWL2(steps=1, searches=1, lr=0.0)
    assert far.any()
    assert torch.equal(suspect.fooled_from_the_image(suspect.limit), far)
    # Within a bound it is PGD alone.
    small = suspect.pgd(eps=EPS / 2, random_start=False)
    assert torch.equal(suspect.fooled_from_the_image(EPS / 2), suspect.fooled(small))


def test_a_score_that_is_flat_and_has_a_stand_in_is_seen(linear, images):
    """The white box differentiates the stand-in: the alarm is no secret to it."""
    defended = fitted(linear, Score(detached, contrast)).defended(0.05)
    found = ask(alarm_gradient, defended, images)
    assert found.suspicious is False
    assert found.measured["zero"] == 0
    assert ask(unbounded, defended, images).suspicious is False


def test_the_report_says_what_each_suspicion_means(linear, images):
    report = sanity(fitted(linear, Score(detached)).defended(0.05), images, **QUICK)
    assert not report.passed
    assert all(check.says in str(report) for check in report.suspicious)


def test_no_image_is_of_the_class_rejected(linear, images):
    x, y = images
    defended = fitted(linear, Score(contrast)).defended(0.05)
    with pytest.raises(ValueError, match="expected classes below 3, where 'rejected' begins"):
        sanity(defended, (x, torch.full_like(y, 3)), **QUICK)


def test_an_attack_that_has_to_know_of_the_detector(linear):
    """A plain one is noticed; the adaptive one holds the contrast while it leaves the class."""
    defended = Score(dull).fit(linear, two_tones(linear, 400, seed=6)).defended(0.05)
    suspect = Guarded(defended, *two_tones(linear, N), norm="Linf", **QUICK)
    found = adaptive_beats_plain(suspect)
    assert found.suspicious
    assert found.measured["adaptive PGD fools"] == suspect.n > found.measured["plain PGD fools"]
    assert not black_box(suspect).suspicious


def test_a_detector_that_misleads_the_gradient(linear):
    """Its stand-in points the wrong way: who sees scores alone fools more."""
    detector = Score(dull, contrast).fit(linear, two_tones(linear, 400, seed=6))
    defended, images = detector.defended(0.05), two_tones(linear, N)
    assert ask(black_box, defended, images, eps=2 * EPS, queries=150).suspicious
    assert ask(accuracy_over_eps, defended, images, eps=2 * EPS).suspicious


def test_noise_that_fools_the_whole(linear, images):
    """Images at the border of a class fall to noise; those at some distance do not."""
    defended = fitted(linear, Score(contrast), 0).defended(0.05)
    near = ask(random_noise, defended, some(linear, N, 0))
    assert near.suspicious
    assert near.measured["fooled"] > 3
    assert ask(random_noise, defended, images).suspicious is False


def test_a_threshold_made_of_other_images_breaks_its_promise(linear, images):
    detector = fitted(linear, Score(contrast))
    kept = ask(false_alarms, detector.defended(0.05), images)
    assert kept.suspicious is False
    dull = 0.5 + 0.92 * (some(linear, 100, 3, seed=7)[0] - 0.5)
    broken = ask(false_alarms, detector.calibrate(dull).defended(0.05), images)
    assert broken.suspicious
    assert broken.measured["promised"] == 0.05
    assert broken.measured["rejected"] > 0.2 * broken.measured["of"]


def test_the_chance_of_false_alarms_in_closed_form(linear, images):
    """Above the one score of a calibration lies any fraction alike: of n images any number."""
    x, _ = images
    ordered = x[(x - 0.5).abs().flatten(1).mean(1).argsort()]
    for place in (5, 30, 50):
        detector = fitted(linear, Score(contrast)).calibrate(ordered[place : place + 1])
        found = ask(false_alarms, detector.defended(0.0), images).measured
        assert 0 < found["rejected"] < len(x)
        assert found["promised"] == 0
        assert found["p"] == pytest.approx((len(x) + 1 - found["rejected"]) / (len(x) + 1))


def test_who_rejects_half_of_all_images_keeps_its_promise_and_is_no_good(linear, images):
    detector = fitted(linear, Score(contrast))
    assert ask(false_alarms, detector.defended(0.5), images).suspicious is False
    assert ask(good_attacks_exist, detector.defended(0.5), images).suspicious is True
    assert ask(good_attacks_exist, detector.defended(0.05), images).suspicious is False


def test_the_classes_are_asked_without_rejected(linear, images):
    """Rounded pixels, and logits without end, are the model's own disguises."""
    flat = nn.Sequential(linear, _Times(1e6)).eval()
    learned = some(linear, 400, 3, seed=6)
    defended = Defended(Score(contrast).fit(flat, learned), 1.0)
    assert ask(saturated_loss, defended, images).suspicious
    assert not ask(zero_gradient, defended, images).suspicious
    blind = nn.Sequential(_Detach(), linear).eval()
    assert ask(zero_gradient, Defended(Score(contrast).fit(blind, learned), 1.0), images).suspicious


class _Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class _Detach(nn.Module):
    def forward(self, x):
        return x.detach()


def test_success_is_wrong_and_not_noticed(linear, images):
    """A system that rejects whatever was touched stands, though each image is wrong."""
    x, y = images
    defended = fitted(linear, Score(contrast)).defended(0.05)
    suspect = Guarded(defended, x, y, eps=EPS, norm="Linf", steps=5)
    assert isinstance(suspect.pgd(), AdaptivePGD)
    assert suspect.plain().backward is None
    assert suspect.plain().aim == Undetected(gamma=0)  # it looks at the classes alone
    assert suspect.transfer().aim == UNTARGETED  # a surrogate's last class is one like the others
    shown = torch.stack((suspect.x[0], torch.ones_like(x[0]), suspect.x[1]))
    y = torch.stack((suspect.y[0], (suspect.y[0] + 1) % 3, (suspect.y[1] + 1) % 3))
    assert suspect.wrong(shown, y).tolist() == [False, False, True]


def test_a_surrogate_needs_no_class_rejected(linear, images):
    defended = fitted(linear, Score(contrast, turned)).defended(0.05)
    suspect = Guarded(defended, *images, norm="Linf", surrogate=linear, **QUICK)
    found = black_box(suspect)
    assert {"Square fools", "transfer fools", "either fools"} <= set(found.measured)
    assert not suspect.failed


def test_a_system_without_calibration_has_no_promise_to_break(linear, images):
    class Sure(nn.Module):
        rejected = -1

        def __init__(self):
            super().__init__()
            self.model = linear

        def forward(self, x):
            logits = self.model(x)
            return torch.cat((logits, logits.detach().amax(1, keepdim=True) - 1), 1)

    assert ask(false_alarms, Sure(), images).suspicious is None
    assert ask(good_attacks_exist, Sure(), images).suspicious is False


def test_images_of_one_class_have_no_other_to_copy(linear, images):
    x, y = images
    defended = fitted(linear, Score(contrast)).defended(0.05)
    one = y == y[0]
    assert ask(good_attacks_exist, defended, (x[one], y[one])).suspicious is None


def test_every_image_is_copied_about_as_often():
    labels = torch.arange(60) % 3
    counts = another_class(labels, labels).bincount(minlength=60)
    assert counts.max() <= 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 12))
def test_the_image_copied_is_of_another_class(labels, count):
    labels = torch.tensor(labels)
    y = labels[:count]
    found = another_class(labels, y)
    if len(labels.unique()) == 1:
        assert found is None
    else:
        assert (labels[found] != y).all()
