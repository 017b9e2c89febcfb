"""The evaluator believes nothing that it did not measure."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab.attacks import FGSM, PGD, Noise
from advlab.evaluation import (
    Report,
    accuracy_curve,
    evaluate,
    minimum_distortion,
    robust_accuracy,
    success_rate,
)
from advlab.models.contract import accuracy

N = 12


class Brightness(nn.Module):
    """Class 1 when the mean pixel is above 1/2: the distance to the boundary is known."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack([torch.full_like(mean, 0.5), mean], 1) * 20


@pytest.fixture
def problem(device):
    """Constant images of brightness 0.3 … 0.7; the last one carries a wrong label."""
    levels = torch.linspace(0.3, 0.7, N, device=device)
    x = levels.view(-1, 1, 1, 1).expand(N, 1, 4, 4).clone()
    y = (levels > 0.5).long()
    y[-1] = 0
    return Brightness().to(device), x, y


@dataclass(frozen=True)
class Returns:
    """An attack that returns whatever it was told to, and claims a budget."""

    make: object
    eps: float | None = 0.1
    norm: str | None = "Linf"
    targeted: bool = False

    def __call__(self, model, x, y):
        return self.make(x)


def flip(x):
    return 1 - x


def test_counts_what_a_known_boundary_allows(problem):
    model, x, y = problem
    report = evaluate(model, [FGSM(eps=0.1)], (x, y))
    within = (x[:, 0, 0, 0] - 0.5).abs() < 0.1
    expected = within & (torch.arange(N, device=x.device) < N - 1)
    assert report.accuracy == pytest.approx((N - 1) / N)
    assert torch.equal(report.attacks[0].fooled, expected.cpu())
    assert report.robust_accuracy() == pytest.approx((N - 1 - expected.sum().item()) / N)
    found = report.attacks[0].distortion["Linf"][report.attacks[0].fooled]
    assert torch.allclose(found, torch.tensor(0.1), atol=1e-6)


def test_worst_case_is_per_image_not_the_minimum_of_the_rates(problem):
    model, x, y = problem

    def only(k):
        def attack(model, x, y):
            return torch.where(
                torch.arange(len(x), device=x.device).view(-1, 1, 1, 1) == k, 1 - x, x
            )

        return attack

    report = evaluate(model, {"first": only(0), "second": only(1)}, (x, y))
    assert report.robust_accuracy("first") == pytest.approx((N - 2) / N)
    assert report.robust_accuracy("second") == pytest.approx((N - 2) / N)
    assert report.robust_accuracy() == pytest.approx((N - 3) / N)


@pytest.mark.parametrize(
    ("make", "eps"),
    [
        pytest.param(lambda x: x * torch.nan, 0.1, id="NaN"),
        pytest.param(lambda x: flip(x) + 2, 9.0, id="outside the box"),
        pytest.param(flip, 0.01, id="outside the ball"),
    ],
)
def test_an_image_that_breaks_the_rules_counts_as_failed(problem, make, eps):
    model, x, y = problem
    with pytest.warns(UserWarning, match="count as failed"):
        report = evaluate(model, {"cheat": Returns(make, eps=eps)}, (x, y))
    assert report.robust_accuracy() == report.accuracy
    assert report.attacks[0].invalid.any()
    assert "left the box" in report.table()


def test_without_a_budget_the_size_is_only_measured(problem):
    model, x, y = problem
    report = evaluate(model, {"flip": Returns(flip, eps=None, norm=None)}, (x, y))
    assert report.robust_accuracy() == 0
    sizes = report.attacks[0].distortion["L2"][:-1]
    assert torch.allclose(sizes, (4 * (1 - 2 * x[:-1, 0, 0, 0]).abs()).cpu(), atol=1e-5)
    assert report.attacks[0].distortion["L2"][-1] == float("inf")  # wrong from the start


def test_an_attack_that_does_nothing_fools_nobody(problem):
    model, x, y = problem
    report = evaluate(model, {"nothing": Returns(lambda x: x)}, (x, y))
    assert report.robust_accuracy() == report.accuracy
    assert not report.attacks[0].fooled.any()


def test_an_attack_may_not_change_the_data_under_the_evaluator(problem):
    model, x, y = problem
    before = x.clone()
    with pytest.warns(UserWarning, match="count as failed"):
        report = evaluate(model, {"in place": Returns(lambda x: x.zero_() + 0.3)}, (x, y))
    assert torch.equal(x, before)
    assert report.attacks[0].invalid.any()  # it moved by more than it claims


def test_only_images_that_were_right_are_attacked(problem):
    model, x, y = problem
    seen = []
    evaluate(model, {"spy": Returns(lambda x: seen.append(len(x)) or x)}, (x, y))
    assert seen == [N - 1]


def test_queries_are_counted_outside(problem):
    model, x, y = problem
    report = evaluate(model, [FGSM(), PGD(steps=7)], (x, y))
    assert [a.queries for a in report.attacks] == [1, 8]  # PGD looks at its last iterate as well


def test_targets(problem):
    model, x, y = problem
    with pytest.raises(ValueError, match="targets"):
        evaluate(model, [FGSM(targeted=True)], (x, y))
    report = evaluate(model, [FGSM(eps=0.1, targeted=True)], (x, y), targets=torch.ones_like(y))
    assert torch.equal(report.attacks[0].fooled.cpu(), ((x[:, 0, 0, 0] - 0.45).abs() < 0.05).cpu())


def test_report_survives_json(problem, tmp_path):
    model, x, y = problem
    report = evaluate(model, [FGSM(eps=0.1), Noise(eps=0.1)], (x, y))
    report.save(tmp_path / "r.json")
    again = Report.load(tmp_path / "r.json")
    assert again.to_json() == report.to_json()
    assert again.table() == report.table()
    assert json.loads(report.to_json())["worst_case_accuracy"] == report.robust_accuracy()
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    (tmp_path / "bad.json").write_text('{"format": "something else"}')
    with pytest.raises(ValueError, match=r"bad\.json"):
        Report.load(tmp_path / "bad.json")


def test_plot_shows_each_attack_and_the_worst_case(problem):
    model, x, y = problem
    report = evaluate(model, [FGSM(eps=0.1), Noise(eps=0.1)], (x, y))
    widths = [bar.get_width() / 100 for bar in report.plot().axes[0].patches]
    names = [a.name for a in report.attacks]
    expected = [report.accuracy, *map(report.robust_accuracy, names), report.robust_accuracy()]
    assert widths == pytest.approx(expected)


def test_bad_input_is_named(problem):
    model, x, y = problem
    with pytest.raises(ValueError, match="two are named"):
        evaluate(model, [FGSM(), FGSM()], (x, y))
    with pytest.raises(ValueError, match="at least one image"):
        evaluate(model, [FGSM()], (x[:0], y[:0]))
    with pytest.raises(ValueError, match="expected images"):
        evaluate(model, {"crop": Returns(lambda x: x[:1])}, (x, y))
    with pytest.raises(ValueError, match="no attack is named 'x'"):
        evaluate(model, [FGSM()], (x, y)).robust_accuracy("x")


def test_nothing_to_attack(problem):
    model, x, y = problem
    report = evaluate(model, [FGSM()], (x, 1 - y))
    assert report.robust_accuracy() <= report.accuracy == pytest.approx(1 / N)
    only_wrong = evaluate(model, [FGSM()], (x[:3], 1 - y[:3]))
    assert only_wrong.accuracy == only_wrong.robust_accuracy() == 0


def test_accuracy_curve_starts_at_clean_and_falls(problem):
    model, x, y = problem
    curve = accuracy_curve(model, FGSM(), (x, y), [0, 0.05, 0.1, 0.3])
    assert curve[0] == pytest.approx(accuracy(model, x, y))
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == 0


def test_metrics():
    y = torch.tensor([0, 1, 2, 3])
    assert robust_accuracy([y, torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, 2, 3])], y) == 0.5
    assert success_rate(torch.tensor([True, True, False]), torch.tensor([True, False, True])) == 0.5
    inf = float("inf")
    least = minimum_distortion([torch.tensor([1.0, inf]), torch.tensor([2.0, 3.0])])
    assert torch.equal(least, torch.tensor([1.0, 3.0]))
    with pytest.raises(ValueError, match="at least one"):
        minimum_distortion([])
