"""Exercises of chapter 13: a mixed loss, the inner maximization, the weights of a mixed batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, numbers, tensor, untouched, watch
from ..judging import describe
from . import chapter05
from .chapter04 import gradient, step


def in_both_modes(model: nn.Module, call: Callable[[], object]) -> tuple[list, list[bool]]:
    """What a call returns with the model in training and in evaluation mode; its mode after."""
    found, after = [], []
    for training in (True, False):
        model.train(training)
        found.append(call())
        after.append(model.training)
    return found, after


def mode_kept(results: dict) -> None:
    modes, names = get(results, "modes"), ("evaluation", "training")
    if not isinstance(modes, list) or len(modes) != 2:
        fail(f"the model's modes are {describe(modes)}, expected a list of 2")
    for came, went in zip((True, False), modes, strict=True):
        if came is not went:
            fail(
                f"the model came in {names[came]} mode and went back in {names[not came]} mode",
                "A model may come in either mode. Which attribute tells?",
            )


def slopes_of(loss: object, of: list[Tensor]) -> Tensor | None:
    """The slope of a loss in some tensors, in one row; None where it has none."""
    if not (isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1):
        return None
    found = torch.autograd.grad(loss.sum(), of, allow_unused=True)
    rows = (t.new_zeros(t.numel()) if g is None else g.flatten() for g, t in zip(found, of))
    return torch.cat([*rows])


def trainable(results: dict, expected: Tensor, name: str, hint: str) -> None:
    """Fail where the slopes are not those of the right loss."""
    if results.get("its slopes") is None:
        fail(
            "the loss is right, and nothing can be trained on it: it is cut from the graph",
            "What may be detached is the images. The loss may not, nor become a Python number.",
        )
    close(tensor(results, "its slopes", like=expected), expected, name, hint)


# 13.1 The mixed loss -----------------------------------------------------------------------------

EPS, MIX = 0.1, 0.3


def probe_mixed(mixed_loss, seed):
    model, x, y = chapter05.problem(seed)
    changes: list[str] = []

    def call():
        with watch(model=model, x=x, y=y) as changed:
            loss = mixed_loss(model, x, y, EPS, MIX)
        # The mode has a sentence of its own.
        changes.extend(c for c in changed if c != "model.training")
        return loss

    (loss, _), modes = in_both_modes(model, call)
    slopes = slopes_of(loss, list(model.parameters()))
    if isinstance(loss, Tensor):
        loss = loss.detach()
    return {"the loss": loss, "its slopes": slopes, "changes": changes, "modes": modes}


def mixes(seed: int) -> dict[str, tuple[Tensor, nn.Module]]:
    """The loss with its graph, and what is easily taken for it, with the model of each."""

    def losses(
        attacked: str,
        judged: str = "true",
        learned: str = "true",
        sign: int = 1,
        clip: bool = True,
    ) -> tuple:
        model, x, y = chapter05.problem(seed)
        labels = {"true": y, "predicted": model(x).argmax(1)}
        g = sign * gradient(model, x, labels[attacked])
        x_adv = step(x, g, EPS) if clip else x + EPS * g.sign()
        natural = F.cross_entropy(model(x), labels[learned])
        return natural, F.cross_entropy(model(x_adv), labels[judged]), model

    def mixed(parts: tuple, a: float = MIX, b: float = 1 - MIX) -> tuple[Tensor, nn.Module]:
        return a * parts[0] + b * parts[1], parts[2]

    right = losses("predicted")
    return {
        "the loss": mixed(right),
        "swapped": mixed(losses("predicted"), 1 - MIX, MIX),
        "no weights": mixed(losses("predicted"), 1.0, 1.0),
        "natural": mixed(losses("predicted"), 1.0, 0.0),
        "adversarial": mixed(losses("predicted"), 0.0, 1.0),
        "true label": mixed(losses("true")),
        "predicted": mixed(losses("predicted", "predicted", "predicted")),
        "half predicted": mixed(losses("predicted", "predicted")),
        "down": mixed(losses("predicted", sign=-1)),
        "no clip": mixed(losses("predicted", clip=False)),
    }


def verdict_mixed(results, seed):
    mode_kept(results)
    untouched(results)
    hint = "cross_entropy averages over the batch when nothing else is asked for."
    found = get(results, "the loss")
    if getattr(getattr(found, "value", None), "ndim", 0):
        fail("the loss has an entry for each image, expected the mean over the batch", hint)
    loss, known = number(results, "the loss"), mixes(seed)
    expected, model = known["the loss"]
    if not matches(loss, expected):
        for name, what, where in (
            ("swapped", "the two weights are swapped", "Which of the two losses does α weigh?"),
            ("no weights", "the two losses are added, without weights", "They sum to 1."),
            ("natural", "no image was attacked", "What is the second loss taken on?"),
            ("adversarial", "only the attacked images count", "What is the weight of the others?"),
            ("true label", "the attack used the true labels", "Which label does the step leave?"),
            ("predicted", "the losses compare with what the model says", "What should it learn?"),
            (
                "half predicted",
                "the loss on the attacked images compares with what the model says",
                "ŷ is for the step alone. What is the label of the attacked image?",
            ),
            ("down", "the attack lowers the loss, so it helps", "Which way does the step go?"),
            ("no clip", "the attacked images left [0, 1]", "What is the last thing FGSM does?"),
        ):
            if matches(loss, known[name][0]):
                fail(what, where)
        if matches(loss / 40, expected):
            fail("the loss is the sum over the batch, expected the mean", hint)
    close(loss, expected, "the loss", "Compare it with the equation, one term at a time.")
    trainable(
        results,
        slopes_of(expected, list(model.parameters())),
        "the slope of the loss in the weights",
        "Both losses must reach the weights.",
    )
    return f"{MIX} of the loss is natural, the rest is on images that no true label has touched"


# 13.2 The inner maximization ---------------------------------------------------------------------

ALPHA, STEPS = 0.04, 5


def in_training(seed: int) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """The network of chapter 4 with batch statistics, in training mode; images, labels, starts."""
    model, x, y = chapter05.problem(seed)
    draw = torch.Generator().manual_seed(seed + 1)
    norm = nn.BatchNorm1d(16).double()
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(16, generator=draw))
        norm.running_var.copy_(0.5 + torch.rand(16, generator=draw))
    network = nn.Sequential(model[0], model[1], norm, *model[2:]).train()
    noise = 2 * torch.rand(x.shape, generator=draw, dtype=x.dtype) - 1
    return network, x, y, (x + EPS * noise).clamp(0, 1)


def walk(
    seed: int,
    *,
    start: bool = True,
    sign: int = 1,
    raw: float | None = None,
    steps: int = STEPS,
    training: bool = False,
    fresh: bool = True,
    ball: bool = True,
    box: bool = True,
    late: bool = False,
) -> Tensor:
    """The walk, and with other settings what is easily taken for it."""
    model, x, y, first = in_training(seed)
    model.train(training)

    def keep(x_adv: Tensor) -> Tensor:
        x_adv = x + (x_adv - x).clamp(-EPS, EPS) if ball else x_adv
        return x_adv.clamp(0, 1) if box else x_adv

    x_adv = first if start else x
    at_first = x_adv
    for _ in range(steps):
        g = gradient(model, x_adv if fresh else at_first, y)
        x_adv = x_adv + sign * ALPHA * (g.sign() if raw is None else raw * g)
        x_adv = x_adv if late else keep(x_adv)
    return keep(x_adv) if late else x_adv


def probe_inner(inner_maximum, seed):
    model, x, y, start = in_training(seed)
    changes: list[str] = []

    def call():
        with watch(model=model, x=x, y=y, start=start) as changed:
            found = inner_maximum(model, x, y, start, EPS, ALPHA, STEPS)
        changes.extend(c for c in changed if c != "model.training")
        return found

    (found, _), modes = in_both_modes(model, call)
    return {"x_adv": found, "changes": changes, "modes": modes}


def verdict_inner(results, seed):
    _, x, _, start = in_training(seed)
    x_adv = tensor(results, "x_adv", like=x)
    if matches(x_adv, walk(seed, training=True)):
        fail(
            "the model was in training mode while it was attacked, and took the attacked images "
            "into its batch statistics",
            "Which mode is for looking at a model, and which for teaching it? Put the mode back.",
        )
    mode_kept(results)
    untouched(results)
    if matches(x_adv, start):
        fail("the starts come back as they were", "Each step goes on from where the last ended.")
    if (x_adv < -1e-9).any() or (x_adv > 1 + 1e-9).any():
        fail(
            f"pixels run from {x_adv.min():.2f} to {x_adv.max():.2f}, outside of [0, 1]",
            "There are two sets to stay in: the ball, and the box of all pictures.",
        )
    far = (x_adv - x).abs().max().item()
    if far > EPS + 1e-9:
        fail(
            f"a pixel is {far:.2f} away from the natural image, more than ε = {EPS}",
            "Around which image does the ball lie?",
        )
    taken: tuple[tuple[dict, str, str], ...] = (
        ({"sign": -1}, "the loss falls along this walk", "The inner problem is a maximization."),
        *(
            ({"raw": raw}, "the steps are along the slope itself", "Of g, what does a step use?")
            for raw in (1.0, 1 / len(x))
        ),
        ({"start": False}, "the walk begins at x", "Begin where you are told to."),
        ({"fresh": False}, "all steps follow the first gradient", "Where is the slope taken?"),
        ({"steps": STEPS - 1}, "the walk is a step too short", "Count the steps."),
        ({"steps": STEPS + 1}, "the walk is a step too long", "Count the steps."),
        ({"late": True}, "the ball and the box wait for the end", "Look after every step."),
    )
    for how, what, hint in taken:
        if matches(x_adv, walk(seed, **how)):
            fail(what, hint)
    close(x_adv, walk(seed), "x_adv", "Write down one step, and repeat it.")
    return f"{STEPS} steps up the loss, never further than ε = {EPS}, and the model is as it was"


# 13.3 The weights of a mixed batch ---------------------------------------------------------------

BATCHES = ((12, 5, 0.3), (7, 2, 2.0), (5, 4, 0.0))
ENDS = {"k = 0": (12, 0, 0.3), "k = m": (12, 12, 0.3)}


def batches(seed: int) -> list[tuple[Tensor, Tensor, int, float]]:
    """Logits, labels, the number of adversarial images among them, and λ; the ends come last."""
    draw = torch.Generator().manual_seed(seed)
    return [
        (
            (3 * torch.randn(m, 4, generator=draw, dtype=torch.float64)).requires_grad_(),
            torch.randint(4, (m,), generator=draw),
            k,
            lam,
        )
        for m, k, lam in (*BATCHES, *ENDS.values())
    ]


def probe_weighted(weighted_loss, seed):
    found, slopes, changes = [], [], []
    for logits, y, k, lam in batches(seed):
        with watch(logits=logits, y=y) as changed:
            loss = weighted_loss(logits, y, k, lam)
        changes += changed
        slopes.append(slopes_of(loss, [logits]))
        found.append(loss.detach() if isinstance(loss, Tensor) else loss)
    whole = all(slope is not None for slope in slopes)
    return {
        "losses": found[: len(BATCHES)],
        **dict(zip((f"the loss at {end}" for end in ENDS), found[len(BATCHES) :], strict=True)),
        "its slopes": torch.cat(slopes) if whole else None,
        "changes": changes,
    }


def weighted(seed: int, rule: Callable[[Tensor, int, float], Tensor]) -> list[float]:
    """What a rule makes of the losses of each batch."""
    return [
        rule(F.cross_entropy(logits, y, reduction="none"), k, lam).item()
        for logits, y, k, lam in batches(seed)
    ]


def verdict_weighted(results, seed):
    untouched(results)
    found = numbers(results, "losses", len(BATCHES))

    def raised(losses: Tensor, k: int, lam: float) -> Tensor:
        return losses[k:].sum() + lam * losses[:k].sum()

    def rest(losses: Tensor, k: int, lam: float) -> Tensor:
        return losses[:-k].sum() + lam * losses[len(losses) - k :].sum() if k else losses.sum()

    def weight(losses: Tensor, k: int, lam: float) -> float:
        return len(losses) - k + lam * k

    def right(losses: Tensor, k: int, lam: float) -> Tensor:
        return raised(losses, k, lam) / weight(losses, k, lam)

    expected = weighted(seed, right)
    taken: tuple[tuple[Callable, str, str], ...] = (
        (raised, "the sum is not divided", "What makes it a mean?"),
        (
            lambda v, k, lam: raised(v, k, lam) / len(v),
            "the sum is divided by the number of images",
            "An image of weight λ counts as λ images.",
        ),
        (
            lambda v, k, lam: v.sum() / weight(v, k, lam),
            "λ weighs the images below the line but not above it",
            "Which losses does λ multiply?",
        ),
        (
            lambda v, k, lam: (lam * v[k:].sum() + v[:k].sum()) / (lam * (len(v) - k) + k),
            "λ weighs the natural images",
            "Which rows are adversarial?",
        ),
        (
            lambda v, k, lam: rest(v, k, lam) / weight(v, k, lam),
            "the last k rows were taken for adversarial",
            "Which rows are adversarial?",
        ),
        (
            lambda v, k, lam: (v[k:].mean() + lam * v[:k].mean()) / (1 + lam),
            "each kind of image is averaged by itself, and the two means are weighed",
            "With k = 5 of 12, does a natural image then count as one and an adversarial as λ?",
        ),
        (lambda v, k, lam: v.mean(), "λ has no effect", "Which losses does it multiply?"),
    )
    inner, ends = expected[: len(BATCHES)], expected[len(BATCHES) :]
    if not matches(found, inner):
        for rule, what, hint in taken:
            if matches(found, weighted(seed, rule)[: len(BATCHES)]):
                fail(what, hint)
    hint = "Compare with the equation, first k = 0, then k = m."
    for i, (m, k, lam) in enumerate(BATCHES):
        name = f"the loss of {m} images, {k} of them adversarial, λ = {lam},"
        close(found[i], inner[i], name, hint)
    for end, wanted in zip(ENDS, ends, strict=True):
        name = f"the loss at {end}"
        close(number(results, name), wanted, name, hint)
    slopes = [
        slopes_of(right(F.cross_entropy(z, y, reduction="none"), k, lam), [z])
        for z, y, k, lam in batches(seed)
    ]
    trainable(
        results,
        torch.cat(slopes),
        "the slope of the loss in the logits",
        "All the losses must reach the logits.",
    )
    return "a natural image counts as one, an adversarial one as λ, and the weights sum to 1"


EXERCISES = (
    Exercise(
        "13.1",
        "The mixed loss",
        probe_mixed,
        verdict_mixed,
        forbids=(
            "advlab.defenses.FGSMMix",
            "advlab.defenses.KurakinMix",
        ),
    ),
    Exercise(
        "13.2",
        "The inner maximization",
        probe_inner,
        verdict_inner,
        forbids=(
            "advlab.attacks.PGD",
            "advlab.attacks.BIM",
            "advlab.attacks.MIFGSM",
            "advlab.defenses.inner.ascend",
            "advlab.defenses.PGDTraining",
            "advlab.defenses.PGDTraining.adversarial",
        ),
    ),
    Exercise(
        "13.3",
        "The weights of a mixed batch",
        probe_weighted,
        verdict_weighted,
        forbids=("advlab.defenses.KurakinMix",),
    ),
)
