"""Results on the disk: a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ...data.files import write_atomically
from .results import Result


class Store:
    """A folder of results, a file each, written whole or not at all.

    :param folder: made where there is none.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def get(self, key: str) -> Result | None:
        """The result of this key; None where there is none, or where the file was changed."""
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
            if found["sha256"] == _digest(key, found["result"]):
                return Result.from_json(found["result"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # graded again
        return None

    def put(self, key: str, result: Result) -> None:
        """Keep a result.

        :raises OSError: the folder cannot be written, or the disk is full.
        """
        content = result.to_json()
        found = {"sha256": _digest(key, content), "result": content}
        write(self._path(key), json.dumps(found, indent=1).encode())

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def write(path: Path, content: bytes) -> None:
    """A file of the report, written whole or not at all.

    :raises OSError: it cannot be written; the message says what is kept.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise OSError(
            f"{path}: it cannot be written ({error.strerror or error}); results graded so far are "
            "kept, and the same command goes on from there"
        ) from error


def _digest(key: str, result: dict) -> str:
    text = json.dumps([key, result], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
