"""The watchdog: looks at all processes of one sandbox ten times a second, and ends them at the
first limit that they pass."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..results import OUT_OF_MEMORY, TOO_MANY_PROCESSES, TOO_MUCH_CPU, TOO_MUCH_DISK
from ..settings import Limits
from .cgroup import Cgroup
from .tree import Process, Tree, proportional, unlinked

EVERY = 0.1  # seconds between two looks
SHARE = 0.02  # of a core, that each of the dear measurements may take
FILES = 10_000  # in the folders; more are too much disk, however small


class TooMuch(Exception):
    """The files cannot be counted, or are too many."""


class Paced:
    """A measurement that is dear: it is made again only when 50 times its own duration has gone
    by, so that it takes no more than 2 % of a core."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def __enter__(self) -> Paced:
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._next = now + (now - self._start) / SHARE


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


class Watch:
    """A thread that watches a process and all that come from it. A context manager: it begins on
    entering; on leaving, all processes are killed and the thread ends.

    Memory is the proportional one (PSS): what processes share counts once. It is read only when
    the cheap sum of all resident memory, which is never smaller, is over the limit. Processor time
    includes that of processes that ended. Files that were deleted and are still open count as
    disk; they are looked for once a second.

    :param pid: the process that was started; the supervisor of the level.
    :param limits: ``cpu``, ``memory``, ``processes`` and ``disk`` are watched here.
    :param folders: all that the student's code may write.
    :param kill: called once after the processes were killed, for what is no child of ours (a
        container).
    :param group: the cgroup that the processes are in, if they are in one: who is in it belongs
        to the tree, its processor time counts, and its out-of-memory kill is a breach.

    ``breach`` is ``""`` or the word in :mod:`advlab.course.grading.results` for the first limit
    that was passed; ``memory``, ``cpu``, ``processes`` and ``disk`` are the largest values seen,
    ``memory`` being an upper bound.
    """

    def __init__(
        self,
        pid: int,
        limits: Limits,
        folders: Sequence[Path] = (),
        kill: Callable[[], object] | None = None,
        group: Cgroup | None = None,
    ):
        self.limits, self.folders, self.group = limits, tuple(folders), group
        self._breach = ""
        self.memory = self.cpu = self.processes = self.disk = 0
        self._tree = Tree(pid, group.pids if group else None)
        self._after = kill
        self._spent: dict[tuple[int, float], float] = {}  # processor time of each process seen
        self._exact, self._walk, self._open = Paced(), Paced(), Paced()
        self._open_next = 0.0
        self._deleted = 0
        self._lock = threading.Lock()
        self._killed = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.kill()

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
            if self._after and not self._killed:
                self._after()
            self._killed = True
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
        return (
            self._look_processes(members)
            or self._look_memory(members)
            or self._look_cpu(members)
            or self._look_disk(members)
        )

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._breach = self.look()
            except BaseException:
                self.kill()  # nothing runs unwatched
                raise
            if self._breach:
                self.kill()
                return
            self._done.wait(EVERY)

    def _look_processes(self, members: list[Process]) -> str:
        count = sum(one.threads for one in members)
        self.processes = max(self.processes, count)
        full = self.group is not None and self.group.refused_process()
        return TOO_MANY_PROCESSES if full or count > self.limits.processes else ""

    def _look_memory(self, members: list[Process]) -> str:
        if self.group is not None and self.group.out_of_memory():
            return OUT_OF_MEMORY
        memory = sum(one.memory for one in members)
        if memory > self.limits.memory:
            if not self._exact.due():
                return ""
            with self._exact:
                memory = sum(proportional(one) for one in members)
        self.memory = max(self.memory, memory)
        return OUT_OF_MEMORY if memory > self.limits.memory else ""

    def _look_cpu(self, members: list[Process]) -> str:
        # Two counts, neither too large: what the system added up for ended children, which misses
        # those that nobody waited for; and what we saw ourselves, which misses the short-lived.
        for one in members:
            self._spent[one.pid, one.started] = one.cpu
        counted = sum(one.cpu + one.reaped for one in members)
        grouped = self.group.cpu() if self.group else 0.0
        self.cpu = max(self.cpu, counted, sum(self._spent.values()), grouped)
        return TOO_MUCH_CPU if self.cpu > self.limits.cpu else ""

    def _look_disk(self, members: list[Process]) -> str:
        now = time.monotonic()
        if self._open.due() and now >= self._open_next:
            self._open_next = now + 1.0
            with self._open:
                files: dict[tuple[int, int], int] = {}
                for one in members:
                    files |= unlinked(one)
                self._deleted = sum(files.values())
        if self._walk.due():
            try:
                with self._walk:
                    used = disk(self.folders) + self._deleted
            except TooMuch:
                return TOO_MUCH_DISK
            self.disk = max(self.disk, used)
            if used > self.limits.disk:
                return TOO_MUCH_DISK
        return ""
