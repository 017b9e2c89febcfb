"""Printable colors: the score by brute force, zero on the palette, and its slope."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from advlab.attacks import black_and_white, nearest_printable, non_printability, printable_colors

from .conftest import images


def faces(n=3, side=6):
    return images(n, channels=3, size=(side, side))


def product(pixel, palette) -> float:
    """Sharif et al.'s product for one pixel, color by color."""
    return math.prod(math.dist(pixel.tolist(), color.tolist()) for color in palette)


def painted_with(palette, side=6):
    """An image all of whose pixels are colors of the palette."""
    index = torch.arange(side * side) % len(palette)
    return palette[index].T.reshape(1, 3, side, side).double()


def test_the_printer_s_colors():
    palette = printable_colors()
    assert palette.shape == (30, 3)
    assert palette.min() >= 0.05
    assert palette.max() <= 0.96
    assert len({tuple(color) for color in palette.tolist()}) == 30
    # Paper is among them, and black; no printer has the screen's pure green or blue.
    assert torch.cdist(black_and_white(), palette).amin(1).max() < 1e-6
    assert torch.cdist(torch.tensor([[0.0, 1, 0], [0, 0, 1]]), palette).amin(1).min() > 0.3


def test_zero_on_the_palette_and_above_off_it():
    palette = printable_colors()
    x = painted_with(palette)
    assert non_printability(x, palette=palette.double()).item() == 0
    assert non_printability((x + 0.01).clamp(0, 1), palette=palette.double()).item() > 0
    assert (non_printability(faces()) > 0).all()
    # From a printer's green to the screen's.
    green = palette[(palette[:, 1] - palette[:, 0] - palette[:, 2]).argmax()]
    way = [torch.lerp(green, torch.tensor([0.0, 1, 0]), t).view(1, 3, 1, 1) for t in (0, 0.5, 1)]
    scores = [non_printability(color).item() for color in way]
    assert scores[0] == 0 < scores[1] < 0.5 * scores[2]


def test_equal_to_the_product_by_brute_force():
    palette, x = printable_colors().double(), faces()
    mask = (images(1, channels=1, size=(6, 6), seed=3) > 0.5).double()
    found = non_printability(x, mask, palette)
    level = (torch.arange(33).double() + 0.5) / 33
    cube = torch.cartesian_prod(level, level, level)
    unit = (cube[:, None] - palette).norm(dim=2).prod(1).mean().item()
    for image, score in zip(x, found, strict=True):
        pixels = [image[:, v, u] for v, u in mask[0, 0].nonzero().tolist()]
        mean = sum(product(pixel, palette) for pixel in pixels) / len(pixels)
        assert score.item() == pytest.approx(mean / unit, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 10, 30])
def test_random_colors_score_about_one_whatever_the_palette(count):
    palette = torch.rand(count, 3, generator=torch.Generator().manual_seed(1))
    x = torch.rand(1, 3, 150, 150, generator=torch.Generator().manual_seed(2))
    score = non_printability(x, palette=palette)
    assert score.dtype == torch.float32
    assert score.item() == pytest.approx(1, rel=0.3)


def test_hundreds_of_colors_do_no_harm():
    palette = torch.rand(300, 3, generator=torch.Generator().manual_seed(1))
    x = faces().float().requires_grad_(True)
    score = non_printability(x, palette=palette)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    assert score.isfinite().all()
    assert gradient.isfinite().all()


def test_the_gradient_is_right_and_finite_on_the_palette():
    x = faces(2, 3).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: non_printability(x), x)
    on = painted_with(printable_colors()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(non_printability(on).sum(), on)
    assert gradient.isfinite().all()


def test_descending_it_leads_to_printable_colors():
    x = faces(1, 8).double()
    start = non_printability(x).item()
    for _ in range(200):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(non_printability(x).sum(), x)
        x = (x.detach() - 0.005 * gradient.sign()).clamp(0, 1)
    assert non_printability(x).item() < 0.1 * start
    assert (x - nearest_printable(x)).abs().mean() < 0.02


def test_only_pixels_under_the_mask_count():
    x = faces(1)
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., :2] = 1
    other = torch.where(mask != 0, x, 1 - x)
    assert non_printability(x, mask) == non_printability(other, mask)
    assert non_printability(x) != non_printability(other)
    assert non_printability(x, torch.zeros_like(mask)).item() == 0
    printed = nearest_printable(x, mask)
    assert torch.equal(printed[..., 2:], x[..., 2:])
    assert not torch.equal(printed[..., :2], x[..., :2])


def test_nearest_by_brute_force():
    palette, x = printable_colors().double(), faces(2)
    printed = nearest_printable(x)
    for image, out in zip(x, printed, strict=True):
        for v, u in itertools.product(range(6), repeat=2):
            color = min(palette, key=lambda c: math.dist(c.tolist(), image[:, v, u].tolist()))
            assert torch.equal(out[:, v, u], color)
    assert torch.equal(nearest_printable(printed), printed)
    assert non_printability(printed).max() == 0


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        (torch.zeros(4), r"expected \(P, 3\)"),
        (torch.zeros(0, 3), r"expected \(P, 3\)"),
        (torch.zeros(4, 1), r"expected \(P, 3\)"),
        (torch.full((4, 3), 255.0), r"\[0, 1\]"),
        (torch.full((4, 3), torch.nan), r"\[0, 1\]"),
    ],
)
def test_palettes_that_are_none(palette, message):
    with pytest.raises(ValueError, match=message):
        non_printability(faces(), palette=palette)
    with pytest.raises(ValueError, match=message):
        nearest_printable(faces(), palette=palette)


@pytest.mark.parametrize("measure", [non_printability, nearest_printable])
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 1, 5, 6), r"mask: expected shape \(1, 1, 6, 6\), found \(1, 1, 5, 6\)"),
        (torch.ones(3, 1, 6, 6), r"mask: expected shape \(1, 1, 6, 6\), found \(3, 1, 6, 6\)"),
        (torch.full((1, 1, 6, 6), 0.5), "mask: expected zeros and ones"),
        (torch.full((1, 1, 6, 6), torch.nan), "mask: expected zeros and ones"),
    ],
)
def test_masks_that_are_none(measure, mask, message):
    with pytest.raises(ValueError, match=message):
        measure(faces(), mask)


def test_gray_images_need_their_own_palette():
    x = images(2, channels=1, size=(4, 4))
    with pytest.raises(ValueError, match=r"expected \(P, 1\)"):
        non_printability(x)
    ink = torch.tensor([[0.1], [0.9]])
    assert set(nearest_printable(x, palette=ink).unique().tolist()) == set(
        ink.to(x).flatten().tolist()
    )
