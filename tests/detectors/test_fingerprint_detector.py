"""Neural fingerprinting as a detector: algorithm 1, its secret, and how it is beaten."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from advlab import attacks, data
from advlab.defenses import Fingerprinted, Fingerprints
from advlab.detectors import NeuralFingerprint, examples
from advlab.models import load_model, predict


def drawn(seed: int = 3, **changes) -> Fingerprints:
    return Fingerprints.draw((1, 8, 8), 5, seed=seed, **changes)


@pytest.fixture
def fitted(small_model, small_images):
    fingerprints = drawn(n=6, eps=0.3).to(small_images[0].device)
    return NeuralFingerprint(fingerprints).fit(small_model, small_images)


def test_it_accepts_where_any_class_is_within_tau(fitted, small_model):
    """Algorithm 1 as a loop, at the thresholds that the scores themselves give."""
    x = torch.rand(9, 1, 8, 8, device=fitted.calibration.device)

    def phi(image):
        h = small_model(image[None])[0]
        return h / h.norm()

    least = []
    with torch.no_grad():
        for image in x:
            of_class = []
            for j in range(5):
                away = 0.0
                for dx, dy in zip(fitted.fingerprints.dx, fitted.fingerprints.dy, strict=True):
                    away += (phi(image + dx) - phi(image) - dy[j]).norm().item() / 6
                of_class.append(away)
            least.append(min(of_class))
    score = fitted.score(x)
    assert score.tolist() == pytest.approx(least, abs=1e-5)
    assert torch.equal(fitted.distances(x).amin(1), score)
    tau = fitted.threshold(0.4)
    accepted = fitted.defended(0.4)(x).argmax(1) != 5
    assert accepted.tolist() == [away <= tau for away in least]


def test_fewer_may_be_asked_than_were_trained(small_model, small_images):
    x, _ = small_images
    fingerprints = drawn(n=6).to(x.device)
    few = NeuralFingerprint(fingerprints, n=2).fit(small_model, small_images)
    assert len(few.fingerprints) == 2
    assert torch.equal(few.score(x), NeuralFingerprint(fingerprints[:2]).fit(
        small_model, small_images
    ).score(x))  # fmt: skip
    assert not torch.allclose(
        few.score(x), NeuralFingerprint(fingerprints).fit(small_model, small_images).score(x)
    )


def test_those_that_the_network_carries_are_found_and_copied(small_model, small_images):
    x, _ = small_images
    inside = Fingerprinted(small_model, drawn().to(x.device))
    model = nn.Sequential(nn.Identity(), inside)
    detector = NeuralFingerprint().fit(model, small_images)
    given = NeuralFingerprint(inside.fingerprints).fit(small_model, small_images)
    assert torch.equal(detector.score(x), given.score(x))
    before = detector.score(x)
    inside.fingerprints.dx.zero_()
    assert torch.equal(detector.score(x), before)
    assert set(detector.state_dict()) == {"calibration", "fingerprints.dx", "fingerprints.dy"}
    # Fitted to another network, it takes those of that one; given ones stay.
    other = Fingerprinted(small_model, drawn(seed=9).to(x.device))
    assert torch.equal(detector.fit(other, small_images).fingerprints.dx, other.fingerprints.dx)
    assert not torch.equal(given.fit(other, small_images).fingerprints.dx, other.fingerprints.dx)


def test_other_fingerprints_give_other_scores(small_model, small_images):
    x, _ = small_images
    scores = [
        NeuralFingerprint(drawn(seed).to(x.device)).fit(small_model, small_images).score(x)
        for seed in (1, 2)
    ]
    assert not torch.allclose(*scores)


def test_its_gradient_is_that_of_the_least_distance(fitted, small_images):
    x = small_images[0][:3].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(fitted(x).sum(), x)
    assert slope.flatten(1).norm(dim=1).min() > 1e-4
    step = 1e-2 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        assert (fitted(x + step) > fitted(x - step)).all()


def test_neither_batch_nor_layout_nor_a_copy_counts(fitted, small_model, small_images):
    x = torch.rand(40, 1, 8, 8, device=small_images[0].device)
    scores = fitted.score(x)
    assert scores.shape == (40,)
    assert fitted.score(x[:0]).shape == (0,)
    torch.testing.assert_close(fitted.score(x, batch_size=1), scores)
    torch.testing.assert_close(fitted(x), scores)
    torch.testing.assert_close(fitted.distances(x[:7], batch_size=2).amin(1), scores[:7])
    other = NeuralFingerprint(drawn(9, n=6).to(x.device)).fit(small_model, small_images)
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other.score(x), scores)


def test_bad_settings_are_told(small_model, small_images):
    with pytest.raises(ValueError, match="model: carries no fingerprints"):
        NeuralFingerprint().fit(small_model, small_images)
    with pytest.raises(ValueError, match="n: expected from 1 to 10, found 11"):
        NeuralFingerprint(drawn(), n=11)
    with pytest.raises(ValueError, match="n: expected from 1 to 10, found 0"):
        NeuralFingerprint(drawn(), n=0)
    with pytest.raises(ValueError, match=r"expected advlab.defenses.Fingerprints, found int"):
        NeuralFingerprint(3)
    with pytest.raises(ValueError, match="not fitted yet"):
        NeuralFingerprint(drawn()).distances(small_images[0])


@pytest.fixture(scope="module")
def digits():
    x, y = data.load("mnist5k", device="cpu").test
    return x[:80], y[:80], (x[800:], y[800:])


def auc(detector, found) -> float:
    """Of adversarial images against natural ones and noisy ones of the same size."""
    scores = [detector.score(x) for x in (found.natural, found.noisy, found.adversarial)]
    return roc_auc_score([0] * 2 * len(found.y) + [1] * len(found.y), torch.cat(scores))


def test_the_zoos_network_tells_fgsm_apart_and_an_ordinary_one_does_not(digits):
    """The same detector and the same fingerprints on a network that was not trained with them:
    a detector that does nothing would do as well."""
    x, y, natural = digits
    trained = load_model("mnist-fingerprint", "cpu")
    detector = NeuralFingerprint().fit(trained, natural)
    assert auc(detector, examples(trained, attacks.FGSM(eps=0.3), x, y)) > 0.97
    plain = load_model("mnist-cnn", "cpu")
    lost = NeuralFingerprint(trained.fingerprints).fit(plain, natural)
    assert auc(lost, examples(plain, attacks.FGSM(eps=0.3), x, y)) < 0.8


def test_the_break(digits):
    """A plain attack is wrong and noticed. One that knows the fingerprints is wrong unnoticed."""
    x, y, natural = digits
    model = load_model("mnist-fingerprint", "cpu")
    defended = NeuralFingerprint().fit(model, natural).defended(0.05)
    kept = predict(defended, x) == y
    x, y = x[kept][:12], y[kept][:12]

    def unnoticed(x_adv):
        answer = predict(defended, x_adv)
        return ((answer != y) & (answer != 10)).double().mean().item()

    plain = attacks.PGD(eps=0.3, steps=20)(model, x, y)
    assert (predict(model, plain) != y).all()
    assert unnoticed(plain) == 0
    nearest = attacks.CWL2(steps=100, searches=4, lr=0.05, c=1.0, goal="undetected")(defended, x, y)
    assert unnoticed(nearest) > 0.7
    assert (nearest - x).flatten(1).norm(dim=1).mean() < 3
