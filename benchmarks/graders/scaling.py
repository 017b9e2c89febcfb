"""How long ``advlab grade`` takes for classes of different sizes, and when it says something."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import tempfile
import termios
import time
from pathlib import Path

from . import classroom, surroundings
from .advlab import Advlab

SIZES = (50, 200, 500)
WORKERS = 2


def grade(students: int) -> dict:
    """A class of that many graded once, with two workers, on a terminal.

    :raises RuntimeError: the command failed.
    """
    ours = Advlab()
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
        folder = Path(scratch) / "class"
        room = classroom.draw("light", Path(scratch) / "book", students)
        ours.prepare(room, folder)
        ((command,),) = ours.lanes(room, folder, WORKERS)
        said, end, status = _on_a_terminal(command, folder, surroundings(ours.bin, folder))
        if status:
            text = "".join(part for _, part in said)
            raise RuntimeError(f"advlab grade ended with status {status}: {text[-2000:]}")
        sandbox, graded = ours.sandbox(folder), len(ours.points(room, folder))
    return {
        "students": students,
        "in the gradebook": graded,
        "seconds": round(end, 1),
        "seconds a submission": round(end / students, 3),
        "first sign of progress, s": _first(said, r"graded 0 of"),
        "first submission graded, s": _first(said, r"graded [1-9]\d* of"),
        "sandbox": sandbox,
    }


def _on_a_terminal(
    command: list[str], folder: Path, around: dict[str, str]
) -> tuple[list[tuple[float, str]], float, int]:
    """What the command said and after how many seconds; how long it took; its status."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    start, said = time.perf_counter(), []
    streams = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs}
    running = subprocess.Popen(command, cwd=folder, env=around, **streams)
    os.close(theirs)
    try:
        while part := os.read(ours, 65536):
            said.append((time.perf_counter() - start, part.decode(errors="replace")))
    except OSError:  # how the end looks on Linux
        pass
    status = running.wait()
    os.close(ours)
    return said, time.perf_counter() - start, status


def _first(said: list[tuple[float, str]], pattern: str) -> float | None:
    return next((round(when, 2) for when, text in said if re.search(pattern, text)), None)
