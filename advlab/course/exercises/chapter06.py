"""Exercises of chapter 6: DeepFool for a linear model, C&W's loss, the search for c, the curve."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import Exercise, close, fail, get, matches, numbers, rather, tensor, untouched, watch
from ..records import Recorded

OVERSHOOT, FURTHER = 0.02, 0.3
KAPPA = 1.5
EPSILONS = [0.5, 8.0, 0.0, 2.0, 0.25, 1.0]  # in no order
NONE_YET = 1e10


# 6.1 DeepFool for a linear model -----------------------------------------------------------------


def linear_problem(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Five linear neurons on 12 inputs, and 150 points with the classes that they are read as.

    The weights of a neuron are long or short, so that the nearest boundary is often not that of
    the second largest logit.
    """
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([0.3, 0.6, 1.0, 2.0, 4.0])[:, None]
    W = lengths * torch.randn(5, 12, generator=draw)
    b = torch.randn(5, generator=draw)
    x = torch.randn(150, 12, generator=draw)
    return W, b, x, (x @ W.T + b).argmax(1)


def steps_to(W: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each class: how far its logit is ahead (N, K), the slope of that (N, K, d), its length.

    The entries of the class y itself are meaningless.
    """
    z = x @ W.T + b
    ahead = z - z.gather(1, y[:, None])
    slope = W[None] - W[y][:, None]
    return ahead, slope, slope.norm(dim=2).clamp_min(1e-12)


def pick(values: Tensor, y: Tensor) -> Tensor:
    """The class of the smallest value, never y."""
    return values.scatter(1, y[:, None], torch.inf).argmin(1)


def onto(ahead: Tensor, slope: Tensor, length: Tensor, k: Tensor, power: int = 2) -> Tensor:
    """The step to the boundary of the classes k: |g| / ‖w‖² w."""
    rows = torch.arange(len(k))
    size = ahead[rows, k].abs() / length[rows, k] ** power
    return size[:, None] * slope[rows, k]


def probe_linear(deepfool_linear, seed):
    W, b, x, y = linear_problem(seed)
    with watch(W=W, b=b, x=x, y=y) as changes:
        x_adv = deepfool_linear(W, b, x, y, OVERSHOOT)
        further = deepfool_linear(W, b, x, y, FURTHER)
    return {"x_adv": x_adv, "further": further, "changes": changes}


def verdict_linear(results, seed):
    W, b, x, y = linear_problem(seed)
    untouched(results)
    returned = get(results, "x_adv")
    if isinstance(returned, Recorded) and returned.value.isnan().any():
        fail(
            "x_adv holds nan",
            "For k = y the distance is 0/0: put torch.inf in its place before you choose.",
        )
    found = tensor(results, "x_adv", like=x)
    ahead, slope, length = steps_to(W, b, x, y)
    distance = ahead.abs() / length
    nearest = pick(distance, y)
    step = onto(ahead, slope, length, nearest)
    expected = x + (1 + OVERSHOOT) * step
    if matches(found, x):
        fail("the points come back as they were", "How long is the step of class k?")
    if matches(found, (1 + OVERSHOOT) * step):
        fail("these are the steps, not the points", "Where does a step start?")
    if matches(found, x + step):
        fail(
            "the points lie exactly on the boundary, where nothing is decided yet",
            "The step is to be a little longer: what does overshoot say?",
        )
    if matches(found, (1 + OVERSHOOT) * (x + step)):
        fail(
            "the points themselves are 1.02 times as long",
            "It is the step that goes a little further, not the point.",
        )
    if matches(found, x - (1 + OVERSHOOT) * step):
        fail(
            "the points move away from the boundary",
            "Along w′ = wₖ − w_y the logit of class k gains on that of y.",
        )
    if matches(found, expected.clamp(0, 1)):
        fail("the points are clipped to [0, 1]", "These are not pixels: nothing is to be clipped.")
    signed = pick(ahead / length, y)
    if rather(found, x + (1 + OVERSHOOT) * onto(ahead, slope, length, signed), expected):
        fail(
            "the step goes to the boundary that is farthest",
            "All leads gₖ are below 0, so the least of gₖ / ‖w′ₖ‖ is the one farthest from 0: a "
            "distance is an absolute value.",
        )
    largest = pick(ahead.abs() / slope.abs().sum(2).clamp_min(1e-12), y)
    if rather(found, x + (1 + OVERSHOOT) * onto(ahead, slope, length, largest), expected):
        fail(
            "the class is chosen by the distance in L∞",
            "The nearest boundary in L2: divide by ‖w′‖₂, not by the sum of absolute values.",
        )
    others = {
        "the step goes to the class with the second largest logit": pick(ahead.abs(), y),
        "the class is chosen by |g| / ‖w′‖², which is not the distance": pick(distance / length, y),
    }
    for message, k in others.items():
        if rather(found, x + (1 + OVERSHOOT) * onto(ahead, slope, length, k), expected):
            fail(message, "A small lead can be far away where the slope is gentle: divide first.")
    if matches(found, x + (1 + OVERSHOOT) * onto(ahead, slope, length, nearest, power=1)):
        fail(
            "the steps have the length |g|, not the distance |g| / ‖w′‖",
            "How long is w′ itself, before you multiply it?",
        )
    read = (found @ W.T + b).argmax(1)
    wrong = int((read == y).sum())
    close(
        found,
        expected,
        "x_adv",
        f"{wrong} of {len(x)} points are still read as y. The slope of gₖ = zₖ − z_y is the "
        "difference of two rows of W: W[None] - W[y][:, None].",
    )
    further = tensor(results, "further", like=x)
    if matches(further, expected):
        fail(
            f"with overshoot={FURTHER} the points are those of {OVERSHOOT}",
            "Use the argument, not its default.",
        )
    expected = x + (1 + FURTHER) * step
    close(further, expected, f"x_adv with overshoot={FURTHER}", "(1 + overshoot) times the step.")
    return f"all {len(x)} points step over their nearest boundary, 2% further than they must"


# 6.2 The loss of Carlini and Wagner --------------------------------------------------------------


def logits_problem(seed: int) -> tuple[Tensor, Tensor]:
    """90 rows of 5 logits: some right by much, some barely, some wrong by more than κ."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(90, 5, generator=draw)
    logits[:10] -= 8  # all below 0
    return logits, torch.randint(0, 5, (90,), generator=draw)


def lead(logits: Tensor, y: Tensor) -> Tensor:
    """z_y less the largest other logit."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return logits.gather(1, y[:, None]).squeeze(1) - others.amax(1)


def probe_loss(cw_loss, seed):
    logits, y = logits_problem(seed)
    with watch(logits=logits, y=y) as changes:
        loss, plain = cw_loss(logits, y, KAPPA), cw_loss(logits, y)
    gradient = None
    if not changes:  # else backward through what was overwritten would fail first
        again = logits.clone().requires_grad_(True)
        total = cw_loss(again, y, KAPPA)
        if isinstance(total, Tensor) and total.requires_grad:
            (gradient,) = torch.autograd.grad(total.sum(), again, allow_unused=True)
    return {"loss": loss, "plain": plain, "gradient": gradient, "changes": changes}


def verdict_loss(results, seed):
    logits, y = logits_problem(seed)
    untouched(results)
    found = tensor(results, "loss", dtype=logits.dtype, detached=False)
    if found.ndim == 0:
        fail("the loss is a single number", "One number for each image: do not sum them up yet.")
    if tuple(found.shape) == (len(y), 1):
        fail("the loss has shape (N, 1), expected (N,)", "gather keeps a dimension: squeeze(1).")
    found = tensor(results, "loss", like=y.to(logits.dtype), detached=False)
    margin = lead(logits, y)
    expected = margin.clamp_min(-KAPPA)
    if matches(found, margin):
        fail("the loss goes on below −κ", "Beyond the confidence asked for nothing more is gained.")
    if matches(found, margin.clamp_min(0)):
        fail("the loss stops at 0 whatever κ is", "κ says how far below 0 it is to go.")
    if matches(found, margin.clamp_min(KAPPA)):
        fail("the loss stops at +κ, before the answer is wrong", "On which side of 0 is 'wrong'?")
    if matches(found, (margin + KAPPA).clamp_min(0)):
        fail(
            f"the loss is κ = {KAPPA} too large everywhere",
            "As the page writes it, a loss below 0 means an answer that is wrong.",
        )
    if matches(found, (-margin).clamp_min(-KAPPA)) or matches(found, -expected):
        fail("the loss falls as the answer gets more right", "Which of the two logits is to sink?")
    top = logits.amax(1)
    if matches(found, (logits.gather(1, y[:, None]).squeeze(1) - top).clamp_min(-KAPPA)):
        fail(
            "the loss is never above 0: the true class is among the 'others'",
            "Where the answer is right, y itself has the largest logit. Keep it out.",
        )
    if matches(found, lead(logits.softmax(1), y).clamp_min(-KAPPA)):
        fail("the margin is one of probabilities", "The logits are not to go through a softmax.")
    filled = logits.scatter(1, y[:, None], 0.0).amax(1)
    less = logits.gather(1, y[:, None]).squeeze(1) - filled
    if rather(found, less.clamp_min(-KAPPA), expected):
        fail(
            "class y is out of the way, but with a 0 in its place",
            "All other logits may be below 0, and then the 0 is the largest: what is never?",
        )
    answer = logits.argmax(1)
    if matches(found, lead(logits, answer).clamp_min(-KAPPA)):
        fail("the margin is that of the class that the model names", "It is about y.")
    if matches(found, expected.mean().expand_as(found)):
        fail("every entry is the mean over the batch", "Each image has its own loss.")
    close(found, expected, "loss", "z_y less the largest other logit, and at least −κ.")
    plain = tensor(results, "plain", like=expected, detached=False)
    close(plain, margin.clamp_min(0), "loss without a kappa", "Its default is 0.")
    if get(results, "gradient") is None:
        fail("no gradient flows back to the logits", "Stay with torch, and detach nothing.")
    slope = tensor(results, "gradient", like=logits)
    z = logits.clone().requires_grad_(True)
    (should,) = torch.autograd.grad(lead(z, y).clamp_min(-KAPPA).sum(), z)
    close(slope, should, "the gradient in the logits", "Both logits of the margin take part.")
    return f"above 0 where y still wins, and never below −κ = −{KAPPA}"


# 6.3 The search for c ----------------------------------------------------------------------------


def search_problem(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c, low, high and fooled of 40 images: with and without a bound, fooled and not."""
    draw = torch.Generator().manual_seed(seed)
    low = torch.rand(40, generator=draw)
    bounded = torch.arange(40) % 2 == 0
    width = 1 + torch.rand(40, generator=draw)
    high = torch.where(bounded, low + width, torch.full_like(low, NONE_YET))
    c = torch.where(bounded, low + width / 2, 10 * low + 0.1)
    return c, low, high, torch.arange(40) % 4 < 2


def updated(c, low, high, fooled):
    low, high = torch.where(fooled, low, c), torch.where(fooled, c, high)
    return torch.where(high < NONE_YET, (low + high) / 2, 10 * c), low, high


def probe_search(next_c, seed):
    c, low, high, fooled = search_problem(seed)
    with watch(c=c, low=low, high=high, fooled=fooled) as changes:
        returned = next_c(c, low, high, fooled)
    return {"returned": returned, "changes": changes}


def verdict_search(results, seed):
    given = c, low, high, fooled = search_problem(seed)
    untouched(results)
    returned = get(results, "returned")
    if not isinstance(returned, list) or len(returned) != 3:
        fail("next_c is to return three tensors: the new c, low and high", "return c, low, high")
    names = ("c", "low", "high")
    parts = dict(zip(names, returned, strict=True))
    new_c, new_low, new_high = (tensor(parts, name, like=c) for name in names)
    expected_c, expected_low, expected_high = updated(*given)
    for order, expected in (
        ("low, high, c", (expected_low, expected_high, expected_c)),
        ("high, low, c", (expected_high, expected_low, expected_c)),
    ):
        if all(map(matches, (new_c, new_low, new_high), expected)):
            fail(f"the order is {order}", "return c, low, high")
    swapped = updated(c, low, high, ~fooled)
    if matches(new_low, swapped[1]) and matches(new_high, swapped[2]):
        fail(
            "the bounds move the wrong way round",
            "A c that fooled is enough: is that news about the lower or about the upper bound?",
        )
    if matches(new_high, torch.where(fooled, low, high)):
        fail("high moves to low, not to the c that was tried", "Which c did work?")
    close(new_low, expected_low, "low", "It moves up to c where c was too small, and only there.")
    close(new_high, expected_high, "high", "It moves down to c where c worked, and only there.")
    middle = (expected_low + expected_high) / 2
    if matches(new_c, middle):
        fail(
            f"where no c has worked yet, the next one is {new_c.max().item():.0e}",
            "There is nothing to halve yet: how does c grow until it works for the first time?",
        )
    if matches(new_c, torch.where(high < NONE_YET, middle, 10 * c)):
        fail(
            "c still grows tenfold where it has just worked for the first time",
            "Move the bounds first, and look at the new high.",
        )
    if matches(new_c, torch.where(fooled, middle, 10 * c)):
        fail(
            "c grows tenfold wherever it has just failed",
            "c failed, but where high is known, a c that works is, too: halve the range.",
        )
    if matches(new_c, torch.where(expected_high < NONE_YET, (low + high) / 2, 10 * c)):
        fail("the next c is the middle of the old bounds", "Move the bounds first.")
    close(new_c, expected_c, "c", "The middle of the new bounds, or ten times c.")
    return "where c worked it comes down, where it did not it goes up, each image for itself"


# 6.4 Robust accuracy from distances --------------------------------------------------------------


def distance_problem(seed: int) -> tuple[Tensor, Tensor]:
    """50 distances, a few exactly equal to an ε, a few infinite; and which images were right.

    Just 7 were not, whatever the seed.
    """
    draw = torch.Generator().manual_seed(seed)
    distances = 3 * torch.rand(50, generator=draw)
    distances[:6] = torch.tensor([0.25, 0.5, 0.5, 1.0, 2.0, 2.0])
    distances[6:9] = torch.inf
    correct = torch.ones(50, dtype=torch.bool)
    correct[9 + torch.rand(50, generator=draw)[9:].argsort()[-7:]] = False
    distances[~correct] = torch.inf
    return distances, correct


def shares(distances: Tensor, correct: Tensor) -> list[float]:
    return [(correct & (distances > e)).double().mean().item() for e in EPSILONS]


def probe_curve(robust_curve, seed):
    distances, correct = distance_problem(seed)
    with watch(distances=distances, correct=correct) as changes:
        accuracies = robust_curve(distances, correct, list(EPSILONS))
    return {"accuracies": accuracies, "changes": changes}


def verdict_curve(results, seed):
    distances, correct = distance_problem(seed)
    untouched(results)
    returned = get(results, "accuracies")
    if isinstance(returned, Recorded):
        fail("robust_curve is to return a list, not a tensor", "tensor.tolist() makes one.")
    found = numbers(results, "accuracies", len(EPSILONS), "One number for each ε.")
    expected = shares(distances, correct)
    if rather(found, sorted(expected, reverse=True), expected):
        fail("the numbers are in the order of sorted ε", "One for each ε, in the order given.")
    if rather(found, [100 * a for a in expected], expected):
        fail("these are percentages", "Give shares, from 0 to 1.")
    if rather(found, [len(correct) * a for a in expected], expected):
        fail("these are counts of images", "Give the share of all the images, from 0 to 1.")
    if rather(found, [1 - a for a in expected], expected):
        fail("the curve rises with ε", "Robust accuracy counts the images that still stand.")
    if rather(found, shares(distances, torch.ones_like(correct)), expected):
        fail(
            "images that were wrong from the start count as right",
            "No attack has touched them, so their distance says nothing: look at correct.",
        )
    if rather(found, shares(distances[correct], correct[correct]), expected):
        fail(
            "these are shares of the images that were right from the start",
            "Accuracy is a share of all images.",
        )
    reached = [(correct & (distances >= e)).double().mean().item() for e in EPSILONS]
    if rather(found, reached, expected):
        fail(
            "an image at a distance of exactly ε counts as right",
            "A perturbation of size ε is within the budget ε.",
        )
    finite = correct & distances.isfinite()
    if rather(found, shares(distances, finite), expected):
        fail(
            "images on which the attack failed count as wrong",
            "They still stand. The attack found nothing, at any ε.",
        )
    close(found, expected, "accuracies", "Right from the start, and further away than ε.")
    return f"from {max(expected):.0%} at ε = 0 to {min(expected):.0%} at ε = {max(EPSILONS):g}"


EXERCISES = (
    Exercise(
        "6.1",
        "DeepFool for a linear model",
        probe_linear,
        verdict_linear,
        forbids=("advlab.attacks.DeepFool",),
    ),
    Exercise(
        "6.2",
        "The loss of Carlini and Wagner",
        probe_loss,
        verdict_loss,
        forbids=(
            "advlab.goals.Untargeted.margin",
            "advlab.goals.Targeted.margin",
            "advlab.attacks.penalty.PenaltyAttack.f",
            "torch.nn.functional.multi_margin_loss",
        ),
    ),
    Exercise(
        "6.3",
        "The search for c",
        probe_search,
        verdict_search,
        forbids=("advlab.attacks.penalty.PenaltyAttack.search",),
    ),
    Exercise(
        "6.4",
        "Robust accuracy from distances",
        probe_curve,
        verdict_curve,
        forbids=(
            "advlab.evaluation.robust_accuracy",
            "advlab.evaluation.accuracy_curve",
        ),
    ),
)
