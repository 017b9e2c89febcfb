"""A class gets exactly the gradebook that it was drawn with, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import classroom
import psutil
import pytest

from advlab.course.grading import grade_class
from advlab.course.grading.results import GRADED, NO_ANSWER, PASSED
from advlab.course.grading.sandbox import choose
from advlab.course.notebooks import find_notebooks, read, tasks, write
from advlab.course.release import student_version

pytestmark = pytest.mark.slow
LEVEL = choose().name


def test_a_class_of_200_gets_the_gradebook_that_it_was_drawn_with(tmp_path, capsys):
    room = classroom.make(tmp_path, 200, seed=1)
    graded = grade_class(room.submissions, room.book, tmp_path / "grades", workers=2)
    assert classroom.read_gradebook(tmp_path / "grades" / "gradebook.csv") == room.gradebook(LEVEL)
    assert graded.failed == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "graded 0 of 190"
    assert said[-1].startswith("graded 190 of 190: ")
    # Each differs, so each was graded on its own.
    stored = list((tmp_path / "grades" / ".results").glob("*.json"))
    assert len(stored) - 1 == room.notebooks == 190  # one is the chapter's own solution
    assert len(list((tmp_path / "grades" / "feedback").glob("*.html"))) == 200


def test_the_draw_has_some_of_everything(tmp_path):
    room = classroom.make(tmp_path, 200, seed=1)
    points = [p for p in room.expected.values() if p is not None]
    for id, worth in classroom.POINTS.items():
        assert 80 < sum(p[id] == worth for p in points) < 150
    assert any(sum(p.values()) == 0 for p in points)
    assert any(sum(p.values()) == sum(classroom.POINTS.values()) for p in points)
    texts = [path.read_text() for path in sorted(room.submissions.rglob("*.ipynb"))[10:]]
    assert len(set(texts)) >= 188
    again = classroom.make(tmp_path / "again", 200, seed=1)
    assert again.expected == room.expected


def test_a_grader_killed_in_the_middle_goes_on_and_ends_with_the_same_bytes(tmp_path):
    room = classroom.make(tmp_path, 10, seed=2, broken=2)
    calm = grade_class(room.submissions, room.book, tmp_path / "calm", workers=2, progress=False)
    assert calm.failed == 0

    command = [sys.executable, "-m", "advlab.cli", "grade", str(room.submissions)]
    command += ["--against", str(room.book), "--report", str(tmp_path / "grades"), "--jobs", "2"]
    grader = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert _until(lambda: len(_stored(tmp_path)) >= 3, 240)
        below = psutil.Process(grader.pid).children(recursive=True)
        assert len(below) > 3  # the server, those that grade, the kernels
    finally:
        os.kill(grader.pid, signal.SIGKILL)
        grader.wait()
    assert _until(lambda: not any(_alive(one) for one in below), 15), below
    before = {path: path.stat().st_mtime_ns for path in _stored(tmp_path)}
    assert 3 <= len(before) <= room.notebooks  # the first is the chapter's own solution
    assert not (tmp_path / "grades" / "gradebook.csv").exists()

    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400)
    left = room.notebooks + 1 - len(before)
    assert f"; {len(before) - 1} graded before, {left} to grade" in again.stdout
    after = {path: path.stat().st_mtime_ns for path in _stored(tmp_path)}
    assert len(after) == room.notebooks + 1
    assert {path: after[path] for path in before} == before  # nothing was graded twice
    disturbed, calm = tmp_path / "grades", tmp_path / "calm"
    name = "gradebook.csv"
    assert (disturbed / name).read_bytes() == (calm / name).read_bytes()
    assert _without_sentences(disturbed) == _without_sentences(calm)
    assert classroom.read_gradebook(tmp_path / "calm" / "gradebook.csv") == room.gradebook(LEVEL)


def _without_sentences(report: Path):
    """gradebook.json without what checks said: numbers in it come from the seeds, new each time."""
    found = json.loads((report / "gradebook.json").read_text(encoding="utf-8"))

    def stripped(value):
        if isinstance(value, dict):
            return {k: stripped(v) for k, v in value.items() if k not in ("message", "hint")}
        return [stripped(v) for v in value] if isinstance(value, list) else value

    return stripped(found)


def _stored(folder: Path) -> list[Path]:
    return list((folder / "grades" / ".results").glob("*.json"))


def _until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def _alive(one: psutil.Process) -> bool:
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_only_what_changed_is_graded_again(tmp_path, capsys):
    room = classroom.make(tmp_path, 3, seed=4, broken=0)
    grades = tmp_path / "grades"
    grade_class(room.submissions, room.book, grades, workers=2, progress=False)
    first = {path: path.stat().st_mtime_ns for path in _stored(tmp_path)}
    file = room.submissions / "student-001" / f"{classroom.CHAPTER}.ipynb"
    notebook = read(file)
    for task in tasks(read(room.book / file.name), file.name):
        cell = next(cell for cell in notebook.cells if cell.id == task.answer.id)
        cell.source = task.answer.source
    write(notebook, file)
    shutil.copytree(file.parent, room.submissions / "a-friend")
    said: list[str] = []
    graded = grade_class(
        room.submissions, room.book, grades, workers=2, progress=False,
        say=lambda sandbox, text: said.append(text),
    )  # fmt: skip
    # Student 1 handed in the chapter's own solution, and so did a friend: that was graded before.
    assert said == [
        "4 submissions of 4 students, 1 the same as another; 3 graded before, 0 to grade"
    ]
    after = {path: path.stat().st_mtime_ns for path in _stored(tmp_path)}
    assert len(after) == 4
    assert {path: after[path] for path in first} == first
    earned = {row.student: row.earned for row in graded.gradebook.rows}
    assert earned["student-001"] == earned["a-friend"] == sum(classroom.POINTS.values())


def test_solved_chapters_score_everything_and_released_ones_nothing(tmp_path):
    """All chapters of the book, as published and as released."""
    book = [path for path in find_notebooks(classroom.BOOK) if tasks(read(path), path.name)]
    assert len(book) == 20
    for path in book:
        (tmp_path / "submissions" / "solved").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "submissions" / "solved")
        released = student_version(read(path), path)
        write(released, tmp_path / "submissions" / "released" / path.name)
    grades = tmp_path / "grades"
    grade_class(tmp_path / "submissions", classroom.BOOK, grades, workers=2)
    found = json.loads((grades / "gradebook.json").read_text(encoding="utf-8"))
    students = {one["student"]: one["submissions"] for one in found["students"]}
    assert {name: len(all_) for name, all_ in students.items()} == {"solved": 20, "released": 20}
    for one in students["solved"]:
        wrong = [mark for mark in one["result"]["marks"] if mark["status"] != PASSED]
        assert not wrong, (one["chapter"], wrong)
        assert one["result"]["status"] == GRADED
        assert one["earned"] == one["points"] > 0
    for one in students["released"]:
        assert one["earned"] == 0
        assert one["result"]["status"] == GRADED
        assert {mark["status"] for mark in one["result"]["marks"]} == {NO_ANSWER}
