"""The codec against Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from advlab.transforms import JPEG, SharedDraws
from advlab.transforms.jpeg import CHROMINANCE, LUMINANCE, cosines, step_table


def pictures(channels, size=(37, 51), detail=4):
    """Clouds with fine texture: smooth enough that color subsampling is not all that counts."""
    source = torch.Generator().manual_seed(2)
    coarse = torch.rand(3, channels, *(n // detail + 1 for n in size), generator=source)
    x = F.interpolate(coarse, size=size, mode="bicubic")
    x = x + 0.05 * torch.randn(x.shape, generator=source)
    return (x.clamp(0, 1) * 255).round() / 255


def saved(x, quality, subsampling):
    """Each picture through Pillow's codec, and the file's tables."""
    out, tables = [], None
    for image in x:
        levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(levels.squeeze()).save(
            file, "JPEG", quality=quality, subsampling=subsampling
        )
        opened = Image.open(file)
        tables = opened.quantization
        out.append(torch.from_numpy(np.array(opened)).view(*levels.shape).permute(2, 0, 1))
    return torch.stack(out).float() / 255, tables


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 100])
@pytest.mark.parametrize("size", [(37, 51), (48, 48)])
@pytest.mark.parametrize(
    ("channels", "subsampling", "levels"),
    [(1, "4:2:0", 0.25), (3, "4:4:4", 0.45), (3, "4:2:0", 0.45)],
)
def test_it_agrees_with_pillow(quality, size, channels, subsampling, levels, device):
    x = pictures(channels, size)
    ours = JPEG(quality=quality, subsampling=subsampling).sample(x.to(device)).cpu()
    pillows, _ = saved(x, quality, subsampling)
    apart = 255 * (ours - pillows).abs().mean().item()
    assert apart < levels
    # What compression changes is more than that, so the test would see a codec that does nothing.
    assert quality == 100 or 255 * (x - pillows).abs().mean().item() > 2 * apart


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_the_tables_are_those_in_the_file(quality):
    _, tables = saved(pictures(3), quality, "4:4:4")
    for table, found in zip((LUMINANCE, CHROMINANCE), (tables[0], tables[1]), strict=True):
        steps = step_table(table, torch.tensor([float(quality)]))
        assert steps[0].tolist() == list(found)


def test_the_cosine_transform_is_orthogonal():
    basis = cosines(torch.zeros(1, dtype=torch.float64))
    assert torch.allclose(basis @ basis.mT, torch.eye(64).double())
    assert torch.allclose(basis[0], torch.full((64,), 1 / 8).double())


def test_the_gradient_passes_the_roundings():
    # Without rounding, 4:4:4 is the identity, and straight through is its gradient.
    x = pictures(3)
    x.requires_grad_()
    out = JPEG(quality=30, subsampling="4:4:4").apply(x, SharedDraws(0).for_copies(x, 1))
    towards = torch.randn(x.shape)
    (gradient,) = torch.autograd.grad(out, x, towards)
    inside = (slice(None), slice(None), slice(0, 32), slice(0, 48))  # not the padded blocks
    assert torch.allclose(gradient[inside], towards[inside], atol=1e-4)


def test_qualities_are_whole_and_reach_both_ends():
    x = pictures(1)[:1].repeat(80, 1, 1, 1)
    x[:, 0, 0, 0] = torch.arange(80) / 255  # 80 images with streams of their own
    drawn = JPEG(quality=(30, 32)).sample(x)
    fixed = [JPEG(quality=q).sample(x) for q in (30, 31, 32)]
    same = torch.stack([(drawn == f).flatten(1).all(1) for f in fixed])
    assert same.any(0).all()
    assert (same.sum(1) > 5).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (8, 8), (9, 17)])
def test_any_size(size):
    x = torch.rand(2, 3, *size)
    for subsampling in ("4:2:0", "4:4:4"):
        assert JPEG(quality=100, subsampling=subsampling).sample(x).shape == x.shape
    flat = torch.full((1, 3, *size), 100 / 255)
    assert torch.allclose(JPEG(quality=90).sample(flat), flat, atol=1.01 / 255)


def test_the_ends_of_a_range_come_half_as_often():
    quality = [0, 0, 0]
    flat = torch.full((1, 1, 8, 8), 0.5)
    flat[..., 0] = 0.8
    x = flat.repeat(4000, 1, 1, 1)
    out = JPEG(quality=(3, 5)).apply(x, SharedDraws(0).for_copies(flat, len(x)))
    for i, q in enumerate((3, 4, 5)):
        quality[i] = (out == JPEG(quality=q).sample(flat)).flatten(1).all(1).double().mean().item()
    assert quality == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="expected 1 or 3 channels, found 2"):
        JPEG().sample(torch.rand(1, 2, 8, 8))
