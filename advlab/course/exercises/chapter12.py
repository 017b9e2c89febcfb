"""Exercises of chapter 12: the worst case, the masked gradient, the sign test."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, fail, get, matches, number, numbers, untouched, watch

# 12.1 The worst case -----------------------------------------------------------------------------


def table(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(N,) right before, (A, N) right after and inside the ball; some are mended by an attack."""
    draw = torch.Generator().manual_seed(seed)
    clean = torch.rand(97, generator=draw) < 0.8
    after = torch.rand(4, 97, generator=draw) < 0.6
    clean[0], after[:, 0] = False, True  # an attack may mend by luck
    clean[1:3], after[:, 1:3] = True, False  # fallen to all
    clean[3:5], after[:, 3:5] = True, True  # standing
    inside = torch.rand(4, 97, generator=draw) < 0.7
    after[:, 5:7], inside[:, 5:7], clean[5:7] = False, False, True  # fooled, but from outside
    # The first attack keeps to the ball everywhere, and is a weak one.
    after[0] |= torch.rand(97, generator=draw) < 0.6
    after[0, 1:3], after[0, 5:7], inside[0] = False, True, True
    return clean, after, inside


def probe_worst(worst_case, seed):
    clean, after, inside = table(seed)
    with watch(clean=clean, after=after, inside=inside) as changes:
        found = worst_case(clean, after, inside)
    alone = worst_case(clean, after[:0], inside[:0])
    return {"the worst case": found, "without attacks": alone, "changes": changes}


def verdict_worst(results, seed):
    clean, after, inside = table(seed)
    untouched(results)
    found = number(results, "the worst case")
    given, after = after, after | ~inside
    standing = clean & after.all(0)
    expected = standing.double().mean().item()
    for wrong, message, hint in (
        (
            (clean & given.all(0)).double().mean(),
            "an image counts as fooled by a perturbation that left the ball",
            "What lies outside the threat model says nothing about the claim.",
        ),
        (
            (clean & (given & inside).all(0)).double().mean(),
            "an image counts as fooled if a perturbation left the ball, even where it is right",
            "Fooled means both: wrong, and inside.",
        ),
        (
            (clean & (given | inside).all(0)).double().mean(),
            "only perturbations that left the ball count here",
            "It is the other way round: fooled means wrong, and inside.",
        ),
        (
            (clean & given[inside.all(1)].all(0)).double().mean(),
            "a whole attack is dropped where one of its images left the ball",
            "Its other images stayed inside, and count. Decide image by image.",
        ),
        (
            (clean & given.all(0))[inside.all(0)].double().mean(),
            "an image is dropped where one attack on it left the ball",
            "The other attacks on it count, and so does the image, below the line.",
        ),
        (100 * expected, "this is a percentage", "Give the share of the images, from 0 to 1."),
        (standing.sum(), "this is a count of images", "Give the share of the images, from 0 to 1."),
        (
            after.double().mean(1).min(),
            "this is the lowest accuracy under one attack",
            "Another attack may fool images on which the strongest one fails.",
        ),
        (
            (clean & after).double().mean(1).min(),
            "this is the lowest accuracy under one attack",
            "Another attack may fool images on which the strongest one fails.",
        ),
        (
            (clean & after).double().mean(),
            "this is the mean over the attacks",
            "The attacker needs only one of them to work.",
        ),
        (after.double().mean(), "this is the mean over the attacks", "One is enough to fool."),
        (
            after.all(0).double().mean(),
            "an image that was wrong before the attack counts as right",
            "An attack can mend an answer by luck. Is that robust?",
        ),
        (
            (clean & after.any(0)).double().mean(),
            "an image counts as right if any attack fails on it",
            "The attacker chooses the attack, image by image.",
        ),
        (
            expected / clean.double().mean(),
            "this is a share of the images that were right before",
            "The denominator is all the images.",
        ),
        (
            1 - expected,
            "this is the share of images that fall",
            "Robust accuracy counts those that stand.",
        ),
    ):
        if matches(found, float(wrong)) and not matches(found, expected):
            fail(message, hint)
    if not matches(found, expected):
        fail(
            f"the worst case is {found:.3f}, and {expected:.3f} of the images stand",
            "An image stands if it was right before and no attack inside the ball made it wrong.",
        )
    alone = number(results, "without attacks")
    if not matches(alone, clean.double().mean().item()):
        fail(
            f"with no attack at all it is {alone:.3f}; the clean accuracy is "
            f"{clean.double().mean():.3f}",
            "A table of no rows holds no image that fell.",
        )
    return "an image stands if nothing fooled it: the worst case, image by image"


# 12.2 The masked gradient ------------------------------------------------------------------------

KINDS = ("sound", "partly flat", "cut off", "balanced", "faint")


NONE_RIGHT = "the share where no image is right"


class Suspect(nn.Module):
    """A linear classifier.

    Partly flat: some images pass a step that rounds, or come out far too loud. Balanced: two slopes
    that cancel. Faint: slopes whose squares are 0 in float32.
    """

    def __init__(self, weight: Tensor, kind: str):
        super().__init__()
        self.weight, self.kind = nn.Parameter(weight), kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "cut off":
            return (x.detach().flatten(1) @ self.weight.detach()).detach()
        group = (4 * x[:, 0, 0, 0].detach()).long().view(-1, 1, 1, 1)
        rounded = (8 * x).round() / 8
        flat = self.kind == "partly flat"
        seen = torch.where((group == 0) & flat, rounded, x)
        logits = seen.flatten(1) @ self.weight
        group = group.view(-1, 1)
        # Loud, but not so loud that nothing is left of the gradient; and beyond that.
        logits = torch.where(group == 2, 10 * logits, logits)
        if self.kind == "balanced":
            tilt = (x[:, 0, 0, 1] - x[:, 0, 0, 2]).view(-1, 1)
            logits = logits.detach() + 0.01 * tilt * self.weight[0]
        if self.kind == "faint":
            logits = 1e-30 * logits
        return torch.where((group == 1) & flat, 1e6 * logits, logits)


def suspects(seed: int) -> tuple[list[Suspect], Tensor, Tensor]:
    """The models, 60 images 1 × 5 × 5, and labels, a quarter of them wrong."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(25, 4, generator=draw)
    weight[3] = 0.0  # a pixel that no model looks at
    x = torch.rand(60, 1, 5, 5, generator=draw)
    x[:, 0, 0, 0] = (torch.arange(60) % 4 + 0.5) / 4
    models = [Suspect(weight.clone(), kind).eval() for kind in KINDS]
    with torch.no_grad():
        answers = torch.stack([model(x).argmax(1) for model in models])
    y = torch.where(torch.rand(60, generator=draw) < 0.25, (answers[0] + 1) % 4, answers[0])
    models[0].train()  # it has no layer to which this matters: who calls eval() is seen
    return models, x, y


def flat(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) right, and (N, 25) where the gradient is exactly 0."""
    z = x.clone().requires_grad_()
    logits = model(z)
    loss = F.cross_entropy(logits, y, reduction="sum")
    if not loss.requires_grad:
        return logits.argmax(1) == y, torch.ones_like(x, dtype=torch.bool).flatten(1)
    return logits.argmax(1) == y, (torch.autograd.grad(loss, z)[0] == 0).flatten(1)


def probe_masked(zero_gradient, seed):
    models, x, y = suspects(seed)
    found, changes = [], []
    for model in models:
        with watch(model=model, x=x, y=y) as changed:
            found.append(zero_gradient(model, x, y))
        changes += changed
    with torch.no_grad():
        others = (models[0](x).argmax(1) + 1) % 4
    none = zero_gradient(models[0], x, others)
    return {"the shares": found, NONE_RIGHT: none, "changes": changes}


def verdict_masked(results, seed):
    models, x, y = suspects(seed)
    untouched(results)
    found = numbers(results, "the shares", len(models))
    expected, everybody, pixels, any_pixel, counts = [], [], [], [], []
    for model in models:
        right, zero = flat(model, x, y)
        expected.append(zero.all(1)[right].double().mean().item())
        everybody.append(zero.all(1).double().mean().item())
        pixels.append(zero[right].double().mean().item())
        any_pixel.append(zero.any(1)[right].double().mean().item())
        counts.append((zero.all(1) & right).sum().item())
    if matches(found, expected):
        none = number(results, NONE_RIGHT)
        if not matches(none, 0.0):
            fail(f"{NONE_RIGHT} is {none:.3f}", "No image was found without a gradient: 0.")
        return "no gradient, no climb: of such images an attack that follows it says nothing"
    if matches(found, [1 - e for e in expected]):
        fail("this is the share of images that have a gradient", "Count the zeros.")
    if matches(found, [100 * e for e in expected]) or matches(found, counts):
        fail("these are no shares from 0 to 1", "Divide by the number of images that are right.")
    if matches(found, [c / len(x) for c in counts]):
        fail(
            "the share is taken of all the images",
            "Only images that the model has right are attacked: they are the whole here.",
        )
    if matches(found, everybody):
        fail(
            "images that the model has wrong are counted, too",
            "They need no attack. Leave them out above and below the line.",
        )
    if matches(found, pixels):
        fail("this counts pixels, not images", "An image counts if all of its pixels are flat.")
    if matches(found, any_pixel):
        fail(
            "one flat pixel is enough here for an image to count",
            "A sound model may ignore a pixel. An attack stands still if all of them are flat.",
        )
    if matches(found[:3], expected[:3]):
        if not matches(found[3], expected[3]):
            fail(
                "a gradient whose entries cancel counts as none",
                "A sum of slopes can be 0 where no slope is. Compare each of them with 0.",
            )
        fail(
            "a gradient with entries near 1e-30 counts as none",
            "Exactly zero, without a tolerance. And no norm: squares so small become 0.",
        )
    for value, right, kind in zip(found, expected, KINDS, strict=True):
        if not matches(value, right):
            more = value > right
            hint = (
                "Exactly zero is asked for: the sign of a tiny slope is as good as that of a large."
                if more
                else "Compare all the pixels of an image with 0, for the images that are right."
            )
            fail(f"on the model that is {kind}, it is {value:.3f} instead of {right:.3f}", hint)
    fail("the shares are not what they should be")


# 12.3 The sign test ------------------------------------------------------------------------------

# Images that fall to both, to the first alone, to the second alone, to neither.
CASES = ((5, 6, 1, 20), (9, 3, 3, 9), (0, 10, 0, 0), (4, 2, 7, 3), (8, 0, 0, 8))


TWO_SIDED = (
    "this is the test of both sides",
    "The question is whether the first is stronger: one side.",
)


def cases(seed: int) -> list[tuple[int, ...]]:
    """Each number as it is above or up to 3 larger, and 0 where it is 0."""
    draw = random.Random(seed)
    return [tuple(n + draw.randint(0, 3) if n else 0 for n in case) for case in CASES]


def fallen(case: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Two (N,) bool, in an order drawn from the seed."""
    kinds = torch.repeat_interleave(torch.arange(4), torch.tensor(case))
    kinds = kinds[torch.randperm(len(kinds), generator=torch.Generator().manual_seed(seed))]
    return kinds <= 1, (kinds == 0) | (kinds == 2)


def tail(count: int, n: int) -> float:
    return sum(math.comb(n, k) for k in range(count, n + 1)) / 2**n


def probe_sign(sign_test, seed):
    found = []
    for number_of, case in enumerate(cases(seed)):
        a, b = fallen(case, seed + number_of)
        with watch(a=a, b=b) as changes:
            value = sign_test(a, b)
        found.append({"p": value, "changes": changes})
    return {"found": found}


def verdict_sign(results, seed):
    found, drawn = get(results, "found"), cases(seed)
    if not isinstance(found, list) or len(found) != len(drawn):
        fail("the numbers did not come back")
    for entry in found:
        untouched(entry)
    values = [number(entry, "p") for entry in found]
    expected = [tail(first, first + second) for _, first, second, _ in drawn]
    if matches(values, expected):
        return "only images that tell the two apart can say which is stronger"
    for other, message, hint in (
        (
            [tail(f + 1, f + s) if f + s else 1.0 for _, f, s, _ in drawn],
            "the number that was seen is left out of the sum",
            "At least as many: the sum begins at that number itself.",
        ),
        (
            [tail(s, f + s) for _, f, s, _ in drawn],
            "this tests whether the second is stronger",
            "Count the images that the first alone fools.",
        ),
        (
            [math.comb(f + s, f) / 2 ** (f + s) for _, f, s, _ in drawn],
            "this is the chance of just this number",
            "At least as many is asked for: a sum.",
        ),
        (
            [min(1.0, 2 * tail(f, f + s)) for _, f, s, _ in drawn],
            *TWO_SIDED,
        ),
        (
            [min(1.0, 2 * tail(max(f, s), f + s)) for _, f, s, _ in drawn],
            *TWO_SIDED,
        ),
        (
            [tail(f, f + s) - 0.5 ** (f + s) for _, f, s, _ in drawn],
            "the sum ends before n",
            "range(m, n) stops at n - 1, and n heads in n tosses are possible, too.",
        ),
        *(
            (
                [tail(b + f, times * b + f + s) for b, f, s, _ in drawn],
                "images that both attacks fool are counted",
                "They fall whichever is the stronger. Which images differ?",
            )
            for times in (0, 1, 2)
        ),
        (
            [tail(f, sum(case)) for case in drawn for f in case[1:2]],
            "images on which both attacks do the same are tosses of the coin, too",
            "Only images that one of the two alone fools are tosses.",
        ),
    ):
        if matches(values[:-1], other[:-1]):
            fail(message, hint)
    if matches(values[:-1], expected[:-1]):
        fail(
            f"where no image tells the two apart, p is {values[-1]:.3g}",
            "Chance would do at least as much, namely nothing, always: p = 1.",
        )
    for value, right, (_, first, second, _) in zip(values, expected, drawn, strict=True):
        if not matches(value, right):
            fail(
                f"{first} images fall to the first alone and {second} to the second alone: "
                f"p is {right:.4f}, and yours is {value:.4f}",
                "How likely are so many heads, or more, in so many tosses of a fair coin?",
            )
    fail("the numbers are not what they should be")


EXERCISES = (
    Exercise(
        "12.1",
        "The worst case of each image",
        probe_worst,
        verdict_worst,
        forbids=(
            "advlab.evaluation.evaluate",
            "advlab.evaluation.robust_accuracy",
        ),
    ),
    Exercise(
        "12.2",
        "Find the masked gradient",
        probe_masked,
        verdict_masked,
        forbids=(
            "advlab.evaluation.sanity",
            "advlab.evaluation.sanity_checks.zero_gradient",
        ),
    ),
    Exercise(
        "12.3",
        "Is it stronger, or was it luck?",
        probe_sign,
        verdict_sign,
        forbids=(
            "advlab.evaluation.chance.sign_test",
            "advlab.evaluation.chance.at_least",
            "scipy.stats.binomtest",
        ),
    ),
)
