"""Whole data sets as tensors: ``data = load("mnist5k")``, then ``x, y = data.test``."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from .. import backend
from .dataset import Dataset, Split
from .embedded import mnist5k
from .files import cache_folder, data_folder
from .folder import folder
from .pictures import load_image
from .scenes import CLASSES as SCENE_CLASSES
from .scenes import PALETTE as SCENE_PALETTE
from .scenes import scenes, scenes_dataset
from .sign_faces import SIGN_CLASSES, SIGN_PALETTE, sign_face, sign_mask
from .signs import Roadside, signs, signs_dataset
from .speech import CLASSES as SPEECH_CLASSES
from .speech import speech, speech_dataset
from .vision import cifar10, fashion_mnist, gtsrb, import_torchvision, mnist

__all__ = [
    "NAMES",
    "SCENE_CLASSES",
    "SCENE_PALETTE",
    "SIGN_CLASSES",
    "SIGN_PALETTE",
    "SPEECH_CLASSES",
    "Dataset",
    "Roadside",
    "Split",
    "cache_folder",
    "data_folder",
    "import_torchvision",
    "is_there",
    "load",
    "load_image",
    "scenes",
    "sign_face",
    "sign_mask",
    "signs",
    "speech",
]

# What each name holds, and the folder below the root that it is looked for in.
NAMES = {
    "mnist5k": ("5,000 MNIST digits, installed with advlab, no network needed", None),
    "scenes": ("1,200 made street scenes, 48 x 96, a class for each pixel, no network", None),
    "signs": ("3,600 made photographs of road signs, 48 x 48, color, no network", None),
    "speech": ("1,500 spectrograms of made spoken commands, 32 x 32, no network", None),
    "mnist": ("70,000 digits, 28 x 28, gray", "MNIST/raw"),
    "fashion-mnist": ("70,000 pictures of clothes, 28 x 28, gray", "FashionMNIST/raw"),
    "cifar10": ("60,000 photographs, 32 x 32, color", "cifar-10-batches-py"),
    "gtsrb": ("39,270 road signs, 32 x 32, color", "gtsrb"),
}
_MADE = {
    "mnist5k": mnist5k,
    "scenes": scenes_dataset,
    "signs": signs_dataset,
    "speech": speech_dataset,
}
_DOWNLOADED = {"mnist": mnist, "fashion-mnist": fashion_mnist, "cifar10": cifar10, "gtsrb": gtsrb}


def load(
    name: str,
    root: str | os.PathLike | None = None,
    *,
    size: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Dataset:
    """A whole data set as tensors: images (N, C, H, W) float32 in [0, 1], labels (N,) int64.

    ``"mnist5k"`` is there without a network: 4,000 training and 1,000 test images of MNIST. So
    is ``"scenes"``, :func:`advlab.data.scenes`: its labels are maps of classes (N, H, W).
    And ``"signs"``, :func:`advlab.data.signs`: ten road signs, photographed; and ``"speech"``:
    spectrograms of ten spoken commands, made by :func:`advlab.data.speech`.
    ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` and ``"gtsrb"`` are read from the root, and
    downloaded to it the first time. ``"folder:PATH"`` reads your own images, from
    ``PATH/train/CLASS/`` and ``PATH/test/CLASS/``, or from ``PATH/CLASS/``, of which a fifth is
    then kept for testing.

    :param name: one of these names.
    :param root: the folder of the downloaded data sets; by default the environment variable
        ``ADVLAB_DATA``, else a folder in the user's cache (which ``ADVLAB_CACHE`` moves). A
        relative ``folder:PATH`` starts there only if ``root`` is given.
    :param size: for ``gtsrb`` and ``folder:``, resize every image to ``size`` × ``size``.
    :param seed: of the split of a folder without ``train`` and ``test``.
    :param device: where to put it; by default where :func:`advlab.backend.device` says.
    :raises ValueError: no such data set, or files that are damaged, incomplete or not alike; the
        message names the file.
    :raises OSError: the data are not there and cannot be downloaded; the message names the
        folder.
    """
    where = torch.device(device) if device is not None else backend.device()
    return _load(name, root, size, seed).to(where)


def _load(name: str, root: str | os.PathLike | None, size: int | None, seed: int) -> Dataset:
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size: expected a whole number, at least 1, found {size!r}")
    if name.startswith("folder:"):
        path = Path(name.removeprefix("folder:")).expanduser()
        return folder(Path(root or ".") / path, size=size, seed=seed)
    if name not in NAMES:
        known = ", ".join([*NAMES, "folder:PATH"])
        raise ValueError(f"data set: found {name!r}, expected one of {known}")
    if size is not None and name != "gtsrb":
        raise ValueError(f"size: is for gtsrb and folder:PATH; the images of {name} have one size")
    if name in _MADE:
        return _MADE[name]()
    return _DOWNLOADED[name](data_folder(root), **({"size": size} if name == "gtsrb" else {}))


def is_there(name: str, root: str | os.PathLike | None = None) -> bool:
    """Whether a data set's folder is on this machine, so that :func:`load` downloads nothing."""
    if name not in NAMES:
        raise ValueError(f"data set: found {name!r}, expected one of {', '.join(NAMES)}")
    below = NAMES[name][1]
    return below is None or (data_folder(root) / below).exists()
