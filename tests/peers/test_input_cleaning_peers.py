"""Squeezing, smoothing and the thermometer of the Adversarial Robustness Toolbox."""

from __future__ import annotations

import pytest
import torch

from advlab.backend import generator
from advlab.defenses import BitDepth, MedianSmoothing, Thermometer

pytestmark = pytest.mark.peers


@pytest.fixture
def x():
    return torch.rand(3, 2, 9, 8, generator=generator(0))


def art_run(preprocessor, x):
    return torch.from_numpy(preprocessor(x.numpy().copy())[0]).float()


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bit_depth_equals_art(x, bits):
    from art.defences.preprocessor import FeatureSqueezing

    theirs = art_run(FeatureSqueezing(clip_values=(0, 1), bit_depth=bits), x)
    torch.testing.assert_close(BitDepth(bits=bits)(x), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_median_equals_art(x, size):
    from art.defences.preprocessor import SpatialSmoothing

    theirs = art_run(SpatialSmoothing(window_size=size, channels_first=True), x)
    assert torch.equal(MedianSmoothing(size=size)(x), theirs)


def test_the_thermometer_equals_art_but_for_the_last_level(x):
    """ART's first level is always 1, and ours is its second: x > 1 / 10."""
    from art.defences.preprocessor import ThermometerEncoding

    theirs = art_run(
        ThermometerEncoding(clip_values=(0, 1), num_space=10, channels_first=True), x
    ).view(3, 2, 10, 9, 8)
    ours = Thermometer(levels=10)(x).view(3, 2, 10, 9, 8)
    assert (theirs[:, :, 0] == 1).all()
    assert torch.equal(ours[:, :, :-1], theirs[:, :, 1:])
