"""What the attacker wants: loss, margin and judge of each goal say the same thing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advlab.goals import (
    TARGETED,
    UNTARGETED,
    ConfidenceReduction,
    SourceTarget,
    Targeted,
    parse_goal,
)


def test_loss_is_the_cross_entropy_with_the_attackers_sign(device):
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]], device=device)
    y = torch.tensor([1, 2], device=device)
    by_hand = -torch.log(logits.exp() / logits.exp().sum(1, keepdim=True))[[0, 1], [1, 2]]
    torch.testing.assert_close(UNTARGETED.loss(logits, y), by_hand)
    torch.testing.assert_close(TARGETED.loss(logits, y), -by_hand)
    torch.testing.assert_close(ConfidenceReduction().loss(logits, y), by_hand)
    torch.testing.assert_close(SourceTarget(0, 1).loss(logits, y), -by_hand)


def test_reached(device):
    logits = torch.tensor([[1.0, 2.0], [3.0, 2.0]], device=device)
    y = torch.tensor([1, 1], device=device)
    assert UNTARGETED.reached(logits, y).tolist() == [False, True]
    assert TARGETED.reached(logits, y).tolist() == [True, False]


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=6, unique=True),
    st.integers(0, 5),
    st.floats(0.01, 0.99),
)
def test_the_margin_is_above_zero_exactly_where_the_goal_is_reached(values, label, below):
    logits = torch.tensor([values], dtype=torch.float64)
    y = torch.tensor([label % len(values)])
    for goal in (UNTARGETED, TARGETED):
        assert (goal.margin(logits, y) > 0).equal(goal.reached(logits, y))
    probability = logits.softmax(1)[0, y[0]].item()
    if abs(probability - below) > 1e-9:
        goal = ConfidenceReduction(below)
        assert goal.reached(logits, y).item() == (probability < below)
        assert (goal.margin(logits, y).item() > 0) == (probability < below)


def test_margins_by_hand():
    logits = torch.tensor([[1.0, 4.0, 2.5]], dtype=torch.float64)
    assert UNTARGETED.margin(logits, torch.tensor([1])).item() == -1.5
    assert UNTARGETED.margin(logits, torch.tensor([2])).item() == 1.5
    assert TARGETED.margin(logits, torch.tensor([0])).item() == -3
    assert TARGETED.margin(logits, torch.tensor([1])).item() == 1.5


def test_source_to_target_attacks_images_of_the_source_alone():
    goal = SourceTarget(3, 5)
    y = torch.tensor([3, 1, 5, 3])
    assert goal.applies(y).tolist() == [True, False, False, True]
    assert goal.labels(y).tolist() == [5, 5, 5, 5]
    assert not goal.needs_targets
    assert Targeted.needs_targets


def test_names_and_errors():
    assert parse_goal("targeted") == TARGETED
    assert parse_goal("untargeted") == UNTARGETED
    assert parse_goal("confidence") == ConfidenceReduction(0.5)
    assert parse_goal(SourceTarget(1, 2)) == SourceTarget(1, 2)
    with pytest.raises(ValueError, match="goal: found 'evil', expected 'untargeted'"):
        parse_goal("evil")
    for below in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="below: expected a probability"):
            ConfidenceReduction(below)
    for pair in ((1, 1), (-1, 2), (1, 2.5), (True, 2)):
        with pytest.raises(ValueError, match=r"source: |target: "):
            SourceTarget(*pair)
