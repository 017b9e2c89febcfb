"""The destruction rate against counting by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab.evaluation import Destruction, destruction_rate
from advlab.transforms import Brightness, SensorNoise, Transformation


class Bright(nn.Module):
    """Class 1 if the mean is above ½, else 0."""

    def forward(self, x):
        over = x.flatten(1).mean(1) - 0.5
        return torch.stack([-over, over], 1)


def grays(*levels):
    return torch.tensor(levels, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


#               wrong from the start, not fooled, destroyed, destroyed, survives, survives
X = grays(0.7, 0.2, 0.3, 0.3, 0.3, 0.6)
ADV = grays(0.8, 0.3, 0.55, 0.51, 0.9, 0.4)
Y = torch.tensor([0, 0, 0, 0, 0, 1])


def test_by_hand():
    # 0.1 darker: 0.55 and 0.51 are right again, 0.9 is not, and 0.4, of class 1, gets no better.
    found = destruction_rate(Bright(), X, Y, ADV, Brightness(change=-0.1))
    assert found == Destruction(
        rate=2 / 4,
        counted=4,
        accuracy=pytest.approx(5 / 6),
        accuracy_after=pytest.approx(4 / 6),  # 0.6 becomes ½, which is class 0
        adversarial_accuracy=pytest.approx(1 / 6),
        adversarial_accuracy_after=pytest.approx(3 / 6),
    )


def test_through_nothing_nothing_is_destroyed():
    found = destruction_rate(Bright(), X, Y, ADV, Brightness())
    assert found.rate == 0
    assert found.accuracy_after == found.accuracy


def test_draws_are_averaged_and_seeded():
    noise = SensorNoise(read=0.1)
    single = [destruction_rate(Bright(), X, Y, ADV, noise, seed=s).rate for s in range(3, 23)]
    many = destruction_rate(Bright(), X, Y, ADV, noise, draws=20, seed=3)
    assert many.rate == pytest.approx(sum(single) / 20)
    assert len(set(single)) > 1
    assert many == destruction_rate(Bright(), X, Y, ADV, noise, draws=20, seed=3)


def test_natural_and_adversarial_images_are_transformed_alike():
    @dataclass(frozen=True, kw_only=True)
    class White(Transformation):
        def apply(self, x, draw):
            return torch.ones_like(x)

    found = destruction_rate(Bright(), X, Y, ADV, White())
    assert (found.rate, found.accuracy_after) == (1 / 4, pytest.approx(1 / 6))
    assert found.adversarial_accuracy_after == pytest.approx(1 / 6)


def test_wrong_use():
    with pytest.raises(ValueError, match="the rate is 0 / 0"):
        destruction_rate(Bright(), X, Y, X, Brightness())
    with pytest.raises(ValueError, match=r"x_adv: expected \(6, 1, 2, 2\) as x"):
        destruction_rate(Bright(), X, Y, ADV[:3], Brightness())
    for draws in (0, 1.5):
        with pytest.raises(ValueError, match=f"draws: expected a whole .* 1, found {draws}"):
            destruction_rate(Bright(), X, Y, ADV, Brightness(), draws=draws)
    with pytest.raises(TypeError, match=r"transformation: expected one of advlab\.transforms"):
        destruction_rate(Bright(), X, Y, ADV, lambda x: x)
