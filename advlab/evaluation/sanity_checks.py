"""The checks of :func:`advlab.evaluation.sanity`, one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..attacks import FGSM, Square
from .chance import at_least, sign_test
from .suspect import Suspect

SIGNIFICANCE = 0.01  # a check trips where chance alone would do as much in 1 of 100 evaluations
STRAY = 0.01  # of images may have an odd gradient without a reason to suspect the model
UNREACHED = 0.02  # of images may resist an attack without bounds: no optimizer is perfect
DRAWS = 50  # of the random search, an image
SIGN = (
    "the sign test over the images that one of the two fools and the other does not gives "
    f"p < {SIGNIFICANCE:g}; by chance they would fall to either alike"
)


@dataclass(frozen=True)
class Check:
    """One check: what was asked, what was measured, and what it means.

    :param name: of the check.
    :param suspicious: None where it does not apply to this model.
    :param measured: name → number. Counts are of images.
    :param threshold: from where on it is suspicious, and why there.
    :param says: what was found and what to do next, in a sentence or two.
    """

    name: str
    suspicious: bool | None
    measured: dict[str, float]
    threshold: str
    says: str

    def numbers(self) -> str:
        """What was measured, as text."""
        return ", ".join(f"{name} {value:.3g}" for name, value in self.measured.items())


def counted(
    name: str, flags: Tensor, measured: dict[str, float], says: str, fine: str, rate: float = STRAY
) -> Check:
    """A check that is suspicious where more of the images than a stray few are flagged."""
    count, n = int(flags.sum()), len(flags)
    found = at_least(count, n, rate) < SIGNIFICANCE
    threshold = (
        f"so many of {n} images have p < {SIGNIFICANCE:g} where a stray {rate:.0%} is normal"
    )
    return Check(name, found, measured, threshold, says if found else fine)


def against(name, found: dict[str, Tensor], says: str) -> Check:
    """A check that is suspicious where the last attack named fools more than the first."""
    first, *_, last = found.values()
    p = sign_test(last, first)
    measured = {f"{attack} fools": int(fooled.sum()) for attack, fooled in found.items()}
    alarm = p < SIGNIFICANCE
    only = int((last & ~first).sum())
    fine = f"{list(found)[-1]} is not stronger: it alone fools {only} images (p = {p:.2g})."
    return Check(name, alarm, {**measured, "p": p}, SIGN, says.format(only=only) if alarm else fine)


def zero_gradient(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 3: shattered gradients, of no use to who follows them."""
    zero = suspect.loss.zero & suspect.margin.zero
    broken = suspect.loss.broken | suspect.margin.broken
    return counted(
        "zero gradient",
        zero | broken,
        {"zero": int(zero.sum()), "not finite": int(broken.sum()), "of": suspect.n},
        "The logits do not move with the pixels, or their gradient is NaN or infinite: attacks "
        "that follow it stand still. Look for a step that rounds, searches or detaches, give it a "
        "substitute (BPDA, backward='substitute'), and attack by scores (Square, SPSA).",
        "The logits have a gradient at the images.",
    )


def saturated_loss(suspect: Suspect) -> Check:
    """Carlini & Wagner (2017), on defensive distillation: the softmax rounds to 0 and 1."""
    saturated = suspect.loss.zero & ~suspect.margin.zero & ~suspect.margin.broken
    return counted(
        "saturated loss",
        saturated,
        {"saturated": int(saturated.sum()), "of": suspect.n},
        "The cross-entropy is exactly flat where the logits are not: they are so large that the "
        "softmax rounds to 0 and 1. Attack a loss of the logits (APGD with loss='dlr', C&W), or "
        "divide the logits by a constant, which changes no answer.",
        "The cross-entropy has a gradient wherever the logits have one.",
    )


def random_gradient(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 3: stochastic gradients."""
    moving = suspect.loss.moving | suspect.margin.moving
    return counted(
        "random gradient",
        moving,
        {"differ": int(moving.sum()), "of": suspect.n},
        "Two looks at the same images give different gradients: the model draws at random, and one "
        "look is a poor guide. Average over its draws (EOT), and judge by many looks.",
        "Two looks give the same gradient.",
    )


def one_step(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 3.1: many steps should be at least as strong as one."""
    fgsm = FGSM(eps=suspect.eps, norm=suspect.norm)
    return against(
        "one step beats many",
        {"PGD": suspect.fooled(suspect.pgd()), "FGSM": suspect.fooled(fgsm)},
        "One large step fools {only} images on which many small ones fail: the loss is rugged near "
        "the image, and PGD is caught there. Use smaller and larger steps, restarts, or an "
        "average of the gradient over noise.",
    )


def black_box(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 3.1: who sees less should not fool more."""
    square = Square(
        eps=suspect.eps, norm=suspect.norm, queries=suspect.queries, seed=suspect.seed,
        goal=suspect.goal,
    )  # fmt: skip
    found = {
        suspect.white_box: suspect.fooled(suspect.pgd()),
        "Square": suspect.fooled(square),
    }
    last = found["Square"]
    if suspect.surrogate is not None:
        made = suspect.images(suspect.transfer(), suspect.surrogate)
        found["transfer"] = suspect.judged(made)
        last = last | found["transfer"]
        found["either"] = last
    return against(
        "black box beats white box",
        found,
        f"Attacks that see no gradient fool {{only}} images on which {suspect.white_box} fails: "
        "the gradient misleads it. Make the attack adaptive (backward='substitute', EOT), and "
        "report AutoAttack and Square with many queries.",
    )


def random_search(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 3.1: drawing at random should not be the better attack."""
    return against(
        "random search beats gradient",
        {
            "PGD": suspect.fooled(suspect.pgd()),
            "random points": suspect.random_search(DRAWS),
        },
        f"Of {DRAWS} points drawn at random some fool {{only}} images on which PGD fails: its "
        "gradient leads nowhere. Do not report this attack; attack by scores (Square, SPSA) and "
        "find out what hides the gradient.",
    )


def more_steps(suspect: Suspect) -> Check:
    """Carlini et al. (2019): an attack is run until it has converged."""
    steps = suspect.steps
    counts = sorted({max(1, steps // 4), steps, max(steps + 1, 5 * steps // 2)})
    found = {f"PGD-{count}": suspect.fooled(suspect.pgd(steps=count)) for count in counts}
    last, before = found[f"PGD-{counts[-1]}"], found[f"PGD-{steps}"]
    p = sign_test(last, before)
    alarm = p < SIGNIFICANCE
    return Check(
        "more steps keep helping",
        alarm,
        {**{f"{name} fools": int(f.sum()) for name, f in found.items()}, "p": p},
        SIGN,
        f"{counts[-1]} steps still fool {int((last & ~before).sum())} images that {steps} do not: "
        "the attack is not done. Raise steps until the number stays, and try restarts."
        if alarm
        else f"{counts[-1]} steps fool no more than {steps}: the attack is done.",
    )


def unbounded(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 3.1: with no bound, an attack should always succeed."""
    fooled = suspect.fooled_from_the_image(suspect.limit)
    return counted(
        "unbounded attack",
        ~fooled,
        {"fooled": int(fooled.sum()), "of": suspect.n, "eps": suspect.limit},
        f"{suspect.without_bound} may return any image at all, even one of another class, and "
        "still does not fool the model: it cannot find what must be there. The gradient is of no "
        "use to it.",
        f"With a budget for any image, {suspect.without_bound} fools the model.",
        rate=UNREACHED,
    )


def accuracy_over_eps(suspect: Suspect) -> Check:
    """Carlini et al. (2019): accuracy falls with ε, to zero in the end."""
    budgets = sorted({suspect.eps / 2, suspect.eps, 2 * suspect.eps, suspect.limit})
    budgets = [eps for eps in budgets if eps <= suspect.limit]
    found = [suspect.fooled_from_the_image(eps) for eps in budgets]
    rises = any(sign_test(less, more) < SIGNIFICANCE for less, more in pairwise(found))
    first, last = found[0], found[-1]
    # Flat where images are left that a larger budget should reach: enough that chance is excluded.
    left = int((~first).sum())
    flat = at_least(left, left, 0.5) < SIGNIFICANCE <= sign_test(last, first)
    says = {
        (True, True): "More budget fools fewer images, and in the end no more than a small one",
        (True, False): "More budget fools fewer images",
        (False, True): "Robust accuracy stays flat while the budget grows to any image at all",
    }.get((rises, flat))
    return Check(
        "accuracy over ε",
        rises or flat,
        {f"at {eps:g}": 1 - f.double().mean().item() for eps, f in zip(budgets, found)},
        f"{SIGN}; flat if the largest budget does not beat the smallest by it",
        f"{says}: it must fall, since each ball holds the smaller ones. The attack is caught or "
        "blind; look at the loss along its path."
        if says
        else "Robust accuracy falls as the budget grows.",
    )


def adaptive(suspect: Suspect) -> Check:
    """Athalye et al. (2018), section 4: an attack that knows of the defense."""
    name = "adaptive beats plain"
    if not (suspect.steps_in_front or suspect.random):
        says = "There is no step in front of the network that could be differentiated otherwise."
        return Check(name, None, {}, "no Preprocessing step, and no randomness", says)
    return against(
        name,
        {
            "PGD": suspect.fooled(suspect.pgd()),
            "adaptive PGD": suspect.fooled(suspect.adaptive()),
        },
        "With substitutes for the steps in front of the network (and a mean over its random draws) "
        "PGD fools {only} images more: the plain attack overstates the robustness. Report the "
        "adaptive one.",
    )


CHECKS: tuple[Callable[[Suspect], Check], ...] = (
    zero_gradient,
    saturated_loss,
    random_gradient,
    one_step,
    black_box,
    random_search,
    more_steps,
    unbounded,
    accuracy_over_eps,
    adaptive,
)
