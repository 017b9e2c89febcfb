"""Exercises of chapter 1: weights of gates, the XOR network, counting parameters, a push."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from operator import mul
from typing import Any

from .. import Exercise, fail, number, numbers
from ..judging import describe, get, matches
from ..records import Recorded

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
GATES = {"OR": (0, 1, 1, 1), "NAND": (1, 1, 1, 0), "AND NOT": (0, 0, 1, 0)}
XOR = (0, 1, 1, 0)
NAMED = {
    (0, 0, 0, 0): "always 0",
    (1, 1, 1, 1): "always 1",
    (0, 0, 0, 1): "AND",
    (1, 0, 0, 0): "NOR",
    (0, 1, 0, 0): "x2 AND NOT x1",
    XOR: "XOR",
    **{answers: name for name, answers in GATES.items()},
}


def weighted_sum(x: Sequence[float], w: Sequence[float], b: float) -> float:
    """w · x + b; what is left of it by rounding alone (0.1 + 0.2 − 0.3) is 0."""
    terms = [*(wi * xi for wi, xi in zip(w, x)), b]
    total = sum(terms)
    return 0.0 if abs(total) <= 1e-15 * sum(map(abs, terms)) else total


def neuron(x: Sequence[float], w: Sequence[float], b: float) -> int:
    return int(weighted_sum(x, w, b) >= 0)


def row(answers: Sequence[int]) -> str:
    return ", ".join(map(str, answers))


# 1.1 The weights of a gate -----------------------------------------------------------------------


def probe_gates(gate_weights, seed):
    return {name: gate_weights(name) for name in GATES}


def verdict_gates(results, seed):
    missing = [name for name in GATES if get(results, name) is None]
    if missing and len(missing) < len(GATES):
        fail(
            f'gate_weights("{missing[0]}") returned nothing, and other gates got their weights',
            "Is there a branch for this name, spelled just like this, and does it return?",
        )
    hint = "Return three plain numbers: w1, w2, b. The weights stand in no list of their own."
    given = {name: numbers(results, name, 3, hint) for name in GATES}
    found = {n: tuple(neuron(x, v[:2], v[2]) for x in CORNERS) for n, v in given.items()}
    if given["OR"] == given["NAND"] == given["AND NOT"]:
        fail("all three gates have the same weights", "Does your function look at name?")
    for name, expected in GATES.items():
        if found[name] != expected:
            explain_gate(name, given[name], found[name], expected)
    return "OR, NAND and AND NOT answer right at all four corners"


def explain_gate(name, given, found, expected):
    at = next(i for i in range(4) if found[i] != expected[i])
    (w1, w2, b), x = given, CORNERS[at]
    z = weighted_sum(x, (w1, w2), b)
    if not (w1 or w2):
        fail(f"{name}: both weights are 0, so the neuron does not look at its inputs")
    if z == 0:
        fail(
            f"{name}: at {x} the weighted sum is exactly 0 and A(0) = 1, expected the answer 0",
            "Move the line a little: no corner needs to lie on it.",
        )
    if tuple(neuron(c, (w1, w2), -b) for c in CORNERS) == expected:
        fail(
            f"{name} answers {row(found)}: the bias {b:g} moves the line to the wrong side",
            "The bias is added to the sum. What does a threshold do to it?",
        )
    also = f", which is {NAMED[found]}" if found in NAMED else ""
    fail(
        f"{name} at {x}: the weighted sum is {z:.4g}, so the neuron answers {found[at]}, expected "
        f"{expected[at]} (at all four corners it answers {row(found)}{also})",
        "Draw the four corners. Which of them have to lie on the side of the line that answers 1?",
    )


# 1.2 A network for XOR ---------------------------------------------------------------------------


def probe_xor(xor_parameters, seed):
    return {"parameters": xor_parameters()}


def verdict_xor(results, seed):
    W1, b1, w2, b2 = parameters(get(results, "parameters"))
    hidden = [tuple(neuron(x, w, b) for w, b in zip(W1, b1)) for x in CORNERS]
    found = tuple(neuron(h, w2, b2) for h in hidden)
    if found == XOR:
        return "nine parameters, and the network answers 0, 1, 1, 0: this is XOR"
    columns = [tuple(neuron(x, w, b) for w, b in zip(zip(*W1), b1)) for x in CORNERS]
    if tuple(neuron(h, w2, b2) for h in columns) == XOR:
        fail(
            f"the network answers {row(found)}, and with the rows and columns of W1 exchanged it "
            "would compute XOR",
            "Row j of W1 belongs to hidden neuron j: it holds all the weights of that neuron.",
        )
    for i, x in enumerate(CORNERS):
        for j, other in enumerate(CORNERS[:i]):
            if XOR[i] != XOR[j] and hidden[i] == hidden[j]:
                fail(
                    f"the network answers {row(found)}, expected {row(XOR)}: the hidden neurons "
                    f"say {hidden[i]} both at {other} and at {x}, so the output cannot differ",
                    "At least one hidden neuron must have its line between those two corners.",
                )
    if len(set(hidden)) == 4:
        fail(
            "the hidden neurons hand on four different corners, with the ones of XOR still "
            "opposite each other: no single output neuron can part them",
            "A hidden neuron that copies an input gains nothing. Which gates do more?",
        )
    also = f", which is {NAMED[found]}" if found in NAMED else ""
    says = "; ".join(f"{x} → {h}" for x, h in zip(CORNERS, hidden))
    fail(
        f"the network answers {row(found)}{also}, expected {row(XOR)} "
        f"(the hidden neurons say {says})",
        "The hidden neurons do their part. Which of their answers should make the output say yes, "
        "and which should count against it? A weight may be negative.",
    )


def parameters(given: Any) -> tuple[list[list[float]], list[float], list[float], float]:
    """W1 (2 × 2), b1 (2), w2 (2), b2, out of nested lists or tensors; nine numbers or a failure."""
    if not isinstance(given, list) or len(given) != 4:
        hint = "Does your function end with return?" if given is None else ""
        fail(f"expected the four parts W1, b1, w2, b2, found {describe(given)}", hint)
    W1, b1, w2, b2 = (g.value.tolist() if isinstance(g, Recorded) else g for g in given)
    if not isinstance(W1, list) or len(W1) != 2:
        fail("W1: expected two rows of weights, one for each hidden neuron")
    if isinstance(w2, list) and len(w2) == 1:  # (1, 2), as nn.Linear has it
        w2 = w2[0]
    while isinstance(b2, list) and len(b2) == 1:
        b2 = b2[0]
    parts = {"W1[0]": W1[0], "W1[1]": W1[1], "b1": b1, "w2": w2}
    return (
        [numbers(parts, "W1[0]", 2), numbers(parts, "W1[1]", 2)],
        numbers(parts, "b1", 2),
        numbers(parts, "w2", 2),
        number({"b2": b2}, "b2"),
    )


# 1.3 Counting parameters -------------------------------------------------------------------------


def networks(seed: int) -> list[list[int]]:
    """The XOR network, a digit classifier, a single neuron, and networks of two to five layers."""
    draw = random.Random(seed)
    drawn = [[draw.randint(1, 40) for _ in range(n)] for n in (3, 4, 6)]
    return [[2, 2, 1], [784, 100, 10], [6, 1], *drawn]


def probe_count(count_parameters, seed):
    return {"counts": [count_parameters(list(widths)) for widths in networks(seed)]}


def verdict_count(results, seed):
    cases = networks(seed)
    found = numbers(results, "counts", len(cases))
    weights = [sum(a * b for a, b in pairwise(w)) for w in cases]
    biases = [sum(w[1:]) for w in cases]
    expected = [w + b for w, b in zip(weights, biases)]
    if found == expected:
        return f"right for {len(cases)} networks: {cases[1]} has {expected[1]:,} parameters"
    if found == weights:
        fail("these are the weights alone", "What does each neuron add to its weighted sum?")
    if found == [n + w[0] for n, w in zip(expected, cases)]:
        fail("the inputs were given biases, too", "An input only hands on its number.")
    if found == [w + len(c) - 1 for w, c in zip(weights, cases)]:
        fail("each layer was given a single bias", "Every neuron has its own.")
    if found == [(w[0] + 1) * w[1] for w in cases]:
        fail(
            "you counted only the first layer of neurons",
            "Does every layer get its turn before the function returns?",
        )
    at = next(i for i in range(len(cases)) if found[i] != expected[i])
    if len(cases[at]) > 3:  # the cases come with two and three widths first
        fail(
            f"right up to three layers of numbers, and wrong for {cases[at]}: found {found[at]:g}",
            "A network may have any number of layers.",
        )
    difference = found[at] - expected[at]
    fail(
        f"for {cases[at]} you count {found[at]:g}, {abs(difference):g} too "
        f"{'many' if difference > 0 else 'few'}",
        "Take one layer at a time: how many neurons has it, and how many weights has each?",
    )


# 1.4 How large a push ----------------------------------------------------------------------------


def points(seed: int) -> list[tuple[list[float], list[float], float]]:
    """The AND neuron on both sides of its line, and neurons with 3, 6 and 40 uneven weights."""
    draw = random.Random(seed)
    drawn = []
    for n, z in ((3, 0.8), (6, -0.5), (40, 2.0), (40, -1.0)):
        w = [draw.choice((-1, 1)) * draw.uniform(0.1, 2) for _ in range(n)]
        x = [draw.random() for _ in range(n)]
        drawn.append((x, w, z - sum(map(mul, w, x))))
    return [([1, 0.6], [1, 1], -1.5), ([1, 0.4], [1, 1], -1.5), *drawn]


def probe_push(push_needed, seed):
    return {"pushes": [push_needed(list(x), list(w), b) for x, w, b in points(seed)]}


def verdict_push(results, seed):
    cases = points(seed)
    found = numbers(results, "pushes", len(cases))
    z = [weighted_sum(*case) for case in cases]
    reach = [sum(map(abs, w)) for _, w, _ in cases]
    expected = [abs(zi) / r for zi, r in zip(z, reach)]
    if matches(found, expected):
        smallest = min(expected)
        return f"right at {len(cases)} points: with 40 inputs, {smallest:.3f} in each is enough"

    def shares(parts: list[float]) -> bool:
        return matches([abs(f) for f in found], [abs(zi) / p for zi, p in zip(z, parts)])

    if matches(found, [zi / r for zi, r in zip(z, reach)]):
        fail("where the sum is negative, the push is, too", "An amount is never below 0.")
    if matches(found, [max(zi, 0) / r for zi, r in zip(z, reach)]):
        fail("where the answer is 0, you push by nothing", "There the sum has to rise to 0.")
    if shares([1.0] * len(cases)):
        fail("this is the whole way that the sum has to go", "The inputs share it.")
    if shares([abs(sum(w)) for _, w, _ in cases]):
        fail(
            "weights of different signs cancel in your count",
            "Each input goes the way that helps. What does one with a negative weight contribute?",
        )
    if shares([len(w) for _, w, _ in cases]):
        fail("every input counts the same here", "How much does the sum gain from each input?")
    if shares([sum(v * v for v in w) ** 0.5 for _, w, _ in cases]):
        fail(
            "this is how far a straight walk to the boundary is",
            "Here every input moves by the same amount. How far does that take the sum?",
        )
    if matches(found, [abs(weighted_sum(x, w, 0)) / r for (x, w, _), r in zip(cases, reach)]):
        fail("the bias is not in the sum", "The line is where w · x + b is 0.")
    at = next(i for i in range(len(cases)) if not matches(found[i], expected[i]))
    x, w, b = cases[at]
    where = f"x = {x}, w = {w}, b = {b}" if at < 2 else f"a neuron with {len(w)} inputs"
    fail(
        f"for {where} you answer {found[at]:.4g}, {side(found[at], expected[at])}",
        "If every input moves by 1, each the way that helps, by how much does the sum change?",
    )


def side(found: float, expected: float) -> str:
    return "and the sum has not reached 0" if found < expected else "which takes the sum past 0"


EXERCISES = (
    Exercise(
        "1.1",
        "The weights of a gate",
        probe_gates,
        verdict_gates,
        forbids=(
            "advlab.models.or_gate",
            "advlab.models.nand_gate",
            "advlab.models.and_gate",
        ),
    ),
    Exercise(
        "1.2", "A network for XOR", probe_xor, verdict_xor, forbids=("advlab.models.xor_network",)
    ),
    Exercise(
        "1.3",
        "Counting parameters",
        probe_count,
        verdict_count,
        forbids=("advlab.models.count_parameters",),
    ),
    Exercise("1.4", "How large a push", probe_push, verdict_push),
)
