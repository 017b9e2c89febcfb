"""When something was handed in, where a teacher knows better than the files do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .clean import one_line, shortened
from .table import read_table

if TYPE_CHECKING:
    from .submissions import Submission


class Times:
    """A CSV file with the columns student, file and submitted.

    ``student`` is the name in the gradebook; ``file`` is the notebook's name, or its path below the
    folder of submissions or the student's own, and may be empty: then the time is that of all the
    student's files.
    ``submitted`` is a time with its zone, ``2026-01-31T23:59:00+01:00``.

    :param path: of the file.
    :raises ValueError: a column is missing, or a time is not one or has no zone.
    """

    def __init__(self, path: str | Path):
        self.path = path
        self.found: dict[tuple[str, str], datetime] = {}
        lines: dict[tuple[str, str], int] = {}
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
            key = row["student"], row["file"]
            if (first := lines.setdefault(key, line)) != line:
                raise ValueError(
                    f"{path}, lines {first} and {line}: two times for {_said(key)}; keep one"
                )
            self.found[key] = time

    def set(self, every: list[Submission], folder: Path, asked: bool) -> list[Submission]:
        """The submissions with their times of the file, or with none: then the time of the notebook
        itself stays as the one that tells the last of several.

        :param asked: somebody asks for the time: without one, a submission has a note that says so.
        :raises ValueError: rows that belong to no submission, which are somebody's misspelled name.
        """
        made, unused = [], dict.fromkeys(self.found)
        files: dict[str, list[str]] = {}
        for one in every:
            names = [""]
            if one.path is not None:
                path = one.path.relative_to(folder)
                own = Path(*path.parts[1:]) if len(path.parts) > 1 else path
                names = [path.as_posix(), own.as_posix(), path.name, ""]
                files.setdefault(one.student, []).append(path.as_posix())
            keys = [(one.student, name) for name in names if (one.student, name) in self.found]
            for key in keys:
                unused.pop(key, None)
            time = self.found[keys[0]] if keys else None
            notes = one.notes
            if asked and not time:
                notes = (*notes, "No time is known at which it was handed in.")
            made.append(replace(one, submitted=time, changed=one.submitted, notes=notes))
        if unused:
            rows = [_said(key) for key in unused]
            known = [
                f"; known of {one_line(student)}: {shortened(files[student])}"
                for student in dict.fromkeys(student for student, _ in list(unused)[:5])
                if student in files
            ]
            raise ValueError(
                f"{self.path}: nothing was handed in by that student, or as that file: "
                f"{shortened(rows)}; expected the names as in the gradebook{''.join(known)}"
            )
        return made


def _said(key: tuple[str, str]) -> str:
    return " ".join(one_line(part) for part in key).strip()
