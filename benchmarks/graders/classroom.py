"""A class of students who answered chapter 4, some rightly and some not."""

from __future__ import annotations

import copy
import importlib.util
import random
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from advlab.course.notebooks import BEGIN, END, Task, read, tasks, write
from advlab.course.release import student_version

ROOT = Path(__file__).parents[2]
CHAPTER = ROOT / "book" / "04-fgsm.ipynb"
LIGHT_SETUP = "import torch\nimport torch.nn.functional as F\n\nfrom advlab.course import check"
SHARES = {"solution": 6, "right": 2, "wrong": 3}


@dataclass(frozen=True)
class Classroom:
    """An assignment and what the students handed in.

    :param chapter: the teacher's notebook, with solutions, as a file in a folder of its own.
    :param answers: by student and exercise, the source of the answer cell.
    """

    chapter: Path
    answers: dict[str, dict[str, str]]

    @property
    def notebook(self) -> NotebookNode:
        """The teacher's notebook, read anew."""
        return read(self.chapter)

    @property
    def tasks(self) -> list[Task]:
        return tasks(self.notebook, self.chapter.name)

    def submission(self, student: str, released: NotebookNode | None = None) -> NotebookNode:
        """The notebook that the student hands in: ``released`` with the answers filled in. Each
        ends with the student's name, so that no two are the same: ours would grade them once."""
        released = released or student_version(self.notebook, self.chapter)
        notebook = copy.deepcopy(released)
        for cell in notebook.cells:
            if "exercise" in cell.metadata.get("tags", []):
                answer = self.answers[student][cell.metadata.advlab.exercise]
                cell.source = f"{answer}\n# {student}"
        return notebook

    def halves(self) -> tuple[list[str], list[str]]:
        names = sorted(self.answers)
        return names[: len(names) // 2], names[len(names) // 2 :]


def assignment(kind: str, folder: Path) -> Path:
    """Chapter 4 as it stands (``"chapter"``), or its four exercises after a cell of imports
    (``"light"``), written into the folder."""
    notebook = read(CHAPTER)
    notebook.metadata.pop("widgets", None)  # stored outputs: no grader needs them
    if kind == "light":
        setup = nbformat.v4.new_code_cell(LIGHT_SETUP, id="setup")
        answered = [
            cell for task in tasks(notebook, CHAPTER.name) for cell in (task.answer, task.check)
        ]
        notebook.cells = [setup, *answered]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHAPTER.name
    write(notebook, path)
    return path


def draw(kind: str, folder: Path, students: int, seed: int = 0) -> Classroom:
    """A class of that many students, the same ones for the same seed. Half of their names begin
    with ``a``, half with ``b``: two processes of a grader that takes a pattern can share them."""
    chapter = assignment(kind, folder)
    known, luck = written(), random.Random(seed)
    found = tasks(read(chapter), chapter.name)
    answers = {}
    for number in range(students):
        name = f"{'a' if number < students // 2 else 'b'}{number:03d}"
        answers[name] = {task.id: one_of(task, known, luck) for task in found}
    return Classroom(chapter, answers)


def one_of(task: Task, known, luck: random.Random) -> str:
    sort = luck.choices(list(SHARES), SHARES.values())[0]
    if sort == "solution":
        return solution(task)
    return luck.choice((known.RIGHT if sort == "right" else known.WRONG)[task.id])[1].strip()


def solution(task: Task) -> str:
    lines = task.answer.source.splitlines()
    return "\n".join(line for line in lines if line.strip() not in (BEGIN, END))


def written():
    """The right and wrong answers that the tests of chapter 4 keep."""
    path = ROOT / "tests" / "course" / "wrong_answers" / "chapter04.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
