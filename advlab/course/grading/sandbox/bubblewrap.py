"""The strongest level: bubblewrap. A new root of read-only folders, and namespaces of its own."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from . import tools
from .base import Box
from .rooted import Rooted

SPACES = ("pid", "net", "ipc", "uts")
# bwrap reads the connection file from this descriptor: what lies inside is a copy, whose owner and
# mode do not matter, and the file outside cannot be touched.
CONNECTION = "9"


class Bubblewrap(Rooted):
    """A root of its own, put together by ``bwrap``; own processes, own (empty) network."""

    name = "bubblewrap"

    def unavailable(self) -> str:
        return _unavailable()

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        return bwrap(box, [*tools.inner(box), *argv])


def bwrap(box: Box, argv: Sequence[str], *more: str) -> list[str]:
    """The command that runs ``argv`` in a box.

    :param more: arguments of bwrap's, besides those for the box.
    """
    # bwrap's own process, the first one inside, shall hold no variable of the grader either.
    feed = [tools.tool("env"), "-i", tools.tool("sh"), "-c"]
    feed += [f'exec "$@" {CONNECTION}< "$0"', str(box.connection)]
    return [*feed, tools.tool("bwrap"), *_options(box), *more, "--", *argv]


def _options(box: Box) -> list[str]:
    """bwrap's arguments for a box."""
    found = [f"--unshare-{space}" for space in SPACES]
    found += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
    if os.getuid() != 0:
        found += ["--unshare-user", "--disable-userns"]
        found += ["--uid", str(os.getuid()), "--gid", str(os.getgid())]
    found += ["--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    found += [*_tmpfs("/dev/shm", box.limits.disk), *_tmpfs("/tmp", box.limits.disk)]
    found += ["--perms", "0755", "--dir", "/etc"]
    for path in tools.system():
        found += ["--symlink", os.readlink(path), str(path)] if path.is_symlink() else _bind(path)

    masks = []
    for path, hidden in tools.view(box):
        if not hidden:
            found += [*_parents(path), *_bind(path)]
        elif not path.is_dir():
            found += ["--ro-bind", "/dev/null", str(path)]
        else:
            masks += ["--remount-ro", str(path)]
            found += [*_parents(path), "--perms", "0555", "--size", "65536", "--tmpfs", str(path)]

    found += [*_parents(box.run), "--perms", "0755", "--size", "65536", "--tmpfs", str(box.run)]
    found += _tmpfs(box.scratch, box.limits.disk)
    for name in box.given:
        path = box.scratch / name
        for parent in tools.below(box.scratch, path):
            found += ["--perms", "1777", "--dir", str(parent)]
        found += _bind(path)
    found += ["--bind", str(box.sockets), str(box.sockets)]
    found += ["--perms", "0755", "--dir", str(box.connection.parent)]
    found += ["--perms", "0444", "--ro-bind-data", CONNECTION, str(box.connection)]
    # What bwrap itself made (the root, /dev, the masks) belongs to the uid of an ordinary user.
    found += [*masks, "--remount-ro", str(box.run), "--remount-ro", "/dev", "--remount-ro", "/"]
    return found


def _bind(path: Path) -> list[str]:
    return ["--ro-bind", str(path), str(path)]


def _tmpfs(path: Path | str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", str(path)]


def _parents(path: Path) -> list[str]:
    """Folders on the way to a bind are made with modes that let another uid pass."""
    above = [parent for parent in reversed(path.parents) if str(parent) != "/"]
    return [word for parent in above for word in ("--perms", "0755", "--dir", str(parent))]


@functools.cache
def _unavailable() -> str:
    if absent := tools.missing("bwrap", "env", "sh", "prlimit", "setpriv"):
        return f"{absent}: install the packages bubblewrap and util-linux"
    wrong = tools.trial(Bubblewrap())
    if not wrong:
        return ""
    if "Unknown option" in wrong:
        return f"this bubblewrap is too old ({wrong}): install version 0.8 or newer"
    return f"bubblewrap does not work here ({wrong}); {tools.user_namespaces()}"
