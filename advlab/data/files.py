"""Where files are kept, and how they are written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import platformdirs
from torch import Tensor


def cache_folder() -> Path:
    """The folder for files that can be made again: ``ADVLAB_CACHE``, else the user's cache."""
    chosen = os.environ.get("ADVLAB_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("advlab")


def data_folder(root: str | os.PathLike | None = None) -> Path:
    """The folder of downloaded data sets: ``root``, else ``ADVLAB_DATA``, else in the cache."""
    chosen = root or os.environ.get("ADVLAB_DATA")
    return Path(chosen).expanduser() if chosen else cache_folder() / "data"


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new, never a part.

    Missing folders above it are made.

    :raises OSError: the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; give it a normal file's mode.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(part, 0o666 & ~umask)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def digest(tensors: Iterable[Tensor]) -> str:
    """The SHA-256 of the bytes of some tensors, in order, as 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
