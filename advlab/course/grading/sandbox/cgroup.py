"""A cgroup for one submission, where the grader may make one: the kernel itself then holds its
memory and its processes down. Elsewhere the watchdog does it alone."""

from __future__ import annotations

import functools
import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..settings import Limits

_number = itertools.count()
_NEEDED = ("memory", "pids")


def _mounts() -> dict[str, tuple[str, Path]]:
    """Controller → (the part of its hierarchy that is mounted, where); version 2 is ``""``."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        root, where = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2":
            found[""] = (root, Path(where))
        elif kind == "cgroup":
            for name in options.split(","):
                found.setdefault(name, (root, Path(where)))
    return found


def _own() -> dict[str, Path]:
    """Controller → the folder of the cgroup that the grader is in."""
    mounts, found = _mounts(), {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name not in mounts:
                continue
            root, where = mounts[name]
            inside = os.path.relpath(path, root)
            if not inside.startswith(".."):
                found[name] = where / inside
    return found


def _write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(str(value))


def _counts(file: Path) -> dict[str, int]:
    """A file of lines ``name number``; empty when it cannot be read."""
    try:
        pairs = (line.split() for line in file.read_text().splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except (OSError, ValueError):
        return {}


def _parents() -> list[dict[str, Path]]:
    """Where a cgroup could be made, the best first: controller → folder."""
    own, found = _own(), []
    if "" in own:
        # In version 2 a group with processes gives no controllers to its children, so that a
        # brother is more likely to be allowed than a child.
        top = _mounts()[""][1]
        found += [{"": one} for one in (own[""], *own[""].parents) if one.is_relative_to(top)]
    if all(name in own for name in _NEEDED):
        found.append({name: own[name] for name in (*_NEEDED, "cpuacct") if name in own})
    return found


class Cgroup:
    """One group, made with its limits. A context manager: leaving it kills who is left in it and
    removes it.

    :param parents: controller → the folder in which to make it, as :func:`place` finds them.
    :param limits: ``memory`` and ``processes`` are set.
    :raises OSError: it cannot be made there.
    """

    def __init__(self, parents: dict[str, Path], limits: Limits):
        name = f"advlab-{os.getpid()}-{next(_number)}"
        self._folders = {controller: parent / name for controller, parent in parents.items()}
        try:
            for folder in self._folders.values():
                folder.mkdir()
            if "" in self._folders:
                only = self._memory = self._pids = self._folders[""]
                _write(only, "memory.max", limits.memory)
                _write(only, "pids.max", limits.processes)
                for file, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
                    if (only / file).exists():
                        _write(only, file, value)
            else:
                self._memory, self._pids = self._folders["memory"], self._folders["pids"]
                _write(self._memory, "memory.limit_in_bytes", limits.memory)
                if (self._memory / "memory.memsw.limit_in_bytes").exists():
                    _write(self._memory, "memory.memsw.limit_in_bytes", limits.memory)
                _write(self._pids, "pids.max", limits.processes)
        except OSError:
            self.remove()
            raise

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.remove()

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that enters the group and then becomes ``argv``; it fails with 126 when it
        cannot enter."""
        files = " ".join(shlex.quote(str(one / "cgroup.procs")) for one in self._folders.values())
        enter = f'for f in {files}; do echo 0 > "$f" || exit 126; done; exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *argv]

    def add(self, pid: int) -> None:
        """Put a running process in, but not its children.

        :raises OSError: it may not be moved.
        """
        for folder in self._folders.values():
            _write(folder, "cgroup.procs", pid)

    def pids(self) -> list[int]:
        """Who is in it."""
        try:
            return [int(pid) for pid in (self._pids / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def cpu(self) -> float:
        """Seconds of processor time used in it; 0 where nobody counts."""
        try:
            if "cpuacct" in self._folders:
                return int((self._folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        except (OSError, ValueError):
            return 0.0
        return _counts(self._memory / "cpu.stat").get("usage_usec", 0) / 1e6

    def out_of_memory(self) -> bool:
        """Whether the system killed one of its processes because it was full."""
        file = "memory.events" if "" in self._folders else "memory.oom_control"
        return _counts(self._memory / file).get("oom_kill", 0) > 0

    def refused_process(self) -> bool:
        """Whether a process was refused because there were too many."""
        return _counts(self._pids / "pids.events").get("max", 0) > 0

    def kill(self, patience: float = 5.0) -> bool:
        """Kill who is in it; True when nobody is left."""
        until = time.monotonic() + patience
        while left := self.pids():
            try:
                _write(self._pids, "cgroup.kill", 1)
            except OSError:  # before Linux 5.14, and in version 1
                for pid in left:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def remove(self, patience: float = 2.0) -> bool:
        """Remove it; True when it is gone. The system needs a moment after the last process."""
        until = time.monotonic() + patience
        while left := [one for one in self._folders.values() if one.is_dir()]:
            for folder in left:
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > until:
                        return False
                    time.sleep(0.01)
        return True


def _sweep(parents: dict[str, Path]) -> None:
    """Remove groups of graders that were killed themselves."""
    for folder in parents.values():
        for left in folder.glob("advlab-*-*"):
            owner = left.name.split("-")[1]
            if owner.isdigit() and not Path("/proc", owner).exists():
                with suppress(OSError):  # somebody is still in it, or it is not ours
                    left.rmdir()


@functools.cache
def place() -> dict[str, Path] | None:
    """Where this grader may make cgroups with memory and processes limited, or None. It is tried
    with a small process once, and the answer remembered."""
    if sys.platform != "linux":
        return None
    try:
        candidates = _parents()
    except (OSError, ValueError):
        return None
    for parents in candidates:
        try:
            _sweep(parents)
            with Cgroup(parents, Limits()) as group:
                probe = group.command([sys.executable, "-I", "-S", "-c", ""])
                if subprocess.run(probe, capture_output=True, timeout=30).returncode == 0:
                    return parents
        except (OSError, subprocess.SubprocessError):
            continue
    return None


def make(limits: Limits) -> Cgroup | None:
    """A group for one submission, or None where none can be made: then only the watchdog
    watches."""
    parents = place()
    try:
        return Cgroup(parents, limits) if parents else None
    except OSError:
        return None
