"""MNIST, Fashion-MNIST, CIFAR-10 and GTSRB, as torchvision stores and downloads them.

A folder is downloaded under another name, and gets its own when it is whole. A folder that is
there is checked before a byte of it is used.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .dataset import Dataset, Split, as_images
from .pictures import read_pictures

# Of the unpacked files; torchvision knows only those of the archives.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
GTSRB_COUNTS = {"train": 26_640, "test": 12_630}
GTSRB_CLASSES = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70",
    "speed limit 80", "end of speed limit 80", "speed limit 100", "speed limit 120",
    "no passing", "no passing for trucks", "right of way at next crossing", "priority road",
    "yield", "stop", "no vehicles", "no trucks", "no entry", "danger", "curve left",
    "curve right", "double curve", "bumpy road", "slippery road", "road narrows on the right",
    "road work", "traffic signals", "pedestrians", "children", "bicycles", "ice or snow",
    "wild animals", "end of all limits", "turn right", "turn left", "straight ahead",
    "straight or right", "straight or left", "keep right", "keep left", "roundabout",
    "end of no passing", "end of no passing for trucks",
)  # fmt: skip

_schemas: list[torch.library.Library] = []  # torch forgets the schemas of a library that is gone


def import_torchvision() -> ModuleType:
    """torchvision, also where its compiled part does not fit the torch that is installed.

    A torchvision that was built for CUDA, on a torch without it, fails at import for want of two
    operators. Declared by name they let it be imported: data sets, transforms and models then
    work, ``torchvision.ops`` and compiled image decoding do not.

    :raises ImportError: torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.append(library)
    return importlib.import_module("torchvision")


def mnist(root: Path) -> Dataset:
    """The whole of MNIST: 60,000 training and 10,000 test images of digits, 28 × 28."""
    return _idx("mnist", root, "MNIST", MNIST_MD5, tuple("0123456789"))


def fashion_mnist(root: Path) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 × 28."""
    classes = (
        "T-shirt/top", "trouser", "pullover", "dress", "coat",
        "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip
    return _idx("fashion-mnist", root, "FashionMNIST", {}, classes)


def _idx(
    name: str, root: Path, kind: str, md5: dict[str, str], classes: tuple[str, ...]
) -> Dataset:
    """A data set in MNIST's own format: images and labels in ``root/kind/raw``."""
    torchvision = import_torchvision()
    loader = getattr(torchvision.datasets, kind)
    _fetch(name, root, kind, lambda part: loader(part, download=True))
    splits = []
    for split in ("train", "t10k"):
        images = root / kind / "raw" / f"{split}-images-idx3-ubyte"
        labels = root / kind / "raw" / f"{split}-labels-idx1-ubyte"
        for path, dimensions in ((images, 3), (labels, 1)):
            _check_idx(name, path, dimensions)
            _check_md5(name, path, md5.get(path.name))
        x = torchvision.datasets.mnist.read_image_file(str(images))[:, None]
        y = torchvision.datasets.mnist.read_label_file(str(labels))
        if len(x) != len(y):
            raise ValueError(f"{name}: {images} holds {len(x)} images, {labels} {len(y)} labels")
        _check_classes(name, labels, y, len(classes))
        splits.append(Split(as_images(x), y))
    return Dataset(name, *splits, classes)


def cifar10(root: Path) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test photographs in color, 32 × 32, ten classes."""
    loader = import_torchvision().datasets.CIFAR10
    folder = loader.base_folder
    _fetch("cifar10", root, folder, lambda part: loader(part, download=True))
    files = [*loader.train_list, *loader.test_list, [loader.meta["filename"], loader.meta["md5"]]]
    for file, md5 in files:
        _check_md5("cifar10", root / folder / file, md5)
    # torchvision unpickles these files; their MD5 shows that they are the ones of the authors.
    splits, sets = [], [loader(root, train=True), loader(root, train=False)]
    for data in sets:
        x = torch.from_numpy(np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)))
        splits.append(Split(as_images(x), torch.tensor(data.targets, dtype=torch.int64)))
    return Dataset("cifar10", *splits, tuple(sets[0].classes))


def gtsrb(root: Path, size: int | None = None) -> Dataset:
    """GTSRB: 26,640 training and 12,630 test photographs of German road signs, 43 classes.

    The photographs are of many sizes; they are resized to ``size``, by default 32 × 32.
    """
    datasets = import_torchvision().datasets

    def download(part: str) -> None:
        for split in ("train", "test"):
            datasets.GTSRB(part, split=split, download=True)

    _fetch("gtsrb", root, "gtsrb", download)
    train = root / "gtsrb" / "GTSRB" / "Training"
    test = root / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    table = root / "gtsrb" / "GT-final_test.csv"
    for path in (train, test, table):
        if not path.exists():
            raise _broken("gtsrb", path, "is missing")
    found = {"train": datasets.ImageFolder(str(train)).samples}
    with open(table, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=";", skipinitialspace=True)
        try:
            found["test"] = [(str(test / row["Filename"]), int(row["ClassId"])) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise _broken("gtsrb", table, f"cannot be read ({error})") from error
    splits = []
    for split, samples in found.items():
        if len(samples) != GTSRB_COUNTS[split]:
            what = f"holds {len(samples)} images, expected {GTSRB_COUNTS[split]}"
            raise _broken("gtsrb", train if split == "train" else table, what)
        x = read_pictures([path for path, _ in samples], size or 32, f"gtsrb {split}")
        y = torch.tensor([label for _, label in samples], dtype=torch.int64)
        _check_classes("gtsrb", table if split == "test" else train, y, len(GTSRB_CLASSES))
        splits.append(Split(as_images(x), y))
    return Dataset("gtsrb", *splits, GTSRB_CLASSES)


def _fetch(name: str, root: Path, folder: str, download: Callable[[str], object]) -> None:
    """Download ``root/folder`` where it is not there: whole, or not at all."""
    if (root / folder).exists():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{folder}-") as part:
            download(part)
            os.replace(Path(part) / folder, root / folder)
    except (OSError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileNotFoundError(
            f"{name}: not found in {root / folder}, and it could not be downloaded ({reason}). "
            "Without a network use the embedded images, 'mnist5k', or set ADVLAB_DATA to the "
            "folder that holds the data"
        ) from None  # ten frames of urllib say no more than the reason does


def _check_idx(name: str, path: Path, dimensions: int) -> None:
    """MNIST's format: 0, 0, 8 (bytes), the number of dimensions; each as 4 bytes; then the data."""
    if not path.is_file():
        raise _broken(name, path, "is missing")
    start = 4 + 4 * dimensions
    with open(path, "rb") as file:
        header = file.read(start)
    if len(header) < start or header[:4] != bytes([0, 0, 8, dimensions]):
        raise _broken(name, path, f"does not begin as an idx{dimensions} file of bytes does")
    shape = np.frombuffer(header, ">u4", offset=4).astype(int)
    if dimensions == 3 and tuple(shape[1:]) != (28, 28):
        raise _broken(name, path, f"holds images of {shape[1]} x {shape[2]}, expected 28 x 28")
    expected, found = start + int(shape.prod()), path.stat().st_size
    if found != expected:
        raise _broken(name, path, f"has {found} bytes, expected {expected}")


def _check_md5(name: str, path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise _broken(name, path, "is missing")
    if expected is None:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise _broken(name, path, f"has MD5 {found}, expected {expected}")


def _check_classes(name: str, path: Path, y: Tensor, classes: int) -> None:
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        what = f"holds labels from {y.min()} to {y.max()}, expected 0 to {classes - 1}"
        raise _broken(name, path, what)


def _broken(name: str, path: Path, what: str) -> ValueError:
    return ValueError(
        f"{name}: {path} {what}. Nothing of it was loaded; delete the data set's folder and load "
        "it again to download it anew"
    )
