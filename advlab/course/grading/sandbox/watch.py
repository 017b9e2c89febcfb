"""The watchdog: looks at all processes of one sandbox ten times a second, and ends them at the
first limit that they pass."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..results import OUT_OF_MEMORY, TOO_MANY_PROCESSES, TOO_MUCH_CPU, TOO_MUCH_DISK
from ..settings import Limits
from .cgroup import Cgroup
from .tree import Process, Tree, held, kill, proportional

EVERY = 0.1  # seconds between two looks
SHARE = 0.02  # of a core, that each of the dear measurements may take
AT_MOST = 0.5  # seconds that it waits in any case
FILES = 10_000  # in the folders; more are too much disk, however small
# Sockets and pipes. What lies in them, up to 400 kB in each, is memory that no process has: more
# are out of memory.
CHANNELS = 500


class TooMuch(Exception):
    """The files cannot be counted, or are too many."""


class Paced:
    """A measurement that is dear: it is made again only when 50 times its own duration has gone
    by, so that it takes no more than 2 % of a core, but after half a second at the latest: who
    makes it dear gains no time in which nobody looks."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def __enter__(self) -> Paced:
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._next = now + min((now - self._start) / SHARE, AT_MOST)


def disk(folders: Iterable[Path]) -> int:
    """Bytes on the disk under ``folders``.

    :raises TooMuch: more than :data:`FILES`, or a folder that cannot be read: hidden from us, or
        nested so deep that no path reaches it.
    """
    total = count = 0
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        about = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    blocks = getattr(about, "st_blocks", None)
                    total += about.st_size if blocks is None else blocks * 512
                    count += 1
                    if count > FILES:
                        raise TooMuch
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went meanwhile
        except OSError as error:
            raise TooMuch from error
    return total


def _free(folders: Iterable[Path]) -> int:
    """Bytes that are free where the folders lie; 0 where nobody can say."""
    try:
        return min((shutil.disk_usage(folder).free for folder in folders), default=0)
    except OSError:
        return 0


class Watch:
    """A thread that watches a process and all that come from it.

    Memory is the proportional one (PSS): what processes share counts once. It is read only when
    the cheap sum of all resident memory, which is never smaller, is over the limit. Processor time
    includes that of processes that ended. Once a second it is looked for what lies deeper: files
    that were deleted and are still open count as disk, page tables as memory, and sockets and
    pipes are counted. When the disk loses more than was left, no walk waits.

    :param pid: the process that was started; the supervisor of the level.
    :param limits: ``cpu``, ``memory``, ``processes`` and ``disk`` are watched here.
    :param folders: all that the student's code may write.
    :param group: the cgroup that the processes are in, if they are in one: who is in it belongs
        to the tree, its processor time counts, and its out-of-memory kill is a breach.

    ``breach`` is ``""`` or the word in :mod:`advlab.course.grading.results` for the first limit
    that was passed. ``error`` is None, or why nobody could watch any longer: then the processes
    were killed, which is no fault of the student's.
    """

    def __init__(
        self,
        pid: int,
        limits: Limits,
        folders: Sequence[Path] = (),
        group: Cgroup | None = None,
    ):
        self.limits, self.folders, self.group = limits, tuple(folders), group
        self.error: BaseException | None = None
        self._breach = ""
        self._tree = Tree(pid, group.pids if group else None)
        self._spent: dict[tuple[int, float], float] = {}  # processor time of each process seen,
        self._sum = 0.0  # and of all of them
        self._cpu = 0.0  # the most that any count gave
        self._exact, self._walk, self._deep = Paced(), Paced(), Paced()
        self._deep_next = 0.0
        self._deleted = self._tables = 0
        self._free = self._left = 0  # at the last walk: on the disk, and of the limit
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> Watch:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the watching; nothing is killed. May be called twice, and from a breach."""
        self._done.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        _ = self.breach  # asked while there is a group to ask

    def kill(self) -> bool:
        """Kill the whole tree now; True when nothing is left. It is no breach."""
        with self._lock:
            gone = self._tree.kill()
            if self.group:
                gone = self.group.kill() and gone
        return gone

    @property
    def breach(self) -> str:
        """The limit that was passed first, or ``""``."""
        # The system may have struck after the last look, and so ended what somebody waits for.
        if not self._breach and self.group is not None and self.group.out_of_memory():
            self._breach = OUT_OF_MEMORY
        return self._breach

    def look(self) -> str:
        """One look: the limit that is passed, or ``""``."""
        with self._lock:
            members = self._tree.look()
        urgent = self._free - _free(self.folders) > self._left
        return (
            self._look_processes(members)
            or self._look_deeper(members, urgent)
            or self._look_memory(members)
            or self._look_cpu(members)
            or self._look_disk(urgent)
        )

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._breach = self.look()
            except BaseException as error:
                self.error = error
                self._end_unwatched()
                return
            if self._breach:
                self.kill()
                return
            self._done.wait(EVERY)

    def _end_unwatched(self) -> None:
        """Nothing runs on that nobody can look at."""
        try:
            self.kill()
        except OSError:  # not even the processes can be listed
            kill(self._tree.pid)  # all inside dies with it, if later

    def _look_processes(self, members: list[Process]) -> str:
        count = sum(one.threads for one in members)
        full = self.group is not None and self.group.refused_process()
        return TOO_MANY_PROCESSES if full or count > self.limits.processes else ""

    def _look_memory(self, members: list[Process]) -> str:
        if self.group is not None and self.group.out_of_memory():
            return OUT_OF_MEMORY
        memory = sum(one.memory for one in members) + self._tables
        if memory > self.limits.memory:
            if not self._exact.due():
                return ""
            with self._exact:
                memory = sum(proportional(one) for one in members) + self._tables
        return OUT_OF_MEMORY if memory > self.limits.memory else ""

    def _look_cpu(self, members: list[Process]) -> str:
        # Two counts, neither too large: what the system added up for ended children, which misses
        # those that nobody waited for; and what we saw ourselves, which misses the short-lived.
        for one in members:
            self._sum += one.cpu - self._spent.get((one.pid, one.started), 0.0)
            self._spent[one.pid, one.started] = one.cpu
        counted = sum(one.cpu + one.reaped for one in members)
        grouped = self.group.cpu() if self.group else 0.0
        self._cpu = max(self._cpu, counted, self._sum, grouped)
        return TOO_MUCH_CPU if self._cpu > self.limits.cpu else ""

    def _look_deeper(self, members: list[Process], urgent: bool) -> str:
        now = time.monotonic()
        if not urgent and (now < self._deep_next or not self._deep.due()):
            return ""
        self._deep_next = now + 1.0
        files: dict[tuple[int, int], int] = {}
        channels: set[int] = set()
        self._tables = 0
        with self._deep:
            for found in map(held, members):
                files |= found.files
                channels |= found.channels
                self._tables += found.tables
        self._deleted = sum(files.values())
        return OUT_OF_MEMORY if len(channels) > CHANNELS else ""

    def _look_disk(self, urgent: bool) -> str:
        if not urgent and not self._walk.due():
            return ""
        self._free = _free(self.folders)
        try:
            with self._walk:
                self._left = self.limits.disk - disk(self.folders) - self._deleted
        except TooMuch:
            return TOO_MUCH_DISK
        return TOO_MUCH_DISK if self._left < 0 else ""
