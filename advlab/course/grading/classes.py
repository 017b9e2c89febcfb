"""A whole class: what was handed in, graded, and written into the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...data.files import write_atomically
from ..notebooks import NotebookError, find_notebooks, owners, read
from . import hidden as hidden_checks
from . import summary
from .answers import read_answers
from .cells import cells
from .clean import count, shortened
from .columns import unplaced
from .cores import cores
from .export import write_gradebook
from .feedback import write_pages
from .gradebook import Gradebook, collect
from .grafting import Chapter
from .jobs import Job
from .pool import run
from .results import BROKEN, FAILED, PASSED, Result
from .roster import read_roster
from .sandbox import Sandbox, choose
from .sandbox.warm import possible
from .settings import Settings
from .slots import Slots
from .store import Store
from .submissions import Submission, find


@dataclass(frozen=True)
class Graded:
    """A class that was graded.

    :param gradebook: of all submissions.
    :param report: the folder with ``gradebook.csv`` and ``index.html``.
    :param sandbox: the level that the students' code ran in.
    :param unmatched: sentences about what does not fit together: students and roster, students
        whose chapter is not known, times that are not, chapters that nobody handed in.
    """

    gradebook: Gradebook
    report: Path
    sandbox: Sandbox
    unmatched: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """Those at the head of the summary page: ``[("students", "30"), …]``."""
        return summary.numbers(self.gradebook)

    @property
    def failed(self) -> int:
        """Submissions on which the grader itself failed; the next run tries them again."""
        return sum(entry.result.status == FAILED for entry in self.gradebook.entries)


def grade_class(
    submissions: str | Path,
    against: str | Path | Iterable[str | Path],
    report: str | Path,
    settings: Settings | None = None,
    *,
    hidden: str | Path | None = None,
    times: str | Path | None = None,
    roster: str | Path | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    again: bool = False,
    progress: bool = True,
    say: Callable[[Sandbox, str], object] | None = None,
) -> Graded:
    """Grade what a class handed in, and write gradebook, feedback and summary.

    What was graded before, and has not changed, is not graded again: a run that was stopped goes
    on where it was.

    :param submissions: a folder with a folder for each student, or with STUDENT-CHAPTER.ipynb.
    :param against: the teacher's notebook, with solutions, or a folder with notebooks; or several.
    :param report: a folder; made where there is none.
    :param settings: limits, sandbox and the rule for late and repeated submissions.
    :param hidden: a Python file with checks of the teacher's own.
    :param times: a CSV file with the times at which notebooks were handed in.
    :param roster: a CSV file with the class, as Canvas or Moodle exports it.
    :param workers: processes at one time; by default one a core.
    :param cluster: the address of a Dask scheduler, whose workers grade instead.
    :param again: grade all anew.
    :param progress: show how far it is, on the standard error.
    :param say: called before the work begins, with the sandbox and what there is to do.
    :raises ValueError: a folder that is not there or lies in another, a chapter that breaks the
        rules or whose own solution does not pass, no exercises, a sandbox that does not work here,
        a file that cannot be read.
    :raises OSError: the report cannot be written.
    """
    settings, report = settings or Settings(), Path(report)
    books = [Path(one) for one in ([against] if isinstance(against, str | Path) else against)]
    _apart(Path(submissions), books, report)
    chapters, source = _chapters(books, hidden)
    # What is wrong with it is better known before than after an hour.
    people = read_roster(roster) if roster is not None else None
    level = choose(settings.sandbox, settings.image)
    settings = replace(settings, sandbox=level.name)  # a result depends on the level that it had
    notebooks = {name: one.notebook for name, one in chapters.items()}
    found = find(submissions, notebooks, times, settings.rule, progress=progress)
    store = Store(report / ".results")
    write_atomically(store.folder / ".gitignore", b"*\n")  # and now it is known to be writable

    codes = {name: one.code for name, one in chapters.items()}
    jobs = {
        n: Job(one.chapter, codes[one.chapter], one.answers, source, settings)
        for n, one in enumerate(found)
        if one.answers is not None
    }
    if say is not None:
        say(level, _what_there_is(found, jobs, None if again else store))
    workers = cores() if workers is None else workers
    with Slots(workers, warm=possible(level.name)) as places:
        how = {"workers": workers, "cluster": cluster, "places": places}
        _try_solutions({job.chapter: job for job in jobs.values()}, chapters, store, how)
        graded = run(jobs.values(), store, progress=progress, again=again, **how)
    results = [
        graded[jobs[n].key()] if n in jobs else Result(one.chapter, BROKEN, one.problem)
        for n, one in enumerate(found)
    ]
    points = {name: {c.key: c.points for c in one.checks} for name, one in chapters.items()}
    gradebook = collect(
        zip(found, results, strict=True), points, settings.rule, timed=times is not None,
        titles={name: one.title for name, one in chapters.items()},
    )  # fmt: skip
    write_gradebook(gradebook, report, people)
    unmatched = people.unmatched(gradebook.students) if people else ()
    unmatched += unplaced(gradebook) + _timeless(gradebook) + _absent(gradebook)
    write_pages(gradebook, report, unmatched)
    return Graded(gradebook, report, level, unmatched)


def _try_solutions(
    jobs: dict[str, Job], chapters: dict[str, Chapter], store: Store, how: dict[str, Any]
) -> None:
    """Grade the teacher's own notebooks first: a mistake in a check, hidden ones above all, would
    cost the whole class, and nobody would see why.

    :param jobs: one of each chapter that was handed in.
    :param chapters: those, and maybe others.
    :param how: for :func:`~advlab.course.grading.pool.run`.
    :raises NotebookError: a check that the chapter's own solution does not pass.
    """
    own = []
    for name, job in jobs.items():
        answers, _ = read_answers(cells(job.teacher), chapters[name].notebook)
        own.append(replace(job, answers=answers))
    for result in run(own, store, progress=False, **how).values():
        where = f"{result.chapter}: the chapter's own solution"
        if result.status == FAILED:
            raise NotebookError(f"{where} could not be graded: {result.reason}")
        for mark in result.marks:
            if mark.status != PASSED:
                name = f"hidden check {mark.title!r}" if mark.hidden else "check"
                raise NotebookError(
                    f"{where} does not pass the {name} of {mark.id} ({mark.status}): "
                    f"{mark.message or result.reason}"
                )


def _apart(submissions: Path, books: list[Path], report: Path) -> None:
    if not submissions.is_dir():
        what = "a file" if submissions.exists() else "none"
        raise ValueError(f"{submissions}: expected a folder with submissions, found {what}")
    if report.exists() and not report.is_dir():
        raise ValueError(f"{report}: expected a folder for the report, found a file")
    inner, outer = report.resolve(), submissions.resolve()
    if inner.is_relative_to(outer):
        raise ValueError(f"{report}: the report lies in the submissions; name another folder")
    if outer.is_relative_to(inner):
        raise ValueError(f"{submissions}: the submissions lie in the report; name another folder")
    if inner in [book.resolve() for book in books]:
        raise ValueError(f"{report}: the chapters lie there; name another folder for the report")


def _chapters(
    books: list[Path], hidden: str | Path | None
) -> tuple[dict[str, Chapter], bytes | None]:
    """The chapters that have exercises, and the source of the hidden checks."""
    source, extra, where = None, (), ", ".join(map(str, books))
    if hidden is not None:
        try:
            source = Path(hidden).read_bytes()
        except OSError as error:
            raise NotebookError(
                f"{hidden}: expected a Python file with hidden checks; it cannot be read "
                f"({error.strerror})"
            ) from error
        extra = hidden_checks.load(source, Path(hidden).name)
    paths: dict[str, Path] = {}
    for path in (path for book in books for path in find_notebooks(book)):
        known = paths.setdefault(path.stem, path)
        if known != path and not known.samefile(path):
            raise NotebookError(f"two chapters of one name: {known} and {path}")
    every = {name: Chapter(name, read(paths[name]), extra) for name in sorted(paths)}
    chapters = {name: one for name, one in every.items() if one.checks}
    owner = owners({f"{name}.ipynb": one.released for name, one in chapters.items()})
    if not chapters:
        raise NotebookError(f"{where}: no exercises there, so there is nothing to grade")
    for one in extra:
        if one.id not in owner:
            raise NotebookError(f"{hidden}: a hidden check of {one.id}, and {where} has no such")
    return chapters, source


def _timeless(gradebook: Gradebook) -> tuple[str, ...]:
    """A sentence about what the teacher's table of times leaves out, where times matter."""
    if not (gradebook.timed and gradebook.rule.due):
        return ()
    handed_in = [entry.submission for entry in gradebook.entries if entry.submission.path]
    number = sum(one.submitted is None for one in handed_in)
    return (f"no time known for {count(number, 'submission')}: not late",) if number else ()


def _absent(gradebook: Gradebook) -> tuple[str, ...]:
    """A sentence about chapters that nobody handed in: they may not have been asked for."""
    names = list(gradebook.points)
    absent = [name for name in names if not any(row.of(name) for row in gradebook.rows)]
    if not 0 < len(absent) < len(names):
        return ()
    return (
        f"handed in by nobody, and counted 0 for everybody: {count(len(absent), 'chapter')}: "
        f"{shortened(absent)}; name the assigned ones with --against",
    )


def _what_there_is(found: list[Submission], jobs: dict[int, Job], store: Store | None) -> str:
    students = len({one.student for one in found})
    keys = {job.key() for job in jobs.values()}
    before = sum(store.get(key) is not None for key in keys) if store else 0
    text = f"{count(len(found), 'submission')} of {count(students, 'student')}"
    if len(keys) < len(jobs):
        text += f", {len(jobs) - len(keys)} the same as another"
    if len(jobs) < len(found):
        text += f", {len(found) - len(jobs)} that cannot be graded"
    if before:
        text += f"; {before} graded before, {len(keys) - before} to grade"
    return text
