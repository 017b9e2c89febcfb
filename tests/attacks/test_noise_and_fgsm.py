"""Noise of the same size does next to nothing to the network that FGSM breaks."""

from __future__ import annotations

import pytest

from advlab import data
from advlab.attacks import FGSM, Noise
from advlab.models import accuracy, load_model


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 2.0)])
def test_noise_costs_under_2_points_where_fgsm_costs_over_20(norm, eps, device):
    model = load_model("mnist-cnn").to(device)
    x, y = (tensor.to(device) for tensor in data.load("mnist5k").test)
    clean = accuracy(model, x, y)
    assert clean > 0.97
    for seed in (0, 1):
        noisy = accuracy(model, Noise(eps=eps, norm=norm, seed=seed)(model, x, y), y)
        assert noisy > clean - 0.02
    assert accuracy(model, FGSM(eps=eps, norm=norm)(model, x, y), y) < clean - 0.20
