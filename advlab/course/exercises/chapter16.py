"""Exercises of chapter 16: bit depth, a gradient passed straight through, an expected gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, tensor, untouched, watch

BITS = (1, 2, 3, 8)
SAMPLES = 1500
MANY = 20_000
SIGMAS = 6


def images(seed: int) -> Tensor:
    """30 images 1 × 5 × 5, some pixels at exactly 0 and 1, none within 1e-4 of a threshold."""
    draw = torch.Generator().manual_seed(seed)
    x = (torch.rand(30, 1, 5, 5, generator=draw, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    for bits in BITS:
        steps = 2**bits - 1
        near = ((x * steps) % 1 - 0.5).abs() < 1e-4 * steps
        x = torch.where(near, x.round(), x)
    return x.float()


# 16.1 Bit depth ----------------------------------------------------------------------------------


def probe_bits(bit_depth, seed):
    x = images(seed)
    with watch(x=x) as changes:
        found = {f"bits {bits}": bit_depth(x, bits) for bits in BITS}
    return found | {"changes": changes}


def verdict_bits(results, seed):
    x = images(seed)
    untouched(results)
    found = {bits: tensor(results, f"bits {bits}", like=x) for bits in BITS}
    for bits, squeezed in found.items():
        steps = 2**bits - 1
        name = f"with {bits} bit{'s' if bits > 1 else ''}"
        if matches(squeezed, (x * steps).floor() / steps):
            fail(
                f"{name} each pixel falls to the level below it, so that 0.9 is black with one bit",
                "Each pixel goes to the nearest level, up or down.",
            )
        if matches(squeezed, (x * 2**bits).round() / 2**bits):
            fail(
                f"{name} there are {2**bits + 1} levels, one too many",
                "Levels at 0 and 1 and those between: how many steps lie between them?",
            )
        below = (x * 2**bits).floor()
        bins = [below] + [below.clamp_max(steps)] * (bits > 1)  # with 1 bit they are right
        if any(matches(squeezed, z / steps) for z in bins):
            fail(
                f"{name} [0, 1] is cut into {2**bits} bins of equal width, one for each level, so "
                "that a pixel may go to a level that is not the nearest",
                "Which pixels are nearest to 0? And which to a level in the middle?",
            )
        if any(matches(squeezed, z / 2**bits) for z in (below, below.clamp_max(steps))):
            fail(
                f"{name} each pixel falls to the level below it, and white is "
                f"{squeezed.max().item():.3g}",
                "The first level is 0, the last is 1, and each pixel goes to the nearest.",
            )
        if bits > 1 and matches(squeezed, (x * (bits - 1)).round() / (bits - 1)):
            fail(
                f"{name} there are {bits} levels",
                "A bit is a yes or a no. How many different answers do so many of them give?",
            )
        if bits > 1 and matches(squeezed, (x * steps).round()):
            fail(
                f"{name} pixels are the numbers of the levels, up to {squeezed.max().item():.0f}",
                "The result is a picture again, in [0, 1].",
            )
        close(
            squeezed,
            (x * steps).round() / steps,
            f"the image {name}",
            "Equally spaced levels, the first at 0, the last at 1; each pixel goes to the nearest.",
        )
    return f"each pixel stands at the nearest of 2, 4, 8 and {2 ** BITS[-1]} levels"


# 16.2 A gradient passed straight through ---------------------------------------------------------


def steps_apart(x: Tensor) -> Tensor:
    """A stair on a slope: its own gradient is 0.1 everywhere, and should not be in the answer."""
    return (4 * x).round() / 4 + 0.1 * x


def smooth(x: Tensor) -> Tensor:
    """What stands for it: unlike the identity in value and in slope."""
    return x + 0.1 * torch.sin(9 * x)


def probe_through(straight_through, seed):
    x = images(seed)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    results = {}
    cases = {
        "own": (steps_apart, smooth),
        "cut": (lambda z: steps_apart(z.detach()), smooth),  # a step that autograd cannot see
    }
    with watch(x=x) as changes:
        for name, (step, stand_in) in cases.items():
            z = x.clone().requires_grad_()
            value = straight_through(z, step, stand_in)
            gradient = None
            if isinstance(value, Tensor) and value.requires_grad:
                loss = (weight * value).sum()
                (gradient,) = torch.autograd.grad(loss, z, allow_unused=True)
            if isinstance(value, Tensor):
                value = value.detach()
            results |= {f"{name} value": value, f"{name} gradient": gradient}
    return results | {"changes": changes}


def verdict_through(results, seed):
    x = images(seed)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    untouched(results)
    slope = weight * (1 + 0.9 * torch.cos(9 * x))
    for name in ("own", "cut"):
        value = tensor(results, f"{name} value", like=x)
        if matches(value, smooth(x)):
            fail(
                "going forward it answers what the stand-in does",
                "The stand-in is for the gradient alone: the value is the step's, exactly.",
            )
        if matches(value, x):
            fail("going forward it does nothing", "The value is the step's.")
        if matches(value, steps_apart(x) + smooth(x)):
            fail(
                "the value is the sum of the step and its stand-in",
                "What brings in the stand-in's gradient must add nothing to the value.",
            )
        close(value, steps_apart(x), "the value", "Going forward the stand-in must not be seen.")
        if get(results, f"{name} gradient") is None:
            fail(
                "no gradient leads back to x",
                "Something must stay joined to x: which of the parts may be cut off, which not?",
            )
        gradient = tensor(results, f"{name} gradient", like=x)
        if matches(gradient, torch.zeros_like(x)):
            fail("the gradient is zero", "The stand-in must stay joined to x.")
        if matches(gradient, -slope):
            fail("the gradient is the stand-in's with the wrong sign", "Which part is cut off?")
        if matches(gradient, weight * smooth(x)):
            fail(
                "the gradient from above is multiplied by the stand-in's value",
                "The chain rule multiplies by its slope.",
            )
        if matches(gradient, 0.1 * weight):
            fail(
                "the gradient is that of the step itself", "It is the stand-in's that should lead."
            )
        if matches(gradient, slope + 0.1 * weight):
            fail(
                "the gradient is the stand-in's plus that of the step",
                "The step may have a gradient of its own: nothing of it should come through.",
            )
        if matches(gradient, weight) or matches(gradient, 1.1 * weight):
            fail(
                "the gradient is that of the identity",
                "Here the stand-in is a function that was given.",
            )
        close(gradient, slope, "the gradient", "It is the gradient of stand_in(x), nothing else.")
    return "forward it is the step, backward its stand-in"


# 16.3 The gradient of an expectation -------------------------------------------------------------


class Shaken(nn.Module):
    """A random defense: each look drops about half the pixels of each image, then a network."""

    def __init__(self, seed: int):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.seen = 0
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3))
        with torch.no_grad():
            for p in self.network.parameters():
                p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2.5)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.network(x * (torch.rand_like(x) < 0.5))


def shaken_problem(seed: int) -> tuple[Shaken, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed + 7)
    x = torch.rand(4, 1, 4, 4, generator=draw)
    return Shaken(seed).eval(), x, torch.tensor([0, 1, 2, 1])


def probe_expected(expected_gradient, seed):
    model, x, y = shaken_problem(seed)
    with watch(model=model, x=x, y=y) as changes:
        found = expected_gradient(model, x, y, SAMPLES)
    return {"gradient": found, "seen": model.seen, "changes": changes}


def judged_gradients(model: Shaken, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """From many draws: the expected gradient, its spread over draws, and what it is not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        many = x.repeat(MANY, 1, 1, 1).requires_grad_()
        logits = model(many)
        loss = F.cross_entropy(logits, y.repeat(MANY), reduction="sum")
        (each,) = torch.autograd.grad(loss, many, retain_graph=True)
        looks = logits.view(MANY, *y.shape, -1)
        of_means = {
            "logits": F.cross_entropy(looks.mean(0), y, reduction="sum"),
            "probability": F.nll_loss(looks.softmax(-1).mean(0).log(), y, reduction="sum"),
        }
        by_means = {
            name: torch.autograd.grad(loss, many, retain_graph=True)[0].view(MANY, *x.shape).sum(0)
            for name, loss in of_means.items()
        }
    each = each.view(MANY, *x.shape)
    signs = each.sign()
    by_means |= {"signs": signs.mean(0), "spread of signs": signs.std(0)}
    return {"mean": each.mean(0), "spread": each.std(0)} | by_means


def verdict_expected(results, seed):
    model, x, y = shaken_problem(seed)
    untouched(results)
    found = tensor(results, "gradient", like=x)
    judged = judged_gradients(model, x, y)
    mean, spread = judged["mean"], judged["spread"]

    def near(other: Tensor, looks: int = SAMPLES, spread: Tensor = spread) -> bool:
        """Within the error that so many looks leave."""
        return bool(((found - other).abs() <= SIGMAS * spread / looks**0.5 + 1e-6).all())

    seen = number(results, "seen")
    if seen == 0:
        fail("the model was not asked at all", "The expectation is over what the model draws.")
    if not near(mean):
        if matches(found, torch.zeros_like(x)):
            fail("the gradient is zero everywhere", "Does the loss depend on x?")
        for factor, what in (
            (1 / SAMPLES, f"{SAMPLES} times too large: a sum over the looks"),
            (len(x), f"{len(x)} times too small: the loss was averaged over the images"),
        ):
            if near_scaled(found, mean, spread, factor):
                fail(f"the gradient is {what}", "It is a mean over looks, and images stay apart.")
        if near(-mean):
            fail("the gradient points down the loss", "It is the gradient of the loss, as it is.")
        for what, name in (("mean answer", "logits"), ("mean probability", "probability")):
            if near(judged[name]):
                fail(
                    f"this is the gradient of the loss of the {what}",
                    "First the loss of each look, then the mean: in which order did you do it?",
                )
        if near(judged["signs"], spread=judged["spread of signs"]):
            fail(
                "this is the mean of the gradients' signs",
                "A sign forgets how steep it is. Whoever attacks takes it of the mean, at the end.",
            )
        if near(mean, 1):
            fail(
                "the gradient is as noisy as that of a single look"
                if seen <= len(x) * 2 or seen >= len(x) * SAMPLES
                else f"the gradient is noisier than {SAMPLES} looks should leave it",
                "Every look has to draw anew, and each counts as much as any other.",
            )
        fail(
            "this is not the mean of the gradients over the model's looks",
            "A look: one answer of the model to x, its loss, and the gradient of that in x.",
        )
    if seen < len(x) * SAMPLES:
        fail(
            f"the model saw {seen:.0f} images, and {SAMPLES} looks at {len(x)} images are "
            f"{len(x) * SAMPLES}",
            "samples says how many looks are averaged.",
        )
    return f"over {SAMPLES} looks the chance of each is averaged out, and the way up is left"


def near_scaled(found: Tensor, mean: Tensor, spread: Tensor, factor: float) -> bool:
    """Whether ``found`` times the factor is the mean; and not the mean of a zero by accident."""
    return bool(
        ((found * factor - mean).abs() <= SIGMAS * spread / SAMPLES**0.5 + 1e-6).all()
        and (mean.abs() > 10 * spread / SAMPLES**0.5).any()
    )


EXERCISES = (
    Exercise("16.1", "Bit depth", probe_bits, verdict_bits, forbids=("advlab.defenses.BitDepth",)),
    Exercise(
        "16.2",
        "A gradient passed straight through",
        probe_through,
        verdict_through,
        forbids=("advlab.models.BPDA",),
    ),
    Exercise(
        "16.3",
        "The gradient of an expectation",
        probe_expected,
        verdict_expected,
        forbids=(
            "advlab.attacks.EOT",
            "advlab.attacks.eot.ExpectedModel",
        ),
    ),
)
