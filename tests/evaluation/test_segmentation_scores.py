"""Hidden, preserved, on target: counted by hand on small maps."""

from __future__ import annotations

import math

import pytest
import torch

from advlab.evaluation import hidden_rate, preserved_rate, target_rate

NATURAL = torch.tensor([[[0, 0, 6, 6], [1, 1, 6, 6]]])
# Three of four hidden pixels are gone; of the four others, one changed.
PERTURBED = torch.tensor([[[0, 2, 0, 0], [1, 1, 1, 6]]])


def test_by_hand():
    assert hidden_rate(NATURAL, PERTURBED, 6) == 0.75
    assert preserved_rate(NATURAL, PERTURBED, 6) == 0.75
    assert target_rate(PERTURBED, NATURAL) == 0.5
    assert target_rate(PERTURBED, NATURAL[0]) == 0.5


def test_an_attack_that_does_nothing_hides_nothing_and_preserves_all():
    assert hidden_rate(NATURAL, NATURAL, 6) == 0
    assert preserved_rate(NATURAL, NATURAL, 6) == 1
    assert target_rate(NATURAL, NATURAL) == 1


def test_a_class_that_appears_elsewhere_is_not_preserved():
    assert preserved_rate(NATURAL, torch.full_like(NATURAL, 6), 6) == 0
    assert hidden_rate(NATURAL, torch.full_like(NATURAL, 6), 6) == 0


def test_a_class_that_was_not_there_has_no_rate():
    assert math.isnan(hidden_rate(NATURAL, PERTURBED, 5))
    assert math.isnan(preserved_rate(torch.full_like(NATURAL, 5), PERTURBED, 5))


@pytest.mark.parametrize("rate", [hidden_rate, preserved_rate])
def test_maps_of_different_shape_are_refused(rate):
    with pytest.raises(ValueError, match=r"expected the shape of natural, \(1, 2, 4\), found"):
        rate(NATURAL, PERTURBED[:, :1], 6)


def test_a_target_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"target: expected \(2, 4\) or \(1, 2, 4\), found \(2, 3"):
        target_rate(PERTURBED, NATURAL[0, :, :3])
