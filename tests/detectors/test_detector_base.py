"""What all detectors share: the threshold, and the model that may say no."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from advlab.attacks import FGSM
from advlab.detectors import Detector, examples, noise_like
from advlab.models import predict, predict_logits


class Pixel(Detector):
    """The first pixel is the score."""

    def process(self, x):
        return x[:, 0, 0, 0]


class Learner(Pixel):
    """It remembers what it was given."""

    def learn(self, x, y, seed):
        self.given = x
        self.trainable = any(p.requires_grad for p in self.model.parameters())


class Ones(nn.Module):
    """Class 1 where the last pixel is above one half."""

    def forward(self, x):
        z = x[:, 0, -1, -1] - 0.5
        return torch.stack((-z, z), 1)


def images(n, seed=0):
    x = torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0, 1, 1] > 0.5).long()


@given(st.integers(1, 60), st.floats(0, 1))
def test_threshold_keeps_its_promise_and_is_the_lowest_that_does(n, rate):
    detector = Pixel().fit(Ones(), images(8))
    scores = torch.rand(n, generator=torch.Generator().manual_seed(n))
    detector.calibration = scores.sort().values
    threshold = detector.threshold(rate)
    assert (scores > threshold).double().mean() <= rate + 1e-9
    below = scores[scores < threshold]
    if len(below):  # a lower one would reject too many
        assert (scores > below.max()).double().mean() > rate
    assert (threshold == -math.inf) == (rate > 1 - 1e-10)


def test_fit_learns_from_images_that_are_right_and_keeps_others_for_the_threshold():
    x, y = images(101)
    y[:21] = 1 - y[:21]
    model = Ones()
    detector = Learner().fit(model, (x, y))
    assert len(detector.given) == 60
    assert len(detector.calibration) == 20
    assert not detector.trainable
    seen = {row.tobytes() for row in detector.given.numpy()}
    assert not seen & {row.tobytes() for row in x[:21].numpy()}
    calibration = set(detector.calibration.tolist())
    assert not calibration & set(detector.given[:, 0, 0, 0].tolist())
    assert calibration <= set(x[21:, 0, 0, 0].tolist())
    # Another seed, another part.
    assert not torch.equal(Learner().fit(model, (x, y), seed=1).given, detector.given)
    assert torch.equal(Learner().fit(model, (x, y)).given, detector.given)


def test_defended_rejects_exactly_above_the_threshold():
    x, y = images(400)
    detector = Pixel().fit(Ones(), (x, y))
    defended = detector.defended(0.1)
    over = detector.score(x) > detector.threshold(0.1)
    assert 0.03 < over.double().mean() < 0.2
    answer = predict(defended, x)
    assert torch.equal(answer == 2, over)
    assert torch.equal(answer[~over], y[~over])
    assert torch.equal(predict_logits(defended, x)[:, :2], predict_logits(Ones(), x))


def test_defended_rejects_by_less_than_the_rounding_of_large_logits():
    class Large(Ones):
        def forward(self, x):
            return 1e8 * super().forward(x)

    x, y = images(40)
    detector = Pixel().fit(Large(), (x, y))
    detector.calibration = torch.tensor([0.0, 1.0])
    defended = type(detector.defended())(detector, 0.5)
    close = x.clone()
    close[:, 0, 0, 0] = 0.5 + 1e-6
    assert (predict(defended, close) == 2).all()
    close[:, 0, 0, 0] = 0.5
    assert (predict(defended, close) == y).all()


def test_the_alarm_is_told_in_spreads_and_has_a_gradient():
    x, y = images(40)
    detector = Pixel().fit(Ones(), (x, y))
    defended = detector.defended(0.1)
    x = x.requires_grad_()
    logits = defended(x)
    alarm = logits[:, 2] - logits[:, :2].amax(1)
    wanted = (x[:, 0, 0, 0] - defended.threshold) / detector.spread
    assert torch.allclose(alarm, wanted, atol=1e-6)
    (gradient,) = torch.autograd.grad(alarm.sum(), x)
    inside = wanted < 0  # above, rounding's least step may stand in
    assert torch.allclose(gradient[inside, 0, 0, 0], torch.tensor(1 / detector.spread))


def test_the_stand_in_is_differentiated_and_the_score_judges():
    class Rounded(Pixel):
        def process(self, x):
            return (4 * x[:, 0, 0, 0]).round() / 4

        def substitute(self, x):
            return x[:, 0, 0, 0]

    x, y = images(200)
    detector = Rounded().fit(Ones(), (x, y))
    defended = detector.defended(0.3)
    x, y = x[y == 0][:50], y[y == 0][:50]
    adversarial = FGSM(eps=1.0, goal="undetected", backward="substitute")(defended, x, y)
    assert (adversarial[:, 0, 0, 0] <= x[:, 0, 0, 0]).all()
    assert (predict(defended, adversarial) == 1).all()
    assert detector.backward == "own"
    # The score that the user asks for is never the stand-in's.
    detector.backward = "substitute"
    assert torch.equal(detector.score(x), (4 * x[:, 0, 0, 0]).round() / 4)


def test_a_score_that_is_its_own_substitute_is_computed_once():
    class Counting(Pixel):
        asked = 0

        def process(self, x):
            self.asked += 1
            return super().process(x)

    class Standing(Counting):
        def substitute(self, x):
            return x[:, 0, 0, 0] ** 2

    x, y = images(40)
    for kind, times in ((Counting, 1), (Standing, 1)):
        detector = kind().fit(Ones(), (x, y))
        detector.backward, detector.asked = "substitute", 0
        point = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(detector(point).sum(), point)
        assert detector.asked == times
        slope = 1 if kind is Counting else 2 * x[:, 0, 0, 0]
        assert torch.equal(gradient[:, 0, 0, 0], slope + torch.zeros(40))
        assert torch.equal(detector(point).detach(), x[:, 0, 0, 0])


def test_moved_and_saved_without_the_model():
    detector = Pixel().fit(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), images(90))
    assert list(detector.state_dict()) == ["calibration"]
    assert [name for name, _ in detector.defended().named_children()] == ["model", "detector"]


def test_bad_input_is_told():
    x, y = images(20)
    detector = Pixel()
    with pytest.raises(ValueError, match=r"Pixel: not fitted yet; call \.fit"):
        detector.score(x)
    with pytest.raises(ValueError, match="not fitted yet"):
        detector.defended()
    with pytest.raises(ValueError, match="found 0 of 20; check the labels"):
        detector.fit(Ones(), (x, 1 - y))
    detector.fit(Ones(), (x, y))
    with pytest.raises(ValueError, match="from 0 to 1, found 5"):
        detector.threshold(5)
    with pytest.raises(ValueError, match="threshold: expected a finite number, found -inf"):
        detector.defended(1.0)
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        detector.score(x + 1)
    with pytest.raises(ValueError, match="finite scores, found 0 of 0"):
        detector.calibrate(x[:0])


def test_examples_are_right_before_and_wrong_after():
    x, y = images(100)
    x[:, 0, 1, 1] = 0.25 + 0.5 * x[:, 0, 1, 1]
    y[:10] = 1 - y[:10]
    found = examples(Ones(), FGSM(eps=0.1), x, y)
    assert 0 < len(found.y) < 90
    assert (predict(Ones(), found.natural) == found.y).all()
    assert (predict(Ones(), found.adversarial) != found.y).all()
    with pytest.raises(ValueError, match="fools the model on none of 90 images"):
        examples(Ones(), FGSM(eps=0.0), x, y)


def test_noise_is_as_large_as_the_perturbation():
    x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:10] = x[:10].round()  # at the edge of the box, where half of the noise is cut off
    x_adv = (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    noisy = noise_like(x, x_adv, 3)
    size = (noisy - x).flatten(1).norm(dim=1)
    assert torch.allclose(size, (x_adv - x).flatten(1).norm(dim=1), rtol=1e-4)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert not torch.equal(noisy, noise_like(x, x_adv, 4))
    assert torch.equal(noisy[7:9], noise_like(x[7:9], x_adv[7:9], 3))


def test_noise_of_few_pixels_changes_as_many():
    x = torch.full((20, 1, 8, 8), 0.5)
    x_adv = x.clone()
    for row in range(20):
        x_adv[row].view(-1)[: row + 1] = 1
    noisy = noise_like(x, x_adv, few=True)
    changed = (noisy != x).flatten(1).sum(1)
    assert changed.tolist() == list(range(1, 21))
    assert set(noisy[noisy != x].tolist()) == {0.0, 1.0}
