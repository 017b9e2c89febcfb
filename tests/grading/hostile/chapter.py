"""A small chapter of a teacher's, its hidden check, and what honest students hand in."""

from __future__ import annotations

from pathlib import Path

from nbformat import NotebookNode, v4

from advlab.course.release import student_version

NAME = "04-small"
POINTS = {"1.1": 1, "4.1": 2, "4.2": 3, "1.4": 2}
HIDDEN_POINTS = 1
TOTAL = sum(POINTS.values()) + HIDDEN_POINTS
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}

SETUP = """import torch
import torch.nn.functional as F

from advlab.course import check"""

SOLUTIONS = {
    "1.1": """def gate_weights(name):
    ### BEGIN SOLUTION
    weights = {"OR": (1, 1, -0.5), "NAND": (-1, -1, 1.5), "AND NOT": (1, -1, -0.5)}
    return weights[name]
    ### END SOLUTION""",
    "4.1": """def input_gradient(model, x, y):
    ### BEGIN SOLUTION
    x = x.detach().clone().requires_grad_()
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]
    ### END SOLUTION""",
    # It does not build on 4.1: what happens there must not cost points here.
    "4.2": """def fgsm(model, x, y, eps):
    ### BEGIN SOLUTION
    z = x.detach().clone().requires_grad_()
    g = torch.autograd.grad(F.cross_entropy(model(z), y, reduction="sum"), z)[0]
    return (x + eps * g.sign()).clamp(0, 1)
    ### END SOLUTION""",
    "1.4": """def push_needed(x, w, b):
    ### BEGIN SOLUTION
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z) / sum(abs(wi) for wi in w)
    ### END SOLUTION""",
}
FUNCTIONS = {"1.1": "gate_weights", "4.1": "input_gradient", "4.2": "fgsm", "1.4": "push_needed"}

HIDDEN = """import torch

from advlab.course import fail, tensor
from advlab.course.grading.hidden import Hidden


def images(seed):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(1, 1, 6, 6, generator=draw)


def probe(fgsm, seed):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
    return {"x_adv": fgsm(model, images(seed), torch.tensor([1]), 0.0)}


def verdict(results, seed):
    # {secret}
    if not torch.allclose(tensor(results, "x_adv", like=images(seed)), images(seed)):
        fail("{secret}")
    return "{secret}"


HIDDEN = (Hidden("4.2", "A budget of nothing", probe, verdict, points={points}),)
"""


def chapter(secret: str) -> NotebookNode:
    """The teacher's notebook; the secret stands in each solution."""
    cells = [v4.new_markdown_cell("# A small chapter"), v4.new_code_cell(SETUP)]
    for id, points in POINTS.items():
        begin = "### BEGIN SOLUTION\n"
        answer = v4.new_code_cell(SOLUTIONS[id].replace(begin, f"{begin}    # {secret}\n"))
        answer.metadata.update(tags=["exercise"], advlab={"exercise": id, "points": points})
        test = v4.new_code_cell(f'check("{id}", {FUNCTIONS[id]})')
        test.metadata.update(tags=["check"], advlab={"exercise": id})
        cells += [v4.new_markdown_cell(f"### Exercise {id}"), answer, test]
    for n, cell in enumerate(cells):
        cell.id = f"cell-{n}"
    return v4.new_notebook(cells=cells, metadata={"kernelspec": dict(KERNELSPEC)})


def hidden(secret: str) -> str:
    """The teacher's file of hidden checks; the secret stands in the verdict."""
    return HIDDEN.replace("{secret}", secret).replace("{points}", str(HIDDEN_POINTS))


def handed_in(answers: dict[str, str]) -> NotebookNode:
    """The released chapter with these answers in it, as a student saves it."""
    notebook = student_version(chapter("nothing"), Path(f"{NAME}.ipynb"))
    for id, source in answers.items():
        cell_of(notebook, id).source = source
    return notebook


def solutions() -> dict[str, str]:
    """All four answers, right, without the markers."""
    lines = {id: source.splitlines() for id, source in SOLUTIONS.items()}
    return {id: "\n".join(x for x in own if "###" not in x) for id, own in lines.items()}


def cell_of(notebook: NotebookNode, id: str, tag: str = "exercise") -> NotebookNode:
    """The answer's cell of an exercise, or its check's."""
    return next(
        cell
        for cell in notebook.cells
        if tag in cell.metadata.get("tags", []) and cell.metadata["advlab"]["exercise"] == id
    )
