"""Exercises of chapter 2: the gradient of the line, gradient descent, training XOR."""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.points import xor_points
from .. import Exercise, close, fail, matches, numbers, rather, tensor, untouched, watch

# None of these numbers is the page's: an answer with one of those written in fails.
LR, UPDATES = 0.03, 40
XOR_LR, XOR_UPDATES = 4.0, 800
# Seeds of initial parameters from which XOR_UPDATES updates are more than enough.
CONVERGING = (102, 104, 105, 107, 113, 115, 119, 122, 123, 124, 128, 130, 131, 132)


def problem(seed: int) -> tuple[Tensor, Tensor, float, float]:
    """Nine points near no line in particular, (9,) float64 each, and a line (a, b)."""
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, 9, generator=draw, dtype=torch.float64)
    a, b = torch.rand(2, generator=draw, dtype=torch.float64)
    # A line that misses the points, so that no part of its gradient is near zero.
    return 2 * x - 0.5, 3 * y + 2, -1 - a.item(), 0.5 + b.item()


def gradient(x: Tensor, y: Tensor, a: float, b: float) -> list[float]:
    wrong = a * x + b - y
    return [(2 * x * wrong).mean().item(), (2 * wrong).mean().item()]


# 2.1 The gradient of the line --------------------------------------------------------------------


def probe_gradient(line_gradient, seed):
    x, y, a, b = problem(seed)
    with watch(x=x, y=y) as changes:
        found = line_gradient(x, y, a, b)
    return {"gradient": found, "changes": changes}


def verdict_gradient(results, seed):
    x, y, a, b = problem(seed)
    untouched(results)
    if isinstance(results.get("gradient"), list) and len(results["gradient"]) == 2:
        _scalars(results["gradient"], len(x))
    hint = "Two numbers are wanted. A method is called with parentheses: .mean()."
    found, expected = numbers(results, "gradient", 2, hint), gradient(x, y, a, b)
    da, db = expected
    if matches(found, [db, da]):
        fail("the two slopes are in the wrong order", "First dl/da, then dl/db.")
    if matches(found, [-da, -db]):
        fail(
            "both slopes have the wrong sign: along them the loss falls",
            "The prediction minus the answer, or the answer minus the prediction?",
        )
    if matches(found, [da / 2, db / 2]):
        fail("both slopes are half of what they should be", "What is the derivative of u²?")
    if matches(found, [len(x) * da, len(x) * db]):
        fail(
            f"both slopes are {len(x)} times too large: there are {len(x)} points",
            "The loss is the mean over the points, and so is its gradient.",
        )
    if matches(found[0], found[1]) and not matches(da, db):
        fail(
            "both slopes are the same",
            "By how much does the prediction ax + b change when a goes up by 1? And when b does?",
        )
    if matches(found, [2 * x.mean().item() * (a * x + b - y).mean().item(), db]):
        fail(
            "dl/da is the product of two means, where the mean of the products is asked for",
            "Each point has its own slope. Work it out for each, then average.",
        )
    close(found[0], da, "dl/da", "Work it out for each point, then average.")
    close(found[1], db, "dl/db", "Work it out for each point, then average.")
    return f"on {len(x)} points of our own, dl/da = {da:.3f} and dl/db = {db:.3f}"


def _scalars(pair: list, points: int) -> None:
    """Say it in words where a slope for each point came back."""
    if any(getattr(getattr(p, "value", None), "shape", ()) == (points,) for p in pair):
        fail(
            f"a slope is a tensor of {points} numbers, one for each point, expected one number",
            "What remains is the mean over the points.",
        )


# 2.2 Gradient descent ----------------------------------------------------------------------------


def probe_descend(descend, seed):
    x, y, a, b = problem(seed)
    with watch(x=x, y=y) as changes:
        found = descend(x, y, a, b, LR, UPDATES)
        slow = descend(x, y, a, b, LR / 2, UPDATES)
    return {"line": found, "slow": slow, "changes": changes}


def walk(x: Tensor, y: Tensor, a: float, b: float, lr: float, updates: int) -> list[float]:
    for _ in range(updates):
        da, db = gradient(x, y, a, b)
        a, b = a - lr * da, b - lr * db
    return [a, b]


def verdict_descend(results, seed):
    x, y, a, b = problem(seed)
    untouched(results)
    hint = "Return the final a and b, and nothing of the way there."
    found, expected = numbers(results, "line", 2, hint), walk(x, y, a, b, LR, UPDATES)
    slow = numbers(results, "slow", 2, hint)
    if matches(found, [a, b]):
        fail("the line comes back as it was", "Do the new a and b reach the return?")
    if matches(found, slow):
        fail(f"lr = {LR} and lr = {LR / 2} lead to the same line", "What is lr for?")
    if matches(found, walk(x, y, -2.0, 1.0, LR, UPDATES)):
        fail("the descent does not start at the a and b given", "Is a start written into it?")
    if matches(found, expected[::-1]):
        fail("the two numbers are in the wrong order", "First a, then b.")
    if matches(found, walk(x, y, a, b, -LR, UPDATES)):
        fail("the loss rises with every update", "The gradient points uphill. Where is downhill?")
    if matches(found, walk(x, y, a, b, LR, 1)):
        fail(f"only 1 update was made, expected {UPDATES}", "Does return stand inside the loop?")
    for made in (UPDATES - 1, UPDATES + 1, 1000):
        if matches(found, walk(x, y, a, b, LR, made)):
            fail(f"{made} updates were made, expected {UPDATES}", "Count the rounds of the loop.")
    da, db = gradient(x, y, a, b)
    if matches(found, [a - UPDATES * LR * da, b - UPDATES * LR * db]):
        fail(
            f"all {UPDATES} updates use the gradient of the first line",
            "After an update the line is another one, and so is its gradient.",
        )
    if rather(found, in_turn(x, y, a, b), expected):
        fail(
            "b was updated with the gradient of the line that has the new a already",
            "Work out both slopes at the old line, then change both parameters.",
        )
    if matches(found, walk(x, y, a, b, LR * len(x), UPDATES), rtol=1e-3):
        fail(f"the steps are {len(x)} times too long", "The gradient is a mean over the points.")
    close(found[0], expected[0], "a", "One update is: a − η dl/da and b − η dl/db, both at once.")
    close(found[1], expected[1], "b", "One update is: a − η dl/da and b − η dl/db, both at once.")
    close(
        slow, walk(x, y, a, b, LR / 2, UPDATES), f"with lr = {LR / 2}, the line", "What is lr for?"
    )
    before, after = loss(x, y, a, b), loss(x, y, *expected)
    return f"{UPDATES} updates on points of our own take the loss from {before:.2f} to {after:.2f}"


def in_turn(x: Tensor, y: Tensor, a: float, b: float) -> list[float]:
    for _ in range(UPDATES):
        a = a - LR * gradient(x, y, a, b)[0]
        b = b - LR * gradient(x, y, a, b)[1]
    return [a, b]


def loss(x: Tensor, y: Tensor, a: float, b: float) -> float:
    return (a * x + b - y).square().mean().item()


# 2.3 Training XOR --------------------------------------------------------------------------------


def start(seed: int) -> Tensor:
    """Nine standard normal numbers, (9,) float32, from which XOR is learned."""
    draw = torch.Generator().manual_seed(CONVERGING[seed % len(CONVERGING)])
    return torch.randn(9, generator=draw)


def network(theta: Tensor, x: Tensor) -> Tensor:
    W1, b1, w2, b2 = theta[:4].view(2, 2), theta[4:6], theta[6:8], theta[8]
    return torch.sigmoid(torch.sigmoid(x @ W1.T + b1) @ w2 + b2)


def xor_gradient(theta: Tensor) -> Tensor:
    x, y = (t.to(theta.dtype) for t in xor_points())
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad((network(theta, x) - y).square().mean(), theta)[0]


def probe_xor(train, seed):
    theta, other, (x, y) = start(seed), start(seed + 1), xor_points()
    with watch(theta=theta, x=x, y=y) as changes:
        return {
            "one": train(network, theta, x, y, XOR_LR, 1),
            "two": train(network, theta, x, y, XOR_LR, 2),
            "end": train(network, theta, x, y, XOR_LR, XOR_UPDATES),
            "slow": train(network, theta, x, y, XOR_LR / 2, 1),
            "other": train(network, other, x, y, XOR_LR, 1),
            "changes": changes,
        }


def verdict_xor(results, seed):
    theta, other = start(seed), start(seed + 1)
    if results.get("changes") == ["theta.requires_grad"]:
        fail(
            "your code left theta with another requires_grad than it had",
            "requires_grad_() changes the very tensor that it is called on, as every method with "
            "a trailing _ does. Call it on your own copy: .clone() makes one.",
        )
    untouched(results)
    names = ("one", "two", "end", "slow", "other")
    one, two, end, slow, moved = (
        tensor({"theta": results.get(name)}, "theta", like=theta) for name in names
    )
    first = xor_gradient(theta)
    if not matches(one, theta - XOR_LR * first):
        explain_input(theta, one, two, end, slow, moved)
    judge_updates(theta, one, two, first, xor_gradient(theta - XOR_LR * first))
    close(slow, theta - XOR_LR / 2 * first, f"with lr = {XOR_LR / 2}, theta", "What is lr for?")
    hint = "Start from the theta that you are given."
    close(moved, other - XOR_LR * xor_gradient(other), "from another start, theta", hint)
    x, y = xor_points()
    answers = network(end, x)
    far = (answers - y).abs().max().item()
    if far >= 0.25:
        shown = ", ".join(f"{a:.2f}" for a in answers.tolist())
        fail(
            f"after {XOR_UPDATES} updates the network answers {shown}, expected less than 0.25 "
            "from 0, 1, 1, 0",
            "One update is right. Does every round of the loop start from the last one's theta?",
        )
    expected = theta.double()
    for _ in range(XOR_UPDATES):
        expected = expected - XOR_LR * xor_gradient(expected)
    # Rounding grows along the way: float32 and float64 end 1e-5 apart.
    if not matches(end, expected, atol=0.02):
        fail(
            f"the network answers XOR, but {XOR_UPDATES} plain updates from the theta given lead "
            "to other parameters",
            "Does the recipe stay the same, however many updates are asked for?",
        )
    shown = ", ".join(f"{a:.2f}" for a in answers.tolist())
    return f"{XOR_UPDATES} updates from our own start, and the network answers {shown}"


def explain_input(
    theta: Tensor, one: Tensor, two: Tensor, end: Tensor, slow: Tensor, moved: Tensor
) -> None:
    """The first update is wrong: is it an argument that the answer never looks at?"""
    if matches(one, theta):
        if not matches(two, theta):
            fail("no update was made, expected 1", "Count the rounds of the loop.")
        fail("one update leaves theta as it was", "Does the new theta reach the return?")
    if matches(one, moved):
        fail(
            "two different theta to start from give the same trained theta",
            "Start from the theta that you are given.",
        )
    if matches(one, end):
        fail(
            f"1 update and {XOR_UPDATES} updates give the same theta",
            "Does the loop make as many rounds as updates says?",
        )
    if matches(one, slow):
        fail(f"lr = {XOR_LR} and lr = {XOR_LR / 2} give the same update", "What is lr for?")


def judge_updates(theta: Tensor, one: Tensor, two: Tensor, first: Tensor, second: Tensor) -> None:
    """One update, and a second: where a wrong recipe shows before it has run away."""
    expected = theta - XOR_LR * first
    if matches(one, theta + XOR_LR * first):
        fail("the update goes uphill: the loss rises", "The gradient points up. Where is down?")
    if matches(one, theta - 4 * XOR_LR * first):
        fail("the update is 4 times too long", "The loss is the mean over the four inputs.")
    if matches(one, expected - XOR_LR * second):
        fail("2 updates were made, expected 1", "Count the rounds of the loop.")
    close(one, expected, "after one update, theta", "Compare with the recipe, line by line.")
    if matches(two, one):
        fail("the second update changes nothing", "Does return stand inside the loop?")
    if matches(two, one - XOR_LR * first):
        fail(
            "the second update uses the gradient of the first",
            "After an update theta is another one, and so is its gradient.",
        )
    if matches(two, one - XOR_LR * (first + second)):
        fail(
            "the second update adds the first gradient once more",
            "backward() adds to what .grad holds. torch.autograd.grad returns a fresh gradient.",
        )
    close(two, one - XOR_LR * second, "after two updates, theta", "Do the same again, from there.")


EXERCISES = (
    Exercise("2.1", "The gradient of the line", probe_gradient, verdict_gradient),
    Exercise("2.2", "Gradient descent", probe_descend, verdict_descend),
    Exercise("2.3", "Training XOR", probe_xor, verdict_xor),
)
