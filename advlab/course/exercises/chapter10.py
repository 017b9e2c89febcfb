"""Exercises of chapter 10: the SPSA estimate, random search, the straight way home."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .. import Exercise, close, fail, get, matches, number, tensor, untouched, watch

# 10.1 The SPSA estimate --------------------------------------------------------------------------

DELTA = 0.05


def bowl(seed: int) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """A quadratic function of 6 inputs plus a cubic term, a point, and 7 rows of signs."""
    draw = torch.Generator().manual_seed(seed)
    matrix, slope, x = (torch.randn(*s, generator=draw) for s in ((6, 6), (6,), (6,)))
    signs = torch.randint(0, 2, (7, 6), generator=draw) * 2.0 - 1

    def f(points: Tensor) -> Tensor:
        return (points @ matrix * points).sum(1) + points @ slope + points.pow(3).sum(1)

    return f, x, signs


def probe_spsa(spsa_estimate, seed):
    f, x, signs = bowl(seed)
    asked = []

    def counted(points):
        asked.append(len(points))
        return f(points)

    with watch(x=x, signs=signs) as changes:
        found = spsa_estimate(counted, x, DELTA, signs)
    return {"the estimate": found, "asked": sum(asked), "changes": changes}


def verdict_spsa(results, seed):
    f, x, signs = bowl(seed)
    untouched(results)
    found = tensor(results, "the estimate", dtype=x.dtype)
    rows = (f(x + DELTA * signs) - f(x - DELTA * signs))[:, None] / (2 * DELTA) * signs
    expected = rows.mean(0)
    if found.shape == rows.shape and matches(found, rows, rtol=1e-3):
        fail("these are the n estimates, not their mean", "One gradient is asked for, (d,).")
    if found.shape == expected.shape:
        for factor, what, hint in (
            (len(signs), "the sum of the estimates", "Their mean is asked for."),
            (2, "twice the mean", "From one point to the other it is a way of 2δ."),
            (2 * DELTA, "2δ times the mean", "A slope is a difference over a way."),
            (-1, "the mean with the wrong sign", "Forward minus backward."),
        ):
            if matches(found, factor * expected, rtol=1e-3):
                fail(f"this is {what}", hint)
        ahead = (f(x + DELTA * signs) - f(x[None]))[:, None] / DELTA * signs
        if matches(found, ahead.mean(0), rtol=1e-3):
            fail(
                "the differences are one-sided: f(x + δv) − f(x)",
                "Two-sided ones err by the third derivative only.",
            )
        apart = (rows * signs).mean() * signs.mean(0)
        if matches(found, apart, rtol=1e-3):
            fail(
                "the slopes and the signs were averaged apart",
                "Multiply each row by its own slope first, then average the rows.",
            )
        if matches(found, rows.abs().mean(0), rtol=1e-3):
            fail("the estimates lost their signs", "A slope may be negative.")
    if found.numel() == 1:
        fail("one number came back", "Each slope multiplies its own v: d numbers a row.")
    close(found, expected, "the estimate", "slope along v, times v, averaged", rtol=1e-3)
    asked = number(results, "asked")
    if asked != 2 * len(signs):
        fail(
            f"f was asked about {asked:.0f} points, and 2 for each v are enough: {2 * len(signs)}",
            "Every point is a query.",
        )
    return "two queries a direction, and the mean of the estimates"


# 10.2 Random search ------------------------------------------------------------------------------


def landscape(seed: int) -> tuple[Callable[[Tensor], float], Callable[[Tensor], Tensor], Tensor]:
    """A score that a walk in the right corner raises above 0, and moves, both made anew."""
    draw = torch.Generator().manual_seed(seed)
    goal = torch.rand(1, 1, 4, 4, generator=draw)
    x = torch.rand(1, 1, 4, 4, generator=draw)

    def score(image: Tensor) -> float:
        return 0.6 - (image - goal).norm().item()

    moves = torch.Generator().manual_seed(seed + 1)

    def propose(image: Tensor) -> Tensor:
        candidate = image.clone()
        k = torch.randint(0, 16, (1,), generator=moves).item()
        candidate.view(-1)[k] = torch.rand(1, generator=moves).item()
        return candidate

    return score, propose, x


BUDGETS = (1, 2, 15, 60, 2000)


def probe_search(random_search, seed):
    found = []
    for budget in BUDGETS:
        score, propose, x = landscape(seed)
        asked = []

        def counted(image, score=score, asked=asked):
            asked.append(float(score(image)))
            return asked[-1]

        with watch(x=x) as changes:
            image = random_search(counted, propose, x, budget)
        found.append({"the image": image, "asked": len(asked), "changes": changes})
    for value in (1.0, 0.0):  # wrong from the start, and a plain on which nothing is higher
        score, propose, x = landscape(seed)
        asked = []
        image = random_search(lambda image, v=value, a=asked: a.append(0) or v, propose, x, 50)
        found.append({"the image": image, "asked": len(asked), "changes": []})
    return {"found": found}


def search(
    score, propose, x: Tensor, budget: int, keep: Callable[[float, float], bool]
) -> tuple[Tensor, int]:
    best, value, asked = x, score(x), 1
    while value <= 0 and asked < budget:
        candidate = propose(best)
        new, asked = score(candidate), asked + 1
        if keep(new, value):
            best, value = candidate, new
    return best, asked


def verdict_search(results, seed):
    found = get(results, "found")
    if not isinstance(found, list) or len(found) != len(BUDGETS) + 2:
        fail("the searches did not come back")
    x = landscape(seed)[2]
    for entry in found:
        untouched(entry)
    for entry, budget in zip(found, BUDGETS, strict=False):
        asked = number(entry, "asked")
        if asked > budget:
            fail(
                f"with a budget of {budget}, {asked:.0f} queries were asked",
                "The first look at x is one of them. Each score is another.",
            )
    image, asked = tensor(found[-2], "the image", like=x), number(found[-2], "asked")
    if asked != 1 or not matches(image, x):
        fail(
            f"x was wrong from the start, and {asked:.0f} queries were asked",
            "Look at x first, and return it if its score is above 0.",
        )
    image, asked = tensor(found[-1], "the image", like=x), number(found[-1], "asked")
    if asked < 50:
        fail("the search stopped at a score of 0", "Wrong is above 0, not at 0.")
    if not matches(image, x):
        fail("a proposal with the same score was kept", "Keep it only if its score is higher.")
    for entry, budget in zip(found, BUDGETS, strict=False):
        image, asked = tensor(entry, "the image", like=x), number(entry, "asked")
        expected, count = search(*landscape(seed), budget, lambda new, old: new > old)
        if matches(image, expected) and asked == count:
            continue
        lower, _ = search(*landscape(seed), budget, lambda new, old: new < old)
        last, _ = search(*landscape(seed), budget, lambda new, old: True)
        if matches(image, lower) and not (matches(lower, expected) or matches(lower, last)):
            fail("proposals with a lower score were kept", "The attacker wants the score to rise.")
        if matches(image, last) and not matches(last, expected):
            fail("every proposal was kept", "Keep it only if its score is higher.")
        if asked < count:
            fail(
                f"with a budget of {budget}, only {asked:.0f} queries were asked, and the image "
                "is still right",
                "Go on until a score is above 0 or the budget is spent.",
            )
        if asked > count:
            fail(
                "queries were asked after a score above 0", "The image is wrong: there is no more."
            )
        fail(
            f"with a budget of {budget}, the image is not the best one seen",
            "Propose from the best image so far, and keep what scores higher.",
        )
    return "it keeps what helps, stops when it is done, and pays for every look"


# 10.3 The straight way home ----------------------------------------------------------------------


def lines(seed: int) -> list[tuple[Tensor, Tensor, float]]:
    """x, a start, and where on the way from x to it the answers turn wrong."""
    draw = torch.Generator().manual_seed(seed)
    places = (torch.rand(4, generator=draw) * 0.9 + 0.05).tolist()
    # The last one is so near to the start that no halving is seen to be wrong.
    return [
        (torch.rand(1, 1, 3, 3, generator=draw), torch.rand(1, 1, 3, 3, generator=draw), place)
        for place in (*places, 0.99999)
    ]


def part_of(image: Tensor, x: Tensor, start: Tensor) -> float:
    """Where on the way from x (0) to the start (1) an image lies."""
    way = (start - x).flatten().double()
    return ((image - x).flatten().double() @ way / (way @ way)).item()


def probe_home(to_boundary, seed):
    found = []
    for x, start, place in lines(seed):
        asked = []

        def is_wrong(image, x=x, start=start, place=place, asked=asked):
            asked.append(part_of(image, x, start))
            return asked[-1] > place

        with watch(x=x, start=start) as changes:
            image = to_boundary(is_wrong, x, start, 8)
        found.append({"the image": image, "asked": asked, "changes": changes})
    return {"found": found}


def verdict_home(results, seed):
    found = get(results, "found")
    problems = lines(seed)
    if not isinstance(found, list) or len(found) != len(problems):
        fail("the images did not come back")
    for entry, (x, start, place) in zip(found, problems, strict=True):
        untouched(entry)
        image = tensor(entry, "the image", like=x)
        asked = get(entry, "asked")
        finite = isinstance(asked, list) and all(
            isinstance(part, float) and math.isfinite(part) for part in asked
        )
        if not finite:
            fail("the questions are unreadable")
        at = part_of(image, x, start)
        if not matches(image, x + at * (start - x), atol=1e-4):
            fail("the image does not lie on the line from x to start", "A middle is (a + b) / 2.")
        if len(asked) > 8:
            fail(f"{len(asked)} questions were asked, 8 were allowed", "One for each halving.")
        low, high = 0.0, 1.0
        for _ in range(8):
            middle = (low + high) / 2
            low, high = (low, middle) if middle > place else (middle, high)
        if abs(at - high) < 1e-4:
            if len(asked) < 8:
                fail(
                    f"{len(asked)} questions were asked, and 8 were to be used",
                    "A question for each halving, as many as queries says.",
                )
            continue
        if at <= place:
            never = all(abs(at - a) > 1e-4 for a in asked)
            if never and at > 1e-4:
                fail(
                    "the image that came back was never asked about, and it is right",
                    "Return the end of the interval that was seen to be wrong.",
                )
            fail("the image that came back is right", "Which end of the interval is the wrong one?")
        if all(abs(at - a) > 1e-4 for a in asked) and at < 1 - 1e-4:
            fail(
                "the image that came back was never asked about",
                "It happens to be wrong here. Return one that was seen to be.",
            )
        if abs(at - 1) < 1e-4:
            fail("the start came back, though nearer images were wrong", "Keep the wrong middles.")
        fail(
            f"the image is at {at:.4f} of the way, and {high:.4f} was within reach of 8 questions",
            "Each answer halves the interval: wrong moves its far end, right its near end.",
        )
    return "each question halves the interval, and what comes back was seen to be wrong"


EXERCISES = (
    Exercise(
        "10.1",
        "The SPSA estimate",
        probe_spsa,
        verdict_spsa,
        forbids=(
            "advlab.attacks.spsa_gradient",
            "advlab.attacks.SPSA",
        ),
    ),
    Exercise(
        "10.2", "Random search", probe_search, verdict_search, forbids=("advlab.attacks.Square",)
    ),
    Exercise(
        "10.3",
        "The straight way home",
        probe_home,
        verdict_home,
        forbids=(
            "advlab.attacks.decisions.Oracle.bisect",
            "advlab.attacks.HopSkipJump",
            "advlab.attacks.Boundary",
        ),
    ),
)
