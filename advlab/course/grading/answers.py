"""A student's answers, read out of a notebook. Of all that it holds, only their source counts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from ..notebooks import Task, strip, tasks
from .clean import one_line

MOST_CHARACTERS = 200_000  # of one answer
MOST_CELLS = 20  # of one answer

# Comments by which nbval is told to skip a cell, or to expect its failure. In small letters they
# are comments like any other.
_NBVAL = re.compile(
    r"NBVAL_(?:IGNORE_OUTPUT|CHECK_OUTPUT|RAISES_EXCEPTION|SKIP)|PYTEST_VALIDATE_IGNORE_OUTPUT"
)


class NotAnswers(ValueError):
    """Bytes that are no notebook of format 4: why, in a sentence for the student."""


@dataclass(frozen=True)
class Answers:
    """What a student answered in one chapter.

    :param sources: the answer's cells by exercise id, in the order of the student's notebook. Only
        ids with an answer: none that is in one of the other three.
    :param untouched: ids whose cell is as it was released, or empty.
    :param missing: ids with no cell.
    :param refused: ids with an answer that is not run, each with the reason.
    :param notes: for the student.
    :param problem: why nothing could be read, in a sentence; empty where it could.
    """

    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    untouched: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    refused: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def none(self) -> bool:
        """Whether no cell of the notebook is an answer, released or written."""
        return not (self.sources or self.untouched or self.refused)


@dataclass(eq=False)  # by identity: a copied cell is another cell
class Cell:
    """A cell of a student's notebook: what may be looked at."""

    kind: str
    id: str
    exercise: str  # its metadata's; empty where there is none
    tagged: bool  # as a check
    source: str

    @cached_property
    def bare(self) -> str:
        """The source without what an editor may add or take at the ends of lines."""
        return _bare(self.source)


def _bare(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def cells(notebook: bytes) -> list[Cell]:
    """The cells of a notebook, of which nothing is believed.

    :raises NotAnswers: not JSON, nested too deeply, another format, or cells of another form.
    """
    try:
        raw = json.loads(notebook)
    except RecursionError:
        raise NotAnswers("the notebook is JSON nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        raise NotAnswers(f"not a notebook: the file is not JSON ({error})") from None
    except (ValueError, MemoryError):  # no text, or a number of a million digits
        raise NotAnswers("not a notebook: the file is not JSON that can be read") from None
    version = raw.get("nbformat") if isinstance(raw, dict) else None
    if isinstance(version, bool) or not isinstance(version, int):
        raise NotAnswers("not a notebook: the file is JSON without a notebook's format number")
    if version != 4:
        raise NotAnswers(
            f"a notebook of format {one_line(version, 20)}, expected 4: open it in Jupyter, save "
            "it, and hand it in again"
        )
    found = raw.get("cells")
    if not isinstance(found, list):
        raise NotAnswers("not a notebook: expected a list of cells")
    return [_cell(n, cell) for n, cell in enumerate(found, 1)]


def _cell(n: int, raw: Any) -> Cell:
    if not isinstance(raw, dict) or not isinstance(raw.get("cell_type"), str):
        raise NotAnswers(f"not a notebook: cell {n} has no type")
    source = raw.get("source")
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise NotAnswers(f"not a notebook: cell {n}: expected its source to be text")
    # A lone surrogate is no character: nothing that holds one can be written to a file again.
    source = "".join(lines).encode("utf-8", "replace").decode("utf-8")
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    ours = metadata.get("advlab")
    exercise = ours.get("exercise") if isinstance(ours, dict) else None
    tags, id = metadata.get("tags"), raw.get("id")
    return Cell(
        kind=raw["cell_type"],
        id=id if isinstance(id, str) else "",
        exercise=exercise if isinstance(exercise, str) else "",
        tagged=isinstance(tags, list) and "check" in tags,
        source=source,
    )


def read_answers(notebook: bytes, chapter: NotebookNode) -> Answers:
    """The answers in a student's notebook. Raises nothing, whatever the bytes are.

    An answer is a code cell with the exercise's id in its metadata. Where that was lost: the cell
    with the cell id of the chapter's answer, else the last one that defines the function's name
    and is not the chapter's. A check cell is never an answer.

    :param notebook: the bytes of the student's file.
    :param chapter: the teacher's notebook.
    """
    try:
        return _Reader(cells(notebook), chapter).read()
    except NotAnswers as error:
        missing = frozenset(task.id for task in tasks(chapter, Path("chapter.ipynb")))
        return Answers(missing=missing, problem=str(error))


class _Reader:
    """One reading: sorts the cells, and gathers notes on the way."""

    def __init__(self, cells: list[Cell], chapter: NotebookNode):
        self.tasks: list[Task] = tasks(chapter, Path("chapter.ipynb"))
        self.released = {t.id: strip(t.answer.source, t.id, "chapter") for t in self.tasks}
        self.chapter = {c.id: _bare(c.source) for c in chapter.cells if c.cell_type == "code"}
        self.code = [cell for cell in cells if cell.kind == "code"]
        self.other = [cell for cell in cells if cell.kind != "code"]
        self.check_ids = {task.check.id for task in self.tasks}
        self.checks = {cell for cell in self.code if self._is_check(cell)}
        self.notes: list[str] = []

    def read(self) -> Answers:
        claimed = self._claim()
        sources, untouched, refused = {}, set(), {}
        for task in self.tasks:
            id = task.id
            if not (own := claimed.get(id, [])):
                self._say_missing(task)
                continue
            # The released cell left beside an answer must not define the function once more.
            worked = [c for c in own if c.bare not in ("", _bare(self.released[id]))]
            if not worked:
                untouched.add(id)
            elif reason := _too_large(worked):
                refused[id] = reason
                self.notes.append(f"Exercise {id}: {reason}.")
            else:
                sources[id] = tuple(self._source(id, cell) for cell in worked)
                self._say_several(id, worked)
        self._say_order(claimed)
        self._say_checks()
        self._say_others([cell for own in claimed.values() for cell in own])
        missing = frozenset(self.released) - claimed.keys()
        return Answers(sources, frozenset(untouched), missing, refused, tuple(self.notes))

    def _claim(self) -> dict[str, list[Cell]]:
        """The cells of each answer, by the metadata, else the cell id, else the name defined."""
        free = [cell for cell in self.code if cell not in self.checks]
        claimed: dict[str, list[Cell]] = {}
        for cell in free:
            if cell.exercise in self.released:
                claimed.setdefault(cell.exercise, []).append(cell)
        free = [cell for cell in free if cell.exercise not in self.released]
        for task in self.tasks:
            if task.id not in claimed:
                own = [cell for cell in free if cell.id == task.answer.id]
                how = "its place in the notebook"
                if not own:
                    own = [c for c in free if not self._is_chapters(c) and self._defines(task, c)]
                    own, how = own[-1:], "the name that it defines"
                if own:
                    claimed[task.id] = own
                    free = [cell for cell in free if cell not in own]
                    self.notes.append(
                        f"Exercise {task.id}: the mark of its answer's cell was lost; the answer "
                        f"was found by {how}."
                    )
        return claimed

    def _is_check(self, cell: Cell) -> bool:
        """By its tag, by its cell id, or because all that it does is to call ``check``."""
        if cell.tagged or cell.id in self.check_ids:
            return True
        starts = [line for line in cell.source.splitlines() if re.match(r"[^\s#)]", line)]
        return bool(starts) and all(line.startswith(("check(", "check (")) for line in starts)

    def _is_chapters(self, cell: Cell) -> bool:
        return cell.id in self.chapter or cell.bare in self.chapter.values()

    def _names(self, task: Task) -> list[str]:
        return re.findall(r"^(?:def|class)[ \t]+(\w+)", task.answer.source, re.M)

    def _defines(self, task: Task, cell: Cell) -> list[str]:
        # By a pattern: a hostile source can bring the parser down, and magics are no Python.
        names = "|".join(map(re.escape, self._names(task)))
        return re.findall(rf"^(?:def|class)[ \t]+({names})\b", cell.source, re.M) if names else []

    def _source(self, id: str, cell: Cell) -> str:
        if _NBVAL.search(cell.source):
            self.notes.append(f"Exercise {id}: comments that steer nbval are ignored.")
        return _NBVAL.sub(lambda found: found[0].lower(), cell.source)

    # Notes for the student ------------------------------------------------------------------------

    def _say_missing(self, task: Task) -> None:
        if any(cell.exercise == task.id for cell in self.other):
            self.notes.append(
                f"Exercise {task.id}: its cell is no code cell, so there is no answer."
            )
        if any(self._defines(task, cell) for cell in self.checks):
            self.notes.append(
                f"Exercise {task.id}: the answer stands in a check cell, and those are not run; "
                "write it in the answer's cell."
            )

    def _say_several(self, id: str, own: list[Cell]) -> None:
        if len(own) < 2:
            return
        task = next(task for task in self.tasks if task.id == id)
        defined = [name for cell in own for name in set(self._defines(task, cell))]
        twice = next((name for name in defined if defined.count(name) > 1), None)
        end = (
            f"{twice} is defined more than once, and the last one counts"
            if twice
            else ("they were run one after the other")
        )
        self.notes.append(f"Exercise {id}: its answer stands in {len(own)} cells; {end}.")

    def _say_order(self, claimed: dict[str, list[Cell]]) -> None:
        where = {cell: n for n, cell in enumerate(self.code)}
        first = [where[claimed[task.id][0]] for task in self.tasks if task.id in claimed]
        if first != sorted(first):
            self.notes.append("The answers stand in another order; they were run in the chapter's.")

    def _say_checks(self) -> None:
        theirs = sorted(cell.bare for cell in self.checks)
        if theirs != sorted(_bare(task.check.source) for task in self.tasks):
            self.notes.append(
                "Check cells were changed, deleted or repeated. It changes nothing: the chapter's "
                "own checks were used."
            )

    def _say_others(self, answers: list[Cell]) -> None:
        known = {*answers, *self.checks}
        rest = [c for c in self.code if c not in known and c.bare]
        changed = [c for c in rest if c.id in self.chapter and c.bare != self.chapter[c.id]]
        if changed:
            self.notes.append(
                f"{_cells(len(changed), ' of the chapter')} changed; the chapter's own was run in "
                f"its place: {_quote(changed[0])}."
            )
        extra = [c for c in rest if not self._is_chapters(c)]
        if extra:
            self.notes.append(
                f"{_cells(len(extra), '')} added and not run, because only the exercises' own "
                f"cells are: {_quote(extra[0])}. What an answer needs belongs in the answer's cell."
            )


def _cells(n: int, which: str) -> str:
    return f"{n:,} code cells{which} were" if n > 1 else f"1 code cell{which} was"


def _quote(cell: Cell) -> str:
    return f"“{one_line(cell.bare.splitlines()[0], 60)}”"


def _too_large(own: list[Cell]) -> str:
    size = sum(len(cell.source) for cell in own)
    if size > MOST_CHARACTERS:
        return f"the answer has {size:,} characters, and at most {MOST_CHARACTERS:,} are run"
    if len(own) > MOST_CELLS:
        return f"the answer stands in {len(own)} cells, and at most {MOST_CELLS} are run"
    return ""
