"""A small book, and notebooks that students made of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from advlab.course.grading.answers import read_answers
from advlab.course.grading.cells import cells
from advlab.course.grading.submissions import Submission, find
from advlab.course.notebooks import strip

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
NAMES = {"4.1": "gradient", "4.2": "fgsm", "5.1": "project", "5.2": "pgd", "5.3": "best"}


def solved(id: str) -> str:
    return f"def {NAMES[id]}(x):\n    {BEGIN}\n    return {id!r}\n    {END}"


def answer(id: str, source: str | None = None, **more) -> NotebookNode:
    metadata = {"tags": ["exercise"], "advlab": {"exercise": id, "points": 2}}
    source = solved(id) if source is None else source
    return new_code_cell(source, id="a" + id.replace(".", "-"), metadata=metadata | more)


def check(id: str, source: str | None = None, **more) -> NotebookNode:
    metadata = {"tags": ["check"], "advlab": {"exercise": id}}
    source = f'check("{id}", {NAMES[id]})' if source is None else source
    return new_code_cell(source, id="c" + id.replace(".", "-"), metadata=metadata | more)


def chapter(*ids: str) -> NotebookNode:
    """A teacher's notebook, with solutions."""
    cells = [new_markdown_cell("# Title", id="title"), new_code_cell("import torch", id="setup")]
    for id in ids:
        cells += [answer(id), check(id)]
    return new_notebook(cells=cells)


def book() -> dict[str, NotebookNode]:
    return {"04-fgsm": chapter("4.1", "4.2"), "05-many-steps": chapter("5.1", "5.2", "5.3")}


def student(*ids: str, **answers: str) -> NotebookNode:
    """What a student hands in: released cells, but for ``answers``, ``{"a4_2": source}``."""
    notebook = chapter(*(ids or ("4.1", "4.2")))
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            id = cell.metadata["advlab"]["exercise"]
            cell.source = answers.get("a" + id.replace(".", "_"), strip(cell.source, id, ""))
    return notebook


def text(notebook: NotebookNode) -> bytes:
    return json.dumps(notebook).encode()  # as it is: nbformat would mend what is broken on purpose


def put(path: Path, notebook: NotebookNode | bytes | None = None) -> Path:
    notebook = student(a4_1="def gradient(x): return 1") if notebook is None else notebook
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(notebook if isinstance(notebook, bytes) else text(notebook))
    return path


BOOK = book()


def the_one(folder: Path, **more) -> Submission:
    """The one submission there is."""
    (one,) = find(folder, BOOK, **more)
    return one


def broken(folder: Path, says: str) -> Submission:
    """The one submission there is: it cannot be graded, and the reason says so."""
    one = the_one(folder)
    assert says in one.problem, one.problem
    assert one.answers is None
    return one


GRADIENT = "def gradient(x):\n    return x.grad"
FGSM = "def fgsm(x):\n    return x.sign()"
BOTH = {"4.1": (GRADIENT,), "4.2": (FGSM,)}


def written() -> NotebookNode:
    return student(a4_1=GRADIENT, a4_2=FGSM)


def read(notebook: NotebookNode | bytes, teacher: NotebookNode | None = None) -> SimpleNamespace:
    """The answers of a student's notebook, and the notes with them."""
    found = cells(notebook if isinstance(notebook, bytes) else text(notebook))
    answers, notes = read_answers(found, teacher or BOOK["04-fgsm"])
    return SimpleNamespace(**vars(answers), none=answers.none, notes=notes)
