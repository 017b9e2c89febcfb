"""When something was handed in, where a teacher knows better than the files do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .table import read_table

if TYPE_CHECKING:
    from .submissions import Submission


class Times:
    """A CSV file with the columns student, file and submitted.

    ``student`` is the name in the gradebook; ``file`` is the notebook's name, or its path below the
    folder of submissions, and may be empty: then the time is that of all the student's files.
    ``submitted`` is a time with its zone, ``2026-01-31T23:59:00+01:00``.

    :param path: of the file.
    :raises ValueError: a column is missing, or a time is not one or has no zone.
    """

    def __init__(self, path: str | Path):
        self.found: dict[tuple[str, str], datetime] = {}
        header, rows = read_table(path)
        if missing := {"student", "file", "submitted"} - set(header):
            raise ValueError(
                f"{path}: expected the columns student, file and submitted; there is no column "
                f"{' and no '.join(sorted(missing))}"
            )
        for line, row in rows:
            try:
                time = datetime.fromisoformat(row["submitted"])
            except ValueError:
                time = None
            if time is None or time.tzinfo is None:
                raise ValueError(
                    f"{path}, line {line}: found the time {row['submitted']!r}, expected one with "
                    "its zone, such as 2026-01-31T23:59:00+01:00"
                )
            self.found[row["student"], row["file"]] = time

    def set(self, one: Submission, folder: Path) -> Submission:
        """The submission with its time of the file, or with none and a note."""
        names = [""]
        if one.path is not None:
            names = [one.path.relative_to(folder).as_posix(), one.path.name, ""]
        time = next(
            (self.found[one.student, n] for n in names if (one.student, n) in self.found), None
        )
        notes = one.notes if time else (*one.notes, "No time is known at which it was handed in.")
        return replace(one, submitted=time, notes=notes)
