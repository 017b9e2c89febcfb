"""What the attacker wants: loss, margin and judge of each goal say the same thing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advlab.goals import (
    TARGETED,
    UNDETECTED,
    UNTARGETED,
    ConfidenceReduction,
    SourceTarget,
    Targeted,
    Undetected,
    alarm,
    check_rejects,
    may_reject,
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


@given(
    st.lists(st.floats(-20, 20), min_size=3, max_size=7),
    st.integers(0, 5),
    st.floats(0, 10),
)
def test_undetected_against_loops(values, label, gamma):
    """K + 1 logits, the last of which says "rejected"."""
    classes, rejected = values[:-1], values[-1]
    label %= len(classes)
    logits, y = torch.tensor([values], dtype=torch.float64), torch.tensor([label])
    goal = Undetected(gamma)
    other = max(v for k, v in enumerate(classes) if k != label)
    assert goal.margin(logits, y).item() == other - max(classes[label], rejected)
    assert alarm(logits).item() == rejected - max(classes)
    right = -math.log(math.exp(classes[label]) / sum(map(math.exp, classes)))
    expected = right - gamma * max(rejected - max(classes), 0)
    assert goal.loss(logits, y).item() == pytest.approx(expected, abs=1e-9)
    # The answer is the first of the largest logits.
    answer = values.index(max(values))
    assert goal.reached(logits, y).item() == (answer not in (label, len(classes)))
    if len(set(values)) == len(values):
        assert goal.reached(logits, y).item() == (goal.margin(logits, y).item() > 0)


def test_ties_are_as_argmax_has_them():
    y = torch.tensor([1])
    for logits, reached in (
        ([2.0, 2.0, 0.0], True),  # class 0 comes before class 1
        ([0.0, 2.0, 2.0], False),  # y comes before "rejected"
        ([2.0, 0.0, 2.0], True),  # a tie with "rejected" is not rejected
    ):
        logits = torch.tensor([logits])
        assert UNDETECTED.margin(logits, y).item() == (-0.0 if reached else -2.0)
        assert UNDETECTED.reached(logits, y).item() == reached


def test_source_to_target_attacks_images_of_the_source_alone():
    goal = SourceTarget(3, 5)
    y = torch.tensor([3, 1, 5, 3])
    assert goal.applies(y).tolist() == [True, False, False, True]
    assert goal.labels(y).tolist() == [5, 5, 5, 5]
    assert not goal.needs_targets
    assert Targeted.needs_targets


def test_a_model_that_may_reject_says_so():
    class Says:
        rejected = -1

    assert may_reject(Says())
    check_rejects(Says())
    assert not may_reject(object())
    with pytest.raises(ValueError, match=r"found object without an attribute 'rejected'"):
        check_rejects(object())


def test_names_and_errors():
    assert parse_goal("targeted") == TARGETED
    assert parse_goal("untargeted") == UNTARGETED
    assert parse_goal("confidence") == ConfidenceReduction(0.5)
    assert parse_goal("undetected") == UNDETECTED == Undetected(1.0)
    assert parse_goal(SourceTarget(1, 2)) == SourceTarget(1, 2)
    with pytest.raises(ValueError, match="goal: found 'evil', expected 'untargeted'"):
        parse_goal("evil")
    for below in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="below: expected a probability"):
            ConfidenceReduction(below)
    for pair in ((1, 1), (-1, 2), (1, 2.5), (True, 2)):
        with pytest.raises(ValueError, match=r"source: |target: "):
            SourceTarget(*pair)
    for gamma in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="gamma: expected a finite number, at least 0"):
            Undetected(gamma)
