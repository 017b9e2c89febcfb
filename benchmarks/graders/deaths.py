"""How soon a grader notices that a kernel is dead."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import Grader, classroom
from .watching import DEADLY, after_death


def deaths(graders: list[Grader]) -> Iterator[dict]:
    """One student, whose second answer ends the kernel; a row for each grader."""
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
        room = classroom.draw("light", Path(scratch) / "book", 1)
        (student,) = room.answers
        right = {task.id: classroom.solution(task) for task in room.tasks}
        room.answers[student] = right | {"4.2": DEADLY}
        for grader in graders:
            folder = Path(scratch) / grader.name
            grader.prepare(room, folder)
            found = after_death(grader, grader.lanes(room, folder, 1)[0][0], folder)
            points = _points(grader, room, folder).get(student, {})
            yield {
                "grader": grader.name,
                "seconds until it acts": round(found.seconds, 2),
                "then": found.then,
                "seconds from there to the end": round(found.to_end, 2),
                "points kept": sum(points.values()),
            }


def _points(grader: Grader, room: classroom.Classroom, folder: Path) -> dict:
    """Where the grader wrote any."""
    try:
        return grader.points(room, folder)
    except (OSError, RuntimeError, KeyError):
        return {}
