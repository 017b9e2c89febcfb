"""Labels for images and nothing else; and how often the answers are wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.attacks import FGSM, Oracle, QueryBudgetSpent
from advlab.backend import Interrupted
from advlab.evaluation import oracle_error
from advlab.models import predict

from .conftest import images


class Counting(nn.Module):
    """A linear model that keeps the images it was shown."""

    def __init__(self, pixels=42, classes=3, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.linear = nn.Linear(pixels, classes).double()
        self.seen = []

    def forward(self, x):
        self.seen += [image.numpy().tobytes() for image in x.detach().cpu().double()]
        return self.linear(x.flatten(1))


# The oracle.


def test_oracle_gives_the_labels_and_counts_the_images():
    model, x = Counting(), images(10)
    oracle = Oracle(model, 15, batch_size=4)
    assert torch.equal(oracle(x), predict(model, x))
    assert (oracle.queries, oracle.left, oracle.budget) == (10, 5, 15)
    oracle(x[:5])  # the same images again are paid for again
    assert (oracle.queries, oracle.left) == (15, 0)


def test_a_call_past_the_budget_is_refused_before_the_model_sees_it():
    model, x = Counting(), images(10)
    oracle = Oracle(model, 9, batch_size=2)
    with pytest.raises(
        QueryBudgetSpent, match="10 labels with 9 of 9 left; none was given"
    ) as error:
        oracle(x)
    assert (error.value.asked, error.value.left, error.value.budget) == (10, 9, 9)
    assert model.seen == []
    assert oracle.left == 9
    assert len(oracle(x[:9])) == 9
    assert oracle.left == 0


def test_oracle_answers_in_evaluation_mode_and_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Dropout(0.9), Counting()).train()
    x = images(20)
    labels = Oracle(model, 20)(x)
    assert torch.equal(labels, predict(model, x))
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_oracle_shows_no_model_no_logits_and_no_gradients():
    model, x = Counting(), images(4)
    oracle = Oracle(model, 100)
    reachable = [getattr(oracle, name) for name in dir(oracle) if not name.startswith("__")]
    assert not any(isinstance(value, nn.Module | torch.Tensor) for value in reachable)
    assert oracle(x.requires_grad_()).dtype == torch.int64
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, found Oracle"):
        FGSM()(oracle, x.detach(), torch.zeros(4, dtype=torch.int64))


def test_ctrl_c_counts_what_was_answered():
    class Stops(Counting):
        def forward(self, x):
            if len(self.seen) >= 6:
                raise KeyboardInterrupt
            return super().forward(x)

    oracle = Oracle(Stops(), 100, batch_size=3)
    with pytest.raises(Interrupted) as error:
        oracle(images(10))
    assert oracle.queries == 6
    assert error.value.done.shape == (6,)
    assert error.value.done.dtype == torch.int64  # labels, not logits


def test_answers_that_break_the_contract_are_not_counted_and_those_before_them_are():
    class Breaks(Counting):
        def forward(self, x):
            return super().forward(x) * (torch.nan if len(self.seen) > 6 else 1)

    oracle = Oracle(Breaks(), 100, batch_size=3)
    with pytest.raises(ValueError, match="finite logits"):
        oracle(images(10))
    assert oracle.queries == 6


def test_two_logits_that_come_to_a_sum_of_one_are_no_reason_to_refuse():
    """One image at a time it happens by chance; and probabilities would have the same label."""

    class Halves(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.25, 0.75]], dtype=x.dtype).expand(len(x), 2)

    assert Oracle(Halves(), 1)(images(1)).tolist() == [1]


@pytest.mark.parametrize("budget", [-1, 2.5, "many", None])
def test_oracle_refuses_a_budget_that_is_none(budget):
    with pytest.raises(ValueError, match="budget: expected a whole number from 0"):
        Oracle(Counting(), budget)


def test_oracle_refuses_what_is_no_model():
    with pytest.raises(TypeError, match=r"torch.nn.Module"):
        Oracle(lambda x: x, 10)


def test_oracle_refuses_images_on_another_device_and_counts_none():
    oracle = Oracle(Counting().to("meta"), 10)
    with pytest.raises(ValueError, match="model is on meta and x on cpu"):
        oracle(images(3))
    assert oracle.queries == 0


def test_oracle_refuses_images_outside_of_the_box_and_counts_none():
    oracle = Oracle(Counting(), 10)
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        oracle(images(3) + 1)
    assert oracle.queries == 0


# Judging.


def test_oracle_error_by_hand():
    class First(nn.Module):
        """Names class 1 where the first pixel is bright."""

        def forward(self, x):
            bright = x[:, 0, 0, 0] - 0.5
            return torch.stack([-bright, bright], 1)

    x = torch.tensor([0.9, 0.9, 0.9, 0.1]).view(4, 1, 1, 1)
    x_adv = torch.tensor([0.1, 0.9, 0.9, 0.1]).view(4, 1, 1, 1)
    y = torch.ones(4, dtype=torch.int64)
    for judge in (First(), (counted := Oracle(First(), 8))):
        found = oracle_error(judge, x, x_adv, y)
        assert (found.natural, found.misclassified, found.images) == (0.25, 0.5, 4)
        assert found.fooled == pytest.approx(1 / 3)
    assert counted.left == 0
    with pytest.raises(ValueError, match="x_adv: expected the shape of x"):
        oracle_error(First(), x, x_adv[:3], y)


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (lambda x: Counting()(x), r"judge: expected shape \(3,\), found \(3, 3\)"),
        (
            lambda x: predict(Counting(), x)[:, None],
            r"judge: expected shape \(3,\), found \(3, 1\)",
        ),
        (lambda x: predict(Counting(), x).float(), "judge: expected class numbers as torch.int64"),
    ],
)
def test_a_judge_that_gives_no_labels_is_refused(judge, message):
    x, y = images(3), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        oracle_error(judge, x, x, y)


def test_a_class_that_the_judge_does_not_have_is_no_error_of_the_judge():
    x, y = images(3), torch.tensor([0, 1, 3])
    with pytest.raises(ValueError, match="class numbers below 3"):
        oracle_error(Counting(), x, x, y)


def test_an_image_that_was_wrong_and_is_right_now_is_not_fooled():
    model, x = Counting(), images(40)
    labels = predict(model, x)
    wrong, right = (labels == 0).nonzero()[0], (labels == 1).nonzero()[0]
    # From a wrong answer to a right one, and from a right one to a right one.
    natural, x_adv = x[torch.cat([wrong, right])], x[torch.cat([right, right])]
    found = oracle_error(model, natural, x_adv, torch.tensor([1, 1]))
    assert (found.natural, found.misclassified, found.fooled) == (0.5, 0.0, 0.0)
    none = oracle_error(model, natural[:1], x_adv[:1], torch.tensor([1]))
    assert none.fooled != none.fooled, "NaN: it had none right"
