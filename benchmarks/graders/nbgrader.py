"""nbgrader: ``nbgrader autograde``; two workers are two such commands, half the class each."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

from advlab.course.notebooks import write

from . import Lanes, Points, call
from .classroom import Classroom

ASSIGNMENT = "fgsm"
CONFIG = """c = get_config()
c.CourseDirectory.course_id = "course"
c.Execute.timeout = 600
"""
# nbgrader's own interface to its database; run by the environment that holds it.
GRADEBOOK = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print(json.dumps({
        submission.student.id: {
            grade.cell.name[6:].replace("-", "."): grade.auto_score or 0
            for notebook in submission.notebooks for grade in notebook.grades
        }
        for submission in book.assignment_submissions(sys.argv[1])
    }))
"""


class NBGrader:
    name = "nbgrader"

    def __init__(self, environment: Path):
        self.bin = environment / "bin"

    def prepare(self, room: Classroom, folder: Path) -> None:
        notebook = room.notebook
        points = {task.id: task.answer.metadata.advlab.get("points", 1) for task in room.tasks}
        for cell in notebook.cells:
            tags, id = (
                cell.metadata.get("tags", []),
                cell.metadata.get("advlab", {}).get("exercise"),
            )
            if "exercise" in tags:
                cell.metadata["nbgrader"] = of_nbgrader(f"answer-{id}", solution=True)
            elif "check" in tags:
                cell.metadata["nbgrader"] = of_nbgrader(f"check-{id}") | {"points": points[id]}
        source = folder / "source" / ASSIGNMENT
        source.mkdir(parents=True)
        write(notebook, source / room.chapter.name)
        (folder / "nbgrader_config.py").write_text(CONFIG)
        call(self, folder, "nbgrader", "generate_assignment", ASSIGNMENT)
        released = nbformat.read(folder / "release" / ASSIGNMENT / room.chapter.name, as_version=4)
        for student in room.answers:
            to = folder / "submitted" / student / ASSIGNMENT
            to.mkdir(parents=True)
            write(room.submission(student, released), to / room.chapter.name)

    def lanes(self, room: Classroom, folder: Path, workers: int) -> Lanes:
        grade = [str(self.bin / "nbgrader"), "autograde", ASSIGNMENT]
        patterns = [[]] if workers == 1 else [["--student=a*"], ["--student=b*"]]
        return [[grade + pattern] for pattern in patterns]

    def points(self, room: Classroom, folder: Path) -> Points:
        return json.loads(call(self, folder, "python", "-c", GRADEBOOK, ASSIGNMENT))


def of_nbgrader(id: str, solution: bool = False) -> dict:
    kind = {"grade": not solution, "locked": not solution, "solution": solution, "task": False}
    return {"grade_id": id.replace(".", "-"), "schema_version": 3, **kind}
