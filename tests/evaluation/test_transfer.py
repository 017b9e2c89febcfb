"""Who is fooled by images that were made to fool another: counts that can be checked by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from advlab.attacks import FGSM, PGD, Noise
from advlab.data import load
from advlab.evaluation import evaluate, transfer_matrix
from advlab.goals import ConfidenceReduction, SourceTarget
from advlab.models import Ensemble, leave_one_out, load_model

FAMILIES = ("logistic", "svm", "mlp", "cnn", "resnet")


class Linear(nn.Module):
    """Class 1 where w · (x − 1/2) > 0, by the difference of two logits."""

    def __init__(self, w):
        super().__init__()
        self.register_buffer("w", w)

    def forward(self, x):
        score = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def lines(device):
    """Two linear models, and images that are far from 0 and 1: no step is clipped."""
    source = torch.Generator().manual_seed(0)
    first, noise = torch.randn(2, 16, generator=source, dtype=torch.float64).to(device)
    x = 0.4 + 0.2 * torch.rand(300, 1, 4, 4, generator=source, dtype=torch.float64).to(device)
    models = {"a": Linear(first), "b": Linear(first + noise)}
    return models, x, (models["a"](x).argmax(1))


@pytest.fixture(scope="module")
def zoo():
    x, y = load("mnist5k", device="cpu").test
    return {name: load_model(f"mnist-{name}", "cpu") for name in FAMILIES}, (x[:100], y[:100])


@dataclasses.dataclass(frozen=True)
class Returns:
    """An attack that returns whatever it was told to, and claims a budget."""

    make: object
    eps: float | None = 0.1
    norm: str | None = "Linf"

    def __call__(self, model, x, y):
        return self.make(x)


# What is counted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.01, 0.03])
def test_two_linear_models_in_closed_form(lines, eps):
    """FGSM on s moves the score of t by ε wₜ · sign(wₛ), against the class: no more, no less."""
    models, x, y = lines
    matrix = transfer_matrix(models, FGSM(eps=eps), (x, y))
    right = torch.stack([m(x).argmax(1) == y for m in models.values()]).all(0)
    assert 0 < right.sum() < len(x)
    assert matrix.n == right.sum()
    for s, source in enumerate(models.values()):
        for t, target in enumerate(models.values()):
            margin = target(x[right])[:, 1].abs()
            falls = margin < eps * (target.w @ source.w.sign())
            assert torch.equal(matrix.fooled[s, t], falls.cpu())
            assert matrix.rates[s, t] == falls.double().mean()
    # ‖wₜ‖₁ ≥ wₜ · sign(wₛ): on each target its own examples fall most often.
    own, cross = matrix.rates.diagonal(), matrix.rates.flip(0).diagonal()
    assert (own > cross).all()
    assert (cross > 0).all()
    assert matrix.white_box.tolist() == [[True, False], [False, True]]
    assert (matrix.sources, matrix.targets) == (("a", "b"), ("a", "b"))


def test_matched_counts_only_what_fools_the_source(lines):
    models, x, y = lines
    matrix = transfer_matrix(models, FGSM(eps=0.01), (x, y), matched=True)
    every = dataclasses.replace(matrix, matched=False)
    assert torch.equal(matrix.rates.diagonal(), torch.ones(2, dtype=torch.float64))
    hits = every.fooled[0, 1] & every.fooled[0, 0]
    assert matrix.counted.tolist() == every.fooled.diagonal(dim1=0, dim2=1).sum(0).tolist()
    assert matrix.rates[0, 1] == hits.sum().item() / every.fooled[0, 0].sum().item()
    assert matrix.rates[0, 1] != every.rates[0, 1]
    assert every.counted.tolist() == [every.n] * 2


def test_a_row_is_what_evaluate_says_of_its_source(lines):
    models, x, y = lines
    matrix = transfer_matrix(models, FGSM(eps=0.02), (x, y))
    both = torch.stack([m(x).argmax(1) == y for m in models.values()]).all(0)
    for s, model in enumerate(models.values()):
        (result,) = evaluate(model, [FGSM(eps=0.02)], (x[both], y[both])).attacks
        assert torch.equal(matrix.fooled[s, s], result.fooled)
        assert matrix.seconds[s] > 0


def test_a_targeted_attack_must_reach_its_class(device):
    """Of three classes, each read off one pixel: only the pixel of the class wanted helps."""
    target = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)).to(device)
    with torch.no_grad():
        target[1].weight.copy_(torch.eye(3, 4))
    x = torch.tensor([0.6, 0.5, 0.4, 0.5], device=device).view(1, 1, 2, 2).repeat(3, 1, 1, 1)
    y = torch.tensor([0, 0, 0], device=device)
    wanted = torch.tensor([1, 2, 0], device=device)
    # The last image has the class wanted as its own: it is not attacked.
    for eps, rate in ((0.07, 0.5), (0.15, 1.0), (0.01, 0.0)):
        attack = FGSM(eps=eps, targeted=True)
        matrix = transfer_matrix({"t": target}, attack, (x, y), targets=wanted)
        assert (matrix.n, matrix.rates.item()) == (2, rate)


def test_of_a_goal_for_one_class_only_its_images_count(device):
    """Of three classes, so that there are images of neither the source nor the target."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)).to(device)
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(3, 4))
    x = (0.4 + 0.1 * torch.eye(3, 4, device=device)).view(3, 1, 2, 2)
    y = torch.arange(3, device=device)
    matrix = transfer_matrix({"m": model}, FGSM(eps=0.1, goal=SourceTarget(0, 1)), (x, y))
    assert (matrix.n, matrix.rates.item()) == (1, 1.0)


def test_what_is_there_before_the_attack_does_not_count(lines):
    """A confidence below b is no success where a model had none to begin with."""
    models, x, y = lines
    goal = ConfidenceReduction(0.53)
    nothing = Returns(lambda x: x)
    object.__setattr__(nothing, "aim", goal)
    matrix = transfer_matrix(models, nothing, (x, y))
    assert matrix.n < transfer_matrix(models, Returns(lambda x: x), (x, y)).n
    assert not matrix.rates.any()


def test_an_attack_that_does_nothing_fools_nobody(lines):
    models, x, y = lines
    assert not transfer_matrix(models, Returns(lambda x: x), (x, y)).rates.any()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: 1 - x, id="outside the ball"),
        pytest.param(lambda x: 3 - x, id="outside the box"),
        pytest.param(lambda x: x * torch.nan, id="NaN"),
    ],
)
def test_an_image_that_breaks_the_rules_fools_nobody(lines, make):
    models, x, y = lines
    with pytest.warns(UserWarning, match="they count as failed"):
        matrix = transfer_matrix(models, Returns(make, eps=0.01), (x, y))
    assert not matrix.fooled.any()
    assert not matrix.fooled_source.any()


def test_an_attack_that_may_go_anywhere_fools_all(lines):
    models, x, y = lines
    matrix = transfer_matrix(models, Returns(lambda x: 1 - x, eps=None), (x, y))
    assert (matrix.rates == 1).all()


# Sources and targets -----------------------------------------------------------------------------


def test_a_source_that_holds_a_target_has_seen_it(lines):
    models, x, y = lines
    sources = {"a": models["a"], "both": Ensemble(*models.values())} | leave_one_out(models)
    matrix = transfer_matrix(models, FGSM(eps=0.02), (x, y), sources=sources)
    assert matrix.sources == ("a", "both", "all but a", "all but b")
    assert matrix.white_box.tolist() == [
        [True, False], [True, True], [False, True], [True, False]
    ]  # fmt: skip
    # An ensemble of one is that model; an ensemble of models that are right is right.
    own = transfer_matrix(models, FGSM(eps=0.02), (x, y))
    assert torch.equal(matrix.fooled[2:].flip(0), own.fooled)
    assert matrix.n == own.n


def test_the_source_is_judged_though_it_is_no_target(lines):
    models, x, y = lines
    only = {"a": models["a"]}
    matrix = transfer_matrix(only, FGSM(eps=0.02), (x, y), sources={"b": models["b"]})
    whole = transfer_matrix(models, FGSM(eps=0.02), (x, y))
    assert torch.equal(matrix.fooled[0, 0], whole.fooled[1, 0])
    assert torch.equal(matrix.fooled_source[0], whole.fooled[1, 1])


def test_models_are_left_as_they_were(small_model, small_images):
    x, y = small_images
    small_model.train()
    transfer_matrix({"a": small_model}, FGSM(eps=0.1), (x, y))
    assert small_model.training
    assert all(p.requires_grad and p.grad is None for p in small_model.parameters())


# The zoo -----------------------------------------------------------------------------------------


def test_nobody_fools_a_model_better_than_who_sees_it(zoo):
    models, data = zoo
    matrix = transfer_matrix(models, PGD(eps=0.15, steps=10), data)
    assert matrix.n > 80
    own = matrix.rates.diagonal()
    assert (own >= matrix.rates.amax(0)).all()
    assert (own > 0.6).all()
    # And the simple models do fool one another.
    assert matrix.rates[0, 2] > 0.5


def test_two_sources_fool_a_third_model_more_often_than_either(zoo):
    """Liu et al. (2017): what fools several models at once is more likely to fool one more."""
    models, data = zoo
    sources = {"mlp": models["mlp"], "cnn-b": load_model("mnist-cnn-b", "cpu")}
    sources["both"] = Ensemble(*sources.values())
    attack, target = PGD(eps=0.2, steps=10), {"cnn": models["cnn"]}
    across, within, both = transfer_matrix(target, attack, data, sources=sources).rates[:, 0]
    assert within > across + 0.2, "within a family more transfers"
    assert both > within


def test_noise_of_the_same_size_does_not_do_it(zoo):
    """Without this the rates above might say that the targets are frail, not that it transfers."""
    models, data = zoo
    simple = {name: models[name] for name in ("logistic", "svm", "mlp", "cnn")}
    noise = transfer_matrix(simple, Noise(eps=0.1), data).rates[0]
    assert (noise <= 0.1).all()
    made = transfer_matrix(simple, FGSM(eps=0.1), data, sources={"mlp": simple["mlp"]}).rates[0]
    assert (made >= noise).all()
    assert made[0] > noise[0] + 0.3


# Told as text, and as a picture ------------------------------------------------------------------


def test_the_text_says_what_was_counted(lines):
    models, x, y = lines
    matrix = transfer_matrix(models, FGSM(eps=0.03), (x, y))
    first, head, line, *rows, note = str(matrix).splitlines()
    assert first == f"FGSM(eps=0.03): fooled, of {matrix.n} images that every model has right"
    assert head.split() == ["source", "\\", "target", "a", "b"]
    assert set(line) == {"-", " "}
    for row, name, rates in zip(rows, "ab", matrix.rates.tolist(), strict=True):
        assert row.replace("*", "").split() == [name, *(f"{rate:.1%}" for rate in rates)]
    assert rows[0].index("*") < rows[1].index("*")
    assert note.startswith("* the attacker saw the target")
    matched = str(dataclasses.replace(matrix, matched=True)).splitlines()
    assert matched[0].endswith("that every model has right, those that fool their source")
    assert [row.split()[-1] for row in matched[3:5]] == [str(c.sum().item()) for c in
                                                        matrix.fooled_source]  # fmt: skip


def test_a_row_of_which_nothing_counts_has_no_rate(lines):
    models, x, y = lines
    matrix = transfer_matrix(models, Returns(lambda x: x), (x, y), matched=True)
    assert matrix.rates.isnan().all()
    assert str(matrix).count("–") == 4
    assert matrix.plot()


# What is refused ---------------------------------------------------------------------------------


def test_what_cannot_be_compared_is_refused(lines):
    models, x, y = lines
    attack = FGSM(eps=0.1)
    refused = {
        "models: expected at least one, found none": lambda: transfer_matrix({}, attack, (x, y)),
        "sources: expected at least one": lambda: transfer_matrix(
            models, attack, (x, y), sources={}
        ),
        "targets: expected the classes wanted": lambda: transfer_matrix(
            models, FGSM(eps=0.1, targeted=True), (x, y)
        ),
        "found none of 300": lambda: transfer_matrix(models, attack, (x, 1 - y)),
        "found none of 0": lambda: transfer_matrix(models, attack, (x[:0], y[:0])),
        "expected real images": lambda: transfer_matrix(
            models, Returns(lambda x: x[:, :, 1:]), (x, y)
        ),
    }
    for message, call in refused.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_models_for_other_images_or_classes_are_named(lines):
    models, x, y = lines
    wide = nn.Sequential(nn.Flatten(), nn.Linear(25, 2)).double().to(x.device)
    with pytest.raises(ValueError, match=r"target 'wide': could not answer .* \(1, 4, 4\)"):
        transfer_matrix(models | {"wide": wide}, FGSM(eps=0.1), (x, y), sources=models)
    three = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double().to(x.device)
    with pytest.raises(ValueError, match="expected one number of classes, found"):
        transfer_matrix(models | {"three": three}, FGSM(eps=0.1), (x, y))


def test_a_label_that_no_model_has_is_not_blamed_on_the_images(lines):
    models, x, y = lines
    with pytest.raises(ValueError, match=r"^y: expected class numbers below 2"):
        transfer_matrix(models, FGSM(eps=0.1), (x, y + 1))
    with pytest.raises(ValueError, match=r"^y: expected class numbers below 2"):
        transfer_matrix(models, FGSM(eps=0.1, targeted=True), (x, y), targets=y + 1)


def test_the_model_on_another_device_is_named(lines):
    models, x, y = lines
    away = Linear(models["a"].w.to("meta"))
    with pytest.raises(ValueError, match=r"target 'away': could not answer .* is on meta"):
        transfer_matrix(models | {"away": away}, FGSM(eps=0.1), (x, y), sources=models)
