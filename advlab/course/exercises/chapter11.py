"""Exercises of chapter 11: destruction rate, gradient through the world, patch, microphone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import Exercise, close, fail, get, matches, number, tensor, untouched, watch

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
    return [album(seed, CASES), album(seed + 1, survivors)]


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
    x, adv, photo = (batch.mean((2, 3)).argmax(1) == y for batch in batches)
    fooled = x & ~adv
    expected = _share(photo[fooled])
    fled = batches[1].mean((2, 3)).argmax(1) != batches[2].mean((2, 3)).argmax(1)
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
            _share(fled[fooled]),
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
    ):
        if matches(found, value, rtol=1e-3) and not matches(value, expected, rtol=1e-3):
            fail(f"this is {what}", hint)
    close(found, expected, "the gradient", "the mean of ∇ₓ J(f(t(x)), y) over the draws", rtol=1e-3)
    asked = get(results, "asked")
    if not isinstance(asked, list) or sorted(set(map(str, asked))) != list("01234"):
        fail("not every draw was looked at", "transform(x, k) for k from 0 to samples − 1.")
    return "the mean over the draws of the slopes in x, seen through each of them"


# 11.3 Paste a patch ------------------------------------------------------------------------------


def desk(seed: int) -> tuple[Tensor, Tensor, Tensor, int, int, Tensor]:
    """Three images 3 × 9 × 12, a patch 3 × 4 × 5 with a soft mask, its place, and weights."""
    draw = torch.Generator().manual_seed(seed)
    x, patch = torch.rand(3, 3, 9, 12, generator=draw), torch.rand(3, 4, 5, generator=draw)
    mask = torch.rand(1, 4, 5, generator=draw)
    mask[0, 0, 0], mask[0, 1:3, 1:4] = 0, 1
    top = int(torch.randint(3, 6, (1,), generator=draw))
    left = int(torch.randint(0, 2, (1,), generator=draw))
    return x, patch, mask, top, left, torch.rand(3, 3, 9, 12, generator=draw)


def probe_paste(paste, seed):
    x, patch, mask, top, left, weights = desk(seed)
    with watch(x=x, patch=patch, mask=mask) as changes:
        found = paste(x, patch, mask, top, left)
    leaf, gradient = patch.clone().requires_grad_(True), None
    out = paste(x.clone(), leaf, mask.clone(), top, left)
    if isinstance(out, Tensor) and out.requires_grad and out.shape == weights.shape:
        (gradient,) = torch.autograd.grad((weights * out).sum(), leaf, allow_unused=True)
    return {"the images": found, "the gradient": gradient, "changes": changes}


def pasted(x: Tensor, patch: Tensor, mask: Tensor, top: int, left: int) -> Tensor:
    """The patch on the images, by way of layers as large as they are."""
    layers = x.new_zeros(4, *x.shape[2:])
    height, width = mask.shape[1:]
    layers[:, top : top + height, left : left + width] = torch.cat((patch, mask))
    return (1 - layers[3:]) * x + layers[3:] * layers[:3]


def verdict_paste(results, seed):
    x, patch, mask, top, left, weights = desk(seed)
    untouched(results)
    found = tensor(results, "the images", like=x)
    whole, hard = torch.ones_like(mask), (mask > 0.5).to(mask)
    inside = pasted(torch.zeros_like(x), torch.ones_like(patch), mask, top, left)
    for value, what, hint in (
        (x, "the images as they were", "The patch is missing."),
        (
            pasted(x, patch, mask, left, top),
            "the patch with row and column exchanged",
            "The last two dimensions of an image are rows, then columns.",
        ),
        (
            pasted(x, patch, whole, top, left),
            "the whole rectangle of the patch",
            "Where the mask is 0, the image shows.",
        ),
        (pasted(x, patch, 1 - mask, top, left), "the mask inverted", "At 1 is the patch."),
        (
            pasted(x, patch, hard, top, left),
            "the patch with a hard edge",
            "Where the mask is one half, the colors mix half and half.",
        ),
        (
            pasted(x, patch * mask, whole, top, left),
            "the patch on black",
            "The image's share, 1 − m, is missing.",
        ),
        (
            x + pasted(torch.zeros_like(x), patch, mask, top, left),
            "the patch added to the image",
            "The image fades where the patch is: its share is 1 − m.",
        ),
    ):
        if matches(found, value):
            fail(f"this is {what}", hint)
    outside = inside == 0
    if not matches(found[outside], x[outside]):
        fail("pixels that the patch does not cover have changed", "They keep their values.")
    expected = pasted(x, patch, mask, top, left)
    close(found, expected, "the images", "(1 − m) x + m p, in the window of the patch")
    if get(results, "the gradient") is None:
        fail(
            "no gradient finds its way to the patch",
            "Stay with the tensor that you were given: no detach, no .data, no numbers.",
        )
    gradient = tensor(results, "the gradient", like=patch)
    height, width = mask.shape[1:]
    share = weights[:, :, top : top + height, left : left + width].sum(0) * mask
    close(gradient, share, "the gradient in the patch", "Each image passes on m of its own.")
    return "the patch lies where it should, its edge is soft, and a gradient reaches it"


# 11.4 Hear it ------------------------------------------------------------------------------------

RATE, CUTOFF, SQUARE = 48_000, 7_000.0, 0.3


def sounds(seed: int) -> list[Tensor]:
    """Sounds with tones on both sides of the cutoff and some noise; one has an odd length."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for length in (480, 481):
        t = torch.arange(length) / RATE
        tones = torch.tensor([900.0, 4_300.0, 15_000.0, 18_100.0])
        sizes = torch.rand(2, 4, 1, generator=draw) + 0.5
        wave = (sizes * torch.cos(2 * torch.pi * tones[:, None] * t)).sum(1, keepdim=True)
        found.append(wave + 0.1 * torch.randn(wave.shape, generator=draw))
    return found


def probe_hear(hear, seed):
    even, odd = sounds(seed)
    with watch(signal=even) as changes:
        found = hear(even, RATE, SQUARE, CUTOFF)
    return {"the recording": found, "of an odd length": hear(odd, RATE, SQUARE, CUTOFF),
            "changes": changes}  # fmt: skip


def low(wave: Tensor, keep_above: bool = False) -> Tensor:
    """What is below the cutoff, by a projection onto each frequency in double precision."""
    n = wave.shape[-1]
    turns = torch.arange(n, dtype=torch.float64)
    # Both halves of the spectrum: entry k has the frequency k or n − k, whichever is less.
    f = torch.minimum(turns, n - turns) * RATE / n
    kept = (f > CUTOFF) if keep_above else (f <= CUTOFF)
    return torch.fft.ifft(torch.fft.fft(wave.double()) * kept).real.to(wave)


def verdict_hear(results, seed):
    untouched(results)
    even, odd = sounds(seed)
    found = tensor(results, "the recording", dtype=even.dtype)
    amplified = even + SQUARE * even.square()
    if found.shape == even.shape:
        for value, what, hint in (
            (amplified, "the amplified sound, with all frequencies", "The low-pass is missing."),
            (low(even), "what a linear microphone records", "Where is the square?"),
            (
                low(even) + SQUARE * low(even).square(),
                "filtered before the amplifier",
                "The command is born in the amplifier. The filter comes after it.",
            ),
            (
                low(SQUARE * even.square()),
                "the square term alone",
                "The amplifier gives A s + B s², with A = 1.",
            ),
            (
                low(even + even.square() * SQUARE**2),
                "with the factor squared too",
                "B s², not (B s)².",
            ),
            (
                low(amplified, keep_above=True),
                "what lies above the cutoff",
                "A low-pass keeps the low ones.",
            ),
            (
                low(even + SQUARE * even.abs()),
                "with the absolute value in place of the square",
                "B s².",
            ),
        ):
            if matches(found, value, atol=1e-4):
                fail(f"this is {what}", hint)
    close(found, low(amplified), "the recording", "Square first, then the filter.", atol=1e-4)
    other = tensor(results, "of an odd length")
    if other.shape != odd.shape:
        fail(
            f"of {odd.shape[-1]} samples came back {other.shape[-1] if other.ndim else 0}",
            "torch.fft.irfft must be told how many samples to give back.",
        )
    expected = low(odd + SQUARE * odd.square())
    close(other, expected, "the recording of an odd length", atol=1e-4)
    return "the square makes the command, and the filter leaves nothing else"


EXERCISES = (
    Exercise("11.1", "The destruction rate", probe_destruction, verdict_destruction),
    Exercise("11.2", "The gradient through the world", probe_eot, verdict_eot),
    Exercise("11.3", "Paste a patch", probe_paste, verdict_paste),
    Exercise("11.4", "Hear it", probe_hear, verdict_hear),
)
