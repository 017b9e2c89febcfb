"""Chapters as files: found, read, written with the same bytes each time; their exercises."""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .exercise import Exercise, find
from .ipython import parse as parse_cell

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class NotebookError(ValueError):
    """A notebook that breaks the rules of a chapter: which, where, and what was expected."""


def find_notebooks(source: str | Path) -> list[Path]:
    """The chapters in a folder, in order, or the one notebook that is named.

    :raises NotebookError: there is none.
    """
    source = Path(source)
    if source.is_file() and source.suffix == ".ipynb":
        return [source]
    found = sorted(source.glob("*.ipynb")) if source.is_dir() else []
    if not found:
        raise NotebookError(f"{source}: expected a notebook, or a folder with notebooks")
    return found


def read(path: Path) -> NotebookNode:
    """A notebook of format 4, every cell with an id (one without gets the same at each reading).

    :raises NotebookError: the file is not such a notebook.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotebookError(f"{path}: cannot be read: {error}") from error
    return parse(content, str(path))


def parse(content: bytes, path: str) -> NotebookNode:
    """As :func:`read`, for the bytes of a file; ``path`` is for messages.

    :raises NotebookError: they are not such a notebook.
    """
    try:
        raw = json.loads(content.decode("utf-8"))
        for n, cell in enumerate(raw["cells"]):
            source = "".join(cell["source"])
            cell.setdefault("id", hashlib.sha256(f"{n}\n{source}".encode()).hexdigest()[:8])
        ids = [cell["id"] for cell in raw["cells"]]
        raw["nbformat_minor"] = max(raw["nbformat_minor"], 5)
        # nbformat would give a second cell of the same id a new one, at random: so ask first.
        if raw["nbformat"] == 4 and len(set(ids)) == len(ids):
            notebook = nbformat.reads(json.dumps(raw), as_version=4)
            nbformat.validate(notebook)
            return notebook
    except Exception as error:  # nbformat raises many kinds, KeyError and AttributeError too
        raise NotebookError(f"{path}: not a notebook of format 4: {error}") from error
    if raw["nbformat"] != 4:
        raise NotebookError(f"{path}: a notebook of format {raw['nbformat']}, expected 4")
    twice = next(id for id in ids if ids.count(id) > 1)
    raise NotebookError(f"{path}: two cells have the same id {twice!r}; give one of them another")


def write(notebook: NotebookNode, path: Path) -> None:
    """Write the file whole, or leave the one that is there.

    :raises OSError: the folder cannot be written, or the disk is full.
    """
    from ..data.files import write_atomically  # and with it torch

    write_atomically(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())


@dataclass(frozen=True)
class Task:
    """An answer cell and the check cell after it.

    :param arguments: what the check is given after the id, as source: ``("fgsm",)``.
    """

    id: str
    answer: NotebookNode
    check: NotebookNode
    arguments: tuple[str, ...]


def tasks(notebook: NotebookNode, where: str) -> list[Task]:
    """The exercises of a chapter, in order.

    :param where: the name of its file, for messages.
    :raises NotebookError: an answer without its check or a check without its answer, an id that
        stands twice, solution markers that are missing, unbalanced or outside an answer cell.
    """
    found: list[Task] = []
    cells = notebook.cells
    for n, cell in enumerate(cells):
        at = f"{where}, cell {n + 1}"
        tags = cell.metadata.get("tags", [])
        if "check" in tags:
            if not found or found[-1].check is not cell:
                raise NotebookError(f"{at}: a check cell with no answer cell right before it")
        elif "exercise" in tags:
            after = cells[n + 1] if n + 1 < len(cells) else None
            id, check = _id(cell, at), _check_of(cell, after, at)
            found.append(Task(id, cell, check, _arguments(check.source, id, at)))
            strip(cell.source, id, at)
        elif any(marker in _marks(cell.source) for marker in (BEGIN, END)):
            raise NotebookError(f"{at}: a solution marker in a cell that has no tag 'exercise'")
    ids = [task.id for task in found]
    for id in ids:
        if ids.count(id) > 1:
            raise NotebookError(f"{where}: exercise {id} stands {ids.count(id)} times")
    return found


def owners(chapters: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The file that each exercise stands in, from the exercises that stand in each file.

    :raises NotebookError: an exercise stands in two.
    """
    found: dict[str, str] = {}
    for name, ids in chapters.items():
        for id in ids:
            if found.setdefault(id, name) != name:
                raise NotebookError(f"exercise {id} stands in {found[id]} and in {name}")
    return found


def exercise_of(id: str, where: str) -> Exercise:
    """The exercise of this id, which stands in the file ``where``.

    :raises NotebookError: the course has none.
    """
    try:
        return find(id)
    except KeyError as error:
        raise NotebookError(f"{where}: {error.args[0]}") from error


def _id(cell: NotebookNode, where: str) -> str:
    metadata = cell.metadata.get("advlab")
    id = metadata.get("exercise") if isinstance(metadata, dict) else None
    if cell.cell_type != "code" or not isinstance(id, str):
        raise NotebookError(
            f'{where}: expected a code cell with the metadata {{"advlab": {{"exercise": "4.2"}}}}'
        )
    points = metadata.get("points", 1)
    number = isinstance(points, int | float) and not isinstance(points, bool)
    if not number or not 0 < points < math.inf:
        raise NotebookError(f"{where}: points: expected a number above 0, found {points!r}")
    return id


def _check_of(answer: NotebookNode, after: NotebookNode | None, where: str) -> NotebookNode:
    id = _id(answer, where)
    if after is None or "check" not in after.metadata.get("tags", []):
        raise NotebookError(f"{where}: exercise {id} has no check cell right after it")
    if _id(after, where + " (its check)") != id:
        raise NotebookError(f"{where}: exercise {id} is followed by the check of another exercise")
    return after


def _arguments(source: str, id: str, where: str) -> tuple[str, ...]:
    try:
        nodes = list(ast.walk(parse_cell(source)))
    except (SyntaxError, ValueError) as error:
        raise NotebookError(f"{where}: the check cell of {id} is no Python: {error}") from error
    for node in nodes:
        name = getattr(node, "func", None)
        if isinstance(name, ast.Name) and name.id == "check" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and first.value == id:
                return tuple(ast.unparse(argument) for argument in node.args[1:])
    raise NotebookError(f'{where}: the check cell of {id} does not call check("{id}", …)')


def _marks(source: str) -> list[str]:
    return [line.strip() for line in source.splitlines()]


def strip(source: str, id: str, where: str) -> str:
    """The source with each solution replaced by ``raise NotImplementedError("exercise 4.2")``.

    :raises NotebookError: markers that are missing or unbalanced.
    """
    kept, inside, count = [], False, 0
    for line in source.split("\n"):
        mark = line.strip()
        if mark in (BEGIN, END) and inside == (mark == BEGIN):
            raise NotebookError(f"{where}: exercise {id}: '{mark}' where the other marker is due")
        if mark == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            kept.append(f'{indent}raise NotImplementedError("exercise {id}")')
            inside, count = True, count + 1
        elif mark == END:
            inside = False
        elif "BEGIN SOLUTION" in mark or "END SOLUTION" in mark:
            raise NotebookError(f"{where}: exercise {id}: found {mark!r}, expected '{BEGIN}'")
        elif not inside:
            kept.append(line)
    if inside or not count:
        missing = END if inside else BEGIN
        raise NotebookError(f"{where}: exercise {id}: the line '{missing}' is missing")
    return "\n".join(kept)
