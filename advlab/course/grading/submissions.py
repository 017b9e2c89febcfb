"""What was handed in: each notebook with its student and chapter, or why it cannot be graded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nbformat import NotebookNode

from ..notebooks import tasks
from .answers import read_answers
from .cells import Cell, NotAnswers, cells
from .clean import one_line, shortened, visible
from .entries import Named, chapter_in, from_file, from_folder, is_hidden, students, wrong_name
from .reading import Unreadable, read_file
from .times import Times

DEEPEST = 3  # a notebook may stand in a folder in a folder of the student's folder
MOST_FILES = 5_000  # in one student's folder, and
MOST_OPENED = 100  # notebooks, each of which may be 20 MB and take seconds to read
MOST_GRADED = 20  # notebooks of one student and chapter, each of which may run ten minutes
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Submission:
    """One thing handed in.

    :param student: whose it is, by the name of the folder or file.
    :param path: of the notebook; None where there is none to be opened.
    :param chapter: the name of the teacher's notebook, ``"04-fgsm"``; or empty.
    :param submitted: when, with its time zone; None where that is not known.
    :param problem: why it cannot be graded, in a sentence; empty where it can.
    :param notes: for the student.
    :param file: its path below the folder of submissions, fit to be shown.
    """

    student: str
    path: Path | None
    chapter: str = ""
    submitted: datetime | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    file: str = ""

    @property
    def when(self) -> tuple[datetime, int, str]:
        """To sort by: of two with the same time, the one with the longer name is the later one."""
        return self.submitted or _LONG_AGO, len(self.file), self.file


def find(
    folder: str | Path,
    chapters: Mapping[str, NotebookNode],
    times: str | Path | None = None,
    due: datetime | None = None,
) -> list[Submission]:
    """Everything in a folder of submissions, sorted by student and path.

    The folder holds a folder for each student, with notebooks up to a depth of 3 (attempts in
    folders of their own), or files named ``STUDENT-CHAPTER.ipynb``, or what Canvas or Moodle
    downloads. The chapter is the one whose exercises the notebook's cells name, else the one in its
    own name. Every file and folder gives at least one submission, hidden ones (``.DS_Store``,
    ``__MACOSX``) excepted. Of one student's notebooks for one chapter the 20 last are to be graded,
    and the others have that as their problem.

    :param folder: of submissions.
    :param chapters: the teacher's notebooks by name, ``"04-fgsm"``.
    :param times: a file for :class:`~advlab.course.grading.times.Times`; without one, the time at
        which a notebook was last changed counts.
    :param due: the time after which one is late: then the 20 last in time are, and the 20 last late
        ones, so that whoever hands in many after it loses none that was in time.
    :raises ValueError: no such folder, or a file of times that cannot be read, or that names a
        student or a file that is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder with submissions")
    known = Times(times) if times is not None else None
    finder = _Finder(folder, chapters)
    found = [pair for entry in _entries(folder) for pair in finder.of(entry)]
    called = students(named for named, _ in found)
    every = [
        replace(
            one,
            student=visible(called[named]),
            file=visible(one.path.relative_to(folder).as_posix()) if one.path else one.file,
        )
        for named, one in found
    ]
    if known:
        every = known.set(every, folder, asked=due is not None)
    every.sort(key=lambda one: (one.student, one.file))
    return _last(every, due)


def _last(every: list[Submission], due: datetime | None) -> list[Submission]:
    """The same, with a problem where a student has too many for one chapter."""
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for n, one in enumerate(every):
        if one.chapter and not one.problem:
            late = bool(due and one.submitted and one.submitted > due)
            groups.setdefault((one.student, one.chapter, late), []).append(n)
    for (_, chapter, _), group in groups.items():
        group.sort(key=lambda n: every[n].when)
        for n in group[:-MOST_GRADED]:
            problem = f"{chapter}: not one of the {MOST_GRADED} notebooks handed in last"
            every[n] = replace(every[n], problem=problem)
    return every


def _entries(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


class _Finder:
    def __init__(self, folder: Path, chapters: Mapping[str, NotebookNode]):
        self.folder, self.chapters = folder, chapters
        self.owner: dict[str, str] = {}  # of an exercise's id: its chapter
        self.places: dict[str, str] = {}  # of an answer's cell id: its chapter
        for name, chapter in chapters.items():
            for task in tasks(chapter, Path(f"{name}.ipynb")):
                self.owner[task.id] = self.places[task.answer.id] = name

    def of(self, entry: os.DirEntry) -> Iterator[tuple[Named, Submission]]:
        """The submissions of one file or folder, with what its name says about the student."""
        name, path = entry.name, self.folder / entry.name
        if problem := wrong_name(name):
            shown = visible(name)
            yield Named(name, "", ""), Submission("", None, problem=_sentence(shown, problem))
        elif is_hidden(name):
            return
        elif entry.is_dir(follow_symlinks=False):
            for one in self._of_folder(path):
                yield from_folder(name), one
        else:
            stem = path.stem if path.suffix.lower() in (".ipynb", *_ARCHIVES) else name
            named = from_file(stem, self.chapters)
            yield (named if named.student else Named(name, "", "")), self._of_file(entry, named)

    def _of_file(self, entry: os.DirEntry, named: Named) -> Submission:
        path = self.folder / entry.name
        suffix = path.suffix.lower()
        problem = ""
        if entry.is_symlink():
            problem = "a symbolic link, and links are not followed"
        elif suffix in _ARCHIVES:
            problem = "an archive: unpack it into a folder first"
        elif suffix != ".ipynb":
            problem = "not a notebook: expected STUDENT-CHAPTER.ipynb, or a folder"
        elif not named.student:
            problem = f"its name says no student: expected STUDENT-{entry.name}"
        if problem:
            chapter = named.chapter if named.chapter in self.chapters else ""
            return Submission("", path, chapter, problem=_sentence(entry.name, problem))
        return self._of_notebook(path, named.chapter)

    def _of_folder(self, top: Path) -> list[Submission]:
        """The notebooks in a student's folder; a reason where there is none."""
        found: list[Submission] = []
        beside: list[str] = []
        notes: list[str] = []
        waiting, seen, opened = [top], 0, 0
        while waiting:
            here = waiting.pop(0)
            try:
                entries = _entries(here)
            except OSError as error:
                problem = f"the folder cannot be read ({error.strerror})"
                found.append(Submission("", None, problem=_sentence(here.name, problem)))
                continue
            for entry in entries:
                path = here / entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                is_notebook = path.suffix.lower() == ".ipynb" and not is_folder
                wrong = wrong_name(entry.name)
                if is_hidden(entry.name) and not wrong:
                    continue
                seen += 1
                opened += is_notebook
                if seen > MOST_FILES or opened > MOST_OPENED:
                    waiting.clear()
                    most, what = MOST_FILES, "files"
                    if opened > MOST_OPENED:
                        most, what = MOST_OPENED, "notebooks"
                    problem = f"more than {most:,} {what}, and the rest was not read"
                    found.append(Submission("", None, problem=_sentence(top.name, problem)))
                    break
                if wrong and (is_notebook or is_folder):
                    problem = _sentence(visible(entry.name), wrong)
                    found.append(Submission("", None, problem=problem))
                elif is_notebook:
                    said = chapter_in(path.stem, self.chapters)[0]
                    found.append(self._of_notebook(path, said))
                elif not is_folder:
                    beside.append(path.relative_to(top).as_posix())
                elif len(path.relative_to(top).parts) < DEEPEST:
                    waiting.append(path)
                else:
                    notes.append(
                        f"The folder {one_line(entry.name)} is too deep, and was not read."
                    )
        if not found:
            problem = " ".join([_no_notebook(beside), *notes])
            found.append(Submission("", None, problem=problem))
        elif beside:
            notes.append(f"Files beside the notebook are not used: {shortened(beside)}.")
        return [replace(one, notes=(*one.notes, *notes)) for one in found]

    def _of_notebook(self, path: Path, said: str) -> Submission:
        """A notebook that may be one of the course. ``said``: the chapter in the file's name."""
        here = said if said in self.chapters else ""
        changed = None
        try:
            data, changed = read_file(path, self.folder)
            chapter, notes = self._chapter(cells(data), said)
            if read_answers(data, self.chapters[chapter]).none:
                raise NotAnswers(f"no answers of this course: no cell answers {chapter}")
        except (Unreadable, NotAnswers) as error:
            problem = one_line(error, 400)
            if not isinstance(error, Unreadable):
                problem = _sentence(path.name, problem)
            return Submission("", path, here, changed, problem)
        return Submission("", path, chapter, changed, notes=tuple(notes))

    def _chapter(self, found: list[Cell], said: str) -> tuple[str, list[str]]:
        """The chapter of a notebook's cells, and notes.

        :raises NotAnswers: it has none of the book's.
        """
        order = list(self.chapters)
        ids = {cell.exercise for cell in found if cell.kind == "code" and cell.exercise}
        count = Counter(self.owner[id] for id in ids if id in self.owner)
        if not count and ids:
            raise NotAnswers(
                f"another chapter's: its exercises are {shortened(sorted(ids))}, and the book's "
                f"chapters here are {shortened(order)}"
            )
        if not count:
            count = Counter(
                self.places[cell.id]
                for cell in found
                if cell.kind == "code" and cell.id in self.places
            )
        if not count and said in self.chapters:
            count[said] = 1
        if not count and said:
            raise NotAnswers(f"another chapter's: {said}, and those here are {shortened(order)}")
        if not count:
            raise NotAnswers("no answers of this course: no cell is marked as an answer")
        most = max(count, key=lambda name: (count[name], name == said, -order.index(name)))
        notes = []
        if len(count) > 1:
            rest = shortened([name for name in order if name in count and name != most])
            notes.append(
                f"It holds answers of several chapters: graded as {most}, not as {rest}. Hand in a "
                "notebook for each chapter."
            )
        if said and said != most:
            notes.append(f"Its name says {said}, its answers are those of {most}.")
        return most, notes


def _sentence(name: str, problem: str) -> str:
    return f"{one_line(name)}: {problem}"


def _no_notebook(beside: list[str]) -> str:
    archives = [name for name in beside if name.lower().endswith(_ARCHIVES)]
    if archives:
        return (
            f"no notebook in the folder, but an archive: unpack it first ({shortened(archives)})."
        )
    if beside:
        return f"no notebook in the folder; found {shortened(beside)}."
    return "no notebook in the folder."
