"""The students' notebooks: the chapters without solutions and outputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nbformat import NotebookNode

from .notebooks import (
    NotebookError,
    exercise_of,
    find_notebooks,
    owners,
    read,
    strip,
    tasks,
    write,
)
from .plain import Plain


def release(source: str | Path, to: str | Path, *, force: bool = False) -> tuple[list[Path], int]:
    """Write the students' notebooks of a chapter, or of a folder of chapters, into a folder.

    Solutions become ``raise NotImplementedError("exercise 4.2")``; outputs, execution counts and
    widget states go; what only Sphinx understands in the text becomes plain Markdown. All
    else stays as it is. The same chapters give the same bytes. All of them are read and made before
    the first is written: where one is refused, nothing is.

    :param source: a notebook or a folder with notebooks.
    :param to: a folder; made where there is none.
    :param force: overwrite notebooks that were changed after they were released.
    :returns: the files written, and the number of exercises in them.
    :raises NotebookError: a chapter that breaks the rules, a folder that holds the chapters
        themselves, or a released notebook that somebody has worked in.
    :raises OSError: the folder cannot be written, or the disk is full. What stands there then is
        whole, notebook by notebook, and the same command goes over it.
    """
    paths, to = find_notebooks(source), Path(to)
    if to.exists() and not to.is_dir():
        raise NotebookError(f"{to}: expected a folder, found a file")
    for path in paths:
        if path.resolve().is_relative_to(to.resolve()):
            raise NotebookError(f"{to}: holds the chapters themselves; name another folder")
    chapters = {path: read(path) for path in paths}
    owner = owners({p.name: [task.id for task in tasks(c, p.name)] for p, c in chapters.items()})
    for id, name in owner.items():
        exercise_of(id, name)
    written = {to / path.name: student_version(chapters[path], path) for path in paths}
    if not force and (changed := [str(p) for p in written if _was_changed(p)]):
        raise NotebookError(
            f"changed since it was released: {', '.join(changed)}; move it away, or overwrite it "
            "with --force"
        )
    for path, notebook in written.items():
        write(notebook, path)
    return list(written), len(owner)


def student_version(chapter: NotebookNode, path: Path) -> NotebookNode:
    """A chapter, read from ``path``, as its students get it. Changes and returns the notebook."""
    plain = Plain(path.parent)
    for task in tasks(chapter, path.name):
        task.answer.source = strip(task.answer.source, task.id, path.name)
    for n, cell in enumerate(chapter.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
        elif cell.cell_type == "markdown":
            try:
                cell.source = plain(cell.source)
            except ValueError as error:
                raise NotebookError(f"{path.name}, cell {n + 1}: {error}") from error
    chapter.metadata.pop("widgets", None)
    chapter.metadata["advlab"] = chapter.metadata.get("advlab", {}) | {"released": _digest(chapter)}
    return chapter


def _digest(notebook: NotebookNode) -> str:
    """Of what a student may have written: running a notebook does not change it."""
    text = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _was_changed(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        notebook = read(path)
    except NotebookError:
        return True
    return notebook.metadata.get("advlab", {}).get("released") != _digest(notebook)
