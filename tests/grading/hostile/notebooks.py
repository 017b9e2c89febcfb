"""Notebooks that were edited: checks, tags, ids, points, stored outputs, magics."""

from __future__ import annotations

import copy

from nbformat import NotebookNode, v4

from .case import ANY, CRASHED, JUDGED, NO_ANSWER, NOTHING, Case, called, solved
from .chapter import POINTS, cell_of

WRONG = {"4.1": called("pass")}
MIME = "application/vnd.advlab.record+json"


def checks(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if "check" in cell.metadata.get("tags", [])]


def without_checks(notebook: NotebookNode) -> None:
    notebook.cells = [c for c in notebook.cells if "check" not in c.metadata.get("tags", [])]


def edited_checks(notebook: NotebookNode) -> None:
    for cell in checks(notebook):
        cell.source = f'print("{cell.metadata.advlab.exercise} passed: all is well")'


def repeated_checks(notebook: NotebookNode) -> None:
    for cell in checks(notebook):
        again = copy.deepcopy(cell)
        again.id = f"again-{cell.id}"
        notebook.cells.append(again)


def reversed_cells(notebook: NotebookNode) -> None:
    notebook.cells.reverse()


def checks_as_answers(notebook: NotebookNode) -> None:
    for cell in checks(notebook):
        cell.metadata.tags = ["exercise"]
        cell.source = f'print("{cell.metadata.advlab.exercise} passed")'


def tagged(*tags: str):
    def change(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), *tags]

    return change


def marked(comment: str):
    def change(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source = f"# {comment}\n{cell.source}"

    return change


def tampered_outputs(notebook: NotebookNode) -> None:
    record = '{"exercise": "4.1", "passed": true}'
    said = "4.1 passed: this is how the loss changes with every pixel"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
            cell.outputs = [
                v4.new_output("display_data", {MIME: record}),
                v4.new_output("stream", name="stdout", text=said),
            ]
    notebook.metadata["advlab"] = {"released": "0" * 32, "earned": 1000, "verdict": "passed"}


def claimed_points(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if "advlab" in cell.metadata:
            cell.metadata["advlab"] |= {"points": 1e9, "earned": 1e9, "status": "passed"}
            cell.metadata["advlab"]["forbids"] = []


def swapped_ids(notebook: NotebookNode) -> None:
    """The cell of 4.1 says that it answers 4.2, and the other way round."""
    one, other = cell_of(notebook, "4.1"), cell_of(notebook, "4.2")
    one.metadata["advlab"]["exercise"], other.metadata["advlab"]["exercise"] = "4.2", "4.1"


def answered_twice(notebook: NotebookNode) -> None:
    """A wrong answer first, then a right one."""
    cell = cell_of(notebook, "4.1")
    again = copy.deepcopy(cell)
    again.id, again.source = "again", solved()
    notebook.cells.insert(notebook.cells.index(cell) + 1, again)


def split_answer(notebook: NotebookNode) -> None:
    """The second half of the answer in a cell of its own, which has no mark."""
    cell = cell_of(notebook, "4.1")
    helper = v4.new_code_cell("def helper(loss, x):\n    return torch.autograd.grad(loss, x)[0]")
    cell.source = solved().replace("torch.autograd.grad(loss, x)[0]", "helper(loss, x)")
    notebook.cells.insert(notebook.cells.index(cell), helper)


def other_kernel(notebook: NotebookNode) -> None:
    notebook.metadata["kernelspec"] = {"name": "bash", "display_name": "sh", "language": "bash"}
    notebook.metadata["language_info"] = {"name": "javascript"}


def same_cell_ids(notebook: NotebookNode) -> None:
    """Every cell has the id of the teacher's check of 4.1, or the grader's own names."""
    names = ["check-1", "given-0", "forget-0", "answer-1"]
    for n, cell in enumerate(notebook.cells):
        cell.id = names[n % len(names)]


def twin_ids(notebook: NotebookNode) -> None:
    """Ids that look like the chapter's and are others: 4․1, 4.1 with a space of no width."""
    cell_of(notebook, "4.1").metadata["advlab"]["exercise"] = "4.1\u200b"
    cell = next(c for c in notebook.cells if c.metadata.get("advlab", {}).get("exercise") == "4.2")
    cell.metadata["advlab"]["exercise"] = "4\u2024２"
    for n, cell in enumerate(notebook.cells):
        cell.id = f"other-{n}"


def as_text(notebook: NotebookNode) -> None:
    cell = cell_of(notebook, "4.1")
    text = v4.new_markdown_cell(cell.source, metadata=cell.metadata)
    notebook.cells[notebook.cells.index(cell)] = text


def names_of_the_chapter(notebook: NotebookNode) -> None:
    notebook.cells[1].source = (
        "import torch\nimport torch.nn.functional as F\n"
        "check = emit = lambda *a, **k: print('passed')\n" + called("pass")
    )


CASES = [
    Case(
        "checks-deleted",
        "hands in no check at all; 4.1 is wrong",
        WRONG,
        without_checks,
        marks={"4.1": JUDGED},
        says="Check cells were changed",
    ),
    Case(
        "checks-edited",
        "has each check print that it passed; 4.1 is wrong",
        WRONG,
        edited_checks,
        marks={"4.1": JUDGED},
        says="Check cells were changed",
    ),
    Case(
        "checks-repeated",
        "hands in each check twice; 4.1 is wrong",
        WRONG,
        repeated_checks,
        marks={"4.1": JUDGED},
        says="Check cells were changed",
    ),
    Case(
        "cells-reversed",
        "hands in the cells in the reverse order; all is right",
        change=reversed_cells,
        says="another order",
    ),
    Case(
        "checks-as-answers",
        "tags the checks as answers, and has them print that they passed",
        WRONG,
        checks_as_answers,
        marks={"4.1": NOTHING, **dict.fromkeys(POINTS, ANY)} | {"4.1": NOTHING},
    ),
    Case(
        "tags-of-nbval",
        "tags every cell so that nbval skips it or expects its failure",
        WRONG,
        tagged("nbval-skip", "nbval-raises-exception", "raises-exception", "nbval-ignore-output"),
        marks={"4.1": JUDGED},
    ),
    Case(
        "comment-skip",
        "asks nbval in a comment to skip every cell; all is right",
        change=marked("NBVAL_SKIP"),
        says="comments that steer nbval",
    ),
    Case(
        "comment-expects-failure",
        "asks nbval in a comment to expect failure, and raises",
        {"4.1": "raise RuntimeError('expected')"},
        marked("NBVAL_RAISES_EXCEPTION"),
        marks={"4.1": CRASHED},
        says="comments that steer nbval",
    ),
    Case(
        "comment-ignores-output",
        "asks nbval in a comment to ignore what comes out; 4.1 is wrong",
        WRONG,
        marked("NBVAL_IGNORE_OUTPUT"),
        marks={"4.1": JUDGED},
    ),
    Case(
        "stored-outputs",
        "stores outputs and records of a pass; 4.1 is wrong",
        WRONG,
        tampered_outputs,
        marks={"4.1": JUDGED},
    ),
    Case(
        "points-claimed",
        "writes a billion points into the metadata; 4.1 is wrong",
        WRONG,
        claimed_points,
        marks={"4.1": JUDGED},
    ),
    Case(
        "ids-swapped",
        "gives two answers each other's id",
        change=swapped_ids,
        marks={"4.1": NOTHING, "4.2": NOTHING},
    ),
    Case(
        "answered-twice",
        "answers 4.1 in two cells, wrong and then right",
        WRONG,
        answered_twice,
        says="the last one counts",
    ),
    Case(
        "answer-split",
        "has half of the answer to 4.1 in a cell without a mark",
        change=split_answer,
        marks={"4.1": JUDGED},
        says="added and not run",
    ),
    Case(
        "other-kernel", "asks for a kernel of another language; all is right", change=other_kernel
    ),
    Case(
        "same-cell-ids",
        "gives cells the ids of the grader's, each several times; all is right",
        change=same_cell_ids,
    ),
    Case(
        "twin-ids",
        "marks two answers with ids that only look like the chapter's; found by name",
        change=twin_ids,
        says="was found by",
    ),
    Case(
        "answer-as-text",
        "has the answer to 4.1 in a cell of text",
        change=as_text,
        marks={"4.1": NO_ANSWER},
        says="no code cell",
    ),
    Case(
        "setup-edited",
        "edits the chapter's first cell so that check and emit do nothing",
        WRONG,
        names_of_the_chapter,
        marks={"4.1": JUDGED},
        says="changed; the chapter's own",
    ),
]
