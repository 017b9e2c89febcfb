"""Exercises of chapter 9: the matched rate, an ensemble, augmentation, the price of rounds."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, numbers, tensor, untouched, watch


class Scores(nn.Module):
    """A model that reads its logits off the first pixels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.first : self.first + 4]

    def __init__(self, first: int):
        super().__init__()
        self.first = first


def only_labels(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


# 9.1 The matched rate ----------------------------------------------------------------------------

COUNT = 240


def pair(seed: int) -> tuple[nn.Module, nn.Module, Tensor, Tensor, Tensor]:
    """Two models, images, labels of which both have some right, and other images."""
    draw = torch.Generator().manual_seed(seed)
    x, x_adv = torch.rand(2, COUNT, 1, 2, 4, generator=draw)
    source, target = Scores(0), Scores(4)
    chosen = torch.rand(COUNT, generator=draw)
    y = torch.where(
        chosen < 0.75, only_labels(source, x), torch.randint(4, (COUNT,), generator=draw)
    )
    # Let the target agree with the label more often than by chance, before and after.
    agree, after = (torch.rand(COUNT, generator=draw) < p for p in (0.7, 0.3))
    x.view(COUNT, 8)[agree, 4 + y[agree]] = 1.0
    x_adv.view(COUNT, 8)[after, 4 + y[after]] = 1.0
    return source, target, x, y, x_adv


def probe_rate(matched_rate, seed):
    source, target, x, y, x_adv = pair(seed)
    with watch(x=x, y=y, x_adv=x_adv) as changes:
        found = matched_rate(source, target, x, y, x_adv)
        nobody = matched_rate(source, target, x, y, x)
    # NaN does not pass as a number: say it in a word.
    nobody = "nan" if _is_nan(nobody) else nobody
    return {"the rate": found, "the rate of nobody": nobody, "changes": changes}


def _is_nan(value) -> bool:
    value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return isinstance(value, float) and math.isnan(value)


def rates(seed: int) -> dict[str, float]:
    """The rate, and what is easily taken for it."""
    source, target, x, y, x_adv = pair(seed)
    s0, t0, s1, t1 = (only_labels(m, i) == y for i in (x, x_adv) for m in (source, target))
    both, fooled = s0 & t0, ~t1
    alike = only_labels(source, x_adv) == only_labels(target, x_adv)

    def of(hits: Tensor, whom: Tensor) -> float:
        return (hits & whom).sum().item() / whom.sum().item()

    everyone = torch.ones_like(both)
    return {
        "the rate": of(fooled, both & ~s1),
        "all right": of(fooled, both),
        "everyone": of(fooled, everyone),
        "not joint": of(fooled & ~s1, both),
        "no start": of(fooled, ~s1),
        "source start": of(fooled, s0 & ~s1),
        "target start": of(fooled, t0 & ~s1),
        "stand": of(t1, both & ~s1),
        "turned": of(~s1, both & fooled),
        "loose": fooled.sum().item() / (both & ~s1).sum().item(),
        "same class": of(fooled & alike, both & ~s1),
    }


def verdict_rate(results, seed):
    untouched(results)
    found = number(results, "the rate")
    known = rates(seed)
    if abs(found - known["the rate"]) > 1e-6:
        for name, what, hint in (
            ("all right", "this counts all images that both had right", "Count fewer."),
            (
                "not joint",
                "the numerator is right, and the denominator holds images that did not fool the "
                "source",
                "A matched rate asks about those alone that fooled it.",
            ),
            ("everyone", "this counts every image", "Which are counted at all?"),
            (
                "no start",
                "images are counted that a model had wrong from the start",
                "An error that was there before is no success of the attack.",
            ),
            (
                "source start",
                "images are counted that the target had wrong from the start",
                "Both have it right before the attack.",
            ),
            (
                "target start",
                "images are counted that the source had wrong from the start",
                "Both have it right before the attack.",
            ),
            ("stand", "this is the share that the target still has right", "Fooled, not standing."),
            ("turned", "source and target are exchanged", "Of those that fool the source."),
            (
                "loose",
                f"the rate is {found:.4g}: its numerator holds images that are not counted below",
                "Every hit must be one of the images counted.",
            ),
            (
                "same class",
                "only images that both models take for the same wrong class are hits",
                "Any wrong class of the target will do.",
            ),
        ):
            if abs(found - known[name]) <= 1e-6:
                fail(what, hint)
        if abs(found - 100 * known["the rate"]) <= 1e-4:
            fail("this is a percentage", "A fraction from 0 to 1 is asked for.")
        fail(
            f"the rate is {found:.4g}, expected {known['the rate']:.4g}",
            "Two conditions before the attack, one after it on the source: who is left?",
        )
    if get(results, "the rate of nobody") != "nan":
        fail(
            "where no image fools the source, the rate is not NaN",
            "Of nobody there is no fraction. float('nan') says so.",
        )
    return "of the images that both had right and that fool the source, the share that crosses"


# 9.2 An ensemble ---------------------------------------------------------------------------------


class Fixed(nn.Module):
    """A linear model: logits = scale · (W x)."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def committee(seed: int) -> tuple[list[nn.Module], list[nn.Module], Tensor]:
    """Three mild models, two that are far too sure, and 9 images."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(5, 4, 6, generator=draw)
    models = [Fixed(w * (2 if i < 3 else 4000)).eval() for i, w in enumerate(weights)]
    return models[:3], models[3:], torch.rand(9, 1, 2, 3, generator=draw)


def probe_ensemble(ensemble_logits, seed):
    mild, sure, x = committee(seed)
    with watch(x=x, model=mild[0]) as changes:
        found = ensemble_logits(mild, x)
        alone = ensemble_logits(mild[:1], x)
        far = ensemble_logits(sure, x)
    plain = [
        t.detach() if isinstance(t, Tensor) and t.requires_grad else t for t in (found, alone, far)
    ]
    grows = isinstance(found, Tensor) and found.requires_grad
    finite = bool(plain[2].isfinite().all()) if isinstance(plain[2], Tensor) else True
    return {
        "the logits": plain[0],
        "the logits of one": plain[1],
        "the logits of the sure": plain[2] if finite else None,
        "finite": int(finite),
        "grows": int(grows),
        "changes": changes,
    }


def verdict_ensemble(results, seed):
    mild, sure, x = committee(seed)
    untouched(results)
    with torch.no_grad():
        z = torch.stack([m(x) for m in mild])
        far = torch.stack([m(x) for m in sure])
        like = z[0]
        expected = z.softmax(2).mean(0).log()
        found = tensor(results, "the logits")
        # Summed over the classes, or over the images, in place of the members.
        if found.shape in (z.sum(2).shape, z.sum(1).shape):
            fail(
                f"the logits have shape {tuple(found.shape)}: a row for each of the {len(mild)} "
                "models, expected one for each image",
                "The sum goes over the models: which dimension did they get?",
            )
        found = tensor(results, "the logits", like=like)
        for wrong, what, hint in (
            (z.softmax(2).mean(0), "these are probabilities", "The contract says logits: a log."),
            (z.mean(0), "these are the averages of the logits", "Softmax first, then the mean."),
            (
                z.log_softmax(2).mean(0),
                "these are the averages of the log-probabilities",
                "The mean is inside the logarithm.",
            ),
            (
                z.softmax(1).mean(0).log(),
                "the softmax went over the images",
                "Probabilities of one image sum to 1 over its classes.",
            ),
            (z.mean(0).log_softmax(1), "the logits were averaged", "Softmax first, then the mean."),
            *(
                (
                    z.logsumexp(0) - shares,
                    "the logits were taken for log-probabilities: no softmax was applied",
                    "First the logarithm of each model's softmax, then the sum over the models.",
                )
                for shares in (0, math.log(len(mild)))
            ),
        ):
            if matches(found, wrong):
                fail(what, hint)
        if matches(found, expected + math.log(len(mild))):
            fail("the probabilities were summed, not averaged", "p sums to 1 over the classes.")
        if matches(found, z.softmax(2).max(0).values.log()):
            fail("this takes the largest probability", "The average of all members is asked for.")
        close(found, expected, "the logits", "The log of the mean of the probabilities.")
        one = tensor(results, "the logits of one", like=like)
        close(one, z[0].log_softmax(1), "with one member, its log-probabilities: entry")
    if number(results, "finite") != 1:
        fail(
            "with members that are very sure, a logit is infinite or NaN",
            "A probability of 1e-800 is rounded to 0, with 64 bits as with 32. Never leave the "
            "logarithms: log_softmax, then logsumexp over the members.",
        )
    sure_logits = tensor(results, "the logits of the sure", like=like)
    expected = far.log_softmax(2).logsumexp(0) - math.log(len(sure))
    if sure_logits.min() > expected.min() / 2:
        fail(
            f"with members that are very sure, no logit is below {sure_logits.min():.4g}, expected "
            f"down to {expected.min():.4g}",
            "A small number added to the probabilities, or a least one, hides the zeros, and there "
            "the gradient is lost. Never leave the logarithms.",
        )
    close(sure_logits, expected, "with very sure members, the logits", rtol=1e-3, atol=1e-3)
    if number(results, "grows") != 1:
        fail(
            "no gradient leads through the result, so no attack can use it",
            "Neither no_grad nor detach nor numbers in between.",
        )
    return "one model made of several, with a gradient, even where members are very sure"


# 9.3 Augmentation --------------------------------------------------------------------------------

LAM = 0.15


def scholar(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small smooth network, 20 images with pixels at the ends, and labels, many not its own.

    The network is in training mode, so that an answer that calls eval() and leaves it is noticed.
    """
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2)
    x = (torch.rand(20, 1, 4, 4, generator=draw) * 1.4 - 0.2).clamp(0, 1)
    return model, x, torch.randint(5, (20,), generator=draw)


def row(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """∇ₓ of the label's logit, image by image."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, labels[:, None]).sum(), x)[0]


def probe_augment(augment, seed):
    model, x, labels = scholar(seed)
    with watch(model=model, x=x, labels=labels) as changes:
        up, down = augment(model, x, labels, LAM), augment(model, x, labels, -LAM)
    return {"the new images": up, "the new images with λ below 0": down, "changes": changes}


def verdict_augment(results, seed):
    model, x, labels = scholar(seed)
    untouched(results)
    found = get(results, "the new images")
    for name, lam in (("the new images", LAM), ("the new images with λ below 0", -LAM)):
        found = tensor(results, name, dtype=x.dtype)
        if len(found) == 2 * len(x):
            fail("the old images came back as well", "Return the new ones alone.")
        found = tensor(results, name, like=x)
        expected = (x + lam * row(model, x, labels).sign()).clamp(0, 1)
        if matches(found, expected):
            continue
        loss_x = x.clone().requires_grad_()
        loss = F.cross_entropy(model(loss_x), labels, reduction="sum")
        (of_loss,) = torch.autograd.grad(loss, loss_x)
        soft_x = x.clone().requires_grad_()
        soft = model(soft_x).softmax(1).gather(1, labels[:, None]).sum()
        (of_soft,) = torch.autograd.grad(soft, soft_x)
        all_x = x.clone().requires_grad_()
        (of_all,) = torch.autograd.grad(model(all_x)[:, labels].sum(), all_x)
        slope, own = row(model, x, labels), row(model, x, only_labels(model, x))
        if lam < 0 and matches(found, (x - lam * slope.sign()).clamp(0, 1)):
            fail("a λ below 0 did not turn the step around", "Use λ as it is given.")
        for direction, what, hint in (
            (-slope.sign(), "the step goes the other way", "λ has its own sign: add λ sign(…)."),
            (slope, "the slopes were taken as they are", "Only their signs count."),
            (
                own.sign(),
                "the steps follow the substitute's own labels",
                "The oracle named labels.",
            ),
            (of_loss.sign(), "the steps follow the loss", "The slope of one logit is asked for."),
            (
                of_all.sign(),
                "each step follows the logits of all the labels at once",
                "z[:, labels] is (N, N). Each image has a label of its own.",
            ),
            (of_soft.sign(), "the steps follow a probability", "The slope of the logit itself."),
        ):
            if matches(found, x + lam * direction):
                fail(f"{what}, and nothing is clipped", f"{hint} Pixels stay in [0, 1].")
            if matches(found, (x + lam * direction).clamp(0, 1)):
                fail(what, hint)
        if matches(found, x + lam * slope.sign()):
            fail("pixels left [0, 1]", "Clip them.")
        close(found, expected, name, "x + λ sign(slope of the label's logit), clipped")
    return "one new image for each, a step along the logit of the oracle's label"


# 9.4 The price of rounds -------------------------------------------------------------------------

BILLS = (
    (100, 6, 3, 250), (100, 2, 3, 300), (100, 3, 3, 50), (10, 5, 0, 7), (7, 8, 2, 40),
    (20, 4, 1, 1000), (50, 0, 0, 10), (5, 6, 0, 12),
)  # fmt: skip


def bills(seed: int) -> list[tuple[int, int, int, int]]:
    """The cases, some with a few images more, and a reservoir that is larger by as many."""
    draw = random.Random(seed)
    more = [draw.randint(0, 9) for _ in BILLS]
    return [(n + d, rounds, sigma, kappa + d) for d, (n, rounds, sigma, kappa) in zip(more, BILLS)]


def bill(n: int, rounds: int, sigma: int, kappa: int) -> int:
    for done in range(rounds):
        n += n if done < sigma else min(kappa, n)
    return n


def probe_queries(queries, seed):
    return {"the counts": [queries(*case) for case in bills(seed)]}


def verdict_queries(results, seed):
    found = numbers(results, "the counts", len(BILLS))
    for (n, rounds, sigma, kappa), got in zip(bills(seed), found, strict=True):
        expected = bill(n, rounds, sigma, kappa)
        if abs(got - expected) < 1e-6:
            continue
        case = f"n = {n}, rounds = {rounds}, sigma = {sigma}, kappa = {kappa}"
        if rounds < sigma and abs(got - (n * 2**sigma + kappa * (rounds - sigma))) < 1e-6:
            fail(f"{case}: found {got:g}", "There may be fewer rounds than sigma.")
        if abs(got - (n * 2 ** min(rounds, sigma) + kappa * max(rounds - sigma, 0))) < 1e-6:
            fail(
                f"{case}: found {got:g}, more than there are images to augment",
                "A reservoir of κ holds fewer where there are fewer.",
            )
        if abs(got - n * 2**rounds) < 1e-6:
            fail(f"{case}: found {got:g}, as if it doubled to the end", "After sigma rounds: κ.")
        if abs(got - (expected - n)) < 1e-6:
            fail(f"{case}: the first n images are missing", "They need labels, too.")
        if abs(got - (bill(n, rounds + 1, sigma, kappa))) < 1e-6:
            fail(f"{case}: found {got:g}, one round too many", "rounds is how often S grows.")
        if abs(got - bill(n, rounds, sigma + 1, kappa)) < 1e-6:
            fail(f"{case}: found {got:g}, one doubling too many", "sigma is how often it doubles.")
        if sigma and abs(got - bill(n, rounds, sigma - 1, kappa)) < 1e-6:
            fail(f"{case}: found {got:g}, one doubling too few", "sigma is how often it doubles.")
        if rounds and abs(got - bill(n, rounds - 1, sigma, kappa)) < 1e-6:
            fail(f"{case}: found {got:g}, one round too few", "rounds is how often S grows.")
        fail(f"{case}: found {got:g}, expected {expected}", "Count a round at a time.")
    return "doubling while it lasts, then κ a round, and never more than there are"


EXERCISES = (
    Exercise(
        "9.1",
        "The matched rate",
        probe_rate,
        verdict_rate,
        forbids=("advlab.evaluation.transfer_matrix",),
    ),
    Exercise(
        "9.2", "An ensemble", probe_ensemble, verdict_ensemble, forbids=("advlab.models.Ensemble",)
    ),
    Exercise(
        "9.3",
        "Augmentation",
        probe_augment,
        verdict_augment,
        forbids=("advlab.attacks.jacobian_augment",),
    ),
    Exercise(
        "9.4",
        "The price of rounds",
        probe_queries,
        verdict_queries,
        forbids=("advlab.attacks.Substitute.queries",),
    ),
)
