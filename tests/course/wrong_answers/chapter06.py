"""Answers to the exercises of chapter 6: wrong ones with what they must be told, and right ones."""

_LINEAR = """
def deepfool_linear(W, b, x, y, overshoot=0.02):
    z = x @ W.T + b
    rows = torch.arange(len(x))
    w = W[None] - W[y][:, None]
    g = z - z[rows, y][:, None]
    distance = g.abs() / w.norm(dim=2)
    distance[rows, y] = torch.inf
    k = distance.argmin(1)
    w, g = w[rows, k], g[rows, k]
    step = g.abs()[:, None] / w.square().sum(1, keepdim=True) * w
    return x + (1 + overshoot) * step
"""

_SEARCH = """
def next_c(c, low, high, fooled):
    low = torch.where(fooled, low, c)
    high = torch.where(fooled, c, high)
    return torch.where(high < 1e10, (low + high) / 2, 10 * c), low, high
"""


def _linear(old: str, new: str) -> str:
    assert old in _LINEAR
    return _LINEAR.replace(old, new)


def _search(old: str, new: str) -> str:
    assert old in _SEARCH
    return _SEARCH.replace(old, new)


RIGHT = {
    "6.1": [
        (
            "point by point",
            """
def deepfool_linear(W, b, x, y, overshoot=0.02):
    out = []
    for point, label in zip(x, y):
        z = W @ point + b
        ways = []
        for k in range(len(W)):
            if k != label:
                w = W[k] - W[label]
                ways.append((z[label] - z[k]) / (w @ w) * w)
        out.append(point + (1 + overshoot) * min(ways, key=lambda way: way.norm()))
    return torch.stack(out)
""",
        ),
    ],
    "6.2": [
        (
            "the two largest logits",
            """
def cw_loss(logits, y, kappa=0.0):
    top, who = logits.topk(2, dim=1)
    other = torch.where(who[:, 0] == y, top[:, 1], top[:, 0])
    return torch.clamp(logits[torch.arange(len(y)), y] - other, min=-kappa)
""",
        ),
        (
            "one-hot and relu",
            """
def cw_loss(logits, y, kappa=0.0):
    hot = F.one_hot(y, logits.shape[1]).bool()
    own = logits[hot]
    other = logits.masked_fill(hot, -math.inf).max(1).values
    return F.relu(own - other + kappa) - kappa
""",
        ),
    ],
    "6.3": [
        (
            "image by image",
            """
def next_c(c, low, high, fooled):
    c, low, high = c.clone(), low.clone(), high.clone()
    for i in range(len(c)):
        if fooled[i]:
            high[i] = c[i]
        else:
            low[i] = c[i]
        c[i] = c[i] * 10 if high[i] == 1e10 else (low[i] + high[i]) / 2
    return c, low, high
""",
        ),
    ],
    "6.4": [
        (
            "counting by hand",
            """
def robust_curve(distances, correct, epsilons):
    curve = []
    for e in epsilons:
        standing = [d > e for d, c in zip(distances.tolist(), correct.tolist()) if c]
        curve.append(sum(standing) / len(correct))
    return curve
""",
        ),
    ],
}

WRONG = {
    "6.1": [
        ("lands on the boundary", _linear("(1 + overshoot) * step", "step"), "exactly on the"),
        ("stretches the point", _linear("x + (1 + overshoot) * step",
            "(1 + overshoot) * (x + step)"), "1.02 times as long"),
        ("moves away", _linear("x + (1", "x - (1"), "away from the boundary"),
        ("the runner-up", _linear("distance = g.abs() / w.norm(dim=2)", "distance = g.abs()"),
            "second largest logit"),
        ("the square in the distance too", _linear("w.norm(dim=2)", "w.square().sum(2)"),
            "not the distance"),
        ("forgets to square", _linear("w.square().sum(1, keepdim=True)",
            "w.norm(dim=1, keepdim=True)"), "have the length"),
        ("clips", _linear("x + (1 + overshoot) * step",
            "(x + (1 + overshoot) * step).clamp(0, 1)"), "clipped"),
        ("the weights of k, not the difference", _linear("W[None] - W[y][:, None]",
            "W[None].expand(len(x), -1, -1)"), "W[None] - W[y]"),
        ("keeps class y among the others", _linear("    distance[rows, y] = torch.inf\n", ""),
            "put torch.inf in its place"),
        ("forgets the absolute value", _linear("distance = g.abs() /", "distance = g /"),
            "a distance is an absolute value"),
        ("the distance in L∞, the direction of L2", _linear("w.norm(dim=2)", "w.abs().sum(2)"),
            "distance in L∞"),
        ("a constant overshoot", _linear("(1 + overshoot) * step", "1.02 * step"),
            "Use the argument"),
        ("returns the step", _linear("x + (1", "(1"), "the steps, not the points"),
        ("does nothing", "def deepfool_linear(W, b, x, y, overshoot=0.02):\n    return x.clone()\n",
            "as they were"),
    ],
    "6.2": [
        (
            "the true class among the others",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    return (own - logits.amax(1)).clamp_min(-kappa)
""",
            "never above 0",
        ),
        (
            "a 0 in the place of y",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], 0.0).amax(1)
    return (own - other).clamp_min(-kappa)
""",
            "a 0 in its place",
        ),
        (
            "ignores kappa",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(0)
""",
            "whatever κ is",
        ),
        (
            "kappa with the wrong sign",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(kappa)
""",
            "stops at +κ",
        ),
        (
            "adds kappa and stops at 0",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other + kappa).clamp_min(0)
""",
            "too large everywhere",
        ),
        (
            "never stops",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    return own - logits.scatter(1, y[:, None], -torch.inf).amax(1)
""",
            "goes on below −κ",
        ),
        (
            "the margin upside down",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (other - own).clamp_min(-kappa)
""",
            "gets more right",
        ),
        (
            "probabilities",
            """
def cw_loss(logits, y, kappa=0.0):
    p = logits.softmax(1)
    own = p.gather(1, y[:, None]).squeeze(1)
    other = p.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(-kappa)
""",
            "probabilities",
        ),
        (
            "the sum",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(-kappa).sum()
""",
            "a single number",
        ),
        (
            "forgets to squeeze",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None])
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)
    return (own - other).clamp_min(-kappa)
""",
            "(N, 1)",
        ),
        (
            "cuts the graph",
            """
def cw_loss(logits, y, kappa=0.0):
    logits = logits.detach()
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(-kappa)
""",
            "no gradient flows",
        ),
        (
            "the largest other logit as a constant",
            """
def cw_loss(logits, y, kappa=0.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.detach().scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(-kappa)
""",
            "the gradient in the logits",
        ),
        (
            "writes into the logits",
            """
def cw_loss(logits, y, kappa=0.0):
    rows = torch.arange(len(y))
    own = logits[rows, y].clone()
    with torch.no_grad():
        logits[rows, y] = -1e9
    return (own - logits.amax(1)).clamp_min(-kappa)
""",
            "changed logits itself",
        ),
        (
            "another default",
            """
def cw_loss(logits, y, kappa=1.0):
    own = logits.gather(1, y[:, None]).squeeze(1)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return (own - other).clamp_min(-kappa)
""",
            "without a kappa",
        ),
    ],
    "6.3": [
        ("bounds the wrong way round", _search(
            "low = torch.where(fooled, low, c)\n    high = torch.where(fooled, c, high)",
            "high = torch.where(fooled, high, c)\n    low = torch.where(fooled, c, low)"),
            "wrong way round"),
        ("halves where there is nothing to halve", _search(
            "torch.where(high < 1e10, (low + high) / 2, 10 * c)", "(low + high) / 2"),
            "nothing to halve"),
        ("always tenfold", _search("torch.where(high < 1e10, (low + high) / 2, 10 * c)", "10 * c"),
            "what it should be"),
        ("looks at the old bound", """
def next_c(c, low, high, fooled):
    found = high < 1e10
    low = torch.where(fooled, low, c)
    high = torch.where(fooled, c, high)
    return torch.where(found, (low + high) / 2, 10 * c), low, high
""", "still grows tenfold"),
        ("the middle of the old bounds", """
def next_c(c, low, high, fooled):
    middle = (low + high) / 2
    low = torch.where(fooled, low, c)
    high = torch.where(fooled, c, high)
    return torch.where(high < 1e10, middle, 10 * c), low, high
""", "old bounds"),
        ("tenfold wherever it failed", _search("torch.where(high < 1e10, (low + high) / 2, 10 * c)",
            "torch.where(fooled, (low + high) / 2, 10 * c)"), "where high is known"),
        ("another order", _search("return torch.where(high < 1e10, (low + high) / 2, 10 * c), low,"
            " high", "c = torch.where(high < 1e10, (low + high) / 2, 10 * c)\n"
            "    return low, high, c"), "the order is low"),
        ("the order backward", _search("return torch.where(high < 1e10, (low + high) / 2, 10 * c),"
            " low, high", "c = torch.where(high < 1e10, (low + high) / 2, 10 * c)\n"
            "    return high, low, c"), "the order is high"),
        ("returns only c", _search("10 * c), low, high", "10 * c)"), "three tensors"),
        ("one answer for all images", """
def next_c(c, low, high, fooled):
    if fooled.all():
        high = c
    else:
        low = c
    return torch.where(high < 1e10, (low + high) / 2, 10 * c), low, high
""", "and only there"),
        ("writes into the caller's bounds", """
def next_c(c, low, high, fooled):
    low[~fooled] = c[~fooled]
    high[fooled] = c[fooled]
    return torch.where(high < 1e10, (low + high) / 2, 10 * c), low, high
""", "changed low itself"),
    ],
    "6.4": [
        ("ignores the images that were wrong", """
def robust_curve(distances, correct, epsilons):
    return [(distances > e).float().mean().item() for e in epsilons]
""", "wrong from the start"),
        ("only the images that were right", """
def robust_curve(distances, correct, epsilons):
    return [(distances[correct] > e).float().mean().item() for e in epsilons]
""", "a share of all images"),
        ("exactly ε", """
def robust_curve(distances, correct, epsilons):
    return [((distances >= e) & correct).float().mean().item() for e in epsilons]
""", "exactly ε"),
        ("the fooled", """
def robust_curve(distances, correct, epsilons):
    return [((distances <= e) | ~correct).float().mean().item() for e in epsilons]
""", "rises with ε"),
        ("failures count as successes", """
def robust_curve(distances, correct, epsilons):
    standing = correct & distances.isfinite()
    return [((distances > e) & standing).float().mean().item() for e in epsilons]
""", "They still stand"),
        ("sorts the budgets", """
def robust_curve(distances, correct, epsilons):
    return [((distances > e) & correct).float().mean().item() for e in sorted(epsilons)]
""", "in the order given"),
        ("a tensor", """
def robust_curve(distances, correct, epsilons):
    budgets = torch.tensor(epsilons)
    return ((distances > budgets[:, None]) & correct).float().mean(1)
""", "a list, not a tensor"),
        ("percent", """
def robust_curve(distances, correct, epsilons):
    return [100 * ((distances > e) & correct).float().mean().item() for e in epsilons]
""", "percentages"),
        ("counts", """
def robust_curve(distances, correct, epsilons):
    return [((distances > e) & correct).sum().item() for e in epsilons]
""", "counts"),
    ],
}  # fmt: skip
