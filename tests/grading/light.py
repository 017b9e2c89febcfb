"""A small teacher's notebook of real exercises, and students' versions of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from advlab.course.grading.answers import Answers, read_answers
from advlab.course.grading.cells import cells
from advlab.course.notebooks import parse, read, tasks
from advlab.course.release import student_version

BOOK = Path(__file__).parents[2] / "book"
NAME = "04-light"
SETUP = "import torch\nimport torch.nn.functional as F\n\nfrom advlab.course import check"


@cache
def teacher() -> bytes:
    """Exercises 4.1 to 4.4 with next to nothing around them; weights 2, 1, 1 and 2."""
    chapter = read(BOOK / "04-fgsm.ipynb")
    cells = [
        v4.new_markdown_cell("# Four exercises", id="title"),
        v4.new_code_cell(SETUP, id="setup"),
    ]
    points = {"4.1": 2, "4.2": 1, "4.3": 1, "4.4": 2}
    own = (task for task in tasks(chapter, "04-fgsm.ipynb") if task.id in points)
    for task in own:  # a teacher may add another one to the chapter
        for cell in (task.answer, task.check):
            new = v4.new_code_cell(cell.source, id=cell.id, metadata=cell.metadata)
            new.metadata["advlab"]["points"] = points[task.id]
            cells.append(new)
    return dump(v4.new_notebook(cells=cells))


def dump(notebook: NotebookNode) -> bytes:
    return (nbformat.writes(notebook) + "\n").encode()


def released() -> NotebookNode:
    return student_version(parse(teacher(), NAME), Path(f"{NAME}.ipynb"))


def solved() -> NotebookNode:
    return parse(teacher(), NAME)


def answered(**answers: str) -> NotebookNode:
    """The solved notebook with other answers: ``answered(e42="def fgsm…")``; None: as released."""
    notebook, plain = solved(), released()
    for key, source in answers.items():
        id = f"{key[1]}.{key[2]}"
        for cell, other in zip(notebook.cells, plain.cells, strict=True):
            if (
                cell.metadata.get("advlab", {}).get("exercise") == id
                and "exercise" in cell.metadata.tags
            ):
                cell.source = other.source if source is None else source
    return notebook


def answers(notebook: NotebookNode | bytes) -> Answers:
    """What is graded of a student's notebook."""
    content = notebook if isinstance(notebook, bytes) else dump(notebook)
    return read_answers(cells(content), solved())[0]


def solution(id: str) -> str:
    """The source of the solved answer's cell."""
    found = tasks(solved(), NAME)
    return next(task.answer.source for task in found if task.id == id)


def raw(notebook: NotebookNode, change: Callable[[dict], None]) -> bytes:
    """A notebook's bytes, changed as JSON: also into what nbformat would refuse."""
    content = json.loads(dump(notebook))
    change(content)
    return json.dumps(content).encode()
