"""A class of hostile and honest students, graded once: what came of each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from advlab.course.grading import grade_class
from advlab.course.grading.classes import Graded
from advlab.course.grading.clean import escaped
from advlab.course.grading.gradebook import Entry
from advlab.course.grading.settings import Limits, Settings

from . import chapter
from .case import Case, called
from .world import World, secret

FILE = f"{chapter.NAME}.ipynb"
LIMITS = {
    "cell": 12.0,
    "notebook": 60.0,
    "cpu": 200.0,
    "memory": 1 << 30,
    "processes": 64,
    "output": 4 << 20,
    "file": 16 << 20,
    "disk": 48 << 20,
}
# What the two honest students deserve, among all the others.
HONEST = {
    "honest": chapter.TOTAL,
    "half-right": chapter.TOTAL - chapter.POINTS["4.1"] - chapter.POINTS["1.4"],
}
VARIABLE = "HOSTILE_TEST_SECRET"


@dataclass
class Outcome:
    """A class that was graded, and what surrounded it.

    :param graded: what :func:`~advlab.course.grading.grade_class` gave.
    :param said: what the grader wrote on the standard output and error.
    """

    world: World
    cases: list[Case]
    graded: Graded | None = None
    said: str = ""
    running: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def entries(self, student: str) -> list[Entry]:
        """Of the folder of this name, the one that counts first."""
        rows = self.graded.gradebook.rows
        found = [e for row in rows if row.student == escaped(student) for e in row.entries]
        return sorted(found, key=lambda entry: not entry.counts)


def write(case: Case, world: World) -> Path:
    """The student's folder."""
    folder = world.submissions / case.student
    folder.mkdir(mode=0o755)
    if case.handed_in:
        answers = chapter.solutions() | {id: world.fill(s) for id, s in case.answers.items()}
        notebook = chapter.handed_in(answers)
        if case.change:
            case.change(notebook)
        # As JSON, which can hold what a text cannot.
        text = nbformat.v4.writes(notebook, ensure_ascii=True)
        (folder / FILE).write_text(text, encoding="utf-8")
    if case.files:
        case.files(folder, world)
    return folder


def honest(world: World) -> None:
    """Two students who try nothing: one has all right, the other 4.1 wrong and 1.4 not at all."""
    right = chapter.solutions()
    private = f"# {secret('private')}\n"
    half = right | {"4.1": called("pass"), "1.4": "def push_needed(x, w, b):\n    return None\n"}
    for student, answers in (("honest", right), ("half-right", half)):
        folder = world.submissions / student
        folder.mkdir(mode=0o755)
        notebook = chapter.handed_in(answers | {"1.1": private + answers["1.1"]})
        nbformat.write(notebook, folder / FILE)


@contextmanager
def graded(
    cases: list[Case], sandbox: str = "auto", capture=None, workers: int = 2
) -> Iterator[Outcome]:
    """Grade the cases and the honest students, in one class; it is cleared away at the end.

    :param cases: all with the same limits of their own.
    :param capture: gives what the grader wrote, when it is called.
    """
    world = World()
    outcome = Outcome(world, cases)
    own = dict(cases[0].limits) if cases else {}
    settings = Settings(limits=Limits(**LIMITS | own), sandbox=sandbox)
    os.environ[VARIABLE] = secret("grader")
    try:
        (world.book / FILE).write_text(nbformat.writes(chapter.chapter(secret("teacher"))))
        world.hidden_file.write_text(chapter.hidden(secret("hidden")))
        world.hidden_file.chmod(0o666)
        honest(world)
        for case in cases:
            write(case, world)
        outcome.graded = grade_class(
            world.submissions,
            world.book,
            world.report,
            settings,
            hidden=world.hidden_file,
            workers=workers,
            progress=capture is not None,
        )
        outcome.said = capture() if capture else ""
        outcome.running, outcome.outside = world.left_running(), world.left_outside()
        yield outcome
    finally:
        os.environ.pop(VARIABLE, None)  # two classes may be open at one time
        world.close()
        shutil.rmtree(world.root, ignore_errors=True)


def classes(cases: list[Case]) -> list[list[Case]]:
    """Sorted into classes with the same limits."""
    found: dict[tuple, list[Case]] = {}
    for case in cases:
        found.setdefault(tuple(sorted(case.limits.items())), []).append(case)
    return list(found.values())


# What is wrong with an outcome --------------------------------------------------------------------


def faults(case: Case, entries: list[Entry]) -> list[str]:
    """What came out otherwise than the case says, in sentences; none where all is well."""
    if not entries:
        return ["it has no row in the gradebook"]
    found = []
    entry = entries[0]
    result = entry.result
    if result.status not in case.status:
        found.append(f"{result.status!r} ({result.reason}), expected {sorted(case.status)}")
    marks = {mark.id: mark for mark in result.marks if not mark.hidden}
    if marks:
        for id, points in chapter.POINTS.items():
            expected = case.marks.get(id, frozenset({"passed"}))
            mark = marks[id]
            if mark.status not in expected:
                said = f"{mark.status!r}, expected {sorted(expected)}: {mark.message}"
                found.append(f"{id} {said}")
            if mark.earned != (points if mark.status == "passed" else 0) or mark.points != points:
                found.append(f"{id} earned {mark.earned} of {mark.points}")
    elif not case.status & {"broken"}:
        found.append("it has no marks")
    if not 0 <= entry.earned <= chapter.TOTAL:
        found.append(f"earned {entry.earned}")
    texts = (entry.reason, result.reason, *entry.submission.notes)
    texts += tuple(f"{mark.status} {mark.message} {mark.hint}" for mark in result.marks)
    if case.says and not any(case.says in text for text in texts):
        found.append(f"nothing says {case.says!r}: {texts}")
    return found
