"""Exercises of chapter 19: a joint loss, the classes often confused, the vote of specialists."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from .. import Exercise, close, fail, get, matches, tensor, untouched, watch

GAMMAS = (0.0, 0.5, 3.0)


def but(logits: Tensor, y: Tensor) -> Tensor:
    """The logits with −∞ in the place of class y."""
    return logits.scatter(1, y[:, None], -torch.inf)


# 19.1 The joint loss -----------------------------------------------------------------------------


def answers(seed: int) -> tuple[Tensor, Tensor]:
    """60 answers of a model with 5 classes and "rejected", a third of them rejections."""
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(60, 6, generator=draw)
    logits[:20, -1] = logits[:20, :-1].amax(1) + 1
    return logits, torch.randint(5, (60,), generator=draw)


def joint(logits: Tensor, y: Tensor, gamma: float) -> Tensor:
    """The margin of the classes, less γ times the alarm. (N, K + 1), (N,) to (N,)."""
    classes = logits[:, :-1]
    margin = but(classes, y).amax(1) - logits.gather(1, y[:, None]).squeeze(1)
    return margin - gamma * (logits[:, -1] - classes.amax(1))


def probe_joint(joint_loss, seed):
    logits, y = answers(seed)
    results = {}
    with watch(logits=logits, y=y) as changes:
        for gamma in GAMMAS:
            z = logits.clone().requires_grad_()
            loss = joint_loss(z, y, gamma)
            slope = None
            if isinstance(loss, Tensor) and loss.requires_grad:
                (slope,) = torch.autograd.grad(loss.sum(), z, allow_unused=True)
            if isinstance(loss, Tensor):
                loss = loss.detach()
            results |= {f"gamma {gamma:g}": loss, f"slope {gamma:g}": slope}
        joint_loss(logits, y, 1.0)
    return results | {"changes": changes}


def verdict_joint(results, seed):
    logits, y = answers(seed)
    untouched(results)
    classes, reject = logits[:, :-1], logits[:, -1]
    own = logits.gather(1, y[:, None]).squeeze(1)
    margin = but(classes, y).amax(1) - own
    alarm = reject - classes.amax(1)
    for gamma in GAMMAS:
        name = f"gamma {gamma:g}"
        found = get(results, name)
        if hasattr(found, "value") and found.value.ndim == 0:
            fail("one number came back for all images", "Each image has a loss of its own: (N,).")
        if hasattr(found, "value") and tuple(found.value.shape) == (len(y), len(y)):
            fail(
                "each image came back against every other",
                "gather(1, y[:, None]) gives (N, 1): squeeze(1) before you subtract it.",
            )
        loss = tensor(results, name, shape=(len(y),), dtype=logits.dtype)
        if matches(loss, classes.amax(1) - own - gamma * alarm):
            fail(
                "the best class was taken among all, the true one among them",
                "Wrong means a class other than y. What is the margin of an image that is right?",
            )
        if matches(loss, but(logits, y).amax(1) - own - gamma * alarm):
            fail(
                '"rejected" was taken for a wrong class',
                "The first part is about the K classes alone: leave out the last logit, too.",
            )
        if matches(loss, -margin - gamma * alarm) or matches(loss, -margin + gamma * alarm):
            fail(
                "the margin has the wrong sign",
                "It is to rise: above 0 where a wrong class has the larger logit.",
            )
        if gamma:
            if matches(loss, margin + gamma * alarm):
                fail("the alarm has the wrong sign", "Being noticed is what it costs.")
            if matches(loss, margin - gamma * alarm.clamp_min(0)):
                fail(
                    "the alarm counts only where the image is rejected",
                    "Here it counts everywhere: below 0 it says how far from rejection.",
                )
            for others, name in (
                (logits, "all logits, itself among them"),
                (but(classes, y), "the classes without y"),
            ):
                if matches(loss, margin - gamma * (reject - others.amax(1))):
                    fail(
                        f"in the alarm the last logit is compared with {name}",
                        "An image is rejected where the last logit is above those of all K "
                        "classes, y among them.",
                    )
            if matches(loss, margin - alarm):
                fail("gamma does not count", "It multiplies the alarm.")
            if matches(loss, margin - gamma * reject):
                fail(
                    "the alarm is the last logit alone",
                    "An image is rejected where that is the largest: compare it with the others.",
                )
        close(loss, margin - gamma * alarm, f"the loss with {name}", "Margin, less γ × alarm.")
        if get(results, f"slope {gamma:g}") is None:
            fail(
                "no gradient leads back to the logits",
                "An attack is to climb this: stay with torch operations, without detach or item.",
            )
        z = logits.clone().requires_grad_()
        (slope,) = torch.autograd.grad(joint(z, y, gamma).sum(), z)
        found = tensor(results, f"slope {gamma:g}", like=logits)
        close(found, slope, f"the gradient with {name}", "Was a part of the loss cut off?")
    return "wrong and unnoticed in one number for each image, and an attack can climb it"


# 19.2 The classes that are often confused --------------------------------------------------------

ROWS = (
    # counts, own class, share
    ([5.0, 0, 40, 30, 20, 5], 1, 0.8),
    ([900.0, 10, 70, 20], 0, 0.8),
    ([1.0, 6, 0, 3], 2, 0.6),
    ([0.0, 0, 7, 0], 3, 0.8),
    ([12.0, 30, 18, 25, 15, 0, 0], 5, 1.0),
)
CHOSEN = ([2, 3, 4], [2, 3], [1], [2], [0, 1, 2, 3, 4])  # what is in the set


def rows(seed: int) -> list[tuple[list[float], int, float, list[int]]]:
    """The counts with their classes in another order, the own class, the share, and the order."""
    draw, found = random.Random(seed), []
    for counts, own, share in ROWS:
        order = draw.sample(range(len(counts)), len(counts))
        found.append(([counts[k] for k in order], order.index(own), share, order))
    return found


def members(length: int, chosen: list[int]) -> Tensor:
    found = torch.zeros(length, dtype=torch.bool)
    found[chosen] = True
    return found


def probe_often(often_confused, seed):
    results = {}
    with watch() as changes:
        for i, (counts, own, share, _) in enumerate(rows(seed)):
            row = torch.tensor(counts)
            before = row.clone()
            results[f"set {i}"] = often_confused(row, own, share)
            results[f"kept {i}"] = float(torch.equal(row, before))
    return results | {"changes": changes}


def verdict_often(results, seed):
    untouched(results)
    for i, (counts, own, share, order) in enumerate(rows(seed)):
        k, chosen = len(counts), sorted(order.index(k) for k in CHOSEN[i])
        found = tensor(results, f"set {i}", shape=(k,), dtype=torch.bool)
        case = f"of the counts {[int(c) for c in counts]}, own class {own}, share {share:g}"
        said = found.nonzero().flatten().tolist()
        if found[own]:
            fail(
                f"{case}, the class itself is in the set",
                "How often a class is read as itself is no confusion: set it to 0 first, and take "
                "the sum after that.",
            )
        if get(results, f"kept {i}") != 1.0:
            fail("the caller's counts were changed", "Work on a copy: counts.clone().")
        if found.equal(members(k, chosen)):
            continue
        if set(said) < set(chosen):
            fail(
                f"{case}, the set {said} does not make up the share yet",
                "The class that takes the sum to the share or over it belongs to the set. And is "
                "the whole, of which it is a share, that of the confusions alone?",
            )
        if set(said) > set(chosen):
            fail(
                f"{case}, {chosen} are enough, and the set has {said}",
                "A class belongs to it only while those before it do not make up the share.",
            )
        fail(
            f"{case}, the set is {said}, expected the most frequent first",
            "Sort from the most frequent down, add up, and put the classes back in their places.",
        )
    return "the fewest classes, most frequent first, that make up the share"


# 19.3 The vote -----------------------------------------------------------------------------------

SETS = torch.tensor(
    [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool
)
# The generalist, here the first, says class 0, and so do all who can; most members say class 1.
MOSTLY = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1]], dtype=torch.bool)
MOST = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.1, 0], [0, 0.7, 0.3], [0, 0.6, 0.4], [0, 0.8, 0.2]])


def ballots(seed: int) -> Tensor:
    """(40, 5, 4) probabilities: of each ten, four are unanimous about class 0, 1, 2, 3."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(40, 5, 4, generator=draw)
    for i in range(40):
        if i % 10 < 4:
            logits[i, :, i % 10] = logits[i].amax(1) + 0.5
        elif i % 10 < 7:  # all of them but one
            k = i % 4
            logits[i, :, k] = logits[i].amax(1) + 0.5
            m = int(SETS[:4, k].nonzero()[i % 2])
            other = int((SETS[m] & (torch.arange(4) != k)).nonzero()[0])
            logits[i, m, other] = logits[i, m, k] + 1
    return logits.masked_fill(~SETS, -torch.inf).softmax(2)


def unanimous(p: Tensor) -> Tensor:
    """(5, 4) to (4,) bool: the class that all who can predict it do."""
    answer = p.argmax(1)[:, None] == torch.arange(4)
    return (answer | ~SETS).all(0)


def probe_vote(vote, seed):
    p = ballots(seed)
    sets = SETS.clone()
    with watch(p=p, sets=sets) as changes:
        found = [vote(one, sets) for one in p]
        stacked = None
        if all(isinstance(h, Tensor) and h.shape == (4,) for h in found):
            stacked = torch.stack([h.detach() for h in found])
        most = vote(MOST.clone(), MOSTLY.clone())
        last = vote(MOST.flip(0), MOSTLY.flip(0))
    return {"first": found[0], "votes": stacked, "most": most, "last": last, "changes": changes}


def verdict_vote(results, seed):
    p = ballots(seed)
    untouched(results)
    tensor(results, "first", shape=(4,), dtype=p.dtype)
    found = tensor(results, "votes", shape=(40, 4), dtype=p.dtype)
    every = p.mean(1)
    expected, everywhere, spread = every.clone(), every.clone(), every.clone()
    agreed = torch.zeros(40, dtype=torch.bool)
    for i, one in enumerate(p):
        all_for = unanimous(one)
        if all_for.any():
            agreed[i] = True
            voters = SETS[:, int(all_for.nonzero()[0])]
            expected[i] = one[voters].mean(0)
            spread[i] = one[voters].sum(0) / len(SETS)
        for_best = SETS[:, int(every[i].argmax())]
        everywhere[i] = one[for_best].mean(0)
    if matches(found, every):
        fail(
            "all members vote on every image",
            "Where all those who can predict a class do predict it, only they vote.",
        )
    if matches(found, everywhere):
        fail(
            "those who can predict the leading class vote on every image, also where they do not "
            "agree",
            "Only where they all answer that class; otherwise everybody votes.",
        )
    if matches(found, spread):
        fail(
            "the voters' probabilities are divided by the number of all members",
            "It is the mean over those who vote.",
        )
    if not matches(found[~agreed], every[~agreed]):
        i = int((~agreed).nonzero()[0])
        close(
            found[~agreed],
            every[~agreed],
            f"the vote where no class has all its members behind it (the first is image {i})",
            "Then all members vote. A member that cannot predict a class does not count against it "
            "being unanimous; one that can and answers something else does, and the generalist can "
            "predict every class.",
        )
    close(
        found[agreed],
        expected[agreed],
        "the vote where all who can predict a class do",
        "The voters are the members whose sets hold that class, the generalist among them.",
    )
    expected = MOST[MOSTLY[:, 0]].mean(0)
    for name, case in (("last", "last"), ("most", "first")):
        close(
            tensor(results, name, shape=(3,), dtype=p.dtype),
            expected,
            f"the vote of five, the {case} of whom is the generalist, where the two who can "
            "predict class 0 do, and the other three say class 1",
            "Look at every class, not at the most frequent answer alone, and find those who can "
            "predict it in sets: the generalist may be any member.",
        )
    return "a class with all its members behind it is judged by them alone"


EXERCISES = (
    Exercise(
        "19.1",
        "Wrong and unnoticed",
        probe_joint,
        verdict_joint,
        forbids=(
            "advlab.goals.Undetected.loss",
            "advlab.goals.Undetected.margin",
            "advlab.goals.alarm",
        ),
    ),
    Exercise(
        "19.2",
        "The classes often confused",
        probe_often,
        verdict_often,
        forbids=("advlab.defenses.class_sets",),
    ),
    Exercise(
        "19.3",
        "The vote",
        probe_vote,
        verdict_vote,
        forbids=(
            "advlab.defenses.vote",
            "advlab.defenses.SpecialistsPlusOne",
        ),
    ),
)
