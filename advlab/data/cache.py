"""What takes seconds to make is kept in the cache folder, and made again where it is damaged."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .dataset import Dataset, Split, as_images
from .files import cache_folder, digest, write_atomically

NAMES = ("x_train", "y_train", "x_test", "y_test")


def cached(name: str, classes: tuple[str, ...], make: Callable[[], Dataset]) -> Dataset:
    """The data set that ``make`` gives; from the cache folder, if it was made before.

    It is made anew where the code that draws images, torch or NumPy is another, or the file is
    damaged.

    :param name: of the data set, and of the file.
    :param classes: the name of each class number.
    :param make: gives the data set. Images of 256 levels are kept as bytes, others as they are.
    """
    path, key = cache_folder() / f"{name}.safetensors", _key()
    tensors = _read(path, key)
    if tensors is None:
        data = make()
        tensors = dict(zip(NAMES, map(_packed, (*data.train, *data.test)), strict=True))
        sha = torch.frombuffer(bytearray.fromhex(key + _digest(tensors)), dtype=torch.uint8)
        keep(path, safetensors.torch.save({**tensors, "sha256": sha}))
        return data
    x, y, x_test, y_test = (_unpacked(tensors[each]) for each in NAMES)
    return Dataset(name, Split(x, y), Split(x_test, y_test), classes)


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache; where that cannot be, warn and go on without."""
    try:
        write_atomically(path, content)
    except OSError as error:
        warnings.warn(
            f"{path.stem} could not be cached ({error}), so each load takes seconds; "
            "set ADVLAB_CACHE to a folder that can be written",
            stacklevel=4,
        )


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """The cached tensors; None where there are none, they are damaged, or of other code."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        whole = tensors["sha256"].numpy().tobytes().hex() == key + _digest(tensors)
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return tensors if whole else None


def _key() -> str:
    """Of everything that decides on made images."""
    sha = hashlib.sha256(f"torch {version('torch')}, numpy {version('numpy')}".encode())
    package = Path(__file__).parents[1]
    for path in sorted([*package.glob("data/*.py"), *package.glob("transforms/*.py")]):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def _digest(tensors: dict[str, Tensor]) -> str:
    return digest(tensors[name] for name in NAMES)


def _packed(tensor: Tensor) -> Tensor:
    """Images of 256 levels as bytes, other tensors as they are."""
    tensor = tensor.contiguous()
    if not tensor.is_floating_point():
        return tensor
    levels = (255 * tensor).round_().to(torch.uint8)
    return levels if torch.equal(as_images(levels), tensor) else tensor


def _unpacked(tensor: Tensor) -> Tensor:
    return as_images(tensor) if tensor.dtype == torch.uint8 else tensor
