"""otter-grader: ``otter run``, which grades one notebook without a container.

It knows no class: a command a student, one after the other; two workers are two such rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

from advlab.course.notebooks import write
from advlab.course.release import student_version

from . import Lanes, Points, call
from .classroom import Classroom

TEST = """from otter.test_files import test_case

OK_FORMAT = False
name = "{name}"
points = {points}


@test_case()
def test({arguments}):
    from advlab.course import check

    check("{id}", {arguments})
"""


class Otter:
    name = "otter"

    def __init__(self, environment: Path):
        self.bin = environment / "bin"

    def prepare(self, room: Classroom, folder: Path) -> None:
        tests = folder / "tests"
        tests.mkdir(parents=True)
        for task in room.tasks:
            arguments = task.check.source.split(",", 1)[1].strip(" )\n")
            points = task.answer.metadata.advlab.get("points", 1)
            text = TEST.format(id=task.id, name=named(task.id), points=points, arguments=arguments)
            (tests / f"{named(task.id)}.py").write_text(text)
        bare = ("--no-config", "--no-requirements", "--no-environment")
        call(self, folder, "otter", "generate", "-t", "tests", "-o", "autograder.zip", *bare)
        released = student_version(room.notebook, room.chapter)
        for cell in released.cells:
            if "check" in cell.metadata.get("tags", []):
                cell.source = f'grader.check("{named(cell.metadata.advlab.exercise)}")'
        start = nbformat.v4.new_code_cell("import otter\n\ngrader = otter.Notebook()", id="otter")
        released.cells.insert(0, start)
        for student in room.answers:
            to = folder / "submitted" / student
            to.mkdir(parents=True)
            (folder / "graded" / student).mkdir(parents=True)
            write(room.submission(student, released), to / room.chapter.name)

    def lanes(self, room: Classroom, folder: Path, workers: int) -> Lanes:
        rows = [sorted(room.answers)] if workers == 1 else room.halves()
        return [[self.command(room, student) for student in row] for row in rows]

    def command(self, room: Classroom, student: str) -> list[str]:
        notebook, to = f"submitted/{student}/{room.chapter.name}", f"graded/{student}"
        start = [str(self.bin / "otter"), "run", notebook, "--no-logo"]
        return [*start, "-a", "autograder.zip", "-o", to]

    def points(self, room: Classroom, folder: Path) -> Points:
        found = {}
        for student in room.answers:
            report = json.loads((folder / "graded" / student / "results.json").read_text())
            tests = [test for test in report["tests"] if test["name"].startswith("exercise")]
            found[student] = {test["name"].split()[1]: test["score"] for test in tests}
        return found


def named(id: str) -> str:
    return f"exercise {id}"
