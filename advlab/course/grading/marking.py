"""What is known of a submission while it is graded: a mark for each check, from JUnit reports."""

from __future__ import annotations

import errno
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from ..exercise import Exercise
from ..forbidding import called, refusal
from . import results as words
from .answers import Answers
from .grafting import Chapter, Check
from .needs import needed, readable
from .results import Mark
from .settings import Limits

# What IPython calls the file of a cell: "(1066826123.py, line 3)".
_CELL = re.compile(r"\((?:\d+\.py|<ipython-input-[^>]*>), line (\d+)\)")
# What is said of an answer that calls another one, where nothing, or what was released, stands for
# that one.
_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_UNFILLED = re.compile(r"exercise (\S+) is not filled in yet, and \S+ builds on it")
# Why the system refuses a write, and the limit that this is.
_REFUSED_WRITE = re.compile(r"OSError\b.*\[Errno (\d+)\]")
_WRITES = {errno.EFBIG: words.TOO_LARGE_A_FILE, errno.ENOSPC: words.TOO_MUCH_DISK}


@dataclass
class Marking:
    """What is known of each check so far.

    :param found: key of a check → (status, message, hint).
    :param suspects: exercises in whose cells a kernel died, once.
    :param dropped: exercises whose answer ended the kernel: left out from then on.
    :param limit: that was passed, which ended the submission.
    """

    chapter: Chapter
    answers: Answers
    found: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    limit: str = ""
    reason: str = ""

    def refuse(self) -> None:
        """Settle what needs no run: answers that are not there, or call what they may not."""
        context = list(self.chapter.setup)  # and the answers before this one, as a notebook runs
        for check in self.chapter.checks:
            id = check.exercise.id
            if check.hidden and id in self.found:
                self.found[check.key] = self.found[id]
            elif id in self.answers.missing:
                said = f"the notebook has no answer to exercise {id}"
                self.found[check.key] = (words.NO_ANSWER, said, "Its cell was there when released.")
            elif id in self.answers.untouched:
                self.found[check.key] = (words.NO_ANSWER, f"exercise {id} is not filled in", "")
            elif id in self.answers.refused:
                self.found[check.key] = (words.REFUSED, self.answers.refused[id], "")
            else:
                own = self.answers.sources[id]
                if why := _refusal(check.exercise, own, context):
                    self.found[check.key] = (words.REFUSED, *why)
                if not check.hidden:
                    context += own

    def open(self) -> list[str]:
        """The checks that are yet to be judged."""
        return [check.key for check in self.chapter.checks if check.key not in self.found]

    def given(self) -> dict[str, tuple[str, ...]]:
        """The answers that are run.

        Once a kernel died, only those that are open, and those that they build on: what kills it a
        moment later, in another exercise's cell, is then out of the way.
        """
        run = {id: s for id, s in self.answers.sources.items() if id not in self.dropped}
        if not self.suspects and not self.dropped:
            return run
        open_ones = {c.exercise.id for c in self.chapter.checks if c.key not in self.found}
        ids = [c.exercise.id for c in self.chapter.checks if not c.hidden and c.exercise.id in run]
        cells = [None if id in open_ones else "\n".join(map(readable, run[id])) for id in ids]
        kept = needed(cells, {n: run[id] for n, id in enumerate(ids) if id in open_ones})
        kept = {n for n in kept if cells[n]}
        return {id: run[id] for n, id in enumerate(ids) if id in open_ones or n in kept}

    def drop(self, id: str, message: str) -> None:
        """Leave an answer out from now on; its checks that are still open have their reason."""
        self.dropped.add(id)
        hint = "Everything else of the notebook was run without this answer."
        for check in self.chapter.checks:
            if check.exercise.id == id:
                self.found.setdefault(check.key, (words.CRASHED, message, hint))

    def end(self, limit: str, message: str, key: str, exercise: str) -> None:
        """A limit was passed, in the cell of this check or of this exercise's answer."""
        where = f" in exercise {exercise}" if exercise else ""
        self.limit, self.reason = limit, f"{limit}{where}: {message}"
        for check in self.chapter.checks:
            here = check.key == key or (not key and check.exercise.id == exercise)
            before = (words.NOT_RUN, f"stopped before it: {self.reason}", "")
            self.found.setdefault(check.key, (limit, message, "") if here else before)

    def marks(self) -> tuple[Mark, ...]:
        """A mark for each check, in the order of the chapter."""
        nothing = (words.NOT_RUN, "the check did not run", "")
        made = []
        for check in self.chapter.checks:
            status, message, hint = self.found.get(check.key, nothing)
            if cause := self._cause(check, status, message):
                message, hint = cause
            code = "\n\n".join(self.answers.sources.get(check.exercise.id, ()))
            mark = Mark(
                id=check.exercise.id,
                title=check.exercise.title,
                points=check.points,
                earned=check.points if status == words.PASSED else 0.0,
                status=status,
                message=message,
                hint=hint,
                hidden=check.hidden,
                answer="" if check.hidden else code,
            )
            made.append(mark)
        return tuple(made)

    def _cause(self, check: Check, status: str, message: str) -> tuple[str, str] | None:
        """Another message and hint, where an earlier answer is why this one did not pass."""
        own = check.exercise.id
        undefined, unfilled = _UNDEFINED.search(message), _UNFILLED.fullmatch(message)
        name = undefined[1] if undefined and undefined[1] not in check.names else ""
        if status not in (words.NOT_YET, words.CRASHED):
            return None
        for other in self.chapter.checks:
            id = other.exercise.id
            if id == own:  # on what comes after it, it cannot build
                break
            missed = id == unfilled[1] if unfilled else name in other.names
            if missed and (what := self._became(id, name)):
                return f"exercise {id} {what}, and {own} builds on it", f"Mend {id} first."
        return None

    def _became(self, id: str, name: str) -> str:
        """What became of an answer that another one misses."""
        status = self.found.get(id, ("",))[0]
        if status == words.CRASHED:
            return "ended the kernel" if id in self.dropped else "stopped with an error"
        if status == words.REFUSED:
            return "was refused"
        return f"does not define {name}" if status == words.NOT_YET and name else ""


def _refusal(
    exercise: Exercise, cells: Sequence[str], context: Sequence[str]
) -> tuple[str, str] | None:
    """Why an answer is not judged, and a hint; None where it is."""
    try:
        name = called(cells, exercise.forbids, context)
    except Exception as error:  # nothing known does this; what does, costs this exercise alone
        why = f"the answer to {exercise.id} cannot be read: {type(error).__name__}"
        return why, "Write it in a plainer way, and tell your teacher of it."
    return refusal(exercise.id, exercise.title, name) if name else None


@dataclass(frozen=True)
class CellReport:
    """A cell of the JUnit report: ``outcome`` is passed, failed or skipped."""

    cell: str
    outcome: str
    notes: dict[str, dict[str, Any]]


def read_report(path: Path) -> list[CellReport]:
    """The cells of a JUnit report that our plugin had a part in, in order."""
    cells = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        failed = bool(kinds & {"failure", "error"})
        notes = {prop.get("name"): json.loads(prop.get("value")) for prop in case.iter("property")}
        outcome = "failed" if failed else "skipped" if "skipped" in kinds else "passed"
        cells.append(CellReport(case.get("name", ""), outcome, notes))
    return cells


def settle(
    marking: Marking, notebook: NotebookNode, report: list[CellReport], limits: Limits
) -> bool:
    """Make marks of a report. Returns whether the notebook is to be run again.

    :param limits: what was allowed, for messages.
    :raises RuntimeError: the kernel died or passed a limit, or a cell of the chapter failed, before
        any answer ran.
    """
    about = {cell.id: cell.metadata["advlab"] for cell in notebook.cells}
    errors: dict[str, str] = {}  # exercise → what its answer's cell raised
    last = ""  # the exercise whose answer ran last
    for cell in report:
        ours = about[cell.cell]
        id, key = ours["exercise"], ours.get("check", "")
        if ours["role"] == "answer":
            last = id
            if "error" in cell.notes:
                errors.setdefault(id, _raised(cell.notes["error"]))
        if "error" in cell.notes and not last:
            error = cell.notes["error"]
            raise RuntimeError(
                f"a cell of the chapter itself stopped with {error['type']}: {error['message']}"
            )
        if limit := _refused_write(cell):
            marking.end(limit, limits.told(limit), key, id or last)
            return False
        if "stopped" in cell.notes:
            # What makes a name forgotten stands before its answer.
            return _stopped(marking, cell.notes["stopped"], last and (id or last), key)
        if key:
            marking.found[key] = _verdict(cell, errors.get(id, ""))
    return False


def _refused_write(cell: CellReport) -> str:
    """The limit for which the system refused a write, where that ended the cell or the check.

    The student's code could say so without having written. It would be its own loss.
    """
    error, verdict = cell.notes.get("error"), cell.notes.get("verdict")
    said = f"{error['type']}: {error['message']}" if error else ""
    if verdict and not verdict["passed"]:
        said = said or verdict["message"]
    found = _REFUSED_WRITE.search(said)
    return _WRITES.get(int(found[1]), "") if found else ""


def _stopped(marking: Marking, note: dict[str, Any], exercise: str, key: str) -> bool:
    if not exercise and (not note["limit"] or not (marking.suspects or marking.dropped)):
        raise RuntimeError(f"before any answer ran: {note['message']}")
    if note["limit"]:
        marking.end(note["limit"], note["message"], key, exercise)
        return False
    if note["sure"] or exercise in marking.suspects:
        marking.drop(exercise, f"your code ended the kernel ({note['message']})")
    else:
        # Another answer may have done it, a moment before: it is run again without those.
        marking.suspects.add(exercise)
    return bool(marking.open())


def _raised(error: dict[str, Any]) -> str:
    message = _CELL.sub(r"(line \1 of your cell)", error["message"])
    return f"the answer's cell stopped with {error['type']}: {message}"


def _verdict(cell: CellReport, error: str) -> tuple[str, str, str]:
    """Status, message and hint of a check from its cell; ``error`` is that of its answer."""
    verdict = cell.notes.get("verdict")
    if verdict and verdict["passed"] and cell.outcome == "passed":
        return words.PASSED, verdict["message"], verdict["hint"]
    if error:
        return words.CRASHED, error, "Run the cell by itself: it must end without an error."
    if verdict is None:
        told = cell.notes.get("error")
        said = f"the check itself stopped with {told['type']}: {told['message']}" if told else ""
        return words.NOT_RUN, said or "the check brought back no results", ""
    if verdict.get("status") == words.NOT_RUN:
        return words.NOT_RUN, verdict["message"], "Does the answer display or print in its place?"
    return words.NOT_YET, verdict["message"], verdict["hint"]
