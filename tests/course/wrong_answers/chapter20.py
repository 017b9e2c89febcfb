"""Answers to the exercises of chapter 20: wrong ones with what they are told, and right ones."""

PRELUDE = """
from statistics import NormalDist

import torch

from advlab import guarantees
"""

RIGHT = {
    "20.1": [
        (
            "where, weight by weight",
            """
def interval_layer(W, b, low, high):
    l, u = low[:, None], high[:, None]
    small = torch.where(W > 0, W * l, W * u).sum(2) + b
    large = torch.where(W > 0, W * u, W * l).sum(2) + b
    return small.clamp(min=0), large.clamp(min=0)
""",
        ),
        (
            "center and radius, as a list",
            """
def interval_layer(W, b, low, high):
    c, r = (low + high) / 2 @ W.T + b, (high - low) / 2 @ W.abs().T
    return [torch.relu(c - r), torch.relu(c + r)]
""",
        ),
    ],
    "20.2": [
        (
            "a loop over images",
            """
def least_margins(W, b, low, high, y):
    out = []
    for l, u, k in zip(low, high, y):
        rows = W[k] - W
        out.append(torch.minimum(rows * l, rows * u).sum(1) + b[k] - b)
    return torch.stack(out)
""",
        ),
    ],
    "20.3": [
        (
            "tensors, and an early return",
            """
def certify(first, second, sigma, alpha):
    label = torch.argmax(first)
    p = guarantees.lower_bound(int(second[label]), int(second.sum()), alpha)
    if not p > 0.5:
        return (-1, 0.0)
    return label, torch.tensor(sigma * NormalDist().inv_cdf(p))
""",
        ),
        (
            "counts that stay tensors",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax()
    p = guarantees.lower_bound(second[label], second.sum(), alpha)
    return (label, sigma * NormalDist().inv_cdf(p)) if p > 0.5 else (-1, 0)
""",
        ),
    ],
}

WRONG = {
    "20.1": [
        (
            "low to low",
            """
def interval_layer(W, b, low, high):
    return (low @ W.T + b).relu(), (high @ W.T + b).relu()
""",
            "whatever the weight's sign",
        ),
        (
            "forgets the ReLU",
            """
def interval_layer(W, b, low, high):
    up, down = W.clamp(min=0), W.clamp(max=0)
    return low @ up.T + high @ down.T + b, high @ up.T + low @ down.T + b
""",
            "ReLU is missing",
        ),
        (
            "forgets the bias",
            """
def interval_layer(W, b, low, high):
    up, down = W.clamp(min=0), W.clamp(max=0)
    return (low @ up.T + high @ down.T).relu(), (high @ up.T + low @ down.T).relu()
""",
            "bias is missing",
        ),
        (
            "one radius for all",
            """
def interval_layer(W, b, low, high):
    c, r = (low + high) / 2, ((high - low) / 2).amax(1, keepdim=True)
    c, r = c @ W.T + b, r * W.abs().sum(1)
    return (c - r).relu(), (c + r).relu()
""",
            "widest interval",
        ),
        (
            "swapped",
            """
def interval_layer(W, b, low, high):
    up, down = W.clamp(min=0), W.clamp(max=0)
    small, large = low @ up.T + high @ down.T + b, high @ up.T + low @ down.T + b
    return large.relu(), small.relu()
""",
            "swapped",
        ),
        (
            "clips the inputs",
            """
def interval_layer(W, b, low, high):
    low, high = low.relu(), high.relu()
    up, down = W.clamp(min=0), W.clamp(max=0)
    return (low @ up.T + high @ down.T + b).relu(), (high @ up.T + low @ down.T + b).relu()
""",
            "of the inputs",
        ),
        (
            "one end only",
            """
def interval_layer(W, b, low, high):
    return (low @ W.clamp(min=0).T + high @ W.clamp(max=0).T + b).relu()
""",
            "expected the pair",
        ),
        (
            "the smaller and the larger of two",
            """
def interval_layer(W, b, low, high):
    one, two = low @ W.T + b, high @ W.T + b
    return torch.minimum(one, two).relu(), torch.maximum(one, two).relu()
""",
            "the smaller and the larger",
        ),
        (
            "positive weights alone",
            """
def interval_layer(W, b, low, high):
    up = W.clamp(min=0)
    return (low @ up.T + b).relu(), (high @ up.T + b).relu()
""",
            "only the positive weights",
        ),
        (
            "the bias in the radius",
            """
def interval_layer(W, b, low, high):
    c, r = (low + high) / 2 @ W.T + b, (high - low) / 2 @ W.abs().T + b
    return (c - r).relu(), (c + r).relu()
""",
            "added to the radius",
        ),
    ],
    "20.2": [
        (
            "a difference of bounds",
            """
def least_margins(W, b, low, high, y):
    up, down = W.clamp(min=0), W.clamp(max=0)
    small, large = low @ up.T + high @ down.T + b, high @ up.T + low @ down.T + b
    return small.gather(1, y[:, None]) - large
""",
            "differences of two bounds",
        ),
        (
            "the largest",
            """
def least_margins(W, b, low, high, y):
    rows = W[y][:, None] - W
    l, u = low[:, None], high[:, None]
    return (rows.clamp(min=0) * u + rows.clamp(max=0) * l).sum(2) + b[y][:, None] - b
""",
            "largest margins",
        ),
        (
            "with the opposite sign",
            """
def least_margins(W, b, low, high, y):
    rows = W - W[y][:, None]
    l, u = low[:, None], high[:, None]
    return (rows.clamp(min=0) * u + rows.clamp(max=0) * l).sum(2) + b - b[y][:, None]
""",
            "opposite sign",
        ),
        (
            "the other way round",
            """
def least_margins(W, b, low, high, y):
    rows = W - W[y][:, None]
    l, u = low[:, None], high[:, None]
    return (rows.clamp(min=0) * l + rows.clamp(max=0) * u).sum(2) + b - b[y][:, None]
""",
            "z_j over z_y",
        ),
        (
            "forgets the bias",
            """
def least_margins(W, b, low, high, y):
    rows = W[y][:, None] - W
    l, u = low[:, None], high[:, None]
    return (rows.clamp(min=0) * l + rows.clamp(max=0) * u).sum(2)
""",
            "bias is missing",
        ),
        (
            "a ReLU too many",
            """
def least_margins(W, b, low, high, y):
    rows = W[y][:, None] - W
    l, u = low[:, None], high[:, None]
    z = (rows.clamp(min=0) * l + rows.clamp(max=0) * u).sum(2) + b[y][:, None] - b
    return z.relu()
""",
            "no ReLU",
        ),
        (
            "in the middle",
            """
def least_margins(W, b, low, high, y):
    z = (low + high) / 2 @ W.T + b
    return z.gather(1, y[:, None]) - z
""",
            "in the middle",
        ),
        (
            "the first image's class for all",
            """
def least_margins(W, b, low, high, y):
    rows = W[y[0]] - W
    up, down = rows.clamp(min=0), rows.clamp(max=0)
    return low @ up.T + high @ down.T + b[y[0]] - b
""",
            "first one's class",
        ),
    ],
    "20.3": [
        (
            "k/n for p",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    p = second[label].item() / second.sum().item()
    if p <= 0.5:
        return -1, 0.0
    return label, sigma * NormalDist().inv_cdf(min(p, 1 - 1e-9))
""",
            "too high by luck",
        ),
        (
            "never abstains",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    p = guarantees.lower_bound(second[label].item(), second.sum().item(), alpha)
    return label, sigma * NormalDist().inv_cdf(max(p, 1e-9))
""",
            "nothing can",
        ),
        (
            "a radius of 0 in place of abstaining",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    p = guarantees.lower_bound(second[label].item(), second.sum().item(), alpha)
    return label, sigma * NormalDist().inv_cdf(max(p, 0.5))
""",
            "nothing can",
        ),
        (
            "the class from the second count",
            """
def certify(first, second, sigma, alpha):
    label = second.argmax().item()
    p = guarantees.lower_bound(second[label].item(), second.sum().item(), alpha)
    if p <= 0.5:
        return -1, 0.0
    return label, sigma * NormalDist().inv_cdf(p)
""",
            "winner of the second count",
        ),
        (
            "both counts together",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    both = first + second
    p = guarantees.lower_bound(both[label].item(), both.sum().item(), alpha)
    if p <= 0.5:
        return -1, 0.0
    return label, sigma * NormalDist().inv_cdf(p)
""",
            "both counts together",
        ),
        (
            "forgets sigma",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    p = guarantees.lower_bound(second[label].item(), second.sum().item(), alpha)
    if p <= 0.5:
        return -1, 0.0
    return label, NormalDist().inv_cdf(p)
""",
            "without σ",
        ),
        (
            "the radius before the question",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    p = guarantees.lower_bound(second[label].item(), second.sum().item(), alpha)
    radius = sigma * NormalDist().inv_cdf(p)
    return (label, radius) if p > 0.5 else (-1, 0.0)
""",
            "inv_cdf refuses this p",
        ),
        (
            "k/n for p, which may be 1",
            """
def certify(first, second, sigma, alpha):
    label = first.argmax().item()
    p = second[label].item() / second.sum().item()
    if p <= 0.5:
        return -1, 0.0
    return label, sigma * NormalDist().inv_cdf(p)
""",
            "too high by luck",
        ),
    ],
}
