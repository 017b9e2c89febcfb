"""Exercises of chapter 15: the softened softmax, the student's loss, breaking distillation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, rather, tensor, untouched, watch
from .chapter03 import EVERY_SOFTMAX


def plainly(value):
    """The same values without their graph, so that a record can hold them."""
    return value.detach() if isinstance(value, Tensor) else value


def finite(value) -> int:
    """1, and 0 for a tensor with an infinite or NaN entry: these do not pass as a tensor."""
    return int(not isinstance(value, Tensor) or bool(value.isfinite().all()))


# 15.1 The softened softmax -----------------------------------------------------------------------

TEMPERATURES = (20.0, 0.5)
FAR = "the result for logits in the thousands"


def at(T: float) -> str:
    """What a message calls the result at this temperature."""
    return f"the result at T = {T:g}"


def scores(seed: int) -> tuple[Tensor, Tensor]:
    """Logits of 8 images and 5 classes, mild ones and ones in the thousands."""
    draw = torch.Generator().manual_seed(seed)
    mild = 4 * torch.randn(8, 5, generator=draw) + 3
    far = 1500 * torch.randn(8, 5, generator=draw)
    # Rows whose largest logit is far from those of the others.
    far += torch.tensor([4000.0, -4000.0]).repeat(4)[:, None]
    return mild, far


def probe_softmax(soft_log_probabilities, seed):
    mild, far = scores(seed)
    results = {}
    with watch(logits=mild) as changes:
        for T in TEMPERATURES:
            results[at(T)] = soft_log_probabilities(mild, T)
    with watch(logits=far) as more:
        found = soft_log_probabilities(far, 1.0)
    results[FAR] = found if finite(found) else None
    return {**results, "finite": finite(found), "changes": changes + more}


def verdict_softmax(results, seed):
    mild, far = scores(seed)
    untouched(results)
    for T in TEMPERATURES:
        found = tensor(results, at(T), like=mild)
        z = mild / T
        hint = "log p is (z − m)/T less the log of the sum."
        for wrong, what, why in (
            (z.softmax(1), "these are the probabilities", "The logarithm is asked for."),
            (mild.log_softmax(1), "the temperature has no effect", "The logits are divided by it."),
            (
                (mild * T).log_softmax(1),
                "the logits are multiplied by T",
                "A high temperature makes the network less sure: which way must the logits go?",
            ),
            (
                mild.log_softmax(1) / T,
                "the log-probabilities of T = 1 are divided by T, so no row sums to 1",
                "The temperature comes first, then the softmax.",
            ),
            (
                (mild.softmax(1) / T).log_softmax(1),
                "the probabilities of T = 1 went through a second softmax",
                "The temperature divides the logits themselves.",
            ),
            (
                z.log_softmax(0),
                "the sum goes over the images",
                "The probabilities of one image sum to 1 over its classes.",
            ),
            (
                z - z.logsumexp((0, 1)),
                "the sum goes over the whole batch",
                "The probabilities of one image sum to 1 over its classes.",
            ),
            (z, "nothing is normalized", "The probabilities of an image sum to 1."),
            (
                z - z.amax(1, keepdim=True),
                "nothing is normalized: only the largest logit was subtracted",
                "The probabilities of an image sum to 1.",
            ),
            (
                z - z.amax(1, keepdim=True) - z.logsumexp(1, keepdim=True),
                "the largest logit was subtracted before the sum, but not inside it",
                "Subtract it once, and go on with the new logits alone.",
            ),
            (
                (mild - mild.amax(1, keepdim=True) / T).log_softmax(1),
                "the temperature divides the largest logit alone",
                "The difference is divided.",
            ),
        ):
            if matches(found, wrong):
                fail(what, why)
        close(found, z.log_softmax(1), at(T), hint)
    if get(results, "finite") != 1:
        fail(
            "with logits in the thousands an entry is infinite or NaN",
            "Before any exponential, subtract the largest logit of the row; and never take the "
            "logarithm of a probability, which may be 0.",
        )
    found, expected = tensor(results, FAR, like=far), far.double().log_softmax(1)
    if found.min() > expected.min() / 2:
        fail(
            f"with logits in the thousands no entry is below {found.min():.4g}, expected down to "
            f"{expected.min():.4g}",
            "A small number added to the probabilities, or a least one, hides the zeros. Stay in "
            "logarithms.",
        )
    hint = "Each row has a largest logit of its own."
    close(found, expected, FAR, hint, rtol=1e-4, atol=1e-2)
    return "logarithms of probabilities at any temperature, and nothing overflows"


# 15.2 The student's loss -------------------------------------------------------------------------

T_STUDENT = 4.0


def lesson(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of a student and its teacher, (12, 5): mild ones, and ones in the thousands."""
    draw = torch.Generator().manual_seed(seed)
    student, teacher = 5 * torch.randn(2, 12, 5, generator=draw)
    far_student, far_teacher = 3000 * torch.randn(2, 12, 5, generator=draw)
    return student, teacher, far_student, far_teacher


def probe_student(student_loss, seed):
    student, teacher, far_student, far_teacher = lesson(seed)
    learner = student.clone().requires_grad_()
    tutor = teacher.clone().requires_grad_()
    with watch(logits=student, teacher_logits=teacher) as changes:
        value = student_loss(student, teacher, T_STUDENT)
        far = student_loss(far_student, far_teacher, T_STUDENT)
    graded = student_loss(learner, tutor, T_STUDENT)
    slopes = (None, None)
    if isinstance(graded, Tensor) and graded.requires_grad and graded.numel() == 1:
        slopes = torch.autograd.grad(graded, (learner, tutor), allow_unused=True)
    return {
        "the loss": plainly(value),
        "finite": finite(far),
        "the loss for logits in the thousands": plainly(far) if finite(far) else None,
        "gradient": slopes[0],
        "into the teacher": int(slopes[1] is not None and bool((slopes[1] != 0).any())),
        "changes": changes,
    }


def verdict_student(results, seed):
    student, teacher, far_student, far_teacher = lesson(seed)
    untouched(results)
    T, n, k = T_STUDENT, *student.shape

    def loss(z: Tensor, v: Tensor, of: float = T, other: float = T) -> Tensor:
        """Σ −p log q for each image, with p of v at ``other`` and q of z at ``of``."""
        return -((v / other).softmax(1) * (z / of).log_softmax(1)).sum(1)

    each = loss(student, teacher)
    expected = each.mean()
    entropy = loss(teacher, teacher).mean()
    found = get(results, "the loss")
    if hasattr(found, "value") and found.value.shape == (n,):
        fail(f"there is one number for each of the {n} images", "The mean over the batch.")
    found = tensor(results, "the loss", shape=())
    hard = F.cross_entropy(student / T, teacher.argmax(1))
    for wrong, what, hint in (
        (each.sum(), "the losses were summed over the images", "The mean over the batch."),
        (expected / k, "the mean goes over images and classes", "A sum over the classes."),
        (-expected, "the loss has the wrong sign", "log q is below 0, and a loss is not."),
        (loss(teacher, student).mean(), "p and q are exchanged", "The teacher's are the weights."),
        (
            loss(student, teacher, 1.0, 1.0).mean(),
            "the temperature has no effect",
            "Both sets of logits are divided by T.",
        ),
        (
            loss(student, teacher, 1.0).mean(),
            "the student answers at T = 1",
            "It learns at the temperature of its teacher.",
        ),
        (
            loss(student, teacher, T, 1.0).mean(),
            "the teacher answers at T = 1",
            "Its probabilities are softened, too.",
        ),
        (
            hard,
            "only the teacher's first class counts: these are hard labels",
            "All of its probabilities are learned.",
        ),
        (
            expected - entropy,
            "this is the Kullback–Leibler divergence, which is less by the teacher's entropy",
            "Its gradient is the same. The sum that is asked for has log q alone.",
        ),
        (
            expected * T**2,
            "the loss is multiplied by T²",
            "Some papers do so. Here the mean of the sum is asked for.",
        ),
    ):
        if rather(found, wrong, expected):
            fail(what, hint)
    close(found, expected, "the loss", "−Σ p log q over the classes, then the mean.")
    if get(results, "finite") != 1:
        fail(
            "with logits in the thousands the loss is infinite or NaN",
            "0 times the logarithm of 0 is no number. Let log q come from exercise 15.1, never "
            "from a probability.",
        )
    found = tensor(results, "the loss for logits in the thousands", shape=())
    expected = loss(far_student.double(), far_teacher.double()).mean()
    hint = "A least probability, or a small number added to it, hides the zeros."
    close(found, expected, "with logits in the thousands, the loss", hint, rtol=1e-3)
    if get(results, "into the teacher") != 0:
        fail(
            "a gradient reaches the teacher's logits",
            "For this loss they are numbers that are given: cut them from the graph.",
        )
    if get(results, "gradient") is None:
        fail(
            "no gradient reaches the student's logits, so it cannot learn",
            "Neither no_grad nor item() nor detach on the way from its logits to the loss.",
        )
    q, p = (student / T).softmax(1), (teacher / T).softmax(1)
    close(
        tensor(results, "gradient", like=student),
        (q - p) / (T * n),
        "the gradient in the student's logits",
        "Without any shortcut it comes to (q − p) / T, over the number of images.",
    )
    return "the student is pulled toward the teacher's probabilities, and the teacher stays"


# 15.3 Break it -----------------------------------------------------------------------------------

EPS, BAR, COUNT = 0.2, 0.8, 60
OTHER_EPS, OTHER_COUNT = 0.05, 10  # a second, smaller budget: the images must keep to it, too
LESS = f"x_adv at eps = {OTHER_EPS}"


def leads(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """How far the logit of the true class is ahead of the best other one, (N,)."""
    from ... import models

    logits, at_y = models.predict_logits(model, x), y[:, None]
    return (logits.gather(1, at_y) - logits.scatter(1, at_y, -torch.inf)).amin(1)


def targets(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The distilled network, and 60 digits that it has right and the chapter does not attack."""
    from ... import data, models

    model = models.load_model("mnist-distilled", "cpu").eval()
    x, y = (t[500:] for t in data.load("mnist5k", device="cpu").test)
    right = (models.predict(model, x) == y).nonzero().squeeze(1)
    draw = torch.Generator().manual_seed(seed)
    chosen = right[torch.randperm(len(right), generator=draw)[:COUNT]]
    return model, x[chosen], y[chosen]


def probe_break(break_it, seed):
    model, x, y = targets(seed)
    with watch(model=model, x=x, y=y) as changes:
        x_adv = break_it(model, x, y, EPS)
        less = break_it(model, x[:OTHER_COUNT], y[:OTHER_COUNT], OTHER_EPS)
    return {"x_adv": x_adv, LESS: less, "changes": changes}


def verdict_break(results, seed):
    from ... import models

    model, x, y = targets(seed)
    untouched(results)
    x_adv = tensor(results, "x_adv", like=x)
    less = tensor(results, LESS, like=x[:OTHER_COUNT])
    for found, eps in ((x_adv, EPS), (less, OTHER_EPS)):
        low, high = found.min().item(), found.max().item()
        if low < -1e-6 or high > 1 + 1e-6:
            what = f"pixels run from {low:.2f} to {high:.2f}, and an image lives in [0, 1]"
            fail(what, "Clip it.")
        moved = (found - x[: len(found)]).abs().max().item()
        if moved > eps + 1e-5:
            fail(
                f"called with eps = {eps}, it moves a pixel by {moved:.3f}",
                "ε is the whole budget, and the caller chooses it.",
            )
    moved = (x_adv - x).abs().flatten(1).amax(1)
    fooled = models.predict(model, x_adv) != y
    share = fooled.float().mean().item()
    still = int((moved == 0).sum())
    if share < BAR and still > COUNT / 2:
        fail(
            f"{still} of {COUNT} images come back as they were",
            "The gradient that you follow is exactly 0. Which number of your loss was rounded?",
        )
    if share < BAR:
        bar = math.ceil(BAR * COUNT)
        grew = int((leads(model, x_adv, y) > leads(model, x, y)).sum())
        if grew > COUNT / 2:
            fail(
                f"on {grew} of {COUNT} images the true class leads by more than before",
                "Your images are right for the network, only more so: is the sign right?",
            )
        blind = share < 0.35
        fail(
            f"{int(fooled.sum())} of {COUNT} images fool the network, expected {bar} or more",
            "Something moves the images, but no gradient leads them. Count the zeros in yours, "
            "and see whether the right answer gets weaker along it."
            if blind
            else "The attack sees something: a better gradient, or more steps of it, see more. If "
            "you divide the logits: how large is the gap after your division?",
        )
    return f"{share:.0%} of digits that it never saw attacked fool the network, each within ε"


EXERCISES = (
    Exercise(
        "15.1",
        "The softened softmax",
        probe_softmax,
        verdict_softmax,
        forbids=EVERY_SOFTMAX,
    ),
    Exercise(
        "15.2",
        "The student's loss",
        probe_student,
        verdict_student,
        forbids=("advlab.defenses.SoftLabels",),
    ),
    Exercise("15.3", "Break it", probe_break, verdict_break),
)
