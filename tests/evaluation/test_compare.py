"""Models side by side: the columns are what ``evaluate`` measures, and costs are ratios."""

import time

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import APGD, EOT, FGSM, PGD, DeepFool
from advlab.evaluation import (
    adaptive_attack,
    compare,
    evaluate,
    prediction_costs,
    training_costs,
)
from advlab.models import BPDA, predict
from advlab.training import CrossEntropy

EPS = 0.1


class Slow(nn.Module):
    """The same answers, a hundredth of a second later."""

    def forward(self, x):
        time.sleep(0.01)
        return x


class Shaken(nn.Module):
    def forward(self, x):
        return x + 0.05 * torch.randn_like(x)


def rounded(model):
    return nn.Sequential(BPDA(lambda x: (8 * x).round() / 8, backward="own"), model).eval()


@pytest.fixture
def pair(small_model):
    return {"plain": small_model, "rounded": rounded(small_model)}


ATTACKS = {"FGSM": FGSM(eps=EPS), "PGD": PGD(eps=EPS, steps=5)}


@pytest.mark.filterwarnings("ignore:the gradient is exactly zero")
def test_columns_are_those_of_evaluate(pair, small_images):
    found = compare(pair, ATTACKS, small_images, eps=EPS)
    for name, model in pair.items():
        report = evaluate(model, ATTACKS, small_images)
        row = found[name]
        assert row.accuracy == report.accuracy
        assert row.robust == {a: report.robust_accuracy(a) for a in ATTACKS}
        assert row.worst == report.robust_accuracy()
        assert row.training is None
    assert found["plain"].prediction == 1
    assert found["plain"].worst < found["rounded"].worst  # to those that do not know of the step
    with pytest.raises(KeyError, match="there are: plain, rounded"):
        found["other"]


@pytest.mark.filterwarnings("ignore:the gradient is exactly zero")
def test_an_adaptive_attack_counts_in_the_worst_case(pair, small_images):
    knowing = {"rounded": PGD(eps=EPS, steps=5, backward="identity")}
    found = compare(
        pair, ATTACKS, small_images, eps=EPS, adaptive=knowing, training={"rounded": 1.5}
    )
    row = found["rounded"]
    assert row.robust["adaptive"] < row.robust["PGD"]
    assert row.worst <= row.robust["adaptive"]
    assert "adaptive" not in found["plain"].robust
    lines = str(found).splitlines()
    assert "adaptive" in lines[0]
    assert f"{row.worst:.1%}" in lines[3]
    assert "1.50x" in lines[3]
    assert "–" in lines[2]
    axes = found.plot().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plain", "rounded"]


def test_an_attack_without_eps_counts_up_to_its_limit(small_model, small_images):
    x, y = small_images
    size = threat.size(DeepFool()(small_model, x, y) - x, "L2")
    limit = size.sort().values[5].item() + 1e-4  # six of the twelve
    found = compare(
        {"one": small_model}, {"DeepFool": DeepFool()}, small_images, eps=0.0,
        limits={"DeepFool": ("L2", limit)},
    )  # fmt: skip
    assert found["one"].robust["DeepFool"] == pytest.approx(0.5)
    assert found["one"].worst == 1  # no perturbation of size 0 fools
    assert f"DeepFool: L2 ≤ {limit:g}" in str(found)
    largest = threat.size(DeepFool()(small_model, x, y) - x, "Linf").max().item()
    wide = compare(
        {"one": small_model}, {"DeepFool": DeepFool()}, small_images, eps=largest,
        limits={"DeepFool": ("L2", 0.0)},
    )  # fmt: skip
    assert wide["one"].robust["DeepFool"] == 1
    assert wide["one"].worst == 0  # they lie inside the ball of the worst case


def test_an_adaptive_attack_without_eps_is_held_to_its_limit(small_model, small_images):
    settings = {"eps": EPS, "adaptive": {"one": DeepFool()}}
    for size, kept in ((0.0, 1), (1e3, 0)):
        found = compare(
            {"one": small_model}, {}, small_images, limits={"adaptive": ("L2", size)}, **settings
        )
        assert found["one"].robust == {"adaptive": kept}
    x, y = small_images
    wrong = torch.cat([(y[:3] + 1) % 5, y[3:]])  # three that the model has wrong from the start
    limits = {"adaptive": ("L2", 0.0)}
    found = compare({"one": small_model}, {}, (x, wrong), limits=limits, **settings)
    assert found["one"].robust["adaptive"] == pytest.approx(0.75)


def test_costs_are_ratios_to_the_first(small_model, small_images):
    x, y = small_images
    models = {"fast": small_model, "slow": nn.Sequential(Slow(), small_model)}
    costs = prediction_costs(models, x)
    assert costs["fast"] == 1
    assert costs["slow"] > 3
    turned = prediction_costs(dict(reversed(models.items())), x)
    assert turned["fast"] < 1 / 3
    networks = {name: (model.train(), None) for name, model in models.items()}
    trained = training_costs({**networks, "same": (small_model, CrossEntropy())}, (x, y), steps=3)
    assert trained["slow"] > 3
    assert 0.2 < trained["same"] < 5


def test_a_step_of_training_is_one_of_adam(small_images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    twin = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    twin.load_state_dict(model.state_dict())
    x, y = (t.cpu() for t in small_images)
    training_costs({"model": (model, None)}, (x, y), steps=1)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    for _ in range(2):  # one to warm up
        loss = CrossEntropy()(twin, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model[1].weight, twin[1].weight)


def test_the_adaptive_attack_is_chosen_by_the_model(small_model, small_images):
    x, _ = small_images
    assert isinstance(adaptive_attack(small_model, x, eps=EPS), APGD)
    through = adaptive_attack(rounded(small_model), x, eps=EPS, steps=7)
    assert through == PGD(eps=EPS, steps=7, backward="substitute")
    shaken = adaptive_attack(nn.Sequential(Shaken(), small_model).eval(), x, eps=EPS, samples=3)
    assert isinstance(shaken, EOT)
    assert shaken.samples == 3
    assert shaken.attack == PGD(eps=EPS)
    both = nn.Sequential(Shaken(), rounded(small_model)).eval()
    assert adaptive_attack(both, x, eps=EPS).attack.backward == "substitute"


def test_what_a_random_model_draws_is_the_same_again(small_model, small_images):
    models = {"shaken": nn.Sequential(Shaken(), small_model).eval()}
    first = compare(models, ATTACKS, small_images, eps=EPS)
    torch.rand(2)
    again = compare(models, ATTACKS, small_images, eps=EPS)
    assert (first["shaken"].robust, first["shaken"].worst) == (
        again["shaken"].robust,
        again["shaken"].worst,
    )


def test_bad_input(small_model, small_images):
    one, aimed = {"one": small_model}, PGD(eps=EPS, targeted=True)
    with pytest.raises(ValueError, match="models: expected at least one"):
        compare({}, ATTACKS, small_images, eps=EPS)
    with pytest.raises(ValueError, match="which has no eps"):
        compare(one, [DeepFool()], small_images, eps=EPS)
    with pytest.raises(ValueError, match=r"adaptive: found \['two'\], expected among one"):
        compare(one, ATTACKS, small_images, eps=EPS, adaptive={"two": FGSM()})
    with pytest.raises(ValueError, match="limits: found"):
        compare(one, ATTACKS, small_images, eps=EPS, limits={"CW": ("L2", 1.0)})
    with pytest.raises(ValueError, match="training: found"):
        compare(one, ATTACKS, small_images, eps=EPS, training={"two": 1.0})
    with pytest.raises(ValueError, match="name of a column"):
        compare(one, {"adaptive": FGSM()}, small_images, eps=EPS)
    with pytest.raises(ValueError, match="two have one name"):
        compare(one, [FGSM(eps=EPS), FGSM(eps=EPS)], small_images, eps=EPS)
    with pytest.raises(ValueError, match="eps: expected a finite number, at least 0, found -1"):
        compare(one, ATTACKS, small_images, eps=-1)
    with pytest.raises(ValueError, match="'PGD' wants targeted; expected attacks after any wrong"):
        compare(one, {"PGD": aimed}, small_images, eps=EPS)
    with pytest.raises(ValueError, match="'adaptive' wants targeted"):
        compare(one, ATTACKS, small_images, eps=EPS, adaptive={"one": aimed})
    with pytest.raises(ValueError, match=r"limits: expected \(norm, size\) for 'adaptive'"):
        compare(one, ATTACKS, small_images, eps=EPS, adaptive={"one": DeepFool()})
    with pytest.raises(ValueError, match="limits: found"):
        compare(one, ATTACKS, small_images, eps=EPS, limits={"adaptive": ("L2", 1.0)})
    with pytest.raises(ValueError, match="repeats"):
        prediction_costs(one, small_images[0], repeats=0)
    with pytest.raises(ValueError, match="steps"):
        training_costs({"one": (small_model, None)}, small_images, steps=0)
    with pytest.raises(ValueError, match="at least one model"):
        prediction_costs({}, small_images[0])


def test_predictions_do_not_change_the_random_state(small_model, small_images):
    state = torch.random.get_rng_state()
    prediction_costs({"shaken": nn.Sequential(Shaken(), small_model)}, small_images[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert predict(small_model, small_images[0]).tolist() == small_images[1].tolist()
