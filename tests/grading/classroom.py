"""A class of any size, drawn at random, with the gradebook that it must get.

The points are known from what was drawn: a right answer earns what the exercise is worth, all
else nothing. No grader is asked.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode, v4

from advlab.course.notebooks import Task, read, strip, tasks, write

HERE = Path(__file__).parent
BOOK = HERE.parents[1] / "book"
CHAPTER = "05-a-mixture"  # the tests' own: exercises that build on no other, and a light setup
POINTS = {"1.1": 1, "1.2": 2, "1.4": 0.5, "2.1": 3, "4.1": 2.5}
SETUP = """import math

import torch
import torch.nn.functional as F

from advlab.course import check"""

RIGHT, WRONG, UNTOUCHED, SYNTAX, RAISES = "right", "wrong", "untouched", "syntax", "raises"
# What an answer is, with its weight in the draw.
ANSWERS = {RIGHT: 60, WRONG: 22, UNTOUCHED: 10, SYNTAX: 5, RAISES: 3}
BROKEN = ("not JSON", "no answers", "no notebook", "a link", "another chapter's", "empty")


@dataclass
class Classroom:
    """Where the class lies, and what must come of it.

    :param book: the folder with the teacher's notebook.
    :param submissions: the folder with what was handed in.
    :param expected: for each student the points of each check; None for what is broken.
    :param nameless: students who handed in nothing that names the chapter: their cells are empty.
    """

    book: Path
    submissions: Path
    expected: dict[str, dict[str, float] | None]
    nameless: set[str] = field(default_factory=set)

    @property
    def notebooks(self) -> int:
        """How many can be graded."""
        return sum(points is not None for points in self.expected.values())

    def gradebook(self, sandbox: str) -> list[dict[str, str]]:
        """The rows of gradebook.csv, but for the reason of what is broken."""
        rows, possible = [], sum(POINTS.values())
        for student in sorted(self.expected):
            points = self.expected[student]
            total = sum(points.values()) if points is not None else 0
            row = {"student": student, "total": total, "points": possible}
            row |= {"percent": round(100 * total / possible, 2), "late": ""}
            cell = "" if student in self.nameless else 0
            row |= {"status": "broken", "sandbox": ""} | dict.fromkeys((CHAPTER, *POINTS), cell)
            if points is not None:
                row |= {"status": "graded", "sandbox": sandbox, CHAPTER: total, **points}
            rows.append({key: _text(value) for key, value in row.items()})
        return rows


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def read_gradebook(path: Path) -> list[dict[str, str]]:
    """The rows of a gradebook.csv, without the reasons."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    return [{key: value for key, value in row.items() if key != "reason"} for row in rows]


def make(folder: Path, students: int, seed: int = 0, broken: int | None = None) -> Classroom:
    """Draw a class.

    :param folder: for the book and the submissions.
    :param students: how many, those with a broken file among them.
    :param seed: of the draw.
    :param broken: how many of them; by default one in twenty.
    """
    draw = random.Random(seed)
    teacher = teachers_notebook()
    write(teacher, folder / "book" / f"{CHAPTER}.ipynb")
    right, wrong = answers(teacher)
    room = Classroom(folder / "book", folder / "submissions", {})
    broken = students // 20 if broken is None else broken
    for n in range(students):
        name = f"student-{n:03d}"
        home = room.submissions / name
        home.mkdir(parents=True)
        if n < broken:
            how = BROKEN[n % len(BROKEN)]
            _break(home, how)
            room.nameless |= {name} if how == "no notebook" else set()
            room.expected[name] = None
            continue
        drawn = {id: draw.choices(list(ANSWERS), ANSWERS.values())[0] for id in POINTS}
        sources = {
            task.id: _answer(drawn[task.id], task, right[task.id], wrong[task.id], name, draw)
            for task in tasks(teacher, CHAPTER)
        }
        write(handed_in(teacher, sources), home / f"{CHAPTER}.ipynb")
        room.expected[name] = {id: POINTS[id] * (drawn[id] == RIGHT) for id in POINTS}
    return room


def _answer(
    kind: str,
    task: Task,
    right: Sequence[str],
    wrong: Sequence[str],
    name: str,
    draw: random.Random,
) -> str:
    released = strip(task.answer.source, task.id, CHAPTER)
    if kind == UNTOUCHED:
        return released
    if kind == RAISES:
        return f"{released}\n1 / 0  # {name}"
    if kind == SYNTAX:
        return f"{draw.choice(right)}\nreturn ] if (  # {name}"
    # Each student's own text: what is the same for two students is graded once.
    return f"{draw.choice(right if kind == RIGHT else wrong).strip()}\n# {name}"


def teachers_notebook() -> NotebookNode:
    """The exercises of ``POINTS``, as they stand in the book's chapters, with other points."""
    cells = [v4.new_code_cell(SETUP, id="setup")]
    found = {t.id: t for path in sorted(BOOK.glob("*.ipynb")) for t in tasks(read(path), path.name)}
    for id, points in POINTS.items():
        answer, check = found[id].answer, found[id].check
        answer.metadata["advlab"]["points"] = points
        cells += [v4.new_markdown_cell(f"## {id}", id=f"text-{id.replace('.', '-')}")]
        cells += [answer, check]
        for cell in (answer, check):
            cell.outputs, cell.execution_count = [], None
    return v4.new_notebook(cells=cells)


def handed_in(teacher: NotebookNode, sources: dict[str, str]) -> NotebookNode:
    """A student's copy with these answers."""
    notebook = v4.reads(v4.writes(teacher))
    for task in tasks(teacher, CHAPTER):
        for cell in notebook.cells:
            if cell.id == task.answer.id:
                cell.source = sources[task.id]
    return notebook


def answers(teacher: NotebookNode) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Right and wrong answers to each exercise: the chapter's own, and those of its tests."""
    right = {task.id: [task.answer.source] for task in tasks(teacher, CHAPTER)}
    wrong: dict[str, list[str]] = {id: [] for id in POINTS}
    for id in POINTS:
        chapter = f"chapter{int(id.split('.')[0]):02d}"
        path = HERE.parent / "course" / "wrong_answers" / f"{chapter}.py"
        spec = importlib.util.spec_from_file_location(f"class_{chapter}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        right[id] += [code for _, code in getattr(module, "RIGHT", {}).get(id, [])]
        wrong[id] += [code for _, code, _ in module.WRONG[id]]
    return right, wrong


def _break(home: Path, how: str) -> None:
    path = home / f"{CHAPTER}.ipynb"
    if how == "not JSON":
        path.write_text('{"cells": [')
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no answers":
        write(v4.new_notebook(cells=[v4.new_markdown_cell("I was ill.", id="ill")]), path)
    elif how == "no notebook":
        (home / "answers.txt").write_text("def fgsm(): ...")
    elif how == "a link":
        path.symlink_to("/etc/passwd")
    else:
        foreign = v4.new_code_cell("def f(): ...", id="foreign")
        foreign.metadata |= {"tags": ["exercise"], "advlab": {"exercise": "7.1"}}
        path.write_text(json.dumps(v4.new_notebook(cells=[foreign])))
