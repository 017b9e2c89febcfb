"""Runs the commands of a grader, and says how long they took and how much they computed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import Grader, Lanes, surroundings

_PR_SET_CHILD_SUBREAPER = 36
LOOK = 0.005  # seconds between two looks at the processes
DYING = "dying kernel"
DEADLY = f"""import ctypes, os, time
ctypes.CDLL(None).prctl(15, b"{DYING}", 0, 0, 0)
time.sleep(1)
os._exit(1)
"""


@dataclass(frozen=True)
class Taken:
    """:param seconds: of wall time. :param cpu: seconds of processor time, of all processes."""

    seconds: float
    cpu: float


def take_in_orphans() -> None:
    """What a grader leaves behind becomes ours, and so its processor time counts (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def timed(grader: Grader, lanes: Lanes, folder: Path) -> Taken:
    """Run the lanes at the same time.

    :raises RuntimeError: a command failed; the message holds the end of what it said.
    """
    around = surroundings(grader.bin, folder)
    before, start = _cpu(), time.perf_counter()
    with ThreadPoolExecutor(len(lanes)) as threads:
        rows = [
            threads.submit(_lane, lane, folder, around, folder / f"said-{n}.log")
            for n, lane in enumerate(lanes)
        ]
        for row in rows:
            row.result()
    seconds = time.perf_counter() - start
    _reap()
    return Taken(seconds, _cpu() - before)


def _lane(lane: list[list[str]], folder: Path, around: dict[str, str], log: Path) -> None:
    with log.open("w") as said:
        for command in lane:
            kept = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": subprocess.STDOUT}
            status = subprocess.run(command, cwd=folder, env=around, **kept).returncode
            if status:
                end = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{' '.join(command)} ended with status {status}:\n{end}")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap(seconds: float = 5.0) -> None:
    """Wait for what a grader left behind (a server that ends when its pipe is closed)."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


@dataclass(frozen=True)
class Death:
    """Seconds from the end of a kernel to the first thing that the grader did about it: a new
    process, or its own end (``then``); and the seconds from there to the end of the command."""

    seconds: float
    then: str
    to_end: float


def after_death(grader: Grader, command: list[str], folder: Path) -> Death:
    """Run a command, and watch its processes, one of which takes the name :data:`DYING` and dies.

    :raises RuntimeError: none did, or not before the command ended.
    """
    around, quiet = surroundings(grader.bin, folder), subprocess.DEVNULL
    running = subprocess.Popen(command, cwd=folder, env=around, stdout=quiet, stderr=quiet)
    top, known, dying, death, act = psutil.Process(running.pid), set(), None, None, None
    while running.poll() is None:
        with contextlib.suppress(psutil.Error):
            below = top.children(recursive=True)
            alive = {one.pid for one in below if one.status() != psutil.STATUS_ZOMBIE}
            if dying is None:
                dying = next((one.pid for one in below if one.name() == DYING), None)
            elif death is None and dying not in alive:
                death = time.perf_counter()
            elif death is not None and act is None and alive - known:
                act = time.perf_counter()
            known |= alive
        time.sleep(LOOK)
    end = time.perf_counter()
    _reap()
    if death is None:
        raise RuntimeError(f"{grader.name}: no kernel was seen to die before the command ended")
    if act is None:
        return Death(end - death, "the command ended", 0.0)
    return Death(act - death, "a new process", end - act)
