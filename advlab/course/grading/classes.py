"""A whole class: what was handed in, graded, and written into the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...data.files import write_atomically
from ..notebooks import NotebookError, find_notebooks, parse
from . import hidden as hidden_checks
from . import summary
from .columns import unplaced
from .feedback import write_pages
from .gradebook import Entry, Gradebook, collect
from .grafting import Chapter
from .jobs import Job
from .pool import cores, run
from .reading import Unreadable, read_file
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
    :param unmatched: sentences about students and roster that do not fit together, and about
        students whose chapter is not known.
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
        return sum(entry.result.status == FAILED for entry in self._entries)

    @property
    def _entries(self) -> list[Entry]:
        return [entry for row in self.gradebook.rows for entry in row.entries]


def grade_class(
    submissions: str | Path,
    against: str | Path,
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
    :param against: the teacher's notebook, with solutions, or a folder with notebooks.
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
    _apart(Path(submissions), report)
    chapters, teachers, source = _chapters(Path(against), hidden)
    # What is wrong with it is better known before than after an hour.
    people = read_roster(roster) if roster is not None else None
    level = choose(settings.sandbox, settings.image)
    settings = replace(settings, sandbox=level.name)  # a result depends on the level that it had
    found = find(
        submissions,
        {name: one.notebook for name, one in chapters.items()},
        times,
        settings.rule.due,
    )
    store = Store(report / ".results")
    write_atomically(store.folder / ".gitignore", b"*\n")  # and now it is known to be writable

    jobs: dict[int, Job] = {}
    results: dict[int, Result] = {}
    for n, one in enumerate(found):
        try:
            if one.problem or one.path is None:
                raise Unreadable(one.problem)
            data, _ = read_file(one.path, Path(submissions))
            jobs[n] = Job(one.student, one.chapter, teachers[one.chapter], data, source, settings)
        except Unreadable as error:
            results[n] = Result(one.chapter, BROKEN, str(error))
    if say is not None:
        say(level, _what_there_is(found, jobs, None if again else store))
    keys = {n: job.key() for n, job in jobs.items()}
    workers = workers or cores()
    with Slots(workers, warm=possible(level.name)) as places:
        how = {"workers": workers, "cluster": cluster, "places": places}
        _try_solutions({job.chapter: job for job in jobs.values()}, store, how)
        graded = run(jobs.values(), store, progress=progress, again=again, **how)
    results |= {n: graded[key] for n, key in keys.items()}
    pairs = [(one, _with_notes(results[n], one)) for n, one in enumerate(found)]
    points = {name: {c.key: c.points for c in one.checks} for name, one in chapters.items()}
    gradebook = collect(
        pairs, points, settings.rule, timed=times is not None,
        titles={name: one.title for name, one in chapters.items()},
    )  # fmt: skip
    gradebook.write(report, roster)
    unmatched = people.unmatched(row.student for row in gradebook.rows) if people else ()
    unmatched += unplaced(gradebook)
    write_pages(gradebook, report, unmatched)
    return Graded(gradebook, report, level, unmatched)


def _try_solutions(jobs: dict[str, Job], store: Store, how: dict[str, Any]) -> None:
    """Grade the teacher's own notebooks first: a mistake in a check, hidden ones above all, would
    cost the whole class, and nobody would see why.

    :param jobs: one of each chapter.
    :param how: for :func:`~advlab.course.grading.pool.run`.
    :raises NotebookError: a check that the chapter's own solution does not pass.
    """
    own = [replace(job, student="", submission=job.teacher) for job in jobs.values()]
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


def _with_notes(result: Result, one: Submission) -> Result:
    """A stored result belongs to a notebook, these notes to the folder that it lay in."""
    return replace(result, notes=(*one.notes, *result.notes))


def _apart(submissions: Path, report: Path) -> None:
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


def _chapters(
    against: Path, hidden: str | Path | None
) -> tuple[dict[str, Chapter], dict[str, bytes], bytes | None]:
    """The chapters that have exercises, their files' bytes, and the source of the hidden checks."""
    source, extra = None, ()
    if hidden is not None:
        source = Path(hidden).read_bytes()
        extra = hidden_checks.load(source, Path(hidden).name)
    chapters, files, owner = {}, {}, {}
    for path in find_notebooks(against):
        files[path.stem] = path.read_bytes()
        chapter = Chapter(path.stem, parse(files[path.stem], str(path)), extra)
        if chapter.checks:
            chapters[path.stem] = chapter
        for id in chapter.released:
            if owner.setdefault(id, path.name) != path.name:
                raise NotebookError(f"exercise {id} stands in {owner[id]} and in {path.name}")
    if not chapters:
        raise NotebookError(f"{against}: no exercises there, so there is nothing to grade")
    for one in extra:
        if one.id not in owner:
            raise NotebookError(f"{hidden}: a hidden check of {one.id}, and {against} has no such")
    return chapters, files, source


def _what_there_is(found: list[Submission], jobs: dict[int, Job], store: Store | None) -> str:
    students = len({one.student for one in found})
    keys = {job.key() for job in jobs.values()}
    before = sum(store.get(key) is not None for key in keys) if store else 0
    text = f"{_count(len(found), 'submission')} of {_count(students, 'student')}"
    if len(keys) < len(jobs):
        text += f", {len(jobs) - len(keys)} the same as another"
    if len(jobs) < len(found):
        text += f", {len(found) - len(jobs)} that cannot be graded"
    if before:
        text += f"; {before} graded before, {len(keys) - before} to grade"
    return text


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
