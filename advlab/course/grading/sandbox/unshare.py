"""The next level: namespaces by util-linux, for machines without bubblewrap."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from . import tools
from .base import Box
from .rooted import Rooted
from .watch import FILES

SPACES = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup")
DEVICES = ("null", "zero", "full", "random", "urandom")
PROGRAMS = ("unshare", "mount", "pivot_root", "setsid", "sh", "env", "prlimit", "setpriv")
LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


class Unshare(Rooted):
    """The same new root as bubblewrap's, put together by ``mount`` in a script. The script's shell
    stays as the first process inside, out of the student's reach: when it ends, all end."""

    name = "unshare"

    def unavailable(self) -> str:
        return _unavailable()

    def prepare(self, box: Box) -> None:
        super().prepare(box)
        (box.run / "root").mkdir(mode=0o755, exist_ok=True)

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        # setpriv: unshare dies with its parent. --kill-child: the shell inside with unshare.
        outer = [tools.tool("env"), "-i", tools.tool("setpriv"), "--pdeathsig=KILL"]
        spaces = [*SPACES, "--propagation=private", "--fork", "--kill-child=KILL"]
        if os.getuid() != 0:
            spaces += ["--user", "--map-root-user"]
        return [
            *(*outer, tools.tool("unshare"), *spaces),
            *(tools.tool("sh"), "-euc", script(box), "sandbox", *tools.inner(box), *argv),
        ]


def script(box: Box) -> str:
    """What the first process inside does: builds the new root, moves there, runs its arguments."""
    root = box.run / "root"
    lines = [f"PATH={tools.PATH}", "umask 022"]
    lines += [
        f"mount -t tmpfs -o mode=755,size=1m new {shlex.quote(str(root))}",
        f"cd {shlex.quote(str(root))}",
    ]

    def folder(path: Path) -> None:
        lines.append(f"mkdir -p .{shlex.quote(str(path))}")

    def memory(path: Path, mode: str, size: int) -> None:
        folder(path)
        inside = shlex.quote(str(path))
        bounds = f"mode={mode},size={size},nr_inodes={FILES}"
        lines.append(f"mount -t tmpfs -o nosuid,nodev,{bounds} new .{inside}")

    def bind(path: Path, options: str = "ro,nosuid,nodev") -> None:
        inside = shlex.quote(str(path))
        if path.is_dir():
            folder(path)
        else:
            folder(path.parent)
            lines.append(f"[ -e .{inside} ] || : > .{inside}")
        lines.append(f"mount --bind {inside} .{inside}")
        lines.append(f"mount -o remount,bind,{options} .{inside}")

    for path in tools.system():
        if path.is_symlink():
            folder(path.parent)
            lines.append(f"ln -s {shlex.quote(os.readlink(path))} .{path}")
        else:
            bind(path)
    memory(Path("/dev"), "755", 2**16)
    for name in DEVICES:
        lines += [f": > dev/{name}", f"mount --bind /dev/{name} dev/{name}"]
    lines += [f"ln -s /proc/self/{link} dev/{name}" for name, link in LINKS.items()]
    memory(Path("/dev/shm"), "1777", box.limits.disk)
    memory(Path("/tmp"), "1777", box.limits.disk)

    masks = []
    for path, hidden in tools.view(box):
        if not hidden:
            bind(path)
        elif path.is_dir():
            memory(path, "555", 2**16)
            masks.append(path)
        else:
            lines.append(f"mount --bind /dev/null .{shlex.quote(str(path))}")

    memory(box.run, "755", 2**20)
    memory(box.scratch, "1777", box.limits.disk)
    for name in box.given:
        for parent in tools.below(box.scratch, box.scratch / name):
            folder(parent)
            lines.append(f"chmod 1777 .{shlex.quote(str(parent))}")
        bind(box.scratch / name)
    bind(box.sockets, "rw,nosuid,nodev")
    folder(box.connection.parent)
    inside = shlex.quote(str(box.connection))
    lines += [f"cat {inside} > .{inside}", f"chmod 444 .{inside}"]

    # The kernel lets nobody write to /proc/sys without its capability; read-only says so twice.
    lines += ["mkdir proc old", "mount -t proc -o nosuid,nodev,noexec proc proc"]
    if os.getuid() != 0:
        lines.append("echo 0 > proc/sys/user/max_user_namespaces")
    lines += ["mount --bind proc/sys proc/sys", "mount -o remount,bind,ro proc/sys"]
    lines += ["hostname sandbox" if tools.tool("hostname") else ":"]
    lines += ["pivot_root . old", "cd /", "umount -l old", "rmdir old"]
    for path in (*masks, box.run, Path("/dev"), Path("/")):
        lines.append(f"mount -o remount,bind,ro {shlex.quote(str(path))}")
    # Not exec: the shell stays the first process, and what the student leaves behind dies with it.
    # setsid: no terminal to type into.
    return "\n".join([*lines, "set +e", 'setsid "$@"', "exit $?"])


@functools.cache
def _unavailable() -> str:
    if absent := tools.missing(*PROGRAMS):
        return f"{absent}: install the packages util-linux and mount"
    wrong = tools.trial(Unshare())
    if not wrong:
        return ""
    return f"unshare does not work here ({wrong}); {tools.user_namespaces()}"
