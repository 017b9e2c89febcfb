"""Fingerprints in the plane: the band of a linear classifier, and the landscape of a network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from advlab.defenses import Fingerprints, FingerprintTraining
from advlab.defenses.fingerprint_plane import (
    band_fingerprints,
    landscape,
    linear_classifier,
    linear_distances,
    plane,
)
from advlab.detectors import NeuralFingerprint
from advlab.models import MLP
from advlab.training import fit


def toy(seed: int):
    """A line through the middle of the square, and points on both sides of it."""
    torch.manual_seed(seed)
    w = torch.randn(1, 1, 2, dtype=torch.float64)
    b = -0.5 * w.sum().item()
    x = torch.rand(400, 1, 1, 2, dtype=torch.float64)
    signed = ((x * w).flatten(1).sum(1) + b) / w.norm()
    kept = (signed.abs() > 0.1) & (signed.abs() < 0.25)
    return w, b, x[kept], (signed[kept] > 0).long()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), slack=st.floats(0.001, 0.05))
def test_the_band_is_where_the_data_are(seed, slack):
    """Accepted: as far from the boundary as the data on that side are, and nothing else."""
    w, b, x, y = toy(seed)
    fingerprints = band_fingerprints(w, b, x, y, slack=slack)
    assert len(fingerprints) == 4
    images = plane(41).double()
    accepted = linear_distances(w, b, fingerprints, images).amin(1) <= 0.25
    signed = ((images * w).flatten(1).sum(1) + b) / w.norm()
    own = ((x * w).flatten(1).sum(1) + b) / w.norm()
    inside = torch.zeros_like(accepted)
    for side in (1, -1):
        near, far = (side * own)[own * side > 0].aminmax()
        inside |= (side * signed > near - slack) & (side * signed < far + slack)
    assert torch.equal(accepted, inside)
    assert accepted.any()
    assert not accepted.all()
    # On real data all four agree, so that the distance is 0 for the right class.
    right = linear_distances(w, b, fingerprints, x).gather(1, y[:, None])
    assert right.abs().max() < 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_is_the_detectors_answer(seed):
    w, b, x, y = toy(seed)
    model = linear_classifier(w, b)
    for fingerprints in (
        band_fingerprints(w, b, x, y),
        Fingerprints.draw((1, 1, 2), 2, seed=seed, n=7, eps=0.5).double(),
    ):
        detector = NeuralFingerprint(fingerprints).fit(model, (x, y))
        images = plane(22).double()
        found = linear_distances(w, b, fingerprints, images)
        torch.testing.assert_close(detector.distances(images), found)
        torch.testing.assert_close(detector.score(images), found.amin(1))


def test_data_that_touch_the_boundary_are_told():
    w, b, x, y = toy(0)
    with pytest.raises(ValueError, match=r"further from the boundary than the slack, 0\.2"):
        band_fingerprints(w, b, x, y, slack=0.2)
    with pytest.raises(ValueError, match="expected images of both classes"):
        band_fingerprints(w, b, x[y == 0], y[y == 0])
    with pytest.raises(ValueError, match="right, and further"):
        band_fingerprints(w, b, x, 1 - y)


def test_the_grid_goes_along_the_first_pixel_first():
    x = plane(3, -1, 1).view(3, 3, 2)
    assert x[0].tolist() == [[-1, -1], [0, -1], [1, -1]]
    assert x[2, 0].tolist() == [-1, 1]


def two_blobs():
    torch.manual_seed(0)
    centers = torch.tensor([[0.3, 0.3], [0.7, 0.7]])
    y = torch.arange(100) % 2
    return (centers[y] + 0.05 * torch.randn(100, 2)).clamp(0, 1).view(-1, 1, 1, 2), y


class Pixels(MLP):
    """Two pixels, (N, 1, 1, 2), to two logits."""

    def __init__(self):
        super().__init__(classes=2, channels=2, size=1, hidden=(50, 50))


def test_training_makes_the_landscape_low_around_the_data_and_high_elsewhere():
    """A network that was not trained with the fingerprints says little of where the data are."""
    x, y = two_blobs()
    fingerprints = Fingerprints.draw((1, 1, 2), 2, seed=1, n=4, eps=0.3)
    away = (plane(31).view(-1, 1, 2) - x.view(1, -1, 2)).norm(dim=2).amin(1) > 0.15
    told = {}
    for trained in (True, False):
        torch.manual_seed(0)
        model = Pixels()
        objective = FingerprintTraining(fingerprints=fingerprints, weight=float(trained))
        fit(model, (x, y), objective=objective, epochs=200, batch_size=100, lr=0.01, progress=False)
        loss = landscape(model, fingerprints, steps=31)
        assert loss.shape == (31, 31)
        told[trained] = roc_auc_score(away, loss.flatten())
    assert told[True] > told[False] + 0.2
    assert told[True] > 0.8
