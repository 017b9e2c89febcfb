"""What a printer can print: a palette, and how far an image is from it."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

# The color of each ink at full coverage, as the share of the paper's light that it sends back in
# red, green and blue. Real inks are not pure: cyan swallows some green, magenta some blue.
CYAN, MAGENTA, YELLOW = (0.00, 0.62, 0.88), (0.88, 0.06, 0.50), (1.00, 0.92, 0.06)
BLACK, PAPER = 0.10, 0.95  # the darkest and the lightest that matt paper shows


def printable_colors() -> Tensor:
    """30 colors that a common color printer can print, (30, 3) in [0, 1] as sRGB.

    Cyan, magenta and yellow, each at 0, half and full coverage a, one over the other:
    b + (p − b) Πᵢ (1 − aᵢ (1 − inkᵢ)), with b the black and p the paper; and three grays of black
    ink. It is an approximation by a formula, not a measured printer. For your own, print a chart
    of colors, photograph it in the light that counts, and give the colors that you read as
    ``palette`` (P, 3) to the functions here and to :class:`advlab.attacks.RP2`.
    """
    inks = torch.tensor([CYAN, MAGENTA, YELLOW])
    half = torch.tensor([0.0, 0.5, 1.0])
    coverage = torch.cartesian_prod(half, half, half)
    light = (1 - coverage[:, :, None] * (1 - inks)).prod(1)
    grays = torch.tensor([0.0, 0.3, 0.6])[:, None].expand(-1, 3)
    return BLACK + (PAPER - BLACK) * torch.cat([light, grays])


def black_and_white() -> Tensor:
    """The printer's black and its paper, (2, 3): stickers that need no color."""
    return torch.tensor([[BLACK] * 3, [PAPER] * 3])


def non_printability(
    x: Tensor, mask: Tensor | None = None, palette: Tensor | None = None
) -> Tensor:
    """The non-printability score of each image, (N,): 0 where all pixels are palette colors.

    The mean over the pixels p under the mask of Π_c ‖p − c‖₂ / u, over the colors c of the palette.
    Sharif et al. (2016) have the sum over pixels, and no u. Here u is the mean of the
    same product over all colors in [0, 1]: pixels of random colors score about 1 on average,
    whatever the palette and the number of pixels. Most of that 1 comes from the corners of the
    color cube, such as the screen's pure green, which are far from every color of the palette.
    Between the colors of the palette the product is small, and at them it is 0.

    Differentiable in x; at a color of the palette the product has a kink, and its slope is taken
    as 0 there.

    :param x: (N, C, H, W), in [0, 1].
    :param mask: (1, 1, H, W) of 0 and 1, the pixels that count; by default all. Without any, 0.
    :param palette: (P, C), the colors; by default :func:`advlab.attacks.printable_colors`.
    :raises ValueError: a palette that is not of colors of C channels in [0, 1], or a mask that is
        not of zeros and ones, of the size of x.
    """
    check_mask(mask, x)
    palette = palette_for(x, palette)
    pixels = pixels_under(x, mask)
    if not pixels.shape[1]:
        return x.new_zeros(len(x))
    # Each distance is divided by u^(1/P), so that the product neither under- nor overflows.
    unit = _unit(tuple(map(tuple, palette.tolist())))
    return (_distances(pixels, palette) / unit).prod(-1).mean(1)


def nearest_printable(
    x: Tensor, mask: Tensor | None = None, palette: Tensor | None = None
) -> Tensor:
    """Each pixel under the mask in the nearest color of the palette: what comes out of the printer.

    Pixels outside of the mask are as they were. The parameters are those of
    :func:`advlab.attacks.non_printability`.
    """
    check_mask(mask, x)
    palette = palette_for(x, palette)
    nearest = palette[_distances(pixels_under(x, None), palette).argmin(-1)]
    printed = nearest.movedim(-1, 1).reshape(x.shape)
    return printed if mask is None else torch.where(mask != 0, printed, x)


def check_mask(mask: Tensor | None, x: Tensor) -> None:
    """:raises ValueError: not (1, 1, H, W) of zeros and ones, of the size of x."""
    if mask is None:
        return
    expected = (1, 1, *x.shape[2:])
    if mask.shape != expected:
        raise ValueError(f"mask: expected shape {expected}, found {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask: expected zeros and ones; (mask > 0.5).float() makes them")


def palette_for(x: Tensor, palette: Tensor | None) -> Tensor:
    """The palette of that dtype and device; by default the printer's."""
    palette = printable_colors() if palette is None else palette
    if palette.ndim != 2 or not len(palette) or palette.shape[1] != x.shape[1]:
        raise ValueError(
            f"palette: expected (P, {x.shape[1]}) colors as x has {x.shape[1]} channels, "
            f"found {tuple(palette.shape)}"
        )
    if not (palette.min() >= 0 and palette.max() <= 1):
        raise ValueError("palette: expected values in [0, 1]")
    return palette.to(x)


def pixels_under(x: Tensor, mask: Tensor | None) -> Tensor:
    """(N, C, H, W) to the pixels of the mask, (N, M, C)."""
    pixels = x.flatten(2).mT
    return pixels if mask is None else pixels[:, mask.flatten() != 0]


def _distances(pixels: Tensor, palette: Tensor) -> Tensor:
    """(N, M, C) and (P, C) to (N, M, P)."""
    return torch.linalg.vector_norm(pixels[:, :, None] - palette, dim=-1)


@lru_cache(maxsize=8)
def _unit(palette: tuple[tuple[float, ...], ...]) -> float:
    """u^(1/P), with u the mean of the product over a grid of colors."""
    colors = torch.tensor(palette, dtype=torch.float64)
    level = (torch.arange(33, dtype=torch.float64) + 0.5) / 33
    grid = torch.cartesian_prod(*[level] * colors.shape[1]).view(-1, colors.shape[1])
    # By logarithms: the product of hundreds of small numbers would underflow.
    logs = torch.cdist(grid, colors).clamp_min(1e-12).log().sum(1)
    return math.exp((logs.logsumexp(0).item() - math.log(len(grid))) / len(colors))
