"""All processes that come from one: found cheaply, and killed so that none gets away."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

LINUX = sys.platform == "linux"
RESCAN = 10  # looks between two readings of all processes of the machine
PATIENCE = 5.0  # seconds that a kill is repeated


class Process(NamedTuple):
    """One process at one time. ``cpu`` is its own processor time in seconds, ``reaped`` that of
    its ended children; ``memory`` its resident bytes, shared ones included."""

    pid: int
    parent: int
    started: float
    ended: bool
    threads: int
    cpu: float
    reaped: float
    memory: int


def _read(pid: int) -> Process | None:
    """One process from ``/proc``: 15 microseconds, a tenth of what psutil takes."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name stands in brackets and may hold anything, brackets too.
            words = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    own, reaped = int(words[11]) + int(words[12]), int(words[13]) + int(words[14])
    return Process(
        pid,
        parent=int(words[1]),
        started=int(words[19]),
        ended=words[0] in b"ZX",
        threads=int(words[17]),
        cpu=own / tick,
        reaped=reaped / tick,
        memory=int(words[21]) * page,
    )


def _read_elsewhere(pid: int) -> Process | None:
    """The same where there is no ``/proc``."""
    import psutil

    try:
        one = psutil.Process(pid)
        with one.oneshot():
            times = one.cpu_times()
            return Process(
                pid,
                parent=one.ppid(),
                started=one.create_time(),
                ended=one.status() == psutil.STATUS_ZOMBIE,
                threads=one.num_threads(),
                cpu=times.user + times.system,
                reaped=getattr(times, "children_user", 0) + getattr(times, "children_system", 0),
                memory=one.memory_info().rss,
            )
    except psutil.Error:
        return None


def _pids() -> list[int]:
    if LINUX:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return psutil.pids()


read = _read if LINUX else _read_elsewhere


class Tree:
    """The process ``pid`` and all that come from it.

    Who was in the tree once stays in it: a process whose parent ended has another parent, and is
    remembered by its number and the time it started. One that was born and left between two looks
    is seen through ``others``, and by a supervisor that takes in orphans
    (:mod:`advlab.course.grading.sandbox.launch`).

    :param pid: where the tree begins.
    :param others: gives the numbers of further members, from a cgroup for example.
    """

    def __init__(self, pid: int, others: Callable[[], Iterable[int]] | None = None):
        self.pid = pid
        self.others = others
        self.members: dict[int, Process] = {}
        self._outside: set[int] = set()  # processes that are none of ours: not read every time
        self._looks = 0
        if (first := read(pid)) is not None:
            self.members[pid] = first

    def look(self) -> list[Process]:
        """All living members now."""
        if self._looks % RESCAN == 0:
            self._outside.clear()
        self._looks += 1
        now: dict[int, Process] = {}
        for pid, old in self.members.items():
            found = read(pid)
            if found is not None and found.started == old.started:
                now[pid] = found
        pids = _pids()
        self._outside.intersection_update(pids)
        fresh = {}
        for pid in pids:
            if pid not in now and pid not in self._outside and (found := read(pid)) is not None:
                fresh[pid] = found
        for pid in self.others() if self.others else ():
            if pid not in now and (found := fresh.pop(pid, None) or read(pid)) is not None:
                now[pid] = found
        grown = True
        while grown:  # a child may have a smaller number than its parent
            born = [pid for pid, one in fresh.items() if one.parent in now]
            now.update((pid, fresh.pop(pid)) for pid in born)
            grown = bool(born)
        self._outside.update(fresh)
        self.members = now
        return [one for one in now.values() if not one.ended]

    def kill(self, patience: float = PATIENCE) -> bool:
        """Kill every member. All are stopped first, again and again until no new one appears:
        what forks faster than it can be killed is caught so. True when none is left."""
        until = time.monotonic() + patience
        me, stopped = os.getpid(), set()
        while time.monotonic() < until:
            self._outside.clear()
            new = [one for one in self.look() if one.pid not in stopped and one.pid != me]
            if not new:
                break
            for one in new:
                _stop(one.pid)
            stopped.update(one.pid for one in new)
        while True:
            self._outside.clear()
            left = [one for one in self.look() if one.pid != me]
            if not left:
                return True
            # The supervisor goes last: it takes in the orphans, so that they stay in sight.
            first = [one for one in left if self.pid not in (one.pid, one.parent)]
            for one in first or left:
                kill(one.pid)
            if time.monotonic() > until:
                return False
            time.sleep(0.005)


def _signal(pid: int, name: str) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it ended, or is not ours to end
        os.kill(pid, getattr(signal, name))


def _stop(pid: int) -> None:
    if hasattr(signal, "SIGSTOP"):
        _signal(pid, "SIGSTOP")


def kill(pid: int) -> None:
    """End one process now, where it is there and ours."""
    # Windows: os.kill ends the process whatever the signal.
    _signal(pid, "SIGKILL" if hasattr(signal, "SIGKILL") else "SIGTERM")


def proportional(one: Process) -> int:
    """Memory of a process in bytes, where each page that it shares with others counts for its
    part (PSS). Takes a millisecond and more. Its resident memory where the system does not tell,
    or it does not let itself be asked."""
    try:
        with open(f"/proc/{one.pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return one.memory


class Held(NamedTuple):
    """What a process holds besides its own memory, and in no folder.

    ``files`` are those without a name that it has open, by device and number, with their bytes:
    deleted ones still fill the disk, and those of ``memfd_create`` the memory. ``channels`` are
    sockets and pipes, by number; ``tables`` the bytes by which the system finds its memory."""

    files: dict[tuple[int, int], int]
    channels: set[int]
    tables: int


def held(one: Process) -> Held:
    """What a process holds, as far as it may be seen. Takes a tenth of a millisecond and more."""
    files, channels, tables = {}, set(), 0
    with suppress(OSError):
        for name in os.listdir(f"/proc/{one.pid}/fd"):
            try:
                about = os.stat(f"/proc/{one.pid}/fd/{name}")
            except FileNotFoundError:
                continue  # closed meanwhile
            if stat.S_ISREG(about.st_mode) and about.st_nlink == 0:
                files[about.st_dev, about.st_ino] = about.st_blocks * 512
            elif stat.S_ISSOCK(about.st_mode) or stat.S_ISFIFO(about.st_mode):
                channels.add(about.st_ino)
    with suppress(OSError), open(f"/proc/{one.pid}/status", "rb") as file:
        tables = sum(int(line.split()[1]) for line in file if line.startswith(b"VmPTE:"))
    return Held(files, channels, tables * 1024)
