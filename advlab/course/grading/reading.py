"""Reading one file of somebody else's folder: no link is followed, nothing is waited for."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

LARGEST = 20 * 10**6  # bytes

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_OPEN = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_DESCENDS = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd


class Unreadable(ValueError):
    """A file that is not read: why, in a sentence."""


def read_file(path: Path, folder: Path) -> tuple[bytes, datetime | None]:
    """The bytes of a regular file in a folder, and when it was last changed.

    Each part of the path below the folder is opened on its own and refused where it is a link, so
    that a link put there after the files were listed is not followed either.

    :param path: below ``folder``.
    :param folder: trusted: it may itself be a link.
    :raises Unreadable: a link, a special file, one that is too large, gone, or not to be read.
    """
    path, folder = Path(path), Path(folder)
    if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
        raise Unreadable("its path climbs out of the folder")
    try:
        return _read(path.relative_to(folder).parts, folder)
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror})") from None


def _read(parts: tuple[str, ...], folder: Path) -> tuple[bytes, datetime | None]:
    opened: list[int] = []
    try:
        where = None
        if _DESCENDS:
            opened.append(where := os.open(folder, _FOLDER))
        for n, part in enumerate(parts, 1):
            at = part if _DESCENDS else str(folder.joinpath(*parts[:n]))
            last = n == len(parts)
            # Asked before it is opened, because opening a device may already do something; and
            # once more after, because it may be another file by then.
            _check(os.stat(at, dir_fd=where, follow_symlinks=False), last)
            if last:
                opened.append(os.open(at, _OPEN, dir_fd=where))
            elif _DESCENDS:
                opened.append(where := os.open(at, _FOLDER | _NOFOLLOW, dir_fd=where))
        state = os.fstat(opened[-1])
        _check(state, True)
        with os.fdopen(opened.pop(), "rb") as file:
            data = file.read(LARGEST + 1)
    finally:
        for handle in opened:
            os.close(handle)
    if len(data) > LARGEST:
        raise Unreadable(f"larger than {LARGEST // 10**6} MB")
    return data, _time(state.st_mtime)


def _check(state: os.stat_result, last: bool) -> None:
    if stat.S_ISLNK(state.st_mode):
        raise Unreadable("a symbolic link, and links are not followed")
    if last and not stat.S_ISREG(state.st_mode):
        raise Unreadable("not a file but a folder, a pipe or a device")
    if last and state.st_size > LARGEST:
        raise Unreadable(
            f"{state.st_size / 10**6:,.0f} MB, and at most {LARGEST // 10**6} MB are "
            "read: clear the outputs, save it, and hand it in again"
        )


def _time(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None  # a date that no calendar has
