"""JSMA: the search of pairs against all pairs, and the attack against its budget."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import nn

from advlab import data, threat
from advlab.attacks import JSMA, GradientWarning, saliency_map
from advlab.attacks.jsma import best_pair
from advlab.models import load_model

from .conftest import images, small_cnn


def all_pairs(a, b, allowed, theta):
    """Algorithm 3 as it stands, for one image: the best pair, or None."""
    best, found = 0.0, None
    for p, q in itertools.combinations(range(len(a)), 2):
        if not (allowed[p] and allowed[q]):
            continue
        alpha, beta = (a[p] + a[q]).item(), (b[p] + b[q]).item()
        right = (alpha > 0 and beta < 0) if theta > 0 else (alpha < 0 and beta > 0)
        if right and -alpha * beta > best:
            best, found = -alpha * beta, (p, q)
    return found


def walk(model, x, wanted, theta, steps, outputs):
    """The whole attack on one image, by trying all pairs. Returns the image and its success."""
    x = x.clone()
    for _ in range(steps + 1):
        if model(x[None]).argmax(1) == wanted:
            return x, True

        def answer(point):
            z = model(point[None])[0]
            return z.softmax(0) if outputs == "probabilities" else z

        jacobian = torch.autograd.functional.jacobian(answer, x).flatten(1)
        a = jacobian[wanted]
        room = (1 - x if theta > 0 else x).flatten() > 0.01
        pair = all_pairs(a, jacobian.sum(0) - a, room, theta)
        if pair is None:
            return x, False
        for feature in pair:
            x.view(-1)[feature] = (x.view(-1)[feature] + theta).clamp(0, 1)
    return x, False


@pytest.mark.parametrize("outputs", ["probabilities", "logits"])
@pytest.mark.parametrize("theta", [1.0, -1.0, 0.4, -0.4])
def test_it_is_the_search_of_all_pairs_on_twelve_features(theta, outputs):
    shape, seen = (3, 2, 2), {True: 0, False: 0}
    for seed in range(4):
        model = small_cnn(3, (2, 2), 4, seed=seed).requires_grad_(False)
        x = images(6, 3, (2, 2), seed=seed)  # a third of the features are saturated
        assert x[0].shape == shape
        wanted = (model(x).argmax(1) + 1) % 4
        attack = JSMA(theta=theta, gamma=0.7, targeted=True, outputs=outputs)
        for image, target, found in zip(x, wanted, attack(model, x, wanted)):
            expected, fooled = walk(model, image, target, theta, 4, outputs)
            torch.testing.assert_close(found, expected if fooled else image, rtol=0, atol=1e-12)
            seen[fooled] += 1
    assert seen[True] >= 3  # the test saw what it is about


@pytest.mark.parametrize("theta", [1, -1])
@pytest.mark.parametrize("kind", ["normal", "opposed", "few values", "all alike"])
def test_best_pair_is_the_best_of_all_pairs(kind, theta):
    source = torch.Generator().manual_seed(3)
    for n in (2, 3, 12, 25):
        a, b = torch.randn(2, 20, n, generator=source, dtype=torch.float64)
        if kind == "opposed":  # what is good for one is bad for the other: many rivals
            b = a * theta - theta * 0.8 + 0.05 * b
        elif kind == "few values":
            a, b = a.round(), b.round()
        elif kind == "all alike":
            a, b = torch.full_like(a, theta), torch.full_like(b, -theta)
        allowed = torch.rand(20, n, generator=source) > 0.2
        up, down = (a, -b) if theta > 0 else (-a, b)
        pair, found = best_pair(up, down, allowed)
        for i in range(20):
            expected = all_pairs(a[i], b[i], allowed[i], theta)
            assert bool(found[i]) == (expected is not None)
            if expected is None:
                continue
            p, q = pair[i].tolist()
            assert p != q
            assert allowed[i, p]
            assert allowed[i, q]
            got, best = (
                ((a[i, r] + a[i, s]) * (b[i, r] + b[i, s])).item() for r, s in ((p, q), expected)
            )
            assert got == best
            if kind == "normal":
                assert {p, q} == set(expected)


def test_best_pair_in_parts_is_the_same(monkeypatch):
    source = torch.Generator().manual_seed(4)
    u = torch.rand(7, 300, generator=source)
    v = 1 - u + 1e-3 * torch.rand(7, 300, generator=source)  # nobody surpasses many others
    allowed = torch.rand(7, 300, generator=source) > 0.1
    whole = best_pair(u, v, allowed)
    monkeypatch.setattr("advlab.attacks.jsma._TABLE", 5000)
    parts = best_pair(u, v, allowed)
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])
    table = (u[:, :, None] + u[:, None]) * (v[:, :, None] + v[:, None])
    both = allowed[:, :, None] & allowed[:, None] & ~torch.eye(300, dtype=torch.bool)
    got = table[torch.arange(7), whole[0][:, 0], whole[0][:, 1]]
    assert torch.equal(got, table.where(both, 0).flatten(1).amax(1))


def test_saliency_map_by_hand():
    # Three classes, four features; the class wanted is 1.
    jacobian = torch.tensor([[[-1.0, 2, 1, -3], [2, 1, -1, -2], [-2, 1, -4, 4]]])
    a, b = [2, 1, -1, -2], [-3, 3, -3, 1]  # class 1; the sum of the others
    wanted = torch.tensor([1])
    expected = [x * abs(y) if x >= 0 and y <= 0 else 0 for x, y in zip(a, b)]
    found = saliency_map(jacobian.view(1, 3, 1, 2, 2), wanted)
    assert found.flatten().tolist() == expected == [6, 0, 0, 0]
    expected = [abs(x) * y if x <= 0 and y >= 0 else 0 for x, y in zip(a, b)]
    found = saliency_map(jacobian.view(1, 3, 1, 2, 2), wanted, theta=-1)
    assert found.flatten().tolist() == expected == [0, 0, 0, 2]


def test_the_single_variant_takes_the_largest_of_the_map(cnn, x, y):
    wanted = (y + 1) % 3
    attack = JSMA(variant="single", outputs="logits", gamma=0.5, targeted=True)
    x_adv = attack(cnn, x, wanted)
    walked = 0
    for image, target, found in zip(x, wanted, x_adv):
        point = image.clone()
        for _ in range(22):
            if cnn(point[None]).argmax(1) == target:
                walked += 1
                break
            jacobian = torch.autograd.functional.jacobian(lambda v: cnn(v[None])[0], point)
            scores = saliency_map(jacobian[None], target[None])[0]
            scores[1 - point <= 0.01] = 0
            if scores.max() <= 0:
                point = image
                break
            point.view(-1)[scores.argmax()] = 1
        else:
            point = image
        torch.testing.assert_close(found, point, rtol=0, atol=0)
    assert walked >= 10


@pytest.mark.parametrize("variant", ["pair", "single"])
@pytest.mark.parametrize("gamma", [0.0, 0.02, 0.1, 0.25])
def test_no_more_features_change_than_gamma_says(gamma, variant, cnn, x, y):
    x_adv = JSMA(gamma=gamma, variant=variant, targeted=True)(cnn, x, (y + 1) % 3)
    changed = (x_adv != x).flatten(1).sum(1)
    most = int(42 * gamma) if variant == "single" else 2 * int(42 * gamma / 2)
    assert changed.max() <= most
    if gamma == 0.25:
        assert changed.max() > most / 2
    answer = cnn(x_adv).argmax(1)
    assert ((answer == (y + 1) % 3) | (changed == 0)).all()


@pytest.mark.parametrize("theta", [1.0, 0.5, -0.5, -1.0])
def test_features_go_one_way(theta, cnn, x, y):
    x_adv = JSMA(theta=theta, gamma=0.9)(cnn, x, y)
    assert (x_adv != x).any()
    assert ((x_adv - x) * theta >= 0).all()


def test_without_a_class_wanted_it_goes_for_the_second(cnn, x, y):
    second = cnn(x).detach().scatter(1, y[:, None], -torch.inf).argmax(1)
    towards = JSMA(gamma=0.9, targeted=True)(cnn, x, second)
    free = JSMA(gamma=0.9)(cnn, x, y)
    # It also ends where another class comes up on the way.
    same = cnn(free).argmax(1) == second
    assert same.any()
    assert torch.equal(free[same], towards[same])
    assert (cnn(free).argmax(1) != y).double().mean() > 0.8


def test_the_class_that_is_second_at_the_start_stays_the_one_wanted():
    """Six features, two for each step. The first step raises another class above the second."""

    class Score(nn.Module):
        def forward(self, x):
            a, b, c = x.flatten(1).view(-1, 3, 2).sum(2).T
            return torch.stack([5.5 + 0 * a, 2 + a + 0.9 * b, 1 + 2 * a + 0.9 * c], 1)

    x, y = torch.zeros(1, 1, 1, 6), torch.zeros(1, dtype=torch.int64)
    # The logits are 5.5, 2, 1; then 5.5, 4, 5; then 5.5, 5.8, 5.
    assert JSMA(gamma=1)(Score(), x, y).flatten().tolist() == [1, 1, 1, 1, 0, 0]


def test_a_number_added_to_all_logits_changes_what_logits_say(cnn, x, y):
    """LogSoftmax adds another number for each image: the probabilities stay as they are."""
    same = nn.Sequential(cnn, nn.LogSoftmax(1))
    for outputs, equal in (("probabilities", True), ("logits", False)):
        attack = JSMA(gamma=0.9, targeted=True, outputs=outputs)
        found = attack(cnn, x, (y + 1) % 3), attack(same, x, (y + 1) % 3)
        assert torch.equal(*found) is equal


def test_no_warning_for_an_image_that_is_there_already(device):
    class Flat(nn.Module):
        def forward(self, x):
            return 0 * x.flatten(1)[:, :2] + torch.tensor([0.0, 5.0], device=x.device)

    x, y = torch.full((2, 1, 2, 2), 0.5, device=device), torch.tensor([1, 1], device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradientWarning)
        assert torch.equal(JSMA(targeted=True)(Flat(), x, y), x)
    with pytest.warns(GradientWarning, match="exactly zero for 2 of 2"):
        assert torch.equal(JSMA()(Flat(), x, y), x)


def test_digits(device):
    model = load_model("mnist-cnn").to(device)
    x, y = (part[:10].to(device) for part in data.load("mnist5k").test)
    wanted = (y + 1) % 10
    with torch.no_grad():
        for attack, least, most in (
            (JSMA(targeted=True), 0.9, 45),
            (JSMA(targeted=True, outputs="logits"), 0.7, 75),
            (JSMA(targeted=True, variant="single"), 0.9, 45),
        ):
            x_adv = attack(model, x, wanted)
            there = model(x_adv).argmax(1) == wanted
            pixels = threat.size(x_adv - x, "L0")
            assert there.double().mean() >= least
            assert pixels[there].mean() <= most
            assert pixels.max() <= 112
            assert (pixels[~there] == 0).all()


def test_probabilities_that_are_zero_in_float32_still_show_the_way(device):
    class Sure(nn.Module):
        """The class wanted has the probability exp(−200)."""

        def forward(self, x):
            z = x.flatten(1).sum(1, keepdim=True)
            return torch.cat([200 - 0 * z, 60 * z], 1)

    x = torch.zeros(1, 1, 3, 3, device=device)
    wanted = torch.ones(1, dtype=torch.int64, device=device)
    x_adv = JSMA(gamma=1, targeted=True)(Sure(), x, wanted)
    assert x_adv.sum() == 4  # two pairs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"theta": 0}, "theta: expected a number from -1 to 1 that is not 0, found 0"),
        ({"theta": 1.5}, "theta: expected a finite number, at least -1, at most 1, found 1.5"),
        ({"gamma": -0.1}, "gamma: expected a finite number, at least 0, at most 1, found -0.1"),
        ({"variant": "triple"}, "variant: expected 'pair' or 'single', found 'triple'"),
        ({"outputs": "z"}, "outputs: expected 'probabilities' or 'logits', found 'z'"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        JSMA(**wrong)
