"""Exercises of chapter 17: the threshold, the area under the ROC curve, LID."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import Exercise, fail, matches, number, numbers, untouched, watch

# 17.1 The threshold ------------------------------------------------------------------------------

# How many natural scores, and the false alarms asked for. 5% of 30 are one and a half: one.
ASKED = ((40, 0.05), (30, 0.05), (200, 0.1), (24, 0.25), (25, 0.0), (40, 0.05))


def natural_scores(seed: int) -> list[Tensor]:
    """For each of ASKED scores (n,), in no order, negative too; of two of them many tie."""
    draw = torch.Generator().manual_seed(seed)
    found = [5 * torch.randn(n, generator=draw, dtype=torch.float64) for n, _ in ASKED]
    found[3] = found[3].div(3).round()
    found[5][torch.randperm(40, generator=draw)[:20]] = found[5].min()
    return found


def threshold_of(scores: Tensor, above: int) -> float:
    return scores.sort().values[len(scores) - above - 1].item()


def probe_threshold(threshold, seed):
    values, changes = [], []
    for scores, (_, rate) in zip(natural_scores(seed), ASKED, strict=True):
        with watch(scores=scores) as changed:
            values.append(threshold(scores, rate))
        changes += changed
    return {"the thresholds": values, "changes": changes}


def verdict_threshold(results, seed):
    every = natural_scores(seed)
    untouched(results)
    found = numbers(results, "the thresholds", len(ASKED))
    above = [math.floor(rate * n + 1e-9) for n, rate in ASKED]
    expected = [threshold_of(s, k) for s, k in zip(every, above, strict=True)]
    if matches(found, expected):
        return "at most 5% of these scores lie above, and no lower score has so few above it"
    rates = [rate for _, rate in ASKED]
    for other, message, hint in (
        (
            [threshold_of(s, max(k - 1, 0)) for s, k in zip(every, above, strict=True)],
            "a lower score would do: fewer lie above these thresholds than may",
            "A score equal to τ is not rejected, only one above it.",
        ),
        (
            [s.sort().values[k].item() for s, k in zip(every, above, strict=True)],
            "these thresholds leave out the lowest scores",
            "A high score is the suspicious one. Which end are the false alarms at?",
        ),
        (
            [torch.quantile(s, rate).item() for s, rate in zip(every, rates, strict=True)],
            "these thresholds leave out the lowest scores",
            "A high score is the suspicious one. Which end are the false alarms at?",
        ),
        (
            [torch.quantile(s, 1 - rate).item() for s, rate in zip(every, rates, strict=True)],
            "these thresholds lie between two scores",
            "A quantile is interpolated. The answer is one of the scores.",
        ),
        (
            [
                s.unique()[-1 - math.floor(rate * len(s.unique()) + 1e-9)].item()
                for s, rate in zip(every, rates, strict=True)
            ],
            "scores that occur more than once are counted once",
            "The share is of images, and several images may have the same score.",
        ),
    ):
        if matches(found, other):
            fail(message, hint)
    for tau, right, scores, (n, rate), k in zip(found, expected, every, ASKED, above, strict=True):
        if matches(tau, right):
            continue
        lie = int((scores > tau + 1e-9).sum())
        if lie > k:
            fail(
                f"of {n} scores {lie} lie above the threshold, and {rate:.0%} are {rate * n:g}",
                "At most that share: where it is no whole number, the whole number below it.",
            )
        if not (scores - tau).abs().min() < 1e-6:
            fail("a threshold is none of the scores", "Choose among the scores.")
        fail(
            f"of {n} scores {lie} lie above the threshold, and {k} may",
            "The lowest such score is asked for: with a lower threshold more attacks are caught.",
        )
    fail("the thresholds are not what they should be")


# 17.2 The area under the ROC curve ---------------------------------------------------------------

KINDS = ("far apart", "with many ties", "the wrong way round", "one against three")


def both_scores(seed: int) -> list[tuple[Tensor, Tensor]]:
    """For each of KINDS the scores of natural images (n,) and of adversarial ones (m,)."""
    draw = torch.Generator().manual_seed(seed)

    def drawn(count: int, mean: float) -> Tensor:
        return mean + torch.randn(count, generator=draw, dtype=torch.float64)

    return [
        (drawn(40, 0), drawn(31, 1.5)),
        (drawn(30, 0).round(), drawn(37, 0.5).round()),
        (drawn(25, 1), drawn(33, 0)),
        (torch.tensor([0.5]).double(), torch.tensor([0.1, 0.7, 0.5]).double()),
    ]


def area(natural: Tensor, adversarial: Tensor, tie: float = 0.5) -> float:
    higher = adversarial[:, None] > natural
    same = adversarial[:, None] == natural
    return (higher.double() + tie * same.double()).mean().item()


def probe_auc(auc, seed):
    values, changes = [], []
    for natural, adversarial in both_scores(seed):
        with watch(natural=natural, adversarial=adversarial) as changed:
            values.append(auc(natural, adversarial))
        changes += changed
    return {"the areas": values, "changes": changes}


def verdict_auc(results, seed):
    every = both_scores(seed)
    untouched(results)
    found = numbers(results, "the areas", len(every))
    expected = [area(*pair) for pair in every]
    if matches(found, expected):
        return "the share of pairs in which the attacked image has the higher score, ties half"
    pairs = [len(a) * len(b) for a, b in every]
    for other, message, hint in (
        (
            [1 - e for e in expected],
            "this is the share of pairs in which the natural image has the higher score",
            "High is suspicious. Which of the two should be higher?",
        ),
        (
            [area(*pair, 0) for pair in every],
            "a tie counts nothing here",
            "Where both have the same score, a coin decides: one half.",
        ),
        (
            [area(*pair, 1) for pair in every],
            "a tie counts as a pair in the right order",
            "Where both have the same score, a coin decides: one half.",
        ),
        (
            [max(e, 1 - e) for e in expected],
            "a detector that is the wrong way round comes out above one half",
            "It stays below. Nobody knows before the attack that it should be turned.",
        ),
        (
            [e * n for e, n in zip(expected, pairs, strict=True)],
            "this is a count of pairs",
            "Divide by how many pairs there are.",
        ),
        ([100 * e for e in expected], "this is a percentage", "Give the share, from 0 to 1."),
        (
            [
                (a[: len(b)] > n[: len(a)]).double().mean().item()
                + (a[: len(b)] == n[: len(a)]).double().mean().item() / 2
                for n, a, b in ((n[: len(a)], a[: len(n)], n) for n, a in every)
            ],
            "each natural image is compared with one attacked image only",
            "Every natural score against every adversarial one: n times m pairs.",
        ),
    ):
        if matches(found, other):
            fail(message, hint)
    for value, right, kind in zip(found, expected, KINDS, strict=True):
        if not matches(value, right):
            fail(
                f"on scores {kind} it is {value:.4f} instead of {right:.4f}",
                "Over all pairs: 1 where the adversarial score is higher, one half for a tie.",
            )
    fail("the areas are not what they should be")


# 17.3 Local intrinsic dimensionality -------------------------------------------------------------

COUNT, NEIGHBORS = 60, 20


def neighborhoods(seed: int) -> list[Tensor]:
    """Distances (n,) to points of a line, a plane and a space of eight dimensions, in no order."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for dimensions in (1, 2, 8):
        volume = torch.rand(COUNT, generator=draw, dtype=torch.float64).clamp_min(1e-3)
        found.append(3 * volume ** (1 / dimensions))
    return found


def dimensionality(distances: Tensor, k: int) -> float:
    near = distances.sort().values[:k]
    return -1 / (near / near[-1]).log().mean().item()


def probe_lid(lid, seed):
    values, changes = [], []
    for distances in neighborhoods(seed):
        with watch(distances=distances) as changed:
            values.append(lid(distances, NEIGHBORS))
        changes += changed
    three = lid(torch.tensor([4.0, 9.0, 1.0, 2.0], dtype=torch.float64), 3)
    return {"the dimensions": values, "of 1, 2, 4": three, "changes": changes}


def verdict_lid(results, seed):
    every, k = neighborhoods(seed), NEIGHBORS
    untouched(results)
    found = numbers(results, "the dimensions", len(every))
    expected = [dimensionality(d, k) for d in every]
    if matches(found, expected):
        three = number(results, "of 1, 2, 4")
        if not matches(three, 1 / math.log(2)):
            fail(
                f"of the distances 4, 9, 1, 2 and k = 3 it is {three:.3f} instead of 1.443",
                "Take k from the argument: the three nearest are 1, 2 and 4.",
            )
        return "on a line it is about 1, in a plane about 2, whatever the unit of length"
    nearest = [d.sort().values[:k] for d in every]
    farthest = [d.sort(descending=True).values[:k] for d in every]
    for other, message, hint in (
        (
            [-e for e in expected],
            "the dimensions are negative",
            "Ratios below 1 have negative logarithms. What turns them round?",
        ),
        (
            [1 / e for e in expected],
            "this is one over the dimension",
            "Many dimensions: all neighbors nearly as far as the last, logarithms near 0.",
        ),
        (
            [-1 / e for e in expected],
            "this is the mean of the logarithms",
            "The dimension is minus one over it.",
        ),
        (
            [e * math.log(10) for e in expected],
            "these are logarithms to the base 10",
            "log stands for the natural one, torch.log.",
        ),
        (
            [e * math.log(2) for e in expected],
            "these are logarithms to the base 2",
            "log stands for the natural one, torch.log.",
        ),
        (
            [e * (k - 1) / k for e in expected],
            "the mean is over k − 1 neighbors",
            "The k-th counts as well: its logarithm is 0, and the mean divides by k.",
        ),
        (
            [e / k for e in expected],
            "this is a sum of logarithms, not their mean",
            "Divide by k inside.",
        ),
        (
            [e / 2 for e in expected],
            "the distances are squared",
            "They are distances already. A square doubles each logarithm.",
        ),
        (
            [-1 / (d[:k] / d[k - 1]).log().mean().item() for d in every],
            "these are the first k distances, not the k smallest",
            "They come in no order.",
        ),
        (
            [-1 / (d[:k] / d[:k].max()).log().mean().item() for d in every],
            "these are the first k distances, not the k smallest",
            "They come in no order.",
        ),
        (
            [dimensionality(d, len(d)) for d in every],
            "all the distances are used",
            "Only the k nearest count: the dimension is local.",
        ),
        (
            [-1 / (d / d[0]).log().mean().item() for d in farthest],
            "these are the k farthest",
            "The nearest ones are the smallest distances.",
        ),
        (
            [-1 / (d / d[-1]).log().mean().item() for d in farthest],
            "these are the k farthest",
            "The nearest ones are the smallest distances.",
        ),
        (
            [-1 / (d / d[0]).log().mean().item() for d in nearest],
            "the distances are divided by that of the nearest",
            "r_k is the distance of the k-th: the largest of the k.",
        ),
        (
            [1 / (d / d[0]).log().mean().item() for d in nearest],
            "the distances are divided by that of the nearest",
            "r_k is the distance of the k-th: the largest of the k.",
        ),
        (
            [
                -1 / (near / d.max()).log().mean().item()
                for near, d in zip(nearest, every, strict=True)
            ],
            "the distances are divided by the largest of all",
            "r_k is that of the k-th neighbor. What lies further away plays no part.",
        ),
        (
            [-(1 / (d[:-1] / d[-1]).log()).mean().item() for d in nearest],
            "this is a mean of reciprocals",
            "First the mean of the logarithms, then minus one over it.",
        ),
        (
            [-1 / d.log().mean().item() for d in nearest],
            "the distances are not divided by r_k",
            "Without it the dimension would change with the unit of length.",
        ),
    ):
        if matches(found, other):
            fail(message, hint)
    for value, right, dimensions in zip(found, expected, (1, 2, 8), strict=True):
        if not matches(value, right):
            fail(
                f"among points of {dimensions} dimensions it is {value:.3f} instead of {right:.3f}",
                "The k smallest, divided by the largest of these; log; mean; minus one over it.",
            )
    fail("the dimensions are not what they should be")


EXERCISES = (
    Exercise(
        "17.1",
        "The threshold at 5% false alarms",
        probe_threshold,
        verdict_threshold,
        forbids=("advlab.detectors.Detector.threshold",),
    ),
    Exercise(
        "17.2",
        "The area under the ROC curve, by counting pairs",
        probe_auc,
        verdict_auc,
        forbids=(
            "advlab.evaluation.detection_auc",
            "advlab.evaluation.roc_curve",
            "advlab.evaluation.DetectionScores",
            "sklearn.metrics.roc_auc_score",
            "sklearn.metrics.roc_curve",
        ),
    ),
    Exercise(
        "17.3",
        "Local intrinsic dimensionality of one image",
        probe_lid,
        verdict_lid,
        forbids=(
            "advlab.detectors.lid.lid",
            "advlab.detectors.LID.estimate",
        ),
    ),
)
