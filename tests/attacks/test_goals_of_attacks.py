"""The attacker's goal is one argument, and every attack and the evaluator read it the same way."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from advlab.attacks import BIM, FGSM, PGD, AttackInterrupted
from advlab.evaluation import evaluate
from advlab.goals import ConfidenceReduction, SourceTarget


def test_a_goal_has_one_spelling():
    assert FGSM(goal="targeted") == FGSM(targeted=True)
    assert FGSM(goal="untargeted") == FGSM()
    assert FGSM(goal="confidence") == FGSM(goal=ConfidenceReduction(0.5))
    assert str(FGSM(goal="targeted")) == "FGSM(targeted=True, eps=0.3)"
    back = dataclasses.replace(FGSM(goal="targeted"), targeted=False)
    assert back == FGSM()
    with pytest.raises(ValueError, match="targeted=True contradicts goal='untargeted'"):
        FGSM(targeted=True, goal="untargeted")
    with pytest.raises(ValueError, match="goal: found 'chaos'"):
        FGSM(goal="chaos")


@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1, steps=5), BIM(eps=0.1, steps=5)])
def test_source_to_target_is_the_targeted_attack_on_images_of_the_source(attack, cnn, x, y):
    found = dataclasses.replace(attack, goal=SourceTarget(1, 2))(cnn, x, y)
    source = y == 1
    assert 0 < source.sum() < len(y)
    targeted = dataclasses.replace(attack, targeted=True)
    expected = targeted(cnn, x[source], torch.full_like(y[source], 2))
    torch.testing.assert_close(found[source], expected, rtol=0, atol=1e-12)
    assert torch.equal(found[~source], x[~source])
    assert (found[source] != x[source]).flatten(1).any(1).all()


def test_no_image_of_the_source_is_no_work(cnn, x, y):
    class Unasked(nn.Module):
        def forward(self, x):
            raise AssertionError("asked")

    out = FGSM(goal=SourceTarget(7, 2))(Unasked(), x, y)
    assert torch.equal(out, x)


def test_confidence_reduction_is_done_when_the_probability_is_below(cnn, x, y):
    """BIM-a stops each image at its first iterate that reaches the goal."""
    with torch.no_grad():
        before = cnn(x).softmax(1).gather(1, y[:, None]).squeeze(1)
    below = before.median().item()
    goal = ConfidenceReduction(below)
    attack = BIM(eps=0.2, steps=40, variant="a", goal=goal)
    with torch.no_grad():
        logits = cnn(attack(cnn, x, y))
    after = logits.softmax(1).gather(1, y[:, None]).squeeze(1)
    started = before < below
    assert started.any()
    assert not started.all()
    assert (after[~started] < before[~started]).all()
    assert (after < below).double().mean() > 0.9
    # It asks for less than another class: some images keep theirs.
    assert (logits.argmax(1) == y)[after < below].any()
    torch.testing.assert_close(attack(cnn, x, y)[started], x[started])


def test_the_evaluator_judges_by_the_goal(cnn, x, y):
    goal = ConfidenceReduction(0.3)
    report = evaluate(
        cnn,
        {
            "confidence": FGSM(eps=0.02, goal=goal),
            "1 to 2": PGD(eps=0.2, goal=SourceTarget(1, 2)),
        },
        (x, y),
    )
    lower, pair = report.attacks
    with torch.no_grad():
        logits = cnn(FGSM(eps=0.02, goal=goal)(cnn, x, y))
    assert torch.equal(lower.fooled, goal.reached(logits, y))
    assert torch.equal(lower.right, logits.argmax(1) == y)
    assert torch.equal(pair.attacked, y == 1)
    with torch.no_grad():
        answer = cnn(PGD(eps=0.2, goal=SourceTarget(1, 2))(cnn, x, y)).argmax(1)
    assert torch.equal(pair.fooled, (y == 1) & (answer == 2))
    assert pair.fooled.any()


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_an_interrupted_attack_keeps_what_was_done_and_goes_on(stop, cnn, x, y):
    attack = PGD(eps=0.1, steps=3, batch_size=16)
    expected = attack(cnn, x, y)

    class Stops(nn.Module):
        """Ctrl-C comes in the batch of that number; three steps ask four times."""

        def __init__(self):
            super().__init__()
            self.model, self.calls = cnn, 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 4 * stop:
                raise KeyboardInterrupt
            return self.model(x)

    with pytest.raises(AttackInterrupted, match=f"after {16 * stop} of 40 images") as caught:
        attack(Stops(), x, y)
    x_adv, done = caught.value.x_adv, caught.value.done
    assert done.tolist() == [True] * 16 * stop + [False] * (40 - 16 * stop)
    assert torch.equal(x_adv[done], expected[done])
    assert torch.equal(x_adv[~done], x[~done])
    x_adv[~done] = attack(cnn, x[~done], y[~done])
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-9)
    assert cnn.training is False
