"""Pages of a graded class: one for each student, and a summary for the teacher.

They are single files of HTML without scripts that ask nothing of any network, and they come out
the same, byte for byte, for the same gradebook and time. All that students wrote goes through
:mod:`~advlab.course.grading.display` and Jinja's autoescape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from .gradebook import Gradebook
from .levels import isolated
from .pages import anchor, beyond, file_names, kind, reduced, render
from .results import GRADED, PASSED, Mark
from .rows import Entry, Row
from .store import write
from .summary import content

_GENERATOR = b'<meta name="generator" content="advlab grade">'  # as in base.html
_MADE = re.compile(rb"<time datetime=[^\n]*</time>")  # as in parts.html; nobody else can write it


def write_pages(
    gradebook: Gradebook,
    folder: str | Path,
    unmatched: Sequence[str] = (),
    *,
    made: datetime | None = None,
) -> list[Path]:
    """Write ``feedback/NAME.html`` for each student and ``index.html``, the summary.

    Each file is written whole or not at all, and one in which nothing but the time would change is
    left alone. Pages that it wrote before, of students who are no longer in the class, are removed.

    :param unmatched: sentences for the summary about students and roster that do not fit together.
    :param made: the time that the pages give as their own; by default now.
    :returns: the files, the summary first.
    :raises OSError: the folder cannot be written.
    """
    folder, names, made = Path(folder), _names(gradebook), made or _now()
    pages = {folder / "index.html": summary_page(gradebook, unmatched, made=made)}
    for row in gradebook.rows:
        page = student_page(gradebook, row, made=made)
        pages[folder / "feedback" / names[row.student]] = page
    for path, page in pages.items():
        # No lone surrogate is left in a page, so it always is UTF-8.
        written = page.encode("utf-8")
        if not path.is_file() or not _same(path.read_bytes(), written):
            write(path, written)
    for path in sorted((folder / "feedback").glob("*.html")):
        if path not in pages and _is_ours(path):
            path.unlink()
    return list(pages)


def _now() -> datetime:
    return datetime.now().astimezone()


def _same(old: bytes, new: bytes) -> bool:
    return _MADE.sub(b"", old) == _MADE.sub(b"", new)


def _is_ours(path: Path) -> bool:
    """Whether it is a page that the grader wrote, and nobody else."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return _GENERATOR in file.read(2_000)


def student_page(gradebook: Gradebook, row: Row, *, made: datetime | None = None) -> str:
    """The page of one student: points, messages, hints and the student's own code.

    Of a hidden check it says the title and whether it passed. What the code printed is not shown.

    Times are in the zone of the due time, else in that of ``made``.

    :param row: the student's. A chapter of the gradebook that was not handed in counts 0 points.
    :param made: when the page was made; by default now.
    """
    made, due = made or _now(), gradebook.rule.due
    zone = (due or made).tzinfo
    chapters = [_chapter(entry, zone) for entry in row.counted if entry.chapter]
    handed_in = {chapter["name"] for chapter in chapters}
    missing = {
        chapter: points for chapter, points in gradebook.worth.items() if chapter not in handed_in
    }
    return render(
        "student.html",
        student=row.student,
        chapters=chapters,
        missing=missing,
        titles=gradebook.titles,
        others=[entry for entry in row.entries if not entry.chapter],
        due=due,
        timed=gradebook.timed,
        made=made.astimezone(zone),
        earned=sum(chapter["earned"] for chapter in chapters),
        points=sum(chapter["points"] for chapter in chapters) + sum(missing.values()),
    )


def summary_page(
    gradebook: Gradebook, unmatched: Sequence[str] = (), *, made: datetime | None = None
) -> str:
    """The teacher's page: the class, and for each exercise its points and wrong answers.

    :param made: when the page was made; by default now.
    """
    links = {student: f"feedback/{name}" for student, name in _names(gradebook).items()}
    made = made or _now()
    made = made.astimezone((gradebook.rule.due or made).tzinfo)
    return render("summary.html", **content(gradebook, links, unmatched, made=made))


def _names(gradebook: Gradebook) -> dict[str, str]:
    return file_names(row.student for row in gradebook.rows)


def _chapter(entry: Entry, zone: tzinfo | None) -> dict[str, Any]:
    result, submitted = entry.result, entry.submission.submitted
    return {
        "name": entry.chapter,
        "anchor": anchor(entry.chapter),
        "earned": entry.earned,
        "points": entry.points,
        "status": result.status,
        "stopped": result.status != GRADED,
        "reason": beyond(result),
        "reduced": reduced(entry),
        "submitted": submitted and submitted.astimezone(zone),
        "notes": [*entry.said, *entry.submission.notes],
        "sandbox": result.sandbox,
        "isolated": not result.sandbox or isolated(result.sandbox),
        "hidden": any(mark.hidden for mark in result.marks),
        "marks": [_mark(mark) for mark in result.marks],
    }


def _mark(mark: Mark) -> dict[str, Any]:
    shown = {**vars(mark), "kind": kind(mark.status), "passed": mark.status == PASSED}
    if mark.hidden:
        # The template does not show these; that they are not there is surer.
        shown |= {"message": "", "hint": "", "answer": "", "status": ""}
        shown["kind"] = "passed" if shown["passed"] else "not-yet"
    return shown
