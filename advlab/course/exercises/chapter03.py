"""Exercises of chapter 3: softmax, cross-entropy, a training step."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, matches, number, tensor, untouched, watch
from ..judging import get
from ..records import Recorded

STEP = 0.25


def scores(seed: int) -> tuple[Tensor, Tensor]:
    """Logits of 9 images and 5 classes, and labels. No two logits of a row are close."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(9, 5, generator=draw).argsort(1)
    z = 1.3 * order - 2 + 0.4 * torch.rand(9, 5, generator=draw)
    y = torch.randint(0, 5, (9,), generator=draw)
    # Some answers right and some wrong, whatever was drawn.
    y[0], y[1] = z[0].argmax(), z[1].argmin()
    return z, y


def large_scores(seed: int) -> tuple[Tensor, Tensor]:
    """The same, one row moved up by 1000 and one down by 1000; and one answer is hopeless."""
    z, y = scores(seed)
    z[2] += 1000
    z[3] -= 1000
    z[4] *= 300
    y[4] = z[4].argmin()
    return z, y


def rows_lost(results: dict, name: str, like: Tensor) -> list[int]:
    """The rows of this tensor that hold a NaN or an infinity; none where its shape is wrong."""
    found = get(results, name)
    if not isinstance(found, Recorded) or found.value.shape != like.shape:
        return []
    return (~found.value.isfinite()).any(1).nonzero().flatten().tolist()


# What 3.1 and 3.2 have to say about the same slips.
OVERFLOW = "What may you subtract from all the scores of a row without changing the answer?"
ROW_BY_ROW = "Is what you subtract that row's own, or the same for all rows?"


# 3.1 Softmax -------------------------------------------------------------------------------------


def probe_softmax(softmax, seed):
    (z, _), (large, _) = scores(seed), large_scores(seed)
    with watch(z=z) as changes:
        p = softmax(z)
    return {"p": p, "large": softmax(large), "changes": changes}


def verdict_softmax(results, seed):
    (z, _), (large, _) = scores(seed), large_scores(seed)
    untouched(results)
    p, expected = tensor(results, "p", like=z), z.softmax(1)
    if matches(p, z.exp()):
        fail("these are e to the scores, and not yet shares", "A row has to sum to 1.")
    if matches(p, z.softmax(0)):
        fail(
            "the columns sum to 1: images are compared with each other, not classes",
            "z has a row for each image and a column for each class. Along which do you sum?",
        )
    if matches(p, z.flatten().softmax(0).view_as(z)):
        fail(
            "the whole table sums to 1, where each row should",
            "Every image has its own sum. See the argument dim of sum, and keepdim.",
        )
    if matches(p, z.log_softmax(1)):
        fail("this is the logarithm of softmax", "A probability is between 0 and 1.")
    if matches(p, z / z.sum(1, keepdim=True)):
        fail("the scores are divided as they are", "First every score becomes positive. How?")
    if matches(p, (-z).softmax(1)):
        fail("the largest score gets the smallest share", "Which way does the exponential go?")
    close(p, expected, "p", "Exponentials of a row, divided by the sum of that row.")

    if lost := rows_lost(results, "large", large):
        if 2 in lost:  # the row that was moved up
            fail(
                "with scores near 1000 the answer is not a number: the exponential overflows",
                OVERFLOW,
            )
        fail(
            "with scores near −1000 beside larger ones the answer is not a number: "
            "every exponential of that row became 0",
            ROW_BY_ROW,
        )
    found = tensor(results, "large", like=large)
    hint = "Scores near 1000 must give the same shares as the same scores moved down by 1000."
    close(found, large.softmax(1), "softmax of large scores", hint)
    return "every row sums to 1, and scores of 1000 do no harm"


# 3.2 Cross-entropy -------------------------------------------------------------------------------


def hard_batches(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Name → scores and labels: all near 1000, rows far apart, and one hopeless answer."""
    z, y = scores(seed)
    large, large_y = large_scores(seed)
    hopeless, hopeless_y = z.clone(), y.clone()
    hopeless[4], hopeless_y[4] = large[4], large_y[4]
    return {
        "near 1000": (z + 1000, y),
        "rows far apart": (large[2:4], large_y[2:4]),
        "one hopeless answer": (hopeless, hopeless_y),
    }


def probe_cross_entropy(cross_entropy, seed):
    z, y = scores(seed)
    with watch(logits=z, y=y) as changes:
        loss = cross_entropy(z, y)
    hard = {name: cross_entropy(*batch) for name, batch in hard_batches(seed).items()}
    return {"loss": loss, **hard, "changes": changes}


def verdict_cross_entropy(results, seed):
    z, y = scores(seed)
    untouched(results)
    each = F.cross_entropy(z, y, reduction="none")
    found = get(results, "loss")
    if isinstance(found, Recorded) and matches(found.value, each):
        fail("this is a loss for each image", "The exercise asks for their mean.")
    loss, expected = number(results, "loss"), each.mean().item()
    largest = z.amax(1).mean().item()
    not_added_back = (
        f"the loss is {loss:.4g}, and it lacks the largest score m of each image",
        "A cross-entropy cannot be negative. The largest score was subtracted inside the sum; was "
        "it added back outside?",
    )
    others = {
        expected - largest: not_added_back,
        expected + largest: (
            "the largest score m of each image is added once too often",
            "m is subtracted inside the sum and added outside it. Is z of the true class still "
            "the score that came in?",
        ),
        -expected: ("the sign is turned", "The logarithm of a probability is negative."),
        each.sum().item(): (
            f"this is the sum over the {len(y)} images",
            "A mean does not grow with the number of images.",
        ),
        expected / z.shape[1]: (
            f"the mean is taken over all {z.numel()} entries of the table, not over the images",
            f"How many images are there, and what does each contribute? Found {z.shape[1]} times "
            "too little.",
        ),
        expected / math.log(2): (
            "the logarithm has base 2",
            "The course uses the natural logarithm, torch.log.",
        ),
        F.cross_entropy(z.softmax(1), y).item(): (
            "softmax is applied twice",
            "log-sum-exp already contains the softmax: it takes the scores themselves.",
        ),
        F.cross_entropy(z, z.argmax(1)).item(): (
            "this is the loss of the class that the model named, which is small even where it "
            "is wrong",
            "The loss asks for the probability of the true class, y.",
        ),
        (1 - z.softmax(1)[range(len(y)), y]).mean().item(): (
            "this is 1 − p of the true class, without a logarithm",
            "The loss is −log p.",
        ),
        -z.softmax(1)[range(len(y)), y].mean().item(): (
            "this is the mean probability of the true class, with a minus sign",
            "The loss is −log p.",
        ),
    }
    if not matches(loss, expected):
        for value, (message, hint) in others.items():
            if matches(loss, value):
                fail(message, hint)
    if loss < 0:
        fail(
            f"the loss is {loss:.4g}, and a cross-entropy cannot be negative",
            "A probability is at most 1, so its −log is at least 0. Is every part of the formula "
            "there, with its sign?",
        )
    close(loss, expected, "loss", "−log of the probability of the true class, averaged.")

    undefined = {
        "near 1000": (
            "with scores near 1000 the loss is not a finite number: the exponential overflows",
            OVERFLOW,
        ),
        "rows far apart": (
            "with one image near 1000 and another near −1000 the loss is not a finite number: "
            "every exponential of a row became 0",
            ROW_BY_ROW,
        ),
        "one hopeless answer": (
            "where an answer is hopeless the loss is not a finite number",
            "A probability that rounds to 0 has no logarithm. The stable form never computes it.",
        ),
    }
    for name, batch in hard_batches(seed).items():
        found, expected_here = get(results, name), F.cross_entropy(*batch).item()
        found = found.value if isinstance(found, Recorded) else found
        if isinstance(found, float | Tensor) and not torch.as_tensor(found).isfinite().all():
            fail(*undefined[name])
        found = number(results, name)
        if name == "one hopeless answer" and found < 0.5 * expected_here:
            fail(
                f"a batch with a hopeless answer costs {expected_here:.0f} on average, and you "
                f"charge {found:.1f}",
                "A small constant inside the logarithm, or a clamp, hides how wrong the answer is.",
            )
        hint = "Adding the same number to all scores of an image must not change its loss."
        close(found, expected_here, f"loss ({name})", hint, rtol=1e-3)
    return f"the mean loss is {expected:.3f}, and a hopeless answer costs what it should"


# 3.3 A training step -----------------------------------------------------------------------------


def problem(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network, 24 images 1 × 4 × 4 in [0, 1], and labels."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5)
    x = torch.rand(24, 1, 4, 4, generator=draw)
    return model, x, torch.randint(0, 3, (24,), generator=draw)


def stale(model: nn.Module) -> list[Tensor]:
    """What an earlier call may have left in .grad."""
    return [torch.full_like(p, 0.5) for p in model.parameters()]


def probe_step(training_step, seed):
    model, x, y = problem(seed)
    parameters = list(model.parameters())
    for p, old in zip(parameters, stale(model), strict=True):
        p.grad = old
    losses, after = [], []
    with watch(model=model, x=x, y=y) as changes:
        for _ in range(2):
            losses.append(training_step(model, x, y, STEP))
            after.append([p.detach().clone() for p in parameters])
    return {"losses": losses, "first": after[0], "second": after[1], "changes": changes}


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


def descend(model: nn.Module, x: Tensor, y: Tensor, times: int) -> tuple[list[float], Tensor]:
    """The losses before each step, and all parameters after the last."""
    losses = []
    for _ in range(times):
        loss = F.cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        losses.append(loss.item())
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= STEP * g
    return losses, flat(list(model.parameters()))


def one_by_one(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """All parameters after a step in which each sees the moves of those before it."""
    for p in model.parameters():
        (g,) = torch.autograd.grad(F.cross_entropy(model(x), y), p)
        with torch.no_grad():
            p -= STEP * g
    return flat(list(model.parameters()))


# What the check calls the four parameters of its network, in the order of model.parameters().
PARAMETERS = (
    "the first layer's weights",
    "the first layer's biases",
    "the second layer's weights",
    "the second layer's biases",
)


def parameters_of(results: dict, name: str, model: nn.Module) -> Tensor:
    found, wanted = get(results, name), list(model.parameters())
    if not isinstance(found, list) or len(found) != len(wanted):
        fail("the parameters are missing from the results")
    named = zip(PARAMETERS, found, wanted, strict=True)
    return flat([tensor({name: f}, name, like=p) for name, f, p in named])


def verdict_step(results, seed):
    model, x, y = problem(seed)
    untouched(results, allow=("model", "model.grad"))
    start = flat(list(model.parameters()))
    loss = F.cross_entropy(model(x), y)
    g = flat(list(torch.autograd.grad(loss, list(model.parameters()))))
    first = parameters_of(results, "first", model)
    if matches(first, start):
        fail(
            "the parameters are as they were",
            "Change the parameters themselves, in place: p = p - … only gives a new tensor a name.",
        )
    if matches(first, start + STEP * g):
        fail("the step goes uphill: the loss grows", "Training wants the loss to fall.")
    moved, wanted = first - start, -STEP * g
    if matches(moved, wanted - STEP * flat(stale(model)), atol=1e-4):
        fail(
            "gradients of an earlier call are added to those of this one",
            "backward() adds to what .grad holds. What must stand there before it?",
        )
    if matches(moved, wanted * len(x), rtol=1e-3):
        fail(
            f"the step is {len(x)} times too large, once for each image: the loss is summed",
            "Follow the gradient of the mean loss over the batch.",
        )
    if matches(moved, -g):
        fail("the gradient is not multiplied by step", f"The check uses step = {STEP}.")
    if matches(moved, -STEP * g.sign()):
        fail("only the signs of the gradient count here", "A plain step is step × gradient.")
    right = torch.isclose(moved, wanted, atol=1e-5, rtol=1e-3)
    kept = torch.isclose(moved, torch.zeros_like(moved), atol=1e-8) & ~right
    if kept.any() and (right | kept).all():
        fail(
            f"{int(kept.sum())} of {len(moved)} parameters did not move",
            "A step moves every weight and every bias of every layer: see model.parameters().",
        )
    parameters = list(model.parameters())
    twice = torch.autograd.grad(F.cross_entropy(model(x).softmax(1), y), parameters)
    if matches(moved, -STEP * flat(list(twice)), atol=1e-6):
        fail(
            "softmax is applied twice: this is the gradient of a loss of probabilities",
            "F.cross_entropy contains the softmax. What does it take?",
        )
    if matches(first, one_by_one(problem(seed)[0], x, y), atol=1e-6):
        fail(
            "each parameter follows a gradient taken after the parameters before it had moved",
            "All gradients belong to one loss, at one place. First find them all, then move.",
        )
    hint = "Expected −step × the gradient of the mean loss, as it was before any parameter moved."
    sizes = [p.numel() for p in parameters]
    for name, p, f, w in zip(
        PARAMETERS, parameters, moved.split(sizes), wanted.split(sizes), strict=True
    ):
        close(f.view_as(p), w.view_as(p), f"the change of {name}", hint)

    losses, end = descend(model, x, y, 2)
    found = get(results, "losses")
    if not isinstance(found, list) or len(found) != 2:
        fail("the losses are missing from the results")
    if any(isinstance(f, Recorded) for f in found):
        fail("the loss comes back as a tensor, expected a float", "A tensor's .item() is a float.")
    found = [number({"the loss": f}, "the loss") for f in found]
    if matches(found[0], losses[1]):
        fail("this is the loss after the step", "Return the loss that the step started from.")
    if matches(found[0], losses[0] * len(x)):
        fail("the loss is summed over the batch", "Return the mean.")
    close(found, losses, "the loss", "The mean cross-entropy of the batch, before the step.")
    second = parameters_of(results, "second", model)
    close(second, end, "parameters after a second call", "Does something stay from the first call?")
    return (
        f"the first step took the loss from {losses[0]:.3f} to {losses[1]:.3f}, and the second "
        "followed its own gradient alone"
    )


EVERY_SOFTMAX = (
    "torch.softmax",
    "torch.nn.functional.softmax",
    "torch.nn.Softmax",
    "torch.Tensor.softmax",
    "torch.special.softmax",
    "torch.log_softmax",
    "torch.nn.functional.log_softmax",
    "torch.nn.LogSoftmax",
    "torch.Tensor.log_softmax",
    "torch.special.log_softmax",
)
EXERCISES = (
    Exercise(
        "3.1",
        "Softmax",
        probe_softmax,
        verdict_softmax,
        forbids=EVERY_SOFTMAX,
    ),
    Exercise(
        "3.2",
        "Cross-entropy",
        probe_cross_entropy,
        verdict_cross_entropy,
        forbids=(
            "torch.nn.functional.cross_entropy",
            "torch.nn.CrossEntropyLoss",
            "advlab.training.CrossEntropy",
        ),
    ),
    Exercise("3.3", "A training step", probe_step, verdict_step, forbids=("advlab.training.fit",)),
)
