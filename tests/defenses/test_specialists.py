"""Specialists+1: class sets, the vote against a slow loop, training, and the attack on it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlab.attacks import CWL2, FGSM, PGD, GradientWarning, UnanimousVote
from advlab.data import load
from advlab.defenses import SpecialistsPlusOne, class_sets, confusion, vote
from advlab.evaluation import sanity
from advlab.goals import SourceTarget
from advlab.models import load_model, predict, predict_logits

NAMES = ["airplane", "auto", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# Automobiles of CIFAR-10, the row that He et al. show on their slides, in percent.
AUTO = torch.tensor([2.70, 0, 7.20, 1.94, 5.46, 0.06, 7.86, 0.90, 8.50, 65.38])


# Class sets.


def test_automobiles_are_confused_with_trucks_ships_and_frogs():
    matrix = torch.ones(10, 10)
    matrix[1] = AUTO
    sets = class_sets(matrix, 0.8)
    often = {name for name, there in zip(NAMES, sets[1], strict=True) if there}
    rest = {name for name, there in zip(NAMES, sets[11], strict=True) if there}
    assert often == {"truck", "ship", "frog"}
    assert rest == {"airplane", "auto", "bird", "cat", "deer", "dog", "horse"}


def test_class_sets_by_hand():
    matrix = torch.tensor([[9, 1, 4, 0], [5, 0, 5, 0], [1, 1, 7, 1], [0, 0, 10, 0]])
    expected = [
        [0, 0, 1, 0],  # 4 of 5 is 80%
        [1, 0, 1, 0],  # 5 of 10 is not
        [1, 1, 0, 1],  # all three are needed
        [0, 0, 1, 0],
        [1, 1, 0, 1],
        [0, 1, 0, 1],
        [0, 0, 1, 0],
        [1, 1, 0, 1],
        [1, 1, 1, 1],
    ]
    assert class_sets(matrix).int().tolist() == expected


def test_of_equal_confusions_the_lower_class_comes_first():
    sets = class_sets(torch.ones(4, 4), 0.3)
    assert sets[:4].int().argmax(1).tolist() == [1, 0, 0, 0]
    assert (sets[:4].sum(1) == 1).all()


@settings(deadline=None)
@given(st.integers(2, 7), st.integers(0, 10**6), st.floats(0.05, 1))
def test_every_class_has_k_specialists_and_the_generalist(k, seed, share):
    matrix = torch.randint(1, 50, (k, k), generator=torch.Generator().manual_seed(seed))
    sets = class_sets(matrix, share)
    assert (sets.sum(0) == k + 1).all()
    assert sets[-1].all()
    assert not (sets[:k] & torch.eye(k, dtype=torch.bool)).any()
    off = matrix.clone().fill_diagonal_(0)
    for row, often in zip(off, sets[:k], strict=True):
        assert row[often].sum() >= share * row.sum() * (1 - 1e-6)
        # Without the least of them, the share is not reached: none is too many.
        assert row[often].sum() - row[often].min() < share * row.sum()


@pytest.mark.parametrize(
    ("matrix", "share", "words"),
    [
        (torch.ones(3, 4), 0.8, "expected shape"),
        (torch.ones(3, 3), 0.0, "share"),
        (torch.ones(3, 3), 1.5, "share"),
        (-torch.ones(3, 3), 0.8, "at least 0"),
        (torch.tensor([[3, 1], [0, 4]]), 0.8, "class 1"),
    ],
)
def test_wrong_confusions(matrix, share, words):
    with pytest.raises(ValueError, match=words):
        class_sets(matrix, share)


def test_confusion_counts_what_the_attack_changed():
    answers = nn.Linear(4, 4, bias=False)
    answers.weight.data = 2 * torch.eye(4)
    model = nn.Sequential(nn.Flatten(), answers)
    x = torch.eye(4).view(4, 1, 2, 2)
    y = torch.tensor([0, 1, 2, 0])  # the last one it has wrong from the start

    def turn(model, x, y):
        return x.flatten(1).roll(1, dims=1).view_as(x)

    expected = torch.zeros(4, 4)
    expected[0, 1] = expected[1, 2] = expected[2, 3] = 1
    assert torch.equal(confusion(model, turn, x, y).float(), expected)
    assert not confusion(model, lambda model, x, y: x, x, y).any()


# The vote.


def slow_vote(p, sets):
    """The rule as it is told, an image and a class at a time; p is (N, M, K)."""
    means, winners = [], []
    for image in p:
        answers = [int(row.argmax()) for row in image]
        agreed = []
        for k in range(sets.shape[1]):
            able = [m for m in range(len(sets)) if sets[m, k]]
            if all(answers[m] == k for m in able):
                agreed.append((k, able))
        voters = agreed[0][1] if agreed else range(len(sets))
        means.append(sum(image[m] for m in voters) / len(voters))
        winners.append([k for k, _ in agreed])
    return torch.stack(means), winners


@st.composite
def votes(draw):
    """Random probabilities of M members, which often agree on a class."""
    k, m = draw(st.integers(2, 5)), draw(st.integers(1, 6))
    source = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    sets = torch.rand(m, k, generator=source) < 0.6
    sets[torch.arange(m), torch.randint(k, (m,), generator=source)] = True
    sets[draw(st.integers(0, m - 1))] = True
    logits = torch.randn(8, m, k, generator=source, dtype=torch.float64)
    likely = torch.randint(k, (8,), generator=source)
    logits[torch.arange(8), :, likely] += draw(st.sampled_from([0.0, 2.0, 6.0]))
    return logits.masked_fill(~sets, -torch.inf).log_softmax(2), sets


@settings(deadline=None, max_examples=50)
@given(votes())
def test_the_vote_is_the_slow_loop(drawn):
    log_p, sets = drawn
    expected, winners = slow_vote(log_p.exp(), sets)
    found = vote(log_p, sets).exp()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(1), torch.ones(8, dtype=torch.float64))
    assert all(len(agreed) <= 1 for agreed in winners)
    for answer, agreed in zip(found.argmax(1).tolist(), winners, strict=True):
        assert not agreed or agreed == [answer]


@settings(deadline=None)
@given(votes())
def test_without_agreement_confidence_is_bounded(drawn):
    log_p, sets = drawn
    _, winners = slow_vote(log_p.exp(), sets)
    torn = torch.tensor([not agreed for agreed in winners])
    # A class gets at most 1 from each of those that can predict it.
    most = sets.sum(0).max().item() / len(sets)
    assert (vote(log_p, sets).exp()[torn] <= most + 1e-9).all()


# The model.


def small(seed=0, k=3, **changes):
    """2K + 1 linear members for images (N, 1, 4, 4), in float64, the sets drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        members = [nn.Sequential(nn.Flatten(), nn.Linear(16, k)) for _ in range(2 * k + 1)]
        sets = class_sets(torch.rand(k, k) + 0.1)
    return SpecialistsPlusOne(members, k, sets=sets, **changes).double().eval()


def images(n, seed=1):
    source = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 4, 4, generator=source, dtype=torch.float64)


def test_logits_are_the_vote_and_the_threshold():
    model, x = small(threshold=0.6), images(40)
    log_p = torch.stack([member(x) for member in model.members], 1)
    log_p = log_p.masked_fill(~model.sets, -torch.inf).log_softmax(2)
    expected, _ = slow_vote(log_p.exp(), model.sets)
    logits = predict_logits(model, x)
    torch.testing.assert_close(logits[:, :3].exp(), expected)
    torch.testing.assert_close(model.confidence(x), expected.amax(1))
    rejected = predict(model, x) == 3
    assert torch.equal(rejected, expected.amax(1) < 0.6)
    assert 0 < rejected.sum() < 40


def test_rejects_exactly_below_the_threshold():
    model, x = small(), images(40)
    logits = predict_logits(model, x)
    assert (logits.argmax(1) < 3).all()  # by default nothing
    top = logits[:, :3].amax(1)
    for value in top.sort().values[[0, 13, 39]]:
        model.log_threshold.copy_(value)
        assert torch.equal(predict(model, x) == 3, top < value)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3])
def test_calibrated_to_a_rate(rate):
    model, x = small(), images(200)
    rejected = (predict(model.calibrate(x, rate), x) == 3).sum().item()
    assert rejected == math.floor(rate * 200 + 1e-9)


def test_sanity_knows_that_it_may_reject():
    """With no scores that the threshold was made of, there is no promise of false alarms."""
    model, x = small(threshold=0.5), images(30)
    y = predict_logits(model, x)[:, :-1].argmax(1)
    report = sanity(model, (x, y), eps=0.1, steps=2, queries=4)
    assert len(report.checks) == 11
    assert report["false alarms"].suspicious is None
    assert report["false alarms"].measured == {"rejected": 30 - report.attacked, "of": 30}
    assert report["good attacks exist"].suspicious is not None
    assert not report.failed


def test_an_image_does_not_depend_on_its_batch():
    model, x = small(threshold=0.6), images(30)
    whole = predict_logits(model, x)
    torch.testing.assert_close(predict_logits(model, x, batch_size=1), whole)
    torch.testing.assert_close(predict_logits(model, x.flip(0)).flip(0), whole)


def test_the_substitute_gives_the_same_answer_with_another_gradient():
    model, x = small(threshold=0.6), images(10).requires_grad_(True)
    own = model(x)
    model.backward = "substitute"
    smooth = model(x)
    assert torch.equal(own, smooth)
    log_p = model.member_logits(x).log_softmax(2)
    able = [m for m in range(7) if model.sets[m, 1]]
    expected = sum(log_p[:, m, 1] for m in able) / len(able)
    (gradient,) = torch.autograd.grad(smooth[:, 1].sum(), x, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), x)[0])
    assert not torch.allclose(gradient, torch.autograd.grad(own[:, 1].sum(), x)[0])


def test_moves_and_is_saved():
    first, second, x = small(0, threshold=0.6), small(1), images(20)
    second.load_state_dict(first.state_dict())
    assert torch.equal(predict_logits(first, x), predict_logits(second, x))
    assert second.threshold == pytest.approx(0.6)


BLOBS = 2  # pixels at the center of each class


def blobs(n, seed):
    """Three classes: a brighter corner each, in noise."""
    source = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=source)
    x = 0.4 * torch.rand(n, 1, 4, 4, generator=source)
    row, column = torch.tensor([0, 0, 2])[y], torch.tensor([0, 2, 1])[y]
    for i in range(BLOBS):
        for j in range(BLOBS):
            x[torch.arange(n), 0, row + i, column + j] += 0.5
    return x, y


SETTINGS = {"attack": FGSM(eps=0.6), "epochs": 8, "lr": 0.02}


@pytest.fixture(scope="module")
def trained():
    return small().float().fit(*blobs(600, 0), **SETTINGS)


def test_training(trained):
    x, y = blobs(1000, 1)
    answer = predict(trained, x)
    assert (answer == y).double().mean() > 0.85
    # 5% of new images, within four standard deviations, with τ from 60 others.
    assert abs((answer == 3).double().mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 * (1 / 60 + 1e-3))
    logits = trained.member_logits(x)
    for m, allowed in enumerate(trained.sets):
        rows = allowed[y]  # each knows the classes of its set
        assert (logits[rows, m].argmax(1) == y[rows]).double().mean() > 0.95
    found = class_sets(confusion(trained.members[-1], SETTINGS["attack"], *blobs(600, 0)))
    assert found.shape == trained.sets.shape
    assert trained.sets[-1].all()


def test_training_is_the_same_each_time(trained):
    again = small().float().fit(*blobs(600, 0), **SETTINGS)
    for key, value in trained.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    other = small().float().fit(*blobs(600, 0), **SETTINGS, seed=1)
    assert not torch.equal(other.members[0][1].weight, again.members[0][1].weight)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SpecialistsPlusOne([nn.Flatten()], 3, sets=torch.ones(2, 3) > 0), "sets"),
        (lambda: SpecialistsPlusOne([nn.Flatten()], 3, sets=torch.ones(1, 3)), "bool"),
        (lambda: SpecialistsPlusOne([nn.Flatten()], 2, sets=torch.eye(2)[:1] > 0), "of all"),
        (lambda: SpecialistsPlusOne([], 3), "generalist"),
        (lambda: small(threshold=0.0), "threshold"),
        (lambda: small(threshold=1.1), "threshold"),
        (lambda: small(backward="other"), "backward"),
        (lambda: small().calibrate(images(5), 1.0), "false_positive_rate"),
        (lambda: small().calibrate(images(0)), "found none"),
        (
            lambda: confusion(
                nn.Flatten(), FGSM(eps=0.1), images(2), torch.tensor([0, 1]), classes=3
            ),
            "at least the model's 16, found 3",
        ),
        (
            lambda: SpecialistsPlusOne([nn.Flatten()], 3)(images(2)),
            r"found \(2, 16\) of number 0",
        ),
        (
            lambda: small().fit(images(2), torch.tensor([0, 3]), attack=FGSM(eps=0.1), epochs=1),
            "below 3",
        ),
        (
            lambda: SpecialistsPlusOne([nn.Flatten()], 16).fit(
                images(2), torch.tensor([0, 1]), attack=FGSM(eps=0.1), epochs=1
            ),
            "2K \\+ 1 = 33",
        ),
    ],
)
def test_wrong_inputs(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# The attack.


def test_the_attack_is_its_equation():
    """The loss, by loops: what it minimizes is −(what the model of losses answers)."""
    from advlab.attacks.unanimous import _Losses

    model, x = small(threshold=0.6), images(12)
    found = -_Losses(model, 0.5)(x).detach()
    members = model.member_logits(x).detach()
    for n in range(12):
        for t in range(3):
            able = [m for m in range(7) if model.sets[m, t]]
            h = sum(float(members[n, m].softmax(0)[t]) for m in able) / len(able)
            f = max(model.log_threshold.item() - math.log(h), 0)
            for m in able:
                others = [float(members[n, m, j]) for j in range(3) if j != t and model.sets[m, j]]
                if others:
                    f += max(0.5 - (float(members[n, m, t]) - max(others)), 0)
            assert float(found[n, t]) == pytest.approx(f, abs=1e-9)


def test_all_agree_on_the_target_and_nothing_is_rejected():
    model, x = small(threshold=0.55), images(12)
    target = (predict(model, x) + 1) % 3
    attack = UnanimousVote(targeted=True, steps=40, searches=3, lr=0.05, c=1.0)
    x_adv = attack(model, x, target)
    won = predict(model, x_adv) == target
    assert won.double().mean() > 0.9
    members = model.member_logits(x_adv).argmax(2)
    able = model.sets.T[target]
    assert (members == target[:, None])[won][able[won]].all()
    assert torch.equal(x_adv[~won], x[~won])  # no failure is passed off as success
    surer = attack.changed(kappa=1.0)(model, x, target)
    both = won & (predict(model, surer) == target)
    assert (model.confidence(surer) > model.confidence(x_adv))[both].all()
    alone = attack(model, x[3:4], target[3:4])
    torch.testing.assert_close(alone, x_adv[3:4])


def test_images_that_are_there_already_are_left_and_no_warning_is_raised(recwarn):
    model, x = small(), images(60)
    members = model.member_logits(x).argmax(2)
    there = torch.stack([((members == t) | ~model.sets[:, t]).all(1) for t in range(3)], 1)
    y = there.int().argmax(1)[there.any(1)]
    x = x[there.any(1)]
    assert len(x)
    assert torch.equal(UnanimousVote(targeted=True, steps=5)(model, x, y), x)
    assert not [w for w in recwarn if w.category is GradientWarning]


def test_attack_on_something_else():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    with pytest.raises(TypeError, match="member_logits"):
        UnanimousVote(targeted=True)(plain, images(2), torch.tensor([0, 1]))
    for goal in ("untargeted", "confidence", "undetected"):
        with pytest.raises(ValueError, match="targeted=True"):
            UnanimousVote(goal=goal)
    assert UnanimousVote(goal=SourceTarget(0, 1)).aim == SourceTarget(0, 1)
    with pytest.raises(ValueError, match="below 3"):  # "rejected" cannot be wanted
        UnanimousVote(targeted=True)(small(), images(2), torch.tensor([0, 3]))


@pytest.fixture(scope="module")
def digits():
    model = load_model("mnist-specialists", "cpu")
    x, y = (tensor[:60] for tensor in load("mnist5k", device="cpu").test)
    right = predict(model, x) == y
    return model, x[right], y[right]


def test_the_break(digits):
    """Attacks on the generalist are rejected; the unanimous vote is won."""
    model, x, y = digits
    caught = predict(model, PGD(eps=0.15, steps=10)(model.members[-1], x, y))
    fooled = (caught != y) & (caught != 10)
    assert (caught == 10).double().mean() > 0.5
    assert fooled.double().mean() < 0.4
    x, target = x[:3], (y[:3] + 1) % 10
    plain = CWL2(targeted=True, steps=30, searches=2, lr=0.05, c=1.0)
    x_adv = plain(model.members[-1], x, target)
    assert (predict(model.members[-1], x_adv) == target).all()
    assert (predict(model, x_adv) != target).all()
    adaptive = UnanimousVote(targeted=True, steps=40, searches=2, lr=0.05, c=10.0)
    assert (predict(model, adaptive(model, x, target)) == target).all()


def test_the_zoo_rejects_about_one_natural_image_in_twenty(digits):
    model = digits[0]
    x, y = load("mnist5k", device="cpu").test
    answer = predict(model, x)
    # τ is from 400 images, judged on 1,000: within four standard deviations.
    rejected = (answer == 10).double().mean().item()
    assert abs(rejected - 0.05) < 4 * math.sqrt(0.05 * 0.95 * (1 / 400 + 1 / 1000))
    kept = answer != 10
    assert (answer[kept] == y[kept]).double().mean() > 0.98
