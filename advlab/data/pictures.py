"""Image files of any format that Pillow reads, as one tensor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from .. import backend


def read_pictures(
    paths: Sequence[str], size: int | None, label: str, channels: int | None = None
) -> Tensor:
    """The pictures as bytes, (N, C, H, W).

    :param size: resize each to ``size`` × ``size``; None: they must all be of one size.
    :param label: of the progress bar, and in errors.
    :param channels: 1 (gray) or 3; by default 1 if all pictures are gray, else 3.
    :raises ValueError: a picture that cannot be decoded whole, or pictures of different sizes.
    """
    channels = channels or (1 if all_gray(paths) else 3)
    pictures = []
    for path in tqdm(paths, desc=label, unit="image", disable=len(paths) < 2000):
        picture = _decode(path, "L" if channels == 1 else "RGB")
        if size:
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        pictures.append(np.asarray(picture))
    if not size:
        _check_sizes(paths, [picture.shape[:2] for picture in pictures])
    stacked = torch.from_numpy(np.stack(pictures)).view(len(pictures), *pictures[0].shape[:2], -1)
    return stacked.permute(0, 3, 1, 2).contiguous()


def load_image(
    path: str | os.PathLike, size: int = 224, *, device: str | torch.device | None = None
) -> Tensor:
    """One picture in color as a batch of one, (1, 3, size, size) in [0, 1].

    Its middle square, resized: what networks trained on ImageNet expect.

    :param device: where to put it; by default where :func:`advlab.backend.device` says.
    :raises ValueError: the file cannot be read as an image.
    :raises OSError: the file is not there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    picture = ImageOps.fit(_decode(str(path), "RGB"), (size, size), Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    return image.to(device or backend.device())


def all_gray(paths: Sequence[str]) -> bool:
    """Whether no picture has colors. Only headers are read."""
    return all(_mode(path) in ("1", "L", "I;16") for path in paths)


def _mode(path: str) -> str:
    try:
        with Image.open(path) as picture:
            return picture.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error


def _decode(path: str, mode: str) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error


def _check_sizes(paths: Sequence[str], sizes: list[tuple[int, int]]) -> None:
    usual = max(set(sizes), key=sizes.count)
    odd = [(path, size) for path, size in zip(paths, sizes) if size != usual]
    if odd:
        shown = ", ".join(f"{path} ({h} x {w})" for path, (h, w) in odd[:5])
        more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        raise ValueError(
            f"expected images of one size; most are {usual[0]} x {usual[1]} (height x width), "
            f"but not {shown}{more}. Give size= to resize them all, for example size={usual[0]}"
        )
