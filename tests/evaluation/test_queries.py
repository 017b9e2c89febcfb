"""Distortion against queries, on a boundary whose distance is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab.attacks import FGSM, PGD, Boundary, HopSkipJump, Square
from advlab.evaluation import QueryCurve, query_curve


class Brightness(nn.Module):
    """Class 1 when the mean pixel is above 1/2: the distance to the boundary is known."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack([torch.full_like(mean, 0.5), mean], 1) * 20


@pytest.fixture
def problem(device):
    """Images of brightness 0.30, 0.34, 0.38, 0.42; the last one carries a wrong label."""
    levels = torch.tensor([0.30, 0.34, 0.38, 0.42], dtype=torch.float64, device=device)
    x = levels.view(-1, 1, 1, 1).expand(4, 1, 4, 4).clone()
    return Brightness().to(device), x, torch.tensor([0, 0, 0, 1], device=device)


@dataclass(frozen=True)
class Brighten:
    """Adds ε where it has at least ``need`` queries for it, and asks that often."""

    eps: float = 0.1
    norm: str = "Linf"
    queries: int = 1
    need: int = 5
    cheats: int = 0

    def __call__(self, model, x, y):
        for _ in range(self.queries + self.cheats):
            model(x)
        return (x + self.eps).clamp(0, 1) if self.queries >= self.need else x


@dataclass(frozen=True)
class Halving:
    """A decision attack by the book: its distance is the true one and 1 / queries."""

    norm: str = "L2"
    queries: int = 1

    def __call__(self, model, x, y):
        model(x)
        return x + (0.5 - x) * (1 + 1 / self.queries)


def test_a_decision_attack_is_measured_by_its_distance(problem):
    curve = query_curve(problem[0], Halving(), problem[1:], [1, 4, 10])
    truth = 4 * torch.tensor([0.20, 0.16, 0.12], dtype=torch.float64)  # √16 pixels
    expected = torch.stack([2 * truth, 1.25 * truth, 1.1 * truth])
    torch.testing.assert_close(curve.distortion, expected, rtol=1e-6, atol=1e-6)
    assert curve.median() == pytest.approx([2 * 0.64, 1.25 * 0.64, 1.1 * 0.64], abs=1e-6)
    assert curve.success(0.75) == pytest.approx([0, 1 / 3, 2 / 3])
    assert (curve.norm, curve.queries) == ("L2", (1, 4, 10))
    assert curve.name == str(Halving())


def test_a_score_attack_is_measured_by_the_smallest_eps_of_the_grid(problem):
    grid = [0.05, 0.13, 0.17, 0.19]
    curve = query_curve(problem[0], Brighten(), problem[1:], [4, 5], epsilons=grid)
    # Distances 0.20, 0.16, 0.12: beyond the grid, 0.17, 0.13; the wrong one is no image to attack.
    assert curve.distortion.tolist() == [[math.inf] * 3, [math.inf, 0.17, 0.13]]
    assert curve.median() == [math.inf, 0.17]
    assert curve.success(0.15) == pytest.approx([0, 1 / 3])


def test_images_that_fell_are_not_attacked_again(problem):
    model, x, y = problem
    shown = []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    query_curve(model, Brighten(queries=1), (x, y), [5], epsilons=[0.05, 0.13, 0.17, 0.25, 0.3])
    # Each ε: the evaluator's first look, five queries, the evaluator's judgment. The image that
    # is wrong from the start is seen once, and after the last fall nothing is.
    assert shown[0] == 4
    assert shown[1:7] == [3] * 6
    assert shown[7] == 3
    assert len(shown) == 4 * 7


def test_the_median_counts_failures_and_takes_the_larger_of_the_middle_two():
    rows = [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, math.inf, math.inf], [4.0, 1.0, 3.0, math.inf]]
    curve = QueryCurve("a", "L2", (1, 2, 3), torch.tensor(rows))
    assert curve.median() == [3.0, math.inf, 4.0]


def test_one_plot_for_decisions_and_scores(problem):
    """The attacks of the package: more queries, less distortion, never below the true distance."""
    model, x, y = problem
    truth = torch.tensor([0.20, 0.16, 0.12], dtype=torch.float64)
    grid = torch.linspace(0.02, 0.5, 25).tolist()
    for attack, epsilons, scale in [
        (HopSkipJump(evals=20), None, 4),
        (HopSkipJump(norm="Linf", evals=20), None, 1),
        (Boundary(), None, 4),
        (Square(eps=0.1), grid, 1),
    ]:
        curve = query_curve(model, attack, (x, y), [15, 60, 600], epsilons=epsilons)
        assert curve.distortion.shape == (3, 3)
        assert (curve.distortion >= truth * scale - 1e-9).all()
        first, _, last = curve.median()
        assert last <= first
        assert last < 1.25 * 0.16 * scale


def test_targeted(problem):
    model, x, _ = problem
    y, targets = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    y, targets = y.to(x.device), targets.to(x.device)
    attack = HopSkipJump(targeted=True, starts=torch.ones(1, 1, 4, 4))
    curve = query_curve(model, attack, (x, y), [200], targets=targets)
    assert curve.distortion.isfinite().all()
    assert curve.distortion.shape == (1, 4)


def test_an_attack_that_asks_for_more_is_caught(problem):
    with pytest.raises(ValueError, match=r"allowed 5 queries an image, asked 6\.0 on average"):
        query_curve(problem[0], Brighten(cheats=1), problem[1:], [5], epsilons=[0.1])


def test_bad_arguments_are_refused(problem):
    model, x, y = problem
    for attack, budgets, epsilons, message in [
        (FGSM(), [10], [0.1], "attack: expected the fields queries and norm"),
        (PGD(), [10], [0.1], "attack: expected the fields queries and norm"),
        (Halving(), [], None, "budgets: expected at least one"),
        (Halving(), [10], [0.1], "epsilons: .* has no eps"),
        (Brighten(), [10], None, "epsilons: expected a grid"),
        (Brighten(), [10], [], "epsilons: expected a grid"),
        (Brighten(), [10], [0.2, 0.1], "epsilons: expected rising numbers above 0"),
        (Brighten(), [10], [0.0, 0.1], "epsilons: expected rising numbers above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            query_curve(model, attack, (x, y), budgets, epsilons=epsilons)
    with pytest.raises(ValueError, match="data: expected an image that the model has right"):
        query_curve(model, Halving(), (x[:2], 1 - y[:2]), [10])
