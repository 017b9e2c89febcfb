"""AUC against counting pairs, ROC by hand, tables of detectors and attacks, and their errors."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab import backend
from advlab.attacks import FGSM, PGD
from advlab.detectors import Detector, Examples, examples
from advlab.evaluation import (
    DetectionScores,
    Outcome,
    Outcomes,
    detection,
    detection_auc,
    evaluate,
    outcomes,
    roc_curve,
    true_positive_rate,
)
from advlab.models import predict, predict_logits

# Few values, so that many are equal.
SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=20).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
RATES = st.floats(0, 1)


def pairs(natural, adversarial):
    """The pairs in which the adversarial image has the higher score; half of those that tie."""
    won = sum((a > n) + 0.5 * (a == n) for n in natural.tolist() for a in adversarial.tolist())
    return won / (len(natural) * len(adversarial))


@settings(max_examples=25, deadline=None)
@given(natural=SCORES, adversarial=SCORES)
def test_the_area_counts_pairs(natural, adversarial):
    area = pairs(natural, adversarial)
    assert detection_auc(natural, adversarial) == pytest.approx(area)
    assert roc_curve(natural, adversarial).auc == pytest.approx(area)


@settings(max_examples=25, deadline=None)
@given(natural=SCORES, adversarial=SCORES)
def test_scores_turned_round_give_the_rest(natural, adversarial):
    area = detection_auc(natural, adversarial)
    assert detection_auc(-natural, -adversarial) == pytest.approx(1 - area)
    assert detection_auc(adversarial, natural) == pytest.approx(1 - area)


@settings(max_examples=25, deadline=None)
@given(natural=SCORES, adversarial=SCORES, seed=st.integers(0, 99), rate=RATES)
def test_the_order_of_the_images_is_nothing(natural, adversarial, seed, rate):
    random = backend.generator(seed)
    shuffled = [s[torch.randperm(len(s), generator=random)] for s in (natural, adversarial)]
    assert detection_auc(*shuffled) == detection_auc(natural, adversarial)
    assert true_positive_rate(*shuffled, rate) == true_positive_rate(natural, adversarial, rate)


@settings(max_examples=25, deadline=None)
@given(natural=SCORES, adversarial=SCORES)
def test_only_the_order_of_the_scores_counts(natural, adversarial):
    area = detection_auc(natural, adversarial)
    assert detection_auc(natural.exp(), adversarial.exp()) == pytest.approx(area)
    ends = [torch.where(s.abs() == 4, s * torch.inf, s) for s in (natural, adversarial)]
    assert detection_auc(*ends) == pytest.approx(area)


def test_a_constant_score_is_a_coin():
    assert detection_auc(torch.zeros(7), torch.zeros(3)) == 0.5
    assert true_positive_rate(torch.zeros(7), torch.zeros(3), 0.99) == 0
    assert true_positive_rate(torch.zeros(7), torch.zeros(3), 1) == 1


def test_a_score_the_wrong_way_round_stays_so():
    assert detection_auc(torch.ones(4), torch.zeros(4)) == 0


def test_the_curve_by_hand():
    curve = roc_curve(torch.tensor([1.0, 2, 3, 4]), torch.tensor([3.0, 5]))
    points = list(zip(curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()))
    assert points == [(0, 0), (0, 0.5), (0.25, 0.5), (0.5, 1), (0.75, 1), (1, 1)]
    assert curve.threshold.tolist()[1:] == [5, 4, 3, 2, 1]
    assert curve.auc == pytest.approx(1 - 1.5 / 8)  # 1 pair lost, and 1 tie


@settings(max_examples=25, deadline=None)
@given(natural=SCORES, adversarial=SCORES, rate=RATES)
def test_caught_at_a_rate_is_the_best_threshold(natural, adversarial, rate):
    caught = [
        (adversarial > t).double().mean().item()
        for t in [-9.0, *natural.tolist(), *adversarial.tolist()]
        if (natural > t).double().mean().item() <= rate + 1e-9
    ]
    assert true_positive_rate(natural, adversarial, rate) == pytest.approx(max(caught))


def test_the_detectors_own_threshold_is_one_of_the_curves():
    """On the scores that it was made of, ``Detector.threshold`` catches what the rate allows."""
    random = backend.generator(0)
    natural, adversarial = (torch.randn(n, generator=random) + n / 40 for n in (40, 60))
    fitted = Contrast()
    object.__setattr__(fitted, "model", nn.Identity())
    fitted.calibration = natural.sort().values
    for rate in (0, 0.05, 0.1, 0.33):
        caught = (adversarial > fitted.threshold(rate)).double().mean().item()
        assert caught == pytest.approx(true_positive_rate(natural, adversarial, rate))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection_auc(torch.zeros(0), torch.zeros(2)), "natural: expected scores"),
        (lambda: detection_auc(torch.zeros(2), torch.zeros(2, 1)), "adversarial: expected scores"),
        (lambda: roc_curve(torch.tensor([0, torch.nan]), torch.zeros(2)), "1 NaN among 2"),
        (lambda: true_positive_rate(torch.zeros(2), torch.ones(2), 5), "from 0 to 1, found 5"),
    ],
)
def test_bad_scores(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Contrast(Detector):
    """How far the pixels are from gray: a perturbation by signs makes it larger."""

    def process(self, x):
        return (x - 0.5).abs().flatten(1).mean(1)


class Constant(Detector):
    def process(self, x):
        return 0 * x.flatten(1).sum(1)


EPS = 0.3


@pytest.fixture
def data(device):
    return (torch.rand(80, 1, 8, 8, generator=backend.generator(2))).to(device)


@pytest.fixture
def watched(small_model, data):
    return small_model, (data, predict(small_model, data))


@pytest.fixture
def contrast(watched):
    return Contrast().fit(*watched)


def test_the_scores_are_those_of_the_examples(watched, contrast):
    model, (x, y) = watched
    found = detection({"c": contrast, "0": Constant().fit(*watched)}, [FGSM(eps=EPS)], (x, y))
    cell = found["c", "FGSM(eps=0.3)"]
    made = examples(model, FGSM(eps=EPS), x, y, seed=0)
    for kind in ("natural", "noisy", "adversarial"):
        images = getattr(made, kind)
        expected = (images - 0.5).abs().flatten(1).mean(1).cpu()
        torch.testing.assert_close(getattr(cell, kind), expected)
    fooled = predict(model, FGSM(eps=EPS)(model, x, y)) != y
    assert len(cell.adversarial) == int(fooled.sum()) > 0
    assert len(cell.negatives) == 2 * len(cell.natural)
    assert cell.auc == pytest.approx(pairs(cell.negatives, cell.adversarial))
    # Noise of the same size has as much contrast: against it the score is worth less.
    assert detection_auc(cell.natural, cell.adversarial) > cell.auc > 0.5
    assert found["0", "FGSM(eps=0.3)"].auc == 0.5
    with pytest.raises(KeyError, match="the detectors c, 0 and the attacks FGSM"):
        found["c", "PGD"]


def test_the_table_the_rows_and_the_figure_say_the_same(watched, contrast):
    attacks = {"one step": FGSM(eps=EPS), "many": PGD(eps=EPS, steps=5)}
    detectors = {"contrast": contrast, "constant": Constant().fit(*watched)}
    found = detection(detectors, attacks, watched[1], false_positive_rate=0.1)
    rows = json.loads(json.dumps(found.rows()))
    assert [(r["detector"], r["attack"]) for r in rows] == [
        (d, a) for d in detectors for a in attacks
    ]
    said = str(found)
    for row in rows:
        cell = found[row["detector"], row["attack"]]
        assert row["auc"] == cell.auc
        assert row["true_positive_rate"] == cell.true_positive_rate(0.1)
        assert f"{row['auc']:.1%}" in said
        assert f"{row['attack']} {row['adversarial_images']}" in said
    assert "10.0% of natural and noisy images raise alarm" in said
    assert set(found.curves("many")) == set(detectors)
    drawn = [t.get_text() for t in found.plot().axes[0].texts]
    assert len(drawn) == 4
    assert drawn[2:] == ["50%", "50%"]


def test_examples_are_made_once_for_each_model(watched, contrast):
    """Two detectors of one model see the same images, those of another model see its own."""
    model, (x, y) = watched
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).to(x.device)
    seen = []

    def attack(model, x, y):
        seen.append(model)
        return PGD(eps=EPS, steps=3)(model, x, y)

    detectors = {
        "a": contrast,
        "b": Constant().fit(*watched),
        "c": Contrast().fit(other, (x, predict(other, x))),
    }
    found = detection(detectors, {"PGD": attack}, (x, y))
    assert seen == [model, other]
    assert torch.equal(found["a", "PGD"].natural.sort().values, contrast.score(
        examples(model, PGD(eps=EPS, steps=3), x, y).natural).cpu().sort().values)  # fmt: skip
    assert len(found["c", "PGD"].natural) != len(found["a", "PGD"].natural)
    assert " to " in str(found).splitlines()[-1]


def test_scores_of_examples_of_ones_own(contrast, data):
    images = Examples(data[:3], data[3:6], data[6:9], torch.zeros(3, dtype=torch.int64))
    scores = DetectionScores.of(contrast, images, ("c", "mine"))
    assert torch.equal(scores.noisy, contrast.score(data[3:6]).cpu())
    assert (scores.detector, scores.attack) == ("c", "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detectors": {}}, "detectors: expected at least one"),
        ({"attacks": {}}, "attacks: expected at least one"),
        ({"attacks": [FGSM(eps=EPS)] * 2}, "two are named 'FGSM"),
        ({"attacks": {"none": FGSM(eps=0)}}, "fools the model on none of 80 images"),
        ({"detectors": {"new": Contrast()}}, "Contrast: not fitted yet"),
        ({"false_positive_rate": -1}, "false_positive_rate: expected a number from 0 to 1"),
    ],
)
def test_bad_tables(change, message, watched, contrast):
    settings = {"detectors": {"c": contrast}, "attacks": [FGSM(eps=EPS)], "data": watched[1]}
    with pytest.raises(ValueError, match=message):
        detection(**(settings | change))


def kinds(model, x, y):
    """Counted by hand from the logits."""
    found = []
    for logits, label in zip(predict_logits(model, x).tolist(), y.tolist(), strict=True):
        answer = logits.index(max(logits))
        found.append(0 if answer == label else 1 if answer == len(logits) - 1 else 2)
    return torch.tensor(found)


def test_outcomes_add_up_and_are_those_counted_by_hand(watched, contrast):
    x, y = watched[1]
    y = torch.where(torch.arange(len(y), device=y.device) < 9, (y + 1) % 5, y)  # nine are wrong
    defended, attack = contrast.defended(0.1), FGSM(eps=EPS, goal="undetected")
    found = outcomes(defended, {"FGSM": attack}, (x, y))
    start = kinds(defended, x, y)
    assert torch.equal(found.natural.kinds, start)
    assert len(start.unique()) == 3
    expected = torch.where(start == 2, start, kinds(defended, attack(defended, x, y), y))
    assert torch.equal(found.attacks["FGSM"].kinds, expected)
    for outcome in (found.natural, found.attacks["FGSM"], found.worst):
        assert sum(outcome.fractions) == pytest.approx(1)
    known = (predict(watched[0], x) == y).cpu()
    assert found.false_alarms == pytest.approx((start[known] == 1).double().mean().item())
    rows = json.loads(json.dumps(found.rows()))
    assert [row["attack"] for row in rows] == ["none", "FGSM"]
    assert f"{rows[1]['undetected']:.1%}" in str(found)
    assert "false alarms" in str(found)


def test_the_worst_case_is_image_by_image():
    first, second = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 0, 0, 0])
    found = Outcomes(
        Outcome(torch.zeros(4)), {"a": Outcome(first), "b": Outcome(second)}, false_alarms=0.0
    )
    assert found.worst.kinds.tolist() == [1, 1, 2, 0]
    assert "worst case" in str(found)


def test_success_is_that_of_evaluate(watched, contrast):
    """Of images that are right and accepted, the attack's success there is ours."""
    x, y = watched[1]
    defended = contrast.defended(0.1)
    right = predict(defended, x) == y
    data, attack = (x[right], y[right]), PGD(eps=EPS, steps=5, goal="undetected")
    report = evaluate(defended, [attack], data)
    found = outcomes(defended, [attack], data)
    assert found.attacks[str(attack)].undetected == report.attacks[0].fooled.double().mean().item()


def test_an_attack_that_does_nothing_changes_nothing(watched, contrast):
    found = outcomes(contrast.defended(0.1), {"idle": lambda model, x, y: x}, watched[1])
    assert torch.equal(found.attacks["idle"].kinds, found.natural.kinds)
    assert found.natural.rejected > 0


def test_an_attack_on_the_model_alone_is_shown_to_the_whole(watched, contrast):
    model, (x, y) = watched
    defended, attack = contrast.defended(0.1), FGSM(eps=EPS)
    blind = outcomes(defended, {"FGSM": attack}, (x, y), source=model)
    assert torch.equal(blind.attacks["FGSM"].kinds, kinds(defended, attack(model, x, y), y))
    assert blind.attacks["FGSM"].rejected > 0.5  # the noise gives it away
    # Of a model that cannot reject, "undetected" would take the last class for a rejection.
    knowing = FGSM(eps=EPS, goal="undetected")
    with pytest.raises(ValueError, match="the source cannot reject"):
        outcomes(defended, {"FGSM": knowing}, (x, y), source=model)
    same = outcomes(defended, {"FGSM": knowing}, (x, y), source=defended).attacks["FGSM"]
    assert torch.equal(same.kinds, outcomes(defended, {"a": knowing}, (x, y)).attacks["a"].kinds)


def test_targets_are_the_classes_wanted(watched, contrast):
    x, y = watched[1]
    defended, attack = contrast.defended(0.1), FGSM(eps=EPS, targeted=True)
    targets = torch.zeros_like(y)
    found = outcomes(defended, {"FGSM": attack}, (x, y), targets=targets).attacks["FGSM"]
    expected = torch.where(y.cpu() == 0, kinds(defended, x, y), kinds(defended, attack(
        defended, x, targets), y))  # fmt: skip
    assert torch.equal(found.kinds, expected)
    with pytest.raises(ValueError, match="targets: expected the classes wanted"):
        outcomes(defended, [attack], (x, y))


def test_an_image_outside_of_the_budget_is_not_done(watched, contrast):
    class Cheat:
        eps, norm = 0.01, "Linf"

        def __call__(self, model, x, y):
            return 1 - x

    defended = contrast.defended(0.1)
    with pytest.warns(UserWarning, match="left the box or the budget"):
        found = outcomes(defended, {"cheat": Cheat()}, watched[1])
    assert torch.equal(found.attacks["cheat"].kinds, found.natural.kinds)


def test_what_cannot_reject_is_said(watched, contrast):
    model, (x, y) = watched
    with pytest.raises(ValueError, match="without an attribute 'rejected'"):
        outcomes(model, [FGSM()], (x, y))
    defended = contrast.defended(0.1)
    with pytest.raises(ValueError, match="expected classes below 5, where 'rejected' begins"):
        outcomes(defended, [FGSM()], (x, y + 5))
    with pytest.raises(ValueError, match="at least one image"):
        outcomes(defended, [FGSM()], (x[:0], y[:0]))
