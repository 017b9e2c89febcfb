"""The notebook that is run: the teacher's chapter, with a student's answers in it and no more."""

from __future__ import annotations

import ast
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from nbformat import NotebookNode, v4

from ..exercise import Exercise
from ..notebooks import NotebookError, exercise_of, strip, tasks
from .hidden import Hidden
from .needs import needed
from .probes import probe_source

SKIP = "nbval-skip"
_READ = ("tags", "advlab")  # of a cell's metadata


@dataclass(frozen=True)
class Check:
    """A check of the chapter, or a hidden one.

    :param key: ``"4.2"``, or ``"4.2 hidden 1"``.
    :param exercise: with both halves.
    :param points: that it is worth.
    :param arguments: what the check is given, as expressions: ``("fgsm",)``.
    """

    key: str
    exercise: Exercise
    points: float
    arguments: tuple[str, ...]

    @property
    def hidden(self) -> bool:
        return isinstance(self.exercise, Hidden)

    @property
    def names(self) -> list[str]:
        """The names in what the check is given: what the answer is to define."""
        found = {
            node.id
            for argument in self.arguments
            for node in ast.walk(ast.parse(argument, mode="eval"))
            if isinstance(node, ast.Name)
        }
        return sorted(found)


@dataclass
class Chapter:
    """A teacher's notebook, understood once: its code cells, exercises and checks.

    :raises NotebookError: a chapter that breaks the rules, or a hidden check whose probe asks for
        another name than the exercise's own check is given.
    """

    name: str
    notebook: NotebookNode
    hidden: tuple[Hidden, ...] = ()
    checks: list[Check] = field(init=False)
    released: dict[str, str] = field(init=False)  # exercise → the answer's cell as released

    def __post_init__(self):
        where = f"{self.name}.ipynb"
        found = tasks(self.notebook, where)
        self.released = {t.id: strip(t.answer.source, t.id, where) for t in found}
        self.checks = []
        for task in found:
            exercise = exercise_of(task.id, where)
            points = task.answer.metadata["advlab"].get("points", 1)
            own = Check(task.id, exercise, points, task.arguments)
            self.checks.append(own)
            mine = [h for h in self.hidden if h.id == task.id]
            for n, hidden in enumerate(mine, 1):
                _same_names(hidden, own)
                # What the exercise forbids stays forbidden.
                forbids = dict.fromkeys((*exercise.forbids, *hidden.forbids))
                hidden = replace(hidden, forbids=tuple(forbids))
                key = f"{task.id} hidden {n}"
                self.checks.append(Check(key, hidden, hidden.points, hidden.answers))

    @property
    def code(self) -> bytes:
        """The notebook with all that running it depends on, and no more: its code, and the marks of
        the exercises. A change of the text, of stored outputs or of points leaves it as it is."""
        cells = []
        for cell in self.notebook.cells:
            if cell.cell_type == "code":
                metadata = {name: cell.metadata[name] for name in _READ if name in cell.metadata}
                if isinstance(ours := metadata.get("advlab"), dict):
                    metadata["advlab"] = {k: v for k, v in ours.items() if k != "points"}
                cells.append(v4.new_code_cell(cell.source, id=cell.id, metadata=metadata))
        return v4.writes(v4.new_notebook(cells=cells)).encode()

    @property
    def title(self) -> str:
        """Its first heading; empty where it has none."""
        texts = [c.source for c in self.notebook.cells if c.cell_type == "markdown"]
        found = re.search(r"^#[ \t]+(.+?)[ \t#]*$", "\n".join(texts), re.M)
        return found[1] if found else ""

    @property
    def setup(self) -> list[str]:
        """The sources of the code cells that are neither answers nor checks."""
        return [c.source for c in self.notebook.cells if c.cell_type == "code" and not _role(c)]


def _role(cell: NotebookNode) -> str:
    tags = cell.metadata.get("tags", [])
    return "answer" if "exercise" in tags else "check" if "check" in tags else ""


def _same_names(hidden: Hidden, own: Check) -> None:
    """A probe is given what its parameters name: what it names must be what the answer defines."""
    names = own.names
    if all(name in names for name in hidden.answers):
        return
    given = ", ".join((*hidden.answers, "seed"))
    so = "the parameter" if len(names) == 1 else "the parameters"
    raise NotebookError(
        f"{hidden.probe.__name__}({given}) of the hidden check {hidden.title!r}: exercise "
        f"{hidden.id} defines {', '.join(names)}: name {so} so"
    )


def fresh_seed() -> int:
    """A seed that nobody can foresee."""
    return secrets.randbits(31)


def graft(
    chapter: Chapter,
    answers: Mapping[str, Iterable[str]],
    seeds: Mapping[str, int],
    *,
    whole: bool = False,
) -> NotebookNode:
    """The chapter as it is run for one student.

    Each cell has an id of ours, and under ``metadata["advlab"]`` its ``role``: ``given`` (the
    teacher's), ``forget``, ``answer``, ``check``. Before an answer, the names that its check asks
    for are forgotten, so that nothing else is judged in its place. A check's cell calls the answer
    and shows what came out; hidden checks come last, when no answer is yet to run. Given cells
    that nothing needs are skipped, as is a check without a seed.

    :param answers: exercise → the sources of its cells; an exercise that is not here has its
        answer as released.
    :param seeds: key of a check → seed, for the checks that are to be run.
    :param whole: skip no given cell.
    """
    cells: list[NotebookNode] = []
    given: list[str | None] = []  # for each code cell of the chapter
    places: list[int] = []  # the code cell that a cell stands for
    asks: dict[int, list[str]] = {}
    always: set[int] = set()
    visible = {check.key: check for check in chapter.checks if not check.hidden}

    def add(role: str, source: str, exercise: str = "", **more: str) -> None:
        cell = v4.new_code_cell(source, id=f"{role}-{len(cells)}")
        cell.metadata["advlab"] = {"role": role, "exercise": exercise} | more
        cells.append(cell)
        places.append(len(given))

    for cell in chapter.notebook.cells:
        if cell.cell_type != "code":
            continue
        if not (role := _role(cell)):
            add("given", cell.source)
            if _always(cell):
                always.add(len(given))
        else:
            id = cell.metadata["advlab"]["exercise"]
            check = visible[id]
            if role == "answer":
                sources = list(answers.get(id, [chapter.released[id]]))
                add("forget", _forget(check), id)
                for source in sources:
                    add("answer", source, id)
                asks[len(given)] = sources
            elif id in seeds:
                add("check", _emit(check, seeds[id]), id, check=check.key)
                asks[len(given)] = list(check.arguments)
        given.append(None if role else cell.source)
    for check in chapter.checks:
        if check.hidden and check.key in seeds:
            add("check", _emit(check, seeds[check.key]), check.exercise.id, check=check.key)
            asks[len(given)] = list(check.arguments)
            given.append(None)
    run = set(range(len(given))) if whole else needed(given, asks, always)
    for cell, place in zip(cells, places, strict=True):
        if cell.metadata["advlab"]["role"] == "given" and place not in run:
            cell.metadata["tags"] = [SKIP]
    return v4.new_notebook(cells=cells)


def _always(cell: NotebookNode) -> bool:
    ours = cell.metadata.get("advlab")
    return isinstance(ours, dict) and ours.get("run") is True


def _forget(check: Check) -> str:
    return "\n".join(f"globals().pop({name!r}, None)" for name in check.names)


def _emit(check: Check, seed: int) -> str:
    given = "".join(f"{argument}, " for argument in check.arguments)
    exercise = check.exercise
    return (
        "from advlab.course import emit\n"
        f"emit({exercise.id!r}, {seed}, {probe_source(exercise.probe)!r}, "
        f"lambda: ({given}), {tuple(exercise.forbids)!r})"
    )
