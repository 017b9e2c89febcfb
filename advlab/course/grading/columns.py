"""The gradebook in the layouts that Canvas and Moodle import."""

from __future__ import annotations

import re

from .clean import plain, shortened
from .gradebook import Gradebook
from .roster import MOST, Person, Roster
from .rows import Row
from .table import write_table

# A student of that name, or nearly, would be Canvas's row of points once more.
_POSSIBLE = re.compile(r"(points)[\W_]+(possible)", re.IGNORECASE)


def canvas(gradebook: Gradebook, roster: Roster | None = None) -> str:
    """The text of a CSV file for Canvas's *Import* in the gradebook.

    Five columns that say who it is, then one for each chapter; the second row holds the points
    possible. Canvas looks a student up by the ID, then the SIS user ID, then the login, then the
    name, and asks about those that it does not know. An empty cell clears a grade that is there;
    :func:`~advlab.course.grading.columns.unplaced` says who has one though something was handed in.

    :param roster: a gradebook exported from Canvas, for the first five columns; without one the
        student's name stands for name and login.
    """
    chapters = list(gradebook.points)
    table: list[list] = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *chapters]]
    table.append(["Points Possible", "", "", "", "", *gradebook.worth.values()])
    for row, person in _people(gradebook, roster):
        name = _POSSIBLE.sub(r"\1-\2", plain(person.name))
        who = [name, person.id, person.number, person.login, person.section]
        table.append([*who, *_points(gradebook, row)])
    return write_table(table)


def moodle(gradebook: Gradebook, roster: Roster | None = None) -> str:
    """The text of a CSV file for Moodle's *Grades, Import, CSV file*.

    Four columns that say who it is, of which one is chosen there to map from, then one for each
    chapter. Moodle imports nothing from a file with a student that it does not know: rows of
    students who are not in the roster stand at the end, and are to be mended or deleted.

    :param roster: the participants or grades exported from Moodle, for the first four columns;
        without one the student's name stands for name and user name.
    """
    table: list[list] = [
        ["ID number", "Username", "Full name", "Email address", *gradebook.points],
    ]
    for row, person in _people(gradebook, roster):
        who = [person.number, person.login, person.name, person.email]
        table.append([*who, *_points(gradebook, row)])
    return write_table(table)


def unplaced(gradebook: Gradebook) -> tuple[str, ...]:
    """A sentence about those who handed in what belongs to no chapter, and whose cell is empty."""
    found = [
        row.student
        for row in gradebook.rows
        if any(not entry.chapter for entry in row.entries) and None in _points(gradebook, row)
    ]
    if not found:
        return ()
    names = shortened(found, MOST)
    return (f"no chapter could be told for: {names}; their cells are left empty",)


def _points(gradebook: Gradebook, row: Row) -> list[float | None]:
    entries = [row.of(chapter) for chapter in gradebook.points]
    # What was handed in for the only chapter is that chapter's, whatever became of it.
    empty = 0.0 if len(entries) == 1 else None
    return [float(entry.earned) if entry else empty for entry in entries]


def _people(gradebook: Gradebook, roster: Roster | None) -> list[tuple[Row, Person]]:
    """Each row with who it is: those in the roster first, then the others, none left out."""
    if roster is None:
        return [(row, Person(name=row.student, login=row.student)) for row in gradebook.rows]
    found = roster.match(gradebook.students)
    rows = sorted(gradebook.rows, key=lambda row: row.student not in found)
    return [(row, found.get(row.student, Person(name=row.student))) for row in rows]
