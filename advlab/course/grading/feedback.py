"""Pages of a graded class: one for each student, and a summary for the teacher.

They are single files of HTML without scripts that ask nothing of any network, and they come out
the same, byte for byte, for the same gradebook. All that students wrote goes through
:mod:`~advlab.course.grading.display` and Jinja's autoescape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .gradebook import Gradebook, Points
from .levels import isolated
from .pages import anchor, file_names, kind, render
from .results import GRADED, PASSED, Mark
from .rows import Entry
from .store import write
from .summary import content

_GENERATOR = b'<meta name="generator" content="advlab grade">'  # as in base.html


def write_pages(
    gradebook: Gradebook, folder: str | Path, unmatched: Sequence[str] = ()
) -> list[Path]:
    """Write ``feedback/NAME.html`` for each student and ``index.html``, the summary.

    Each file is written whole or not at all, and one that would not change is left alone. Pages
    that it wrote before, of students who are no longer in the class, are removed.

    :param unmatched: sentences for the summary about students and roster that do not fit together.
    :returns: the files, the summary first.
    :raises OSError: the folder cannot be written.
    """
    folder, names = Path(folder), _names(gradebook)
    pages = {folder / "index.html": summary_page(gradebook, unmatched)}
    for row in gradebook.rows:
        page = student_page(row.student, row.entries, gradebook.points, gradebook.titles)
        pages[folder / "feedback" / names[row.student]] = page
    for path, page in pages.items():
        # No lone surrogate is left in a page, so it always is UTF-8.
        written = page.encode("utf-8")
        if not path.is_file() or path.read_bytes() != written:
            write(path, written)
    for path in sorted((folder / "feedback").glob("*.html")):
        if path not in pages and _is_ours(path):
            path.unlink()
    return list(pages)


def _is_ours(path: Path) -> bool:
    """Whether it is a page that the grader wrote, and nobody else."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return _GENERATOR in file.read(2_000)


def student_page(
    student: str,
    entries: Sequence[Entry],
    points: Points | None = None,
    titles: Mapping[str, str] | None = None,
) -> str:
    """The page of one student: points, messages, hints and the student's own code.

    Of a hidden check it says the title and whether it passed. What the code printed is not shown.

    :param entries: the student's submissions, those that count and those that do not.
    :param points: of each chapter's checks: a chapter that was not handed in counts 0 of them.
    :param titles: of the chapters.
    """
    chapters = [_chapter(entry) for entry in entries if entry.counts and entry.chapter]
    handed_in = {chapter["name"] for chapter in chapters}
    missing = {
        chapter: sum(checks.values())
        for chapter, checks in (points or {}).items()
        if chapter not in handed_in
    }
    return render(
        "student.html",
        student=student,
        chapters=chapters,
        missing=missing,
        titles=titles or {},
        others=[entry for entry in entries if not entry.chapter],
        earned=sum(chapter["earned"] for chapter in chapters),
        points=sum(chapter["points"] for chapter in chapters) + sum(missing.values()),
    )


def summary_page(gradebook: Gradebook, unmatched: Sequence[str] = ()) -> str:
    """The teacher's page: the class, and for each exercise its points and wrong answers."""
    links = {student: f"feedback/{name}" for student, name in _names(gradebook).items()}
    return render("summary.html", **content(gradebook, links, unmatched))


def _names(gradebook: Gradebook) -> dict[str, str]:
    return file_names(row.student for row in gradebook.rows)


def _chapter(entry: Entry) -> dict[str, Any]:
    result = entry.result
    return {
        "name": entry.chapter,
        "anchor": anchor(entry.chapter),
        "earned": entry.earned,
        "points": entry.points,
        "status": result.status,
        "stopped": result.status != GRADED,
        "reason": result.reason,
        "notes": [
            *entry.said,
            *dict.fromkeys((*entry.submission.notes, *result.notes)),
        ],
        "sandbox": result.sandbox,
        "isolated": not result.sandbox or isolated(result.sandbox),
        "marks": [_mark(mark) for mark in result.marks],
    }


def _mark(mark: Mark) -> dict[str, Any]:
    shown = {**vars(mark), "kind": kind(mark.status), "passed": mark.status == PASSED}
    if mark.hidden:
        # The template does not show these; that they are not there is surer.
        shown |= {"message": "", "hint": "", "answer": "", "status": ""}
        shown["kind"] = "passed" if shown["passed"] else "not-yet"
    return shown
