"""What was handed in: each notebook with its student, chapter and answers, or why it has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nbformat import NotebookNode

from ..notebooks import tasks
from .answers import Answers, read_answers
from .cells import Cell, NotAnswers, cells
from .clean import alphabetical, escaped, one_line, shortened
from .filenames import students
from .folders import Found, look, sentence
from .progress import watched
from .reading import LARGEST, Unreadable, read_file
from .settings import Rule
from .times import Times

MOST_BYTES = 100 * 10**6  # of all notebooks of one student: 20 MB take seconds to read
MOST_GRADED = 20  # notebooks of one student and chapter, each of which may run ten minutes
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


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
    :param answers: what is graded; None where it cannot be.
    :param changed: when its file was last changed, where ``submitted`` is of a teacher's table.
    :param number: of the student, where Canvas or Moodle wrote it into the name; else empty.
    """

    student: str
    path: Path | None
    chapter: str = ""
    submitted: datetime | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    file: str = ""
    answers: Answers | None = None
    changed: datetime | None = None
    number: str = ""

    @property
    def when(self) -> tuple[datetime, int, str]:
        """To sort by, where a file's own time stands for one that is not known. Of two with the
        same time, the one with the longer name is the later one."""
        return self.submitted or self.changed or _LONG_AGO, len(self.file), self.file


def find(
    folder: str | Path,
    chapters: Mapping[str, NotebookNode],
    times: str | Path | None = None,
    rule: Rule | None = None,
    *,
    progress: bool = False,
) -> list[Submission]:
    """Everything in a folder of submissions, sorted by student and path.

    The folder holds a folder for each student, with notebooks up to a depth of 3 (attempts in
    folders of their own), or files named ``STUDENT-CHAPTER.ipynb``, or what Canvas or Moodle
    downloads. The chapter is the one whose exercises the notebook's cells name, else the one in its
    own name. Every file and folder gives at least one submission, hidden ones (``.DS_Store``,
    ``__MACOSX``) excepted. Of one student's notebooks those changed last are read, up to 100 MB in
    all, and of those for one chapter the 20 last are to be graded; the others have that as their
    problem. Each is read once.

    :param folder: of submissions.
    :param chapters: the teacher's notebooks by name, ``"04-fgsm"``.
    :param times: a file for :class:`~advlab.course.grading.times.Times`; without one, the time at
        which a notebook was last changed counts.
    :param rule: what is late: then the 20 last in time are to be graded, and the 20 last late ones,
        so that whoever hands in many after it loses none that was in time.
    :param progress: show how far it is, on the standard error, where it takes long.
    :raises ValueError: no such folder, or a file of times that cannot be read, or that names a
        student or a file that is not there.
    """
    folder, rule = Path(folder), rule or Rule()
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder with submissions")
    known = Times(times) if times is not None else None
    found = list(look(folder, chapters))
    called = students(one.named for one in found)
    found = _bounded(found, [called[one.named] for one in found], folder)
    reader = _Reader(folder, chapters)
    every = [
        replace(
            reader.read(one),
            student=escaped(called[one.named]),
            number=one.named.number,
            file=escaped(one.path.relative_to(folder).as_posix()) if one.path else "",
        )
        for one in watched(found, "read", progress)
    ]
    if known:
        every = known.set(every, folder, asked=rule.due is not None)
    every.sort(key=lambda one: (alphabetical(one.student), one.file))
    return _last(every, rule)


def _own(path: Path, folder: Path) -> str:
    """Where it lies in the student's own folder; the name of a file that lies in none."""
    parts = path.relative_to(folder).parts
    return "/".join(parts[1:] or parts)


def _bounded(found: list[Found], whose: list[str], folder: Path) -> list[Found]:
    """The same, with a problem where those that the student changed later are all that is read."""
    read: Counter[str] = Counter()
    bounded = list(found)
    for n in sorted(range(len(found)), key=lambda n: found[n].changed, reverse=True):
        one = found[n]
        if one.problem or one.size > LARGEST:  # not read anyway
            continue
        read[whose[n]] += one.size
        if read[whose[n]] > MOST_BYTES:
            problem = (
                f"not read: with those changed after it, more than {MOST_BYTES // 10**6} MB of "
                "notebooks"
            )
            bounded[n] = replace(one, problem=sentence(_own(one.path, folder), problem))
    return bounded


def _last(every: list[Submission], rule: Rule) -> list[Submission]:
    """The same, with a problem where a student has too many for one chapter."""
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for n, one in enumerate(every):
        if one.answers is not None:
            late = rule.late_at(one.submitted)
            groups.setdefault((one.student, one.chapter, late), []).append(n)
    for (_, chapter, _), group in groups.items():
        group.sort(key=lambda n: every[n].when)
        for n in group[:-MOST_GRADED]:
            problem = f"{chapter}: not one of the {MOST_GRADED} notebooks handed in last"
            every[n] = replace(every[n], problem=problem, answers=None)
    return every


class _Reader:
    """Reads notebooks that may be of the course, against a book."""

    def __init__(self, folder: Path, chapters: Mapping[str, NotebookNode]):
        self.folder, self.chapters = folder, chapters
        self.owner: dict[str, str] = {}  # of an exercise's id: its chapter
        self.places: dict[str, str] = {}  # of an answer's cell id: its chapter
        for name, chapter in chapters.items():
            for task in tasks(chapter, f"{name}.ipynb"):
                self.owner[task.id] = self.places[task.answer.id] = name

    def read(self, one: Found) -> Submission:
        """Without the student, whose name is not known before all are found."""
        here = one.chapter if one.chapter in self.chapters else ""
        broken = Submission("", one.path, here, None, one.problem, one.notes)
        if one.problem or one.path is None:
            return broken
        try:
            data, changed = read_file(one.path, self.folder)
        except Unreadable as error:
            problem = sentence(_own(one.path, self.folder), one_line(error, 400))
            return replace(broken, problem=problem)
        try:
            found = cells(data)
            chapter, notes = self._chapter(found, one.chapter)
            answers, more = read_answers(found, self.chapters[chapter])
            if answers.none:
                raise NotAnswers(f"no answers of this course: no cell answers {chapter}")
        except NotAnswers as error:
            problem = sentence(_own(one.path, self.folder), one_line(error, 400))
            return replace(broken, submitted=changed, problem=problem)
        notes = tuple(dict.fromkeys((*notes, *one.notes, *more)))
        return Submission("", one.path, chapter, changed, notes=notes, answers=answers)

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
