"""A student's answers, read out of a notebook. Of all that it holds, only their source counts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode

from ..notebooks import Task, strip, tasks
from .cells import Cell, bare
from .clean import one_line, shortened

MOST_CHARACTERS = 200_000  # of one answer
MOST_PARTS = 20  # cells of one answer

# Comments by which nbval is told to skip a cell, or to expect its failure. In small letters they
# are comments like any other.
_NBVAL = re.compile(
    r"NBVAL_(?:IGNORE_OUTPUT|CHECK_OUTPUT|RAISES_EXCEPTION|SKIP)|PYTEST_VALIDATE_IGNORE_OUTPUT"
)


@dataclass(frozen=True)
class Answers:
    """What a student answered in one chapter: all of a notebook that its marks depend on.

    :param sources: the answer's cells by exercise id, in the order of the student's notebook. Only
        ids with an answer: none that is in one of the other three.
    :param untouched: ids whose cell is as it was released, or empty.
    :param missing: ids with no cell.
    :param refused: ids with an answer that is not run, each with the reason.
    """

    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    untouched: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def none(self) -> bool:
        """Whether no cell of the notebook is an answer, released or written."""
        return not (self.sources or self.untouched or self.refused)

    def to_json(self) -> dict[str, Any]:
        return {
            "sources": {id: list(cells) for id, cells in self.sources.items()},
            "untouched": sorted(self.untouched),
            "missing": sorted(self.missing),
            "refused": dict(self.refused),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Answers:
        """:raises (KeyError, TypeError): what is none."""
        return cls(
            {id: tuple(cells) for id, cells in found["sources"].items()},
            frozenset(found["untouched"]),
            frozenset(found["missing"]),
            dict(found["refused"]),
        )


def read_answers(cells: list[Cell], chapter: NotebookNode) -> tuple[Answers, tuple[str, ...]]:
    """The answers in a student's notebook, and notes for the student. Raises nothing.

    An answer is a code cell with the exercise's id in its metadata. Where that was lost: the cell
    with the cell id of the chapter's answer, else the last one that defines the function's name
    and is not the chapter's. A check cell is never an answer.

    :param cells: of the student's notebook.
    :param chapter: the teacher's notebook.
    """
    return _Reader(cells, chapter).read()


class _Reader:
    """One reading: sorts the cells, and gathers notes on the way."""

    def __init__(self, cells: list[Cell], chapter: NotebookNode):
        self.tasks: list[Task] = tasks(chapter, "chapter")
        self.released = {t.id: strip(t.answer.source, t.id, "chapter") for t in self.tasks}
        self.chapter = {c.id: bare(c.source) for c in chapter.cells if c.cell_type == "code"}
        self.given = frozenset(self.chapter.values())
        self.code = [cell for cell in cells if cell.kind == "code"]
        self.other = [cell for cell in cells if cell.kind != "code"]
        self.check_ids = {task.check.id for task in self.tasks}
        self.checks = {cell for cell in self.code if self._is_check(cell)}
        self.notes: list[str] = []

    def read(self) -> tuple[Answers, tuple[str, ...]]:
        claimed = self._claim()
        sources, untouched, refused = {}, set(), {}
        for task in self.tasks:
            id = task.id
            if not (own := claimed.get(id, [])):
                self._say_missing(task)
                continue
            # The released cell left beside an answer must not define the function once more.
            worked = [c for c in own if c.bare not in ("", bare(self.released[id]))]
            if not worked:
                untouched.add(id)
            elif reason := _too_large(worked):
                refused[id] = reason
                self.notes.append(f"Exercise {id}: {reason}.")
            else:
                sources[id] = tuple(self._source(id, cell) for cell in worked)
                self._say_several(task, worked)
        self._say_order(claimed)
        self._say_checks()
        self._say_others([cell for own in claimed.values() for cell in own])
        missing = frozenset(self.released) - claimed.keys()
        return Answers(sources, frozenset(untouched), missing, refused), tuple(self.notes)

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
                    claimed[task.id], taken = own, set(own)
                    free = [cell for cell in free if cell not in taken]
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
        return cell.id in self.chapter or cell.bare in self.given

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

    def _say_several(self, task: Task, own: list[Cell]) -> None:
        if len(own) < 2:
            return
        defined = [name for cell in own for name in set(self._defines(task, cell))]
        twice = next((name for name in defined if defined.count(name) > 1), None)
        end = (
            f"{twice} is defined more than once, and the last one counts"
            if twice
            else "they were run one after the other"
        )
        self.notes.append(f"Exercise {task.id}: its answer stands in {len(own)} cells; {end}.")

    def _say_order(self, claimed: dict[str, list[Cell]]) -> None:
        where = {cell: n for n, cell in enumerate(self.code)}
        first = [where[claimed[task.id][0]] for task in self.tasks if task.id in claimed]
        if first != sorted(first):
            self.notes.append("The answers stand in another order; they were run in the chapter's.")

    def _say_checks(self) -> None:
        theirs = sorted(cell.bare for cell in self.checks)
        if theirs != sorted(bare(task.check.source) for task in self.tasks):
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
                f"its place: {_quote(changed)}."
            )
        extra = [c for c in rest if not self._is_chapters(c)]
        if extra:
            self.notes.append(
                f"{_cells(len(extra), '')} added and not run, because only the exercises' own "
                f"cells are: {_quote(extra)}. What an answer needs belongs in the answer's cell."
            )


def _cells(n: int, which: str) -> str:
    return f"{n:,} code cells{which} were" if n > 1 else f"1 code cell{which} was"


def _quote(cells: list[Cell]) -> str:
    return shortened([f"“{one_line(cell.bare.splitlines()[0], 60)}”" for cell in cells], 3)


def _too_large(own: list[Cell]) -> str:
    size = sum(len(cell.source) for cell in own)
    if size > MOST_CHARACTERS:
        return f"the answer has {size:,} characters, and at most {MOST_CHARACTERS:,} are run"
    if len(own) > MOST_PARTS:
        return f"the answer stands in {len(own)} cells, and at most {MOST_PARTS} are run"
    return ""
