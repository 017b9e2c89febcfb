"""Exercises of chapter 11: destruction rate, gradient through the world, patch, microphone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, tensor, untouched, watch
from .chapter11_senses import probe_hear, probe_paste, verdict_hear, verdict_paste

# 11.1 The destruction rate -----------------------------------------------------------------------


class Brightest(nn.Module):
    """Names the channel that is brightest in the mean: three classes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


# What the model says of x, of x_adv and of the photograph: right (1) or not (0), and how often.
CASES = {
    (1, 0, 1): 5,  # fooled, and the camera makes it right again
    (1, 0, 0): 4,  # fooled, and it survives: read as the third class
    (1, 1, 1): 4,  # never fooled
    (1, 1, 0): 3,  # not fooled; the photograph alone is read wrong
    (0, 0, 1): 6,  # wrong from the start, right by luck
    (0, 0, 0): 3,
    (0, 1, 1): 2,
    (0, 1, 0): 1,
}
# In place of the first 5. With each of these no mistake gives the right rate.
MADE_RIGHT = (5, 6, 7, 9, 10, 11, 12, 13)


def album(seed: int, cases: dict) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y and three batches of images that Brightest reads as the cases say, in mixed order."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.tensor([case for case, count in cases.items() for _ in range(count)])
    rows = rows[torch.randperm(len(rows), generator=draw)]
    y = torch.randint(0, 3, (len(rows),), generator=draw)
    shift = torch.randint(1, 3, y.shape, generator=draw)
    batches = []
    for right, away in zip(rows.T, (shift, shift, 3 - shift), strict=True):
        said = torch.where(right == 1, y, (y + away) % 3)
        batch = torch.rand(len(y), 3, 2, 2, generator=draw) * 0.4
        batches.append(batch + 0.5 * F.one_hot(said, 3)[:, :, None, None])
    return y, *batches


def albums(seed: int) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    survivors = {case: count for case, count in CASES.items() if case != (1, 0, 1)}
    cases = survivors | {(1, 0, 1): MADE_RIGHT[seed % len(MADE_RIGHT)]}
    return [album(seed, cases), album(seed + 1, survivors)]


def probe_destruction(destruction_rate, seed):
    model, rates = Brightest(), []
    for y, x, x_adv, photos in albums(seed):
        with watch(x=x, x_adv=x_adv, photos=photos, y=y) as changes:
            rates.append(destruction_rate(model, x, y, x_adv, photos))
    return {"the rate": rates[0], "the rate of survivors": rates[1], "changes": changes}


def verdict_destruction(results, seed):
    untouched(results)
    found, none = number(results, "the rate"), number(results, "the rate of survivors")
    y, *batches = albums(seed)[0]
    said = [batch.mean((2, 3)).argmax(1) for batch in batches]
    x, adv, photo = (answers == y for answers in said)
    fooled = x & ~adv
    expected = _share(photo[fooled])
    changed, back = said[1] != said[0], said[2] == said[0]
    for value, what, hint in (
        (1 - expected, "the part that survives", "The rate is of what the camera destroys."),
        (
            (fooled & photo).double().mean().item(),
            "the part of all images",
            "Divide by the images that the attack fooled.",
        ),
        (
            _share(photo[~adv]),
            "the rate of all that are wrong after the attack",
            "Some were wrong before it: those the attack did not fool.",
        ),
        (_share(photo), "the accuracy on the photographs", "Which images may count at all?"),
        (
            _share(photo[x]),
            "the rate of all images that were right before the attack",
            "Some of them the attack did not fool.",
        ),
        (
            _share(back[changed]),
            "the part of changed answers that come back",
            "Compare with y: the model's own answer may have been wrong from the start.",
        ),
        (
            _share((said[1] != said[2])[fooled]),
            "the part of answers that changed",
            "From one wrong class to another is not destroyed: it must be right.",
        ),
        (
            float((fooled & photo).sum()),
            "how many images were destroyed",
            "A rate: a part of those that could be.",
        ),
        (100 * expected, "the rate in percent", "From 0 to 1."),
    ):
        if matches(found, value) and not matches(value, expected):
            fail(f"this is {what}, {value:.4g}", hint)
    close(found, expected, "the rate", "Right before, wrong after, and right again photographed.")
    if none != 0:
        fail(
            f"where nothing was made right again, the rate is {none:.4g}",
            "Count only photographs of images that the attack fooled.",
        )
    return "of the images that the attack fooled, the part that is right once photographed"


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()


# 11.2 The gradient through the world -------------------------------------------------------------

SAMPLES = 5


def world(seed: int) -> tuple:
    """A small smooth network of 3 classes, four images 1 × 3 × 3, and a world of curved gains."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw))
    x = torch.rand(4, 1, 3, 3, generator=draw) * 0.6 + 0.3
    y = torch.tensor([0, 1, 2, 1])
    gains = torch.rand(64, generator=draw) + 0.4

    def transform(image: Tensor, k: int) -> Tensor:
        return gains[k] * image.roll(int(k) % 3, -1) ** 2

    return model, x, y, transform


def probe_eot(eot_gradient, seed):
    model, x, y, transform = world(seed)
    asked = []

    def counted(image, k):
        asked.append(int(k))
        return transform(image, k)

    with watch(model=model, x=x) as changes:
        found = eot_gradient(model, x, y, counted, SAMPLES)
    return {"the gradient": found, "asked": asked, "changes": changes}


def verdict_eot(results, seed):
    model, x, y, transform = world(seed)
    untouched(results)
    found = tensor(results, "the gradient", like=x)
    leaf = x.clone().requires_grad_(True)

    def slope(value: Tensor, at: Tensor) -> Tensor:
        return torch.autograd.grad(value, at)[0]

    def loss(image: Tensor) -> Tensor:
        return F.cross_entropy(model(image), y, reduction="sum")

    views = [transform(leaf, k) for k in range(SAMPLES)]
    rows = torch.stack([slope(loss(view), leaf) for view in views])
    cut = [transform(x, k).requires_grad_(True) for k in range(SAMPLES)]
    # Built again: the graphs above are spent.
    middle = torch.stack([transform(leaf, k) for k in range(SAMPLES)]).mean(0)
    voted = torch.stack([model(transform(leaf, k)) for k in range(SAMPLES)]).mean(0)
    expected = rows.mean(0)
    # One batch of all draws, but y.repeat_interleave in place of y.repeat.
    seen = model(torch.cat([transform(leaf, k) for k in range(SAMPLES)]))
    mixed = y.repeat_interleave(SAMPLES)
    for value, what, hint in (
        (SAMPLES * expected, "the sum over the draws", "Their mean is asked for."),
        (
            expected / len(x),
            "the mean divided by the number of images",
            "Sum the losses of a batch (chapter 4): each image has its own gradient.",
        ),
        (SAMPLES * expected / len(x), "a sum over draws of a mean over images", "The other way."),
        (-expected, "the mean with the wrong sign", "The gradient of the loss, no step down."),
        (slope(loss(leaf), leaf), "the gradient at x, and no draw is in it", "Look through t."),
        (rows[0], "the gradient of the first draw alone", "Go through all of them."),
        (rows[-1], "the gradient of the last draw alone", "Add them up."),
        (
            torch.stack([slope(loss(view), view) for view in cut]).mean(0),
            "the gradient in t(x), not in x",
            "Ask for the slope in the image before it was transformed.",
        ),
        (
            slope(loss(middle), leaf),
            "the gradient at the mean picture",
            "Nobody takes the mean of the photographs. Take that of the gradients.",
        ),
        (
            slope(F.cross_entropy(voted, y, reduction="sum"), leaf),
            "the gradient of the loss of the mean logits",
            "Each draw has a loss of its own. Take the mean of their gradients.",
        ),
        (rows.sign().mean(0), "a mean of signs", "The sign comes later, in the step."),
        (expected.sign(), "the sign of the gradient", "The sign comes later, in the step."),
        (
            slope(F.cross_entropy(seen, mixed, reduction="sum") / SAMPLES, leaf),
            "a gradient with the labels in another order than the photographs",
            "After torch.cat, all images of draw 0 come first: y.repeat(samples).",
        ),
    ):
        if matches(found, value, rtol=1e-3) and not matches(value, expected, rtol=1e-3):
            fail(f"this is {what}", hint)
    close(found, expected, "the gradient", "the mean of ∇ₓ J(f(t(x)), y) over the draws", rtol=1e-3)
    asked = get(results, "asked")
    if not isinstance(asked, list) or sorted(set(map(str, asked))) != list("01234"):
        fail("not every draw was looked at", "transform(x, k) for k from 0 to samples − 1.")
    return "the mean over the draws of the slopes in x, seen through each of them"


EXERCISES = (
    Exercise(
        "11.1",
        "The destruction rate",
        probe_destruction,
        verdict_destruction,
        forbids=("advlab.evaluation.destruction_rate",),
    ),
    Exercise(
        "11.2",
        "The gradient through the world",
        probe_eot,
        verdict_eot,
        forbids=(
            "advlab.attacks.EOT",
            "advlab.attacks.eot.ExpectedModel",
        ),
    ),
    Exercise(
        "11.3",
        "Paste a patch",
        probe_paste,
        verdict_paste,
        forbids=(
            "advlab.attacks.Patch",
            "advlab.attacks.Patch.apply",
            "advlab.attacks.Patch.apply_at",
        ),
    ),
    Exercise(
        "11.4",
        "Hear it",
        probe_hear,
        verdict_hear,
        forbids=(
            "advlab.attacks.Microphone",
            "advlab.attacks.Microphone.amplify",
        ),
    ),
)
