"""Exercises of chapter 20: intervals through a layer, the least margins, a radius from votes."""

from __future__ import annotations

from statistics import NormalDist, StatisticsError

import torch
from torch import Tensor

from ...guarantees import lower_bound
from .. import Exercise, close, fail, get, matches, number, tensor, untouched, watch

# 20.1 Intervals through a layer ------------------------------------------------------------------


def layer(seed: int) -> dict[str, Tensor]:
    """A layer of 5 neurons on 4 inputs, and intervals of different widths for 6 images."""
    draw = torch.Generator().manual_seed(seed)
    W, b = torch.randn(5, 4, generator=draw), torch.randn(5, generator=draw)
    low = torch.randn(6, 4, generator=draw)  # inputs of a layer may be negative
    high = low + torch.rand(6, 4, generator=draw)
    return {"W": W, "b": b, "low": low, "high": high}


def ends(W: Tensor, b: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Of Wx + b, before the ReLU."""
    center, radius = (low + high) @ W.T / 2 + b, (high - low) @ W.abs().T / 2
    return center - radius, center + radius


def probe_layer(interval_layer, seed):
    given = layer(seed)
    with watch(**given) as changes:
        found = interval_layer(**given)
    return {"the pair": found, "changes": changes}


def verdict_layer(results, seed):
    given = layer(seed)
    untouched(results)
    found = pair_of(results, "(lowest, highest)")
    lowest, highest = (tensor(found, name) for name in ("lowest", "highest"))
    W, b, low, high = given.values()
    wanted = ends(**given)
    if lowest.shape == highest.shape == wanted[0].shape:
        if matches(lowest, wanted[0]) and matches(highest, wanted[1]):
            fail("the ReLU is missing: some ends are negative", "It takes ends to ends.")
        if matches(highest, wanted[0].relu()) and matches(lowest, wanted[1].relu()):
            fail("the two ends are swapped", "The pair is the lowest, then the highest.")
        straight = (low @ W.T + b).relu(), (high @ W.T + b).relu()
        if matches(lowest, straight[0]) and matches(highest, straight[1]):
            fail(
                "the low ends of the inputs were sent to the lowest, whatever the weight's sign",
                "With a negative weight, which end of the input makes the neuron small?",
            )
        either = tuple(pick(*straight) for pick in (torch.minimum, torch.maximum))
        if matches(lowest, either[0]) and matches(highest, either[1]):
            fail(
                "these are the smaller and the larger of what all low and all high ends give",
                "Within one neuron some inputs must be low and others high at the same time.",
            )
        rising = tuple((end @ W.clamp(min=0).T + b).relu() for end in (low, high))
        if matches(lowest, rising[0]) and matches(highest, rising[1]):
            fail("only the positive weights were counted", "What do the negative ones add?")
        twice = (wanted[0] - b).relu(), (wanted[1] + b).relu()
        if matches(lowest, twice[0]) and matches(highest, twice[1]):
            fail(
                "the bias was added to the radius, too",
                "It moves the center. Does an interval get wider by it?",
            )
        if (lowest > highest).any():
            fail("in places the lowest is above the highest", "Which end suits a negative weight?")
        bare = ends(W, torch.zeros_like(b), low, high)
        if matches(lowest, bare[0].relu()) and matches(highest, bare[1].relu()):
            fail("the bias is missing", "It moves both ends alike, before the ReLU.")
        center, widest = (low + high) / 2, ((high - low) / 2).amax(1, keepdim=True)
        even = ends(W, b, center - widest, center + widest)
        if matches(lowest, even[0].relu()) and matches(highest, even[1].relu()):
            fail("all inputs got the widest interval", "Every input has its own ends.")
        early = ends(W, b, low.relu(), high.relu())
        for late in (early, tuple(e.relu() for e in early)):
            if matches(lowest, late[0]) and matches(highest, late[1]):
                fail("the ReLU was taken of the inputs", "It stands behind the layer.")
    hint = "Every weight picks the end that suits it; then the bias, then the ReLU."
    close(lowest, wanted[0].relu(), "lowest", hint)
    close(highest, wanted[1].relu(), "highest", hint)
    return "both ends are right, and both are reached: for one layer nothing is lost"


def pair_of(results: dict, what: str) -> dict:
    """The two things that came back, under their names."""
    found = get(results, "the pair")
    if not isinstance(found, list) or len(found) != 2:
        hint = "Does your function end with return?" if found is None else "Return two things."
        fail(f"expected the pair {what}", hint)
    names = [name.strip(" ()") for name in what.split(",")]
    return dict(zip(names, found, strict=True))


# 20.2 The least margins --------------------------------------------------------------------------


def last_layer(seed: int) -> dict[str, Tensor]:
    """A last layer of 4 classes on 6 neurons, their intervals for 5 images, and classes."""
    draw = torch.Generator().manual_seed(seed)
    W, b = torch.randn(4, 6, generator=draw), torch.randn(4, generator=draw)
    low = torch.rand(5, 6, generator=draw)
    high = low + torch.rand(5, 6, generator=draw)
    y = torch.randperm(4, generator=draw)  # every class, and the first one twice
    y = torch.cat([y, y[:1]])
    return {"W": W, "b": b, "low": low, "high": high, "y": y}


def least(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The smallest row·h of each row, (N, K, d) to (N, K)."""
    center, radius = (low + high) / 2, (high - low) / 2
    return (rows * center[:, None]).sum(2) - (rows.abs() * radius[:, None]).sum(2)


def probe_margins(least_margins, seed):
    given = last_layer(seed)
    with watch(**given) as changes:
        found = least_margins(**given)
    return {"the margins": found, "changes": changes}


def verdict_margins(results, seed):
    W, b, low, high, y = last_layer(seed).values()
    untouched(results)
    rows, offset = W[y][:, None] - W, b[y][:, None] - b
    expected = least(rows, low, high) + offset
    found = tensor(results, "the margins", like=expected)
    lowest, highest = ends(W, b, low, high)
    own = y[:, None]
    apart = lowest.gather(1, own) - highest
    if matches(found, apart) or matches(found, apart.scatter(1, own, 0.0)):
        fail(
            "these are differences of two bounds: the lowest z_y less the highest z_j",
            "Take the difference of the rows first. One picture makes both scores.",
        )
    if matches(found, -least(-rows, low, high) + offset):
        fail("these are the largest margins", "The attacker picks the end that makes a lead small.")
    if matches(found, least(-rows, low, high) - offset):
        fail("these are margins of z_j over z_y", "The lead of the true class: z_y − z_j.")
    if matches(found, -expected):
        fail(
            "these are the least margins with the opposite sign",
            "Above 0: y leads, whatever the attacker does.",
        )
    if matches(found, expected - offset):
        fail("the bias is missing", "The two classes have biases of their own: their difference.")
    middle = (rows * ((low + high) / 2)[:, None]).sum(2) + offset
    if matches(found, middle):
        fail("these are the margins in the middle of the intervals", "How much can they fall?")
    if matches(found, expected.relu()):
        fail("negative margins became 0", "There is no ReLU behind the last layer.")
    first = least((W[y[:1]] - W)[None].expand(len(y), -1, -1), low, high)
    if matches(found, first + b[y[:1]] - b):
        fail("all images got the rows of the first one's class", "Each image has its own y.")
    close(found, expected, "the margins", "Rows W_y − W_j; each entry picks the end that hurts.")
    return "no picture in the intervals has smaller leads, as far as the last layer can tell"


# 20.3 A radius from votes ------------------------------------------------------------------------

SIGMA, ALPHA = 0.4, 0.01


def polls(seed: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of votes over 4 classes, one for each thing that can go wrong."""
    shift = seed % 7
    cases = (
        ([1, 45, 3, 1], [20, 850 + shift, 80, 50 - shift]),  # clear
        ([0, 0, 0, 50], [0, 0, 0, 600 + shift]),  # all for one
        ([20, 4, 25, 1], [540 + shift, 10, 440 - shift, 10]),  # the winner has changed
        ([26, 24, 0, 0], [515, 485, 0, 0]),  # above one half, by too little
        ([30, 10, 5, 5], [400 + shift, 250, 200, 150 - shift]),  # most, but not half
        ([3, 2, 2, 2], [0, 300 + shift, 200, 100]),  # chosen, and never seen again
        ([9, 1, 0, 0], [75 + shift, 15, 5, 5]),  # a few
    )
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    return [(torch.tensor(first)[order], torch.tensor(second)[order]) for first, second in cases]


def answer(first: Tensor, second: Tensor) -> tuple[int, float]:
    label = first.argmax().item()
    p = lower_bound(second[label].item(), second.sum().item(), ALPHA)
    return (label, SIGMA * NormalDist().inv_cdf(p)) if p > 0.5 else (-1, 0.0)


def probe_certify(certify, seed):
    found = []
    for first, second in polls(seed):
        with watch(first=first, second=second) as changes:
            try:
                pair, refused = certify(first, second, SIGMA, ALPHA), False
            except StatisticsError:  # of inv_cdf; the votes before these may say why
                pair, refused = None, True
        found.append({"the pair": pair, "refused": refused, "changes": changes})
    return {"found": found}


def verdict_certify(results, seed):
    found, cases = get(results, "found"), polls(seed)
    if not isinstance(found, list) or len(found) != len(cases):
        fail("the answers did not come back")
    for entry, (first, second) in zip(found, cases, strict=True):
        untouched(entry)
        if get(entry, "refused") is not False:
            fail(
                f"votes {first.tolist()} and then {second.tolist()}: inv_cdf refuses this p",
                "It takes p above 0 and below 1. What is p here, and is it above one half?",
            )
        pair = pair_of(entry, "(label, radius)")
        judge_vote(number(pair, "label"), number(pair, "radius"), first, second)
    return (
        "it answers where the votes are clear, with the radius they prove, and abstains elsewhere"
    )


def judge_vote(label: float, radius: float, first: Tensor, second: Tensor) -> None:
    """One answer, for the votes ``first`` and ``second``."""
    votes = f"votes {first.tolist()} and then {second.tolist()}"
    wanted, r = answer(first, second)
    chosen, n = first.argmax().item(), second.sum().item()
    winner = second.argmax().item()
    if wanted == -1:
        if label == -1 and not matches(radius, 0.0):
            fail(f"{votes}: it abstains with a radius of {radius:.3f}", "Then the radius is 0.")
        if label == winner and winner != chosen:
            fail(
                f"{votes}: the class is {label:.0f}, the winner of the second count",
                "Which copies choose the class, and which only count?",
            )
        if label != -1:
            if radius < 0:
                hint = "What does a radius below 0 tell you?"
            else:
                hint = "Is the bound on p above one half?"
            fail(
                f"{votes}: it answers {label:.0f} with a radius of {radius:.3f}, and nothing can "
                f"be certified at α = {ALPHA}",
                hint,
            )
        return
    if label == -1:
        fail(f"{votes}: it abstains, where the votes prove a radius", "When is p above one half?")
    if label != wanted:
        fail(f"{votes}: the class is {label:.0f}, expected {wanted}", "Who chooses the class?")
    if matches(radius, r):
        return
    k, phi = second[chosen].item(), NormalDist()
    naive = min(k / n, 1 - 1e-9)
    if matches(radius, SIGMA * phi.inv_cdf(naive), atol=1e-4):
        fail(
            f"{votes}: the radius takes k/n for p, which may be too high by luck",
            "What could the true p be, at the least?",
        )
    total = k + first[chosen].item(), n + first.sum().item()
    guesses = {
        "Φ⁻¹(p) without σ": r / SIGMA,
        "p in place of a radius": lower_bound(k, n, ALPHA),
        "σp, without Φ⁻¹": SIGMA * lower_bound(k, n, ALPHA),
        "a bound from both counts together": SIGMA * phi.inv_cdf(lower_bound(*total, ALPHA)),
        "a bound for α/2": SIGMA * phi.inv_cdf(lower_bound(k, n, ALPHA / 2)),
    }
    for what, value in guesses.items():
        if matches(radius, value, atol=1e-4):
            fail(f"{votes}: the radius is {what}", "σΦ⁻¹(p), p bounded from the second count only.")
    close(radius, r, f"{votes}: the radius", "σΦ⁻¹(p), with p from lower_bound(k, n, alpha).")


EXERCISES = (
    Exercise(
        "20.1",
        "Intervals through a layer",
        probe_layer,
        verdict_layer,
        forbids=(
            "advlab.guarantees.interval_bounds",
            "advlab.guarantees.intervals.through",
        ),
    ),
    Exercise(
        "20.2",
        "The least margins",
        probe_margins,
        verdict_margins,
        forbids=(
            "advlab.guarantees.margin_bounds",
            "advlab.guarantees.certificates.least_margins",
            "advlab.guarantees.intervals.least_in_box",
        ),
    ),
    Exercise(
        "20.3",
        "From votes to a radius",
        probe_certify,
        verdict_certify,
        forbids=(
            "advlab.guarantees.Smoothed",
            "advlab.guarantees.Smoothed.certify",
        ),
    ),
)
