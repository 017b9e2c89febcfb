"""``folder:PATH``: your own images, in one folder a class."""

from __future__ import annotations

from pathlib import Path

import torch

from ..backend import generator
from .dataset import Dataset, Split, as_images
from .pictures import all_gray, read_pictures
from .vision import import_torchvision

Samples = list[tuple[str, int]]


def folder(path: Path, size: int | None = None, seed: int = 0) -> Dataset:
    """``PATH/train/CLASS/…`` and ``PATH/test/CLASS/…``, or ``PATH/CLASS/…`` split by the seed.

    Without ``train`` and ``test``, a fifth of each class (at least one image) is for testing.
    All images are gray, or all are read in color; they keep their size if it is one size.

    :param size: resize every image to ``size`` × ``size``.
    :raises OSError: there is no such folder, or a class without images.
    :raises ValueError: an image that cannot be read, images of different sizes (``size=``
        resizes them), classes that differ between ``train`` and ``test``, or a class with
        fewer than two images where one folder is to be split.
    """
    name = f"folder:{path}"
    if not path.is_dir():
        raise FileNotFoundError(f"{name}: there is no such folder")
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, classes = _samples(path / "train")
        test, in_test = _samples(path / "test")
        if classes != in_test:
            odd = sorted(set(classes) ^ set(in_test))
            raise ValueError(
                f"{name}: expected the same classes in train and test; found in one of them only: "
                f"{', '.join(odd)}"
            )
    else:
        samples, classes = _samples(path)
        train, test = _split(name, samples, classes, seed)
    both = train + test
    channels = 1 if all_gray([file for file, _ in both]) else 3
    x = as_images(read_pictures([file for file, _ in both], size, name, channels))
    y = torch.tensor([label for _, label in both], dtype=torch.int64)
    cut = len(train)
    return Dataset(name, Split(x[:cut], y[:cut]), Split(x[cut:], y[cut:]), tuple(classes))


def _samples(path: Path) -> tuple[Samples, list[str]]:
    found = import_torchvision().datasets.ImageFolder(str(path))
    return found.samples, found.classes


def _split(name: str, samples: Samples, classes: list[str], seed: int) -> tuple[Samples, Samples]:
    random = generator(seed)
    train, test = [], []
    for label, title in enumerate(classes):
        mine = [sample for sample in samples if sample[1] == label]
        if len(mine) < 2:
            raise ValueError(
                f"{name}: class {title!r} has {len(mine)} image, expected at least 2: one to "
                "learn from and one to test on"
            )
        order = torch.randperm(len(mine), generator=random).tolist()
        cut = max(1, len(mine) // 5)
        test += [mine[i] for i in order[:cut]]
        train += [mine[i] for i in order[cut:]]
    return train, test
