"""Where the time of one submission goes in ``advlab grade``."""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import nbformat

from advlab.course.grading import kernel, plugin, runner
from advlab.course.grading.answers import read_answers
from advlab.course.grading.cells import cells
from advlab.course.grading.grafting import Chapter
from advlab.course.grading.jobs import Job
from advlab.course.grading.sandbox import choose
from advlab.course.grading.settings import Settings
from advlab.course.notebooks import read

from . import classroom

STARTS = {
    "python": "pass",
    "the command's parser": "import advlab.cli",
    "what grades a class": "import advlab.course.grading.classes",
    "what grades a submission": "import advlab.course.grading.runner",
    "torch": "import torch",
    "a kernel's own modules": "import ipykernel.kernelapp",
}


def parts(students: int = 5) -> dict[str, float]:
    """Seconds of wall time: medians over some submissions graded in this process."""
    found = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
        room = classroom.draw("light", Path(scratch), students)
        chapter = Chapter(room.chapter.stem, read(room.chapter))
        settings = Settings(sandbox=choose().name)
        for student in room.answers:
            handed_in = nbformat.writes(room.submission(student)).encode()
            with clocks() as seconds:
                start = time.perf_counter()
                answers, _ = read_answers(cells(handed_in), chapter.notebook)
                runner.grade(Job(chapter.name, chapter.code, answers, None, settings))
                seconds["all"] = time.perf_counter() - start
            for name, value in seconds.items():
                found[name].append(value)
    medians = {name: statistics.median(values) for name, values in found.items()}
    outside = medians["all"] - sum(value for name, value in medians.items() if name != "all")
    return {name: round(value, 3) for name, value in (medians | {"the rest": outside}).items()}


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Within, the parts of grading add up their seconds."""
    seconds: dict[str, float] = defaultdict(float)

    def role(cell) -> str:
        return f"cell: {cell.cell.metadata['advlab']['role']}"

    def clocked(function: Callable, name: str | Callable[..., str]) -> Callable:
        @functools.wraps(function)
        def run(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                which = name if isinstance(name, str) else name(*args)
                seconds[which] += time.perf_counter() - start

        return run

    places = [
        (runner, "graft", "grafting"),
        (runner, "_start", "kernel started"),
        (kernel.GradedKernel, "stop", "kernel ended"),
        (plugin._Cell, "runtest", role),
        (runner, "read_report", "report read"),
    ]
    with ExitStack() as patches:
        for owner, name, part in places:
            timed = clocked(getattr(owner, name), part)
            patches.enter_context(mock.patch.object(owner, name, timed))
        yield seconds


def starts(repeats: int = 3) -> dict[str, float]:
    """Seconds of processor time until each is imported, in a Python of its own."""
    return {name: min(_start(code) for _ in range(repeats)) for name, code in STARTS.items()}


def _start(code: str) -> float:
    clock = "import resource as r\nu = r.getrusage(r.RUSAGE_SELF)\nprint(u.ru_utime + u.ru_stime)"
    said = subprocess.check_output([sys.executable, "-c", f"{code}\n{clock}"], text=True)
    return round(float(said.split()[-1]), 2)
