"""Answers to the exercises of chapter 19: wrong ones with what they are told, and right ones."""

PRELUDE = """
import torch
import torch.nn.functional as F
"""

RIGHT = {
    "19.1": [
        (
            "with a mask in place of scatter",
            """
def joint_loss(logits, y, gamma):
    z, reject = logits[:, :-1], logits[:, -1]
    own = F.one_hot(y, z.shape[1]).bool()
    wrong = z.masked_fill(own, -torch.inf).amax(1) - z[own]
    return wrong - gamma * (reject - z.amax(1))
""",
        ),
    ],
    "19.2": [
        (
            "in a loop",
            """
def often_confused(counts, own, share):
    counts = counts.tolist()
    counts[own] = 0
    chosen, so_far = [False] * len(counts), 0
    for j in sorted(range(len(counts)), key=lambda j: -counts[j]):
        if so_far >= share * sum(counts) * (1 - 1e-9):
            break
        chosen[j], so_far = True, so_far + counts[j]
    return torch.tensor(chosen)
""",
        ),
    ],
    "19.3": [
        (
            "without a loop",
            """
def vote(p, sets):
    answers = p.argmax(1, keepdim=True) == torch.arange(p.shape[1])
    agreed = (answers | ~sets).all(0)
    voters = (sets & agreed).any(1) | ~agreed.any()
    return p[voters].mean(0)
""",
        ),
    ],
}

WRONG = {
    "19.1": [
        (
            "takes the true class among the wrong ones",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    best = z.amax(1)
    return best - z.gather(1, y[:, None])[:, 0] - gamma * (logits[:, -1] - best)
""",
            "the true one among them",
        ),
        (
            "takes rejected for a wrong class",
            """
def joint_loss(logits, y, gamma):
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = logits[:, -1] - logits[:, :-1].amax(1)
    return others - logits.gather(1, y[:, None])[:, 0] - gamma * alarm
""",
            '"rejected" was taken for a wrong class',
        ),
        (
            "adds the alarm",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = logits[:, -1] - z.amax(1)
    return others - z.gather(1, y[:, None])[:, 0] + gamma * alarm
""",
            "the alarm has the wrong sign",
        ),
        (
            "a mean over the images",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = logits[:, -1] - z.amax(1)
    return (others - z.gather(1, y[:, None])[:, 0] - gamma * alarm).mean()
""",
            "one number came back",
        ),
        (
            "only where it is rejected",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = (logits[:, -1] - z.amax(1)).clamp_min(0)
    return others - z.gather(1, y[:, None])[:, 0] - gamma * alarm
""",
            "only where the image is rejected",
        ),
        (
            "the alarm against all logits",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = logits[:, -1] - logits.amax(1)
    return others - z.gather(1, y[:, None])[:, 0] - gamma * alarm
""",
            "compared with all logits",
        ),
        (
            "the alarm against the classes without y",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    return others - z.gather(1, y[:, None])[:, 0] - gamma * (logits[:, -1] - others)
""",
            "compared with the classes without y",
        ),
        (
            "forgets to squeeze",
            """
def joint_loss(logits, y, gamma):
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = logits[:, -1] - z.amax(1)
    return others - z.gather(1, y[:, None]) - gamma * alarm
""",
            "each image came back against every other",
        ),
        (
            "cuts the gradient",
            """
def joint_loss(logits, y, gamma):
    logits = logits.detach()
    z = logits[:, :-1]
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    alarm = logits[:, -1] - z.amax(1)
    return others - z.gather(1, y[:, None])[:, 0] - gamma * alarm
""",
            "no gradient leads back",
        ),
    ],
    "19.2": [
        (
            "counts the class itself",
            """
def often_confused(counts, own, share):
    down, order = counts.sort(descending=True)
    needed = down.cumsum(0) - down < share * counts.sum()
    return torch.zeros(len(counts), dtype=torch.bool).scatter(0, order, needed)
""",
            "the class itself is in the set",
        ),
        (
            "takes the sum with the class itself",
            """
def often_confused(counts, own, share):
    total = counts.sum()
    counts = counts.clone()
    counts[own] = 0
    down, order = counts.sort(descending=True)
    needed = (down.cumsum(0) - down < share * total) & (down > 0)
    return torch.zeros(len(counts), dtype=torch.bool).scatter(0, order, needed)
""",
            "are enough",
        ),
        (
            "leaves out the class that crosses the share",
            """
def often_confused(counts, own, share):
    counts = counts.clone()
    counts[own] = 0
    down, order = counts.sort(descending=True)
    needed = down.cumsum(0) <= share * counts.sum()
    return torch.zeros(len(counts), dtype=torch.bool).scatter(0, order, needed)
""",
            "does not make up the share yet",
        ),
        (
            "one class too many",
            """
def often_confused(counts, own, share):
    counts = counts.clone()
    counts[own] = 0
    down, order = counts.sort(descending=True)
    needed = down.cumsum(0) - down <= share * counts.sum()
    needed &= down > 0
    return torch.zeros(len(counts), dtype=torch.bool).scatter(0, order, needed)
""",
            "are enough",
        ),
        (
            "does not put them back in their places",
            """
def often_confused(counts, own, share):
    counts = counts.clone()
    counts[own] = 0
    down, order = counts.sort(descending=True)
    found = down.cumsum(0) - down < share * counts.sum()
    found[own] = False
    return found
""",
            "the set",
        ),
        (
            "writes into the caller's counts",
            """
def often_confused(counts, own, share):
    counts[own] = 0
    down, order = counts.sort(descending=True)
    needed = (down.cumsum(0) - down < share * counts.sum()) & (down > 0)
    return torch.zeros(len(counts), dtype=torch.bool).scatter(0, order, needed)
""",
            "were changed",
        ),
    ],
    "19.3": [
        (
            "everybody votes",
            """
def vote(p, sets):
    return p.mean(0)
""",
            "all members vote on every image",
        ),
        (
            "those who can, whether they agree or not",
            """
def vote(p, sets):
    best = p.mean(0).argmax()
    return p[sets[:, best]].mean(0)
""",
            "also where they do not agree",
        ),
        (
            "divides by everybody",
            """
def vote(p, sets):
    answers = p.argmax(1, keepdim=True) == torch.arange(p.shape[1])
    agreed = (answers | ~sets).all(0)
    voters = (sets & agreed).any(1) | ~agreed.any()
    return p[voters].sum(0) / len(p)
""",
            "divided by the number of all members",
        ),
        (
            "everybody must answer it, also those who cannot",
            """
def vote(p, sets):
    answers = p.argmax(1, keepdim=True) == torch.arange(p.shape[1])
    agreed = answers.all(0)
    voters = (sets & agreed).any(1) | ~agreed.any()
    return p[voters].mean(0)
""",
            "all members vote on every image",
        ),
        (
            "somebody who can is enough",
            """
def vote(p, sets):
    answers = p.argmax(1, keepdim=True) == torch.arange(p.shape[1])
    agreed = answers.sum(0) >= sets.sum(0) - 1
    voters = (sets & agreed).any(1) | ~agreed.any()
    return p[voters].mean(0)
""",
            "where no class has all its members behind it",
        ),
        (
            "looks at the most frequent answer alone",
            """
def vote(p, sets):
    answers = p.argmax(1)
    k = answers.mode().values
    those_who_can = sets[:, k]
    if (answers[those_who_can] == k).all():
        return p[those_who_can].mean(0)
    return p.mean(0)
""",
            "not at the most frequent answer alone",
        ),
        (
            "takes the last for the generalist",
            """
def vote(p, sets):
    answers = p.argmax(1)
    k = answers[-1]
    those_who_can = sets[:, k]
    if (answers[those_who_can] == k).all():
        return p[those_who_can].mean(0)
    return p.mean(0)
""",
            "the first of whom is the generalist",
        ),
    ],
}
