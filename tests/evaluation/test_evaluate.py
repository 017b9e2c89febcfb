"""The evaluator believes nothing that it did not measure."""

import json
import time
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import FGSM, PGD, Noise
from advlab.evaluation import (
    AttackResult,
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
    assert torch.allclose(found, torch.tensor(0.1, dtype=torch.float64), atol=1e-6)


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
    assert torch.allclose(sizes, (4 * (1 - 2 * x[:-1, 0, 0, 0]).abs()).cpu().double(), atol=1e-5)
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


class Brightest(nn.Module):
    """Three classes: the image's own first three pixels are its logits."""

    def forward(self, x):
        return 10 * x.flatten(1)[:, :3]


@pytest.fixture
def three(device):
    """Six images of classes 0, 1, 2, 0, 1, 2."""
    y = torch.arange(6, device=device) % 3
    x = torch.full((6, 1, 2, 2), 0.2, device=device)
    x.flatten(1)[torch.arange(6), y] = 0.8
    return Brightest().to(device), x, y


def turn(x):
    """Turn each image into one of the next class."""
    flat = x.flatten(1).clone()
    flat[:, :3] = flat[:, :3].roll(1, dims=1)
    return flat.view_as(x)


def test_another_class_than_the_target_is_wrong_but_no_success(three):
    model, x, y = three
    missed = Returns(turn, eps=None, norm=None, targeted=True)
    report = evaluate(model, {"missed": missed}, (x, y), targets=(y + 2) % 3)
    assert report.robust_accuracy() == 0
    assert not report.attacks[0].fooled.any()
    hit = evaluate(model, {"hit": missed}, (x, y), targets=(y + 1) % 3)
    assert hit.attacks[0].fooled.all()


def test_an_image_of_the_target_class_is_not_attacked_nor_counted(three):
    model, x, y = three
    attack = Returns(turn, eps=None, norm=None, targeted=True)
    report = evaluate(model, {"a": attack}, (x, y), targets=torch.full_like(y, 1))
    assert report.attacks[0].attacked.tolist() == [True, False, True] * 2
    assert report.attacks[0].fooled.tolist() == [True, False, False] * 2  # 2 turns into 0
    assert report.robust_accuracy() == pytest.approx(2 / 6)
    assert json.loads(report.to_json())["attacks"][0]["success_rate"] == 0.5
    assert "50.0%" in report.table()
    assert not report.attacks[0].invalid.any()


@pytest.mark.parametrize(("norm", "size"), [("L2", 0.6 * 2**0.5), ("L1", 1.2), ("L0", 2)])
def test_the_budget_is_checked_in_its_own_norm(three, norm, size):
    model, x, y = three
    inside = evaluate(model, {"a": Returns(turn, eps=size, norm=norm)}, (x, y))
    assert inside.attacks[0].fooled.all()
    assert inside.attacks[0].median_distortion() == pytest.approx(size, rel=1e-5)
    with pytest.warns(UserWarning, match="6 of 6"):
        outside = evaluate(model, {"a": Returns(turn, eps=size * 0.999, norm=norm)}, (x, y))
    assert outside.robust_accuracy() == 1


def test_an_eps_without_a_norm_is_pointed_out(three):
    model, x, y = three
    with pytest.warns(UserWarning, match="not checked"):
        evaluate(model, {"a": Returns(turn, eps=0.1, norm=None)}, (x, y))


def test_the_median_is_that_of_the_fooled_images():
    inf = float("inf")
    fooled = torch.tensor([True, True, False])
    result = AttackResult(
        name="a", norm="Linf", eps=1.0, targeted=False, attacked=fooled | True, fooled=fooled,
        right=~fooled, invalid=fooled & False, seconds=0.0, queries=1.0,
        distortion={"Linf": torch.tensor([0.2, 0.4, inf]), "L2": torch.tensor([1.0, 2.0, inf])},
    )  # fmt: skip
    assert result.median_distortion() == pytest.approx(0.3)
    assert result.median_distortion("L2") == pytest.approx(1.5)


def add_hook(model, x, y):
    model.register_forward_hook(lambda module, args, output: -output)
    return x


def shift_weights(model, x, y):
    with torch.no_grad():
        model[1].bias += 1
    return x


def spoil_statistics(model, x, y):
    model.train()
    model(0 * x)
    return x


@pytest.mark.parametrize("cheat", [add_hook, shift_weights, spoil_statistics])
def test_an_attack_that_changes_the_model_is_refused(cheat, three):
    _, x, y = three
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3)).to(x.device)
    y = model.eval()(x).argmax(1)
    with pytest.raises(ValueError, match=r"cheat: (changed|left)"):
        evaluate(model, {"cheat": cheat}, (x, y))


def test_modes_are_put_back_after_an_attack_that_forgets(three):
    model, x, y = three
    model.eval()
    evaluate(model, {"careless": lambda model, x, y: model.train() and x}, (x, y))
    assert not model.training


def test_the_budget_is_read_before_the_attack_runs(three):
    model, x, y = three

    class Grows:
        eps, norm = 0.01, "Linf"

        def __call__(self, model, x, y):
            self.eps = 9.0
            return turn(x)

    with pytest.warns(UserWarning, match="count as failed"):
        assert evaluate(model, {"grows": Grows()}, (x, y)).robust_accuracy() == 1


@pytest.mark.parametrize("eps", [-1, float("nan"), "wide"])
def test_a_budget_that_is_none_is_refused(three, eps):
    model, x, y = three
    with pytest.raises(ValueError, match="a: expected eps"):
        evaluate(model, {"a": Returns(turn, eps=eps)}, (x, y))


def test_a_tensor_that_measures_itself_is_measured(three):
    model, x, y = three

    class Liar(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func.__name__ in ("sub", "rsub", "__sub__", "__rsub__"):
                return torch.zeros(6, 1, 2, 2, device=x.device)
            return super().__torch_function__(func, types, args, kwargs or {})

    with pytest.warns(UserWarning, match="count as failed"):
        report = evaluate(model, {"liar": Returns(lambda x: turn(x).as_subclass(Liar))}, (x, y))
    assert report.robust_accuracy() == 1


def test_a_model_that_works_in_place_does_not_touch_the_images(three):
    _, x, y = three

    class InPlace(Brightest):
        def forward(self, x):
            return super().forward(x.mul_(0.5))

    before = x.clone()
    report = evaluate(InPlace(), [FGSM(eps=0.1)], (x, y))
    assert torch.equal(x, before)
    assert report.accuracy == 1


def test_half_precision_may_round(three):
    model, x, y = three
    report = evaluate(model, [FGSM(eps=0.1), PGD(eps=0.1, steps=3)], (x.bfloat16(), y))
    assert not any(a.invalid.any() for a in report.attacks)


def test_large_images_are_measured_to_the_last_digit(device):
    delta = torch.full((1, 3, 224, 224), 1e-3, device=device)
    assert threat.size(delta, "L2").item() == pytest.approx(1e-3 * 150528**0.5, rel=1e-6)
    assert threat.size(delta, "L1").item() == pytest.approx(150.528, rel=1e-6)


def test_seconds_are_those_of_the_attack(three):
    model, x, y = three
    report = evaluate(model, {"slow": lambda model, x, y: time.sleep(0.05) or x}, (x, y))
    assert report.attacks[0].seconds >= 0.05
    assert report.table().splitlines()[-1].split()[-2:] == ["0", "0.1"]


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
    short = json.loads(report.to_json())
    short["attacks"][0]["fooled"].pop()
    (tmp_path / "bad.json").write_text(json.dumps(short))
    with pytest.raises(ValueError, match="expected 12 entries"):
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
    with pytest.raises(ValueError, match="expected real images"):
        evaluate(model, {"crop": Returns(lambda x: x[:1])}, (x, y))
    with pytest.raises(ValueError, match="y: expected class numbers below 2"):
        evaluate(model, [FGSM()], (x, y + 1))
    with pytest.raises(ValueError, match="targets: expected below 2"):
        evaluate(model, [FGSM(targeted=True)], (x, y), targets=y + 1)
    with pytest.raises(ValueError, match="targets: expected shape"):
        evaluate(model, [FGSM(targeted=True)], (x, y), targets=y[:3])
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
