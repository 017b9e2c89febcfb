"""Answers over draws of a transformation, by hand, and the success that they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab.evaluation import answers_over_draws, physical_success
from advlab.threat import per_image
from advlab.transforms import SharedDraws, Transformation


@dataclass(frozen=True, kw_only=True)
class Dimmed(Transformation):
    """Light from 0 to 1, and half of the picture: another size than the image's."""

    def apply(self, x, draw):
        return x[..., :2] * per_image(draw("uniform", ()), x)


class Thirds(nn.Module):
    """Class 0 for an image that is dark on average, 1, or 2 for a light one."""

    def forward(self, x):
        mean = x.flatten(1).mean(1, keepdim=True)
        return -(mean - torch.tensor([1, 3, 5]).to(x) / 6).abs()


def gray(*levels):
    return torch.tensor(levels, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def light(draws, seed):
    """The numbers that all images are dimmed by."""
    random, parts = SharedDraws(seed), []
    while draws:
        parts.append(random.for_copies(gray(0), min(64, draws))("uniform", ()))
        draws -= len(parts[-1])
    return torch.cat(parts)


@pytest.mark.parametrize("draws", [1, 10, 150])
def test_answers_by_hand(draws):
    x = gray(0.2, 0.6, 1.0)
    found = answers_over_draws(Thirds(), x, Dimmed(), draws=draws, seed=4)
    seen = torch.tensor([0.2, 0.6, 1.0]).double()[:, None] * light(draws, 4)
    assert found.shape == (3, draws)
    assert torch.equal(found, (3 * seen).long())
    assert draws == 1 or len(found[2].unique()) == 3


def test_draw_j_is_the_same_whatever_the_images_are():
    x = gray(0.2, 0.6, 1.0, 0.9, 0.8)
    together = answers_over_draws(Thirds(), x, Dimmed(), draws=100, seed=1)
    alone = [answers_over_draws(Thirds(), i[None], Dimmed(), draws=100, seed=1) for i in x]
    assert torch.equal(together, torch.cat(alone))
    other = answers_over_draws(Thirds(), x, Dimmed(), draws=100, seed=2)
    assert not torch.equal(together, other)


def test_success_counts_where_the_model_is_right_without_the_attack():
    x, x_adv, y = gray(1.0), gray(0.5), torch.tensor([2])
    seen = light(200, 3)
    right = seen > 2 / 3
    rates = {
        None: 1.0,  # 0.5 · light is below 2/3 always
        1: (right & (0.5 * seen > 1 / 3)).sum() / right.sum(),
        0: (right & (0.5 * seen < 1 / 3)).sum() / right.sum(),
    }
    for target, rate in rates.items():
        found = physical_success(Thirds(), x, x_adv, y, Dimmed(), target=target, draws=200, seed=3)
        assert found == pytest.approx(float(rate))
    assert physical_success(Thirds(), x, x, y, Dimmed(), draws=200, seed=3) == 0
    never = torch.tensor([2])
    assert math.isnan(physical_success(Thirds(), gray(0.1), x, never, Dimmed(), draws=20))


def test_what_breaks_the_contract():
    x, y = gray(1.0), torch.tensor([2])
    with pytest.raises(ValueError, match="draws: expected at least 1"):
        answers_over_draws(Thirds(), x, Dimmed(), draws=0)
    with pytest.raises(ValueError, match="draws: expected at least 1, a whole number, found 2"):
        answers_over_draws(Thirds(), x, Dimmed(), draws=2.5)
    with pytest.raises(ValueError, match="x_adv: expected the shape of x"):
        physical_success(Thirds(), x, gray(1.0, 1.0), y, Dimmed())
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        answers_over_draws(Thirds(), 2 * x, Dimmed())
