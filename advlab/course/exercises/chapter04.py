"""Exercises of chapter 4: the gradient of the input, FGSM, targeted FGSM, the ε-curve."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, matches, numbers, rather, tensor, untouched, watch

EPS = 0.1
EPSILONS = [0.0, 0.02, 0.05, 0.1, 0.3]


def problem(seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network with smooth gradients, 40 images 1 × 6 × 6, and labels, a quarter wrong.

    No class is named for more than 30 of the images: a network that names nearly always the same
    one may be fooled by no ε, and then an answer that attacks nothing would look right.
    """
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    for _ in range(100):  # and no further, where somebody has made the random numbers constant
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2)
            # Some pixels at exactly 0 and 1, so that clipping shows.
            x = (torch.rand(40, 1, 6, 6, generator=draw) * 1.4 - 0.2).clamp(0, 1)
            predicted = model(x).argmax(1)
        if predicted.bincount().max() <= 30:
            break
    wrong = torch.rand(40, generator=draw).argsort()[:10]
    y = predicted.index_copy(0, wrong, (predicted[wrong] + 1) % 4)
    return model, x, y


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]


def step(x: Tensor, g: Tensor, eps: float) -> Tensor:
    return (x + eps * g.sign()).clamp(0, 1)


# 4.1 The gradient of the input -------------------------------------------------------------------


def probe_gradient(input_gradient, seed):
    model, x, y = problem(seed)
    with watch(model=model, x=x, y=y) as changes:
        found = input_gradient(model, x, y)
    return {"gradient": found, "changes": changes}


def verdict_gradient(results, seed):
    model, x, y = problem(seed)
    untouched(results)
    found, expected = tensor(results, "gradient", like=x), gradient(model, x, y)
    if matches(found, torch.zeros_like(x)):
        fail("the gradient is zero everywhere", "Does the loss depend on the tensor you ask about?")
    if matches(found, expected.sign()):
        fail("these are only the signs of the gradient", "The sign comes in the next exercise.")
    if matches(found, -expected):
        fail(
            "the gradient has the wrong sign: along it the loss falls",
            "Which way does the cross-entropy count a confident right answer: up or down?",
        )
    if matches(found * len(x), expected, rtol=1e-3):
        fail(
            f"every entry is {len(x)} times too small, once for each image of the batch: "
            "the loss was averaged",
            "An image's gradient must not depend on its neighbors: see reduction of cross_entropy.",
        )
    if matches(found, gradient(model, x, model(x).argmax(1))):
        fail("this is the gradient for the predicted classes", "The loss compares with y.")
    if matches(found, gradient(nn.Sequential(model, nn.Softmax(1)), x, y)):
        fail(
            "this is the gradient through a softmax too many",
            "cross_entropy takes the logits: the softmax is inside it.",
        )
    close(found, expected, "gradient", "The loss is the cross-entropy of the logits and y.")
    return "this is how the loss changes with every pixel, and the model is as it was"


# 4.2 FGSM ----------------------------------------------------------------------------------------


def probe_fgsm(fgsm, seed):
    model, x, y = problem(seed)
    with watch(model=model, x=x, y=y) as changes:
        x_adv = fgsm(model, x, y, EPS)
    return {"x_adv": x_adv, "changes": changes}


def verdict_fgsm(results, seed):
    model, x, y = problem(seed)
    untouched(results)
    x_adv, g = tensor(results, "x_adv", like=x), gradient(model, x, y)
    judge_step(x_adv, x, g, "the loss")
    if agree(x_adv, step(x, -g, EPS), g):
        fail(
            "every pixel moves against the gradient, so the loss falls and the image becomes safer",
            "The attacker wants the loss of the true class to rise.",
        )
    predicted = gradient(model, x, model(x).argmax(1))
    if agree(x_adv, step(x, predicted, EPS), predicted):
        fail("the step is that of the predicted classes", "The loss compares with y.")
    close_step(x_adv, step(x, g, EPS), g)
    return f"each pixel moves up the loss, by ε = {EPS} or until it meets 0 or 1"


# 4.3 Targeted FGSM -------------------------------------------------------------------------------


def probe_targeted(targeted_fgsm, seed):
    model, x, y = problem(seed)
    target = (y + 2) % 4
    with watch(model=model, x=x, target=target) as changes:
        x_adv = targeted_fgsm(model, x, target, EPS)
    return {"x_adv": x_adv, "changes": changes}


def verdict_targeted(results, seed):
    model, x, y = problem(seed)
    untouched(results)
    target = (y + 2) % 4
    x_adv, g = tensor(results, "x_adv", like=x), -gradient(model, x, target)
    judge_step(x_adv, x, g, "the loss of the target")
    if agree(x_adv, step(x, -g, EPS), g):
        fail(
            "every pixel moves away from the target: its loss rises",
            "The attacker wants the model to find the target likely. What should its loss do?",
        )
    away = gradient(model, x, model(x).argmax(1))
    if agree(x_adv, step(x, away, EPS), away):
        fail(
            "the images leave the predicted class but do not go toward the target",
            "Only the loss of the target counts here.",
        )
    if agree(x_adv, step(x, -away, EPS), away):
        fail(
            "the images move deeper into the class that the model names already",
            "Whose loss should fall? The model's own answer has no part in it.",
        )
    close_step(x_adv, step(x, g, EPS), g)
    return f"each pixel moves toward the target, by ε = {EPS} or until it meets 0 or 1"


def judge_step(x_adv: Tensor, x: Tensor, g: Tensor, loss: str) -> None:
    """What a step of FGSM must be whatever its direction: in the box, and as large as allowed."""
    if matches(x_adv, x):
        fail("the images come back as they were", f"Which way must a pixel go to change {loss}?")
    low, high = x_adv.min().item(), x_adv.max().item()
    if low < -1e-6 and max(-low, high) <= EPS + 1e-6:
        fail(
            f"pixels run from {low:.2f} to {high:.2f}: this is a perturbation, not a picture",
            "What is the perturbation added to, and which of the two is clipped?",
        )
    if low < -1e-6 or high > 1 + 1e-6:
        fail(
            f"pixels run from {low:.2f} to {high:.2f}, and an image lives in [0, 1]",
            "After the step some pixels are no longer a brightness. Which ones, and what is next?",
        )
    moved = (x_adv - x).abs().max().item()
    length = g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for sized in (g, g / g.abs().max(), g / length):
        if matches(x_adv, (x + EPS * sized).clamp(0, 1)):
            fail(
                f"pixels with a large gradient move far and others hardly, not each by ε = {EPS}",
                "Only the direction of each pixel's gradient counts, not its size.",
            )
    if moved > EPS + 1e-5:
        fail(f"a pixel moved by {moved:.3f}, more than ε = {EPS}", "ε is the whole budget.")


def agree(x_adv: Tensor, expected: Tensor, g: Tensor) -> bool:
    """Equal wherever the sign of the gradient g is beyond rounding."""
    sure = g.abs() > 1e-6
    return matches(x_adv[sure], expected[sure])


def close_step(x_adv: Tensor, expected: Tensor, g: Tensor) -> None:
    sure = g.abs() > 1e-6
    close(
        torch.where(sure, x_adv, expected),
        expected,
        "x_adv",
        "Each pixel moves by ε, up or down as its own gradient says; exercise 4.1 gives that.",
    )


# 4.4 The ε-curve ---------------------------------------------------------------------------------


def probe_curve(accuracy_curve, seed):
    model, x, y = problem(seed)
    with watch(model=model, x=x, y=y) as changes:
        accuracies = accuracy_curve(model, x, y, list(EPSILONS))
    return {"accuracies": accuracies, "changes": changes}


def verdict_curve(results, seed):
    model, x, y = problem(seed)
    untouched(results)
    found = numbers(
        results,
        "accuracies",
        len(EPSILONS),
        "One number for each ε, its accuracy, and nothing else.",
    )
    g = gradient(model, x, y)
    with torch.no_grad():
        right = [model(step(x, g, eps)).argmax(1) == y for eps in EPSILONS]
    expected = [r.double().mean().item() for r in right]
    if rather(found, [100 * a for a in expected], expected):
        fail("these are percentages", "Give the share of images that are right, from 0 to 1.")
    if rather(found, [len(y) * a for a in expected], expected):
        fail("these are counts of images", "Give the share of images that are right, from 0 to 1.")
    if rather(found, [1 - a for a in expected], expected):
        fail(
            "the curve rises with ε: this is the share of images that are wrong",
            "Accuracy counts the answers that are right.",
        )
    if rather(found, [expected[0]] * len(found), expected):
        fail("the accuracy is the same at every ε", "Is it the attacked images that you classify?")
    if not matches(found[0], expected[0]):
        fail(
            f"at ε = 0 the accuracy is {found[0]:.3f}; without an attack it is {expected[0]:.3f}",
            "With ε = 0 nothing moves: count the right answers over all the images.",
        )
    close(
        found,
        expected,
        "accuracies",
        "Attack the original images anew at every ε, and compare the answers with y.",
    )
    first, last = expected[0], expected[-1]
    return (
        f"on the small network of this check, accuracy falls from {first:.0%} at ε = 0 to "
        f"{last:.0%} at ε = {EPSILONS[-1]}"
    )


SIGN_STEPS = (
    "advlab.attacks.FGSM",
    "advlab.attacks.RFGSM",
    "advlab.attacks.BIM",
    "advlab.attacks.PGD",
    "advlab.attacks.MIFGSM",
    "advlab.defenses.inner.ascend",
)
EXERCISES = (
    Exercise(
        "4.1",
        "The gradient of the input",
        probe_gradient,
        verdict_gradient,
        forbids=("advlab.attacks.attacked.AttackedModel.gradient",),
    ),
    Exercise(
        "4.2",
        "The fast gradient sign method",
        probe_fgsm,
        verdict_fgsm,
        forbids=SIGN_STEPS,
    ),
    Exercise(
        "4.3",
        "Targeted FGSM",
        probe_targeted,
        verdict_targeted,
        forbids=SIGN_STEPS,
    ),
    Exercise(
        "4.4",
        "Accuracy against ε",
        probe_curve,
        verdict_curve,
        forbids=(
            "advlab.evaluation.accuracy_curve",
            "advlab.evaluation.evaluate",
        ),
    ),
)
