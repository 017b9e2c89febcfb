"""Graders that benchmarks/grading.py times: a file each.

A grader is prepared once (what a teacher does before the class hands in, untimed) and then grades
again and again, each time in a fresh copy of what was prepared. ``lanes`` says with which commands:
those of a lane run one after the other, the lanes at the same time.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Protocol

from .classroom import Classroom

Lanes = list[list[list[str]]]
Points = dict[str, dict[str, float]]


class Grader(Protocol):
    """``bin`` is the folder of its command; ``name`` stands in the table."""

    name: str
    bin: Path

    def prepare(self, room: Classroom, folder: Path) -> None:
        """Lay out the class as this grader wants it, in a folder that is made."""

    def lanes(self, room: Classroom, folder: Path, workers: int) -> Lanes:
        """The commands that grade the whole class, run in ``folder``, by one worker or by two."""

    def points(self, room: Classroom, folder: Path) -> Points:
        """By student and exercise, read from what the grader wrote."""


def surroundings(bin: Path, home: Path) -> dict[str, str]:
    """The environment variables of every command: the same for all graders but for the path, one
    thread for each process, and nobody's own settings."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    own = {name: str(home) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    return os.environ | threads | own | {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}


def call(grader: Grader, folder: Path, *command: str) -> str:
    """Run one command of a grader in ``folder``; what it printed.

    :raises RuntimeError: it failed; the message holds the end of what it said.
    """
    program = [str(grader.bin / command[0]), *command[1:]]
    around = surroundings(grader.bin, folder)
    done = subprocess.run(program, cwd=folder, env=around, capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(command[:2])} ended with {done.returncode}:\n{said}")
    return done.stdout
