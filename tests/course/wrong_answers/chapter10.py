"""Answers to the exercises of chapter 10: wrong ones with what they are told, and right ones."""

PRELUDE = """
import torch
"""

RIGHT = {
    "10.1": [
        (
            "a loop over directions",
            """
def spsa_estimate(f, x, delta, signs):
    total = torch.zeros_like(x)
    for v in signs:
        up, down = f((x + delta * v)[None]), f((x - delta * v)[None])
        total += (up - down) / (2 * delta) * v
    return total / len(signs)
""",
        ),
    ],
    "10.2": [
        (
            "a while that counts",
            """
def random_search(score, propose, x, budget):
    best = x.clone()
    s, used = score(best), 1
    while s <= 0 and used < budget:
        c = propose(best)
        t = score(c)
        used += 1
        if t > s:
            best, s = c, t
    return best
""",
        ),
    ],
    "10.3": [
        (
            "by the part of the way",
            """
def to_boundary(is_wrong, x, start, queries):
    low, high = 0.0, 1.0
    for _ in range(queries):
        t = (low + high) / 2
        if is_wrong(x + t * (start - x)):
            high = t
        else:
            low = t
    return x + high * (start - x)
""",
        ),
    ],
}

WRONG = {
    "10.1": [
        (
            "no mean",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x + delta * signs) - f(x - delta * signs)) / (2 * delta)
    return s[:, None] * signs
""",
            "not their mean",
        ),
        (
            "a sum",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x + delta * signs) - f(x - delta * signs)) / (2 * delta)
    return (s[:, None] * signs).sum(0)
""",
            "the sum of the estimates",
        ),
        (
            "forgets the 2",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x + delta * signs) - f(x - delta * signs)) / delta
    return (s[:, None] * signs).mean(0)
""",
            "twice the mean",
        ),
        (
            "one-sided",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x + delta * signs) - f(x[None])) / delta
    return (s[:, None] * signs).mean(0)
""",
            "one-sided",
        ),
        (
            "backward minus forward",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x - delta * signs) - f(x + delta * signs)) / (2 * delta)
    return (s[:, None] * signs).mean(0)
""",
            "wrong sign",
        ),
        (
            "averages apart",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x + delta * signs) - f(x - delta * signs)) / (2 * delta)
    return s.mean() * signs.mean(0)
""",
            "averaged apart",
        ),
        (
            "the slope alone",
            """
def spsa_estimate(f, x, delta, signs):
    s = (f(x + delta * signs) - f(x - delta * signs)) / (2 * delta)
    return s.mean(0, keepdim=True)
""",
            "one number",
        ),
        (
            "asks twice",
            """
def spsa_estimate(f, x, delta, signs):
    f(x + delta * signs)
    s = (f(x + delta * signs) - f(x - delta * signs)) / (2 * delta)
    return (s[:, None] * signs).mean(0)
""",
            "Every point is a query",
        ),
    ],
    "10.2": [
        (
            "keeps everything",
            """
def random_search(score, propose, x, budget):
    for _ in range(budget):
        if score(x) > 0:
            break
        x = propose(x)
    return x
""",
            "was kept",
        ),
        (
            "one query too many",
            """
def random_search(score, propose, x, budget):
    best, s = x, score(x)
    for _ in range(budget):
        if s > 0:
            break
        c = propose(best)
        t = score(c)
        if t > s:
            best, s = c, t
    return best
""",
            "with a budget of 1, 2 queries",
        ),
        (
            "scores the best again each round",
            """
def random_search(score, propose, x, budget):
    best = x
    for _ in range(budget):
        if score(best) > 0:
            break
        c = propose(best)
        if score(c) > score(best):
            best = c
    return best
""",
            "queries were asked",
        ),
        (
            "goes down",
            """
def random_search(score, propose, x, budget):
    best, s = x, score(x)
    for _ in range(budget - 1):
        if s > 0:
            break
        c = propose(best)
        t = score(c)
        if t < s:
            best, s = c, t
    return best
""",
            "kept",
        ),
        (
            "keeps ties",
            """
def random_search(score, propose, x, budget):
    best, s = x, score(x)
    for _ in range(budget - 1):
        if s > 0:
            break
        c = propose(best)
        t = score(c)
        if t >= s:
            best, s = c, t
    return best
""",
            "same score was kept",
        ),
        (
            "stops at 0",
            """
def random_search(score, propose, x, budget):
    best, s = x, score(x)
    for _ in range(budget - 1):
        if s >= 0:
            break
        c = propose(best)
        t = score(c)
        if t > s:
            best, s = c, t
    return best
""",
            "at a score of 0",
        ),
        (
            "does not stop",
            """
def random_search(score, propose, x, budget):
    best, s = x, score(x)
    for _ in range(budget - 1):
        c = propose(best)
        t = score(c)
        if t > s:
            best, s = c, t
    return best
""",
            "wrong from the start",
        ),
        (
            "proposes from x each time",
            """
def random_search(score, propose, x, budget):
    best, s = x, score(x)
    for _ in range(budget - 1):
        if s > 0:
            break
        c = propose(x)
        t = score(c)
        if t > s:
            best, s = c, t
    return best
""",
            "best",
        ),
    ],
    "10.3": [
        (
            "returns the middle",
            """
def to_boundary(is_wrong, x, start, queries):
    right, wrong = x, start
    for _ in range(queries):
        middle = (right + wrong) / 2
        if is_wrong(middle):
            wrong = middle
        else:
            right = middle
    return (right + wrong) / 2
""",
            "never asked",
        ),
        (
            "returns the right end",
            """
def to_boundary(is_wrong, x, start, queries):
    right, wrong = x, start
    for _ in range(queries):
        middle = (right + wrong) / 2
        if is_wrong(middle):
            wrong = middle
        else:
            right = middle
    return right
""",
            "came back is right",
        ),
        (
            "moves the wrong end",
            """
def to_boundary(is_wrong, x, start, queries):
    right, wrong = x, start
    for _ in range(queries):
        middle = (right + wrong) / 2
        if is_wrong(middle):
            right = middle
        else:
            wrong = middle
    return wrong
""",
            "came back",
        ),
        (
            "returns the last middle",
            """
def to_boundary(is_wrong, x, start, queries):
    right, wrong = x, start
    for _ in range(queries):
        middle = (right + wrong) / 2
        if is_wrong(middle):
            wrong = middle
        else:
            right = middle
    return middle
""",
            "came back is right",
        ),
        (
            "stops one short",
            """
def to_boundary(is_wrong, x, start, queries):
    right, wrong = x, start
    for _ in range(queries - 1):
        middle = (right + wrong) / 2
        if is_wrong(middle):
            wrong = middle
        else:
            right = middle
    return wrong
""",
            "8",
        ),
    ],
}
