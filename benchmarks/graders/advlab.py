"""Ours: ``advlab grade``, which takes the whole class and the number of workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from advlab.course.notebooks import write
from advlab.course.release import student_version

from . import Lanes, Points
from .classroom import Classroom


class Advlab:
    """
    :param whole: run every cell, as the others do, and not only those that an answer needs.
    """

    bin = Path(sys.executable).parent

    def __init__(self, whole: bool = False):
        self.name = "advlab, whole" if whole else "advlab"
        self.options = ["--whole"] if whole else []

    def prepare(self, room: Classroom, folder: Path) -> None:
        book = folder / "book"
        book.mkdir(parents=True)
        write(room.notebook, book / room.chapter.name)
        released = student_version(room.notebook, room.chapter)
        for student in room.answers:
            to = folder / "submitted" / student
            to.mkdir(parents=True)
            write(room.submission(student, released), to / room.chapter.name)

    def lanes(self, room: Classroom, folder: Path, workers: int) -> Lanes:
        grade = [str(self.bin / "advlab"), "grade", "submitted", "--against", "book"]
        return [[[*grade, "--report", "grades", "--jobs", str(workers), *self.options]]]

    def points(self, room: Classroom, folder: Path) -> Points:
        return {
            row["student"]: {mark["id"]: mark["earned"] for mark in submission["result"]["marks"]}
            for row in self.gradebook(folder)["students"]
            for submission in row["submissions"]
        }

    def sandbox(self, folder: Path) -> str:
        """The level that the students' code ran in."""
        return self.gradebook(folder)["students"][0]["sandbox"]

    def gradebook(self, folder: Path) -> dict:
        return json.loads((folder / "grades" / "gradebook.json").read_text(encoding="utf-8"))
