"""Temporary folders of the grader. A student's code may leave anything in them, and a grader that
was killed leaves the folder itself: so their names say whose they are."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_NAME = re.compile(r"advlab-(\d{1,9})-")


def make() -> Path:
    """A new folder of this process, to be removed with :func:`remove`.

    :raises OSError: it cannot be made.
    """
    return Path(tempfile.mkdtemp(prefix=f"advlab-{os.getpid()}-"))


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder, removed at the end."""
    made = make()
    try:
        yield made
    finally:
        remove(made)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, if that can be done."""
    # rm goes down where Python's own way is too deep for its stack.
    _run("rm", "-rf", "--", path)
    if path.exists():  # a folder in it is closed to its owner
        _run("chmod", "-R", "u+rwx", "--", path)
        _run("rm", "-rf", "--", path)
    if path.exists():  # no process could be started
        with suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)


def _run(*command: str | Path) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with suppress(OSError):
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **quiet)


def sweep() -> None:
    """Remove what this user's graders left in the temporary folder when they were killed."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            owner = _NAME.match(entry.name)
            if owner and _is_own(entry) and not psutil.pid_exists(int(owner[1])):
                remove(Path(entry.path))


def _is_own(entry: os.DirEntry) -> bool:
    with suppress(FileNotFoundError):  # somebody else sweeps too
        about = entry.stat(follow_symlinks=False)
        own = not hasattr(os, "getuid") or about.st_uid == os.getuid()  # Windows has no such number
        return stat.S_ISDIR(about.st_mode) and own
    return False
