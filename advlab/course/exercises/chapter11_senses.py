"""Exercises of chapter 11, the second half: paste a patch, hear the ultrasound."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import close, fail, get, matches, tensor, untouched, watch

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


def low(wave: Tensor, keep: Callable[[Tensor], Tensor] = lambda f: f <= CUTOFF) -> Tensor:
    """What is below the cutoff, by a projection onto each frequency in double precision."""
    n = wave.shape[-1]
    turns = torch.arange(n, dtype=torch.float64)
    # Both halves of the spectrum: entry k has the frequency k or n − k, whichever is less.
    f = torch.minimum(turns, n - turns) * RATE / n
    return torch.fft.ifft(torch.fft.fft(wave.double()) * keep(f)).real.to(wave)


def verdict_hear(results, seed):
    untouched(results)
    even, odd = sounds(seed)
    found = tensor(results, "the recording", dtype=even.dtype)
    amplified = even + SQUARE * even.square()
    if found.ndim == 3 and found.shape[-1] < even.shape[-1]:
        fail(
            f"of {even.shape[-1]} samples came back {found.shape[-1]}",
            "Set what is above the cutoff to 0, and leave it in the spectrum.",
        )
    if found.shape == even.shape:
        for value, what, hint in (
            (
                amplified,
                "the amplified sound, with all frequencies",
                "Is there a low-pass, and are its frequencies in Hz? The spacing of samples is "
                "1 / rate, and the number of an entry is not its frequency.",
            ),
            (
                low(even + even.square()),
                "with B = 1",
                "The amplifier gives A s + B s², with B = square.",
            ),
            (
                low(amplified, lambda f: f < CUTOFF),
                "without the frequency at the cutoff",
                "Only those above it are set to 0.",
            ),
            (
                low(amplified, lambda f: (f > 0) & (f <= CUTOFF)),
                "without 0 Hz",
                "A low-pass keeps the constant part too.",
            ),
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
                low(amplified, lambda f: f > CUTOFF),
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
