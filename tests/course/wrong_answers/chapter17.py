"""Answers to the exercises of chapter 17: wrong ones with what they are told, and right ones."""

PRELUDE = """
import math

import torch
"""

RIGHT = {
    "17.1": [
        (
            "tries every score",
            """
def threshold(scores, rate):
    fitting = [
        tau for tau in scores.tolist() if (scores > tau).double().mean().item() <= rate
    ]
    return min(fitting)
""",
        ),
        (
            "by topk",
            """
def threshold(scores, rate):
    above = int(rate * len(scores) + 1e-9)
    return scores.topk(above + 1).values[-1]
""",
        ),
    ],
    "17.2": [
        (
            "two loops",
            """
def auc(natural, adversarial):
    total = 0.0
    for a in adversarial.tolist():
        for n in natural.tolist():
            total += 1.0 if a > n else 0.5 if a == n else 0.0
    return total / (len(natural) * len(adversarial))
""",
        ),
        (
            "by the sign of the difference",
            """
def auc(natural, adversarial):
    difference = adversarial[:, None] - natural[None]
    return (0.5 + 0.5 * difference.sign()).mean()
""",
        ),
    ],
    "17.3": [
        (
            "by topk",
            """
def lid(distances, k):
    near = distances.topk(k, largest=False).values
    return -1 / torch.log(near / near.max()).mean()
""",
        ),
        (
            "with Python's floats",
            """
def lid(distances, k):
    near = sorted(distances.tolist())[:k]
    return -k / sum(math.log(r / near[-1]) for r in near)
""",
        ),
    ],
}

WRONG = {
    "17.1": [
        (
            "the lower end",
            """
def threshold(scores, rate):
    return scores.sort().values[int(rate * len(scores) + 1e-9)].item()
""",
            "leave out the lowest scores",
        ),
        (
            "an interpolated quantile",
            """
def threshold(scores, rate):
    return torch.quantile(scores, 1 - rate).item()
""",
            "lie between two scores",
        ),
        (
            "an interpolated quantile of the lower end",
            """
def threshold(scores, rate):
    return torch.quantile(scores, rate).item()
""",
            "leave out the lowest scores",
        ),
        (
            "one too high",
            """
def threshold(scores, rate):
    above = int(rate * len(scores) + 1e-9)
    return scores.sort().values[len(scores) - max(above, 1)].item()
""",
            "a lower score would do",
        ),
        (
            "rounds up",
            """
def threshold(scores, rate):
    above = math.ceil(rate * len(scores) - 1e-9)
    return scores.sort().values[len(scores) - above - 1].item()
""",
            "of 30 scores 2 lie above",
        ),
        (
            "takes the scores as sorted",
            """
def threshold(scores, rate):
    return scores[len(scores) - int(rate * len(scores) + 1e-9) - 1].item()
""",
            "of 40 scores",
        ),
        (
            "sorts the caller's scores",
            """
def threshold(scores, rate):
    scores.copy_(scores.sort().values)
    return scores[len(scores) - int(rate * len(scores) + 1e-9) - 1].item()
""",
            "changed scores itself",
        ),
        (
            "counts equal scores once",
            """
def threshold(scores, rate):
    different = scores.unique()
    return different[len(different) - 1 - int(rate * len(different))]
""",
            "counted once",
        ),
        (
            "mean and deviation",
            """
def threshold(scores, rate):
    return (scores.mean() + 1.645 * scores.std()).item()
""",
            "",
        ),
    ],
    "17.2": [
        (
            "the other way round",
            """
def auc(natural, adversarial):
    difference = natural[:, None] - adversarial[None]
    return (0.5 + 0.5 * difference.sign()).mean().item()
""",
            "the natural image has the higher score",
        ),
        (
            "ties count nothing",
            """
def auc(natural, adversarial):
    return (adversarial[:, None] > natural).double().mean().item()
""",
            "a tie counts nothing",
        ),
        (
            "ties count in full",
            """
def auc(natural, adversarial):
    return (adversarial[:, None] >= natural).double().mean().item()
""",
            "a tie counts as a pair",
        ),
        (
            "turned where it is below one half",
            """
def auc(natural, adversarial):
    difference = adversarial[:, None] - natural[None]
    found = (0.5 + 0.5 * difference.sign()).mean().item()
    return max(found, 1 - found)
""",
            "wrong way round comes out above",
        ),
        (
            "a sum",
            """
def auc(natural, adversarial):
    difference = adversarial[:, None] - natural[None]
    return (0.5 + 0.5 * difference.sign()).sum().item()
""",
            "a count of pairs",
        ),
        (
            "one with one",
            """
def auc(natural, adversarial):
    pairs = min(len(natural), len(adversarial))
    difference = adversarial[:pairs] - natural[:pairs]
    return (0.5 + 0.5 * difference.sign()).mean().item()
""",
            "compared with one attacked image only",
        ),
        (
            "above the mean",
            """
def auc(natural, adversarial):
    return (adversarial > natural.mean()).double().mean().item()
""",
            "on scores far apart",
        ),
    ],
    "17.3": [
        (
            "no minus",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return 1 / (near / near[-1]).log().mean()
""",
            "negative",
        ),
        (
            "not inverted",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return -(near / near[-1]).log().mean()
""",
            "one over the dimension",
        ),
        (
            "the mean alone",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return (near / near[-1]).log().mean()
""",
            "the mean of the logarithms",
        ),
        (
            "the first k",
            """
def lid(distances, k):
    near = distances[:k]
    return -1 / (near / near[-1]).log().mean()
""",
            "the first k distances",
        ),
        (
            "the first k by the largest",
            """
def lid(distances, k):
    near = distances[:k]
    return -1 / (near / near.max()).log().mean()
""",
            "the first k distances",
        ),
        (
            "the farthest",
            """
def lid(distances, k):
    near = distances.topk(k).values
    return -1 / (near / near.max()).log().mean()
""",
            "the k farthest",
        ),
        (
            "by the nearest",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return 1 / (near / near[0]).log().mean()
""",
            "that of the nearest",
        ),
        (
            "base 10",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return -1 / (near / near[-1]).log10().mean()
""",
            "base 10",
        ),
        (
            "over k − 1",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return -(k - 1) / (near / near[-1]).log().sum()
""",
            "over k − 1",
        ),
        (
            "a sum",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return -1 / (near / near[-1]).log().sum()
""",
            "a sum of logarithms",
        ),
        (
            "squared",
            """
def lid(distances, k):
    near = distances.sort().values[:k] ** 2
    return -1 / (near / near[-1]).log().mean()
""",
            "are squared",
        ),
        (
            "all of them",
            """
def lid(distances, k):
    return -1 / (distances / distances.max()).log().mean()
""",
            "all the distances",
        ),
        (
            "divided by the largest of all",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return -1 / (near / distances.max()).log().mean()
""",
            "by the largest of all",
        ),
        (
            "a mean of reciprocals",
            """
def lid(distances, k):
    near = distances.sort().values[:k]
    return -(1 / (near[:-1] / near[-1]).log()).mean()
""",
            "a mean of reciprocals",
        ),
        (
            "not divided",
            """
def lid(distances, k):
    return -1 / distances.sort().values[:k].log().mean()
""",
            "not divided by r_k",
        ),
        (
            "k is always 20",
            """
def lid(distances, k):
    near = distances.sort().values[:20]
    return -1 / (near / near[-1]).log().mean()
""",
            "Take k from the argument",
        ),
    ],
}
