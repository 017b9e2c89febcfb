"""What is graded again, and what is not: a job holds all that a result depends on, and no more."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import classroom
import light
import pytest
from nbformat import NotebookNode, v4

from advlab.course.grading import classes, reading, submissions
from advlab.course.grading.classes import grade_class
from advlab.course.grading.grafting import Chapter
from advlab.course.notebooks import parse, read, write


def jobs_of(judged, handed_in: Path, book: Path, report: Path, **more) -> dict[str, int]:
    """The keys of what would be graded, and how many notebooks have each."""
    said: list[str] = []
    grade_class(
        handed_in, book, report, progress=False, say=lambda level, text: said.append(text), **more
    )
    judged["said"] = said[0]
    keys = [job.key() for job in judged["jobs"]]
    return {key: keys.count(key) for key in keys}


@pytest.fixture
def own(room, tmp_path):
    """A copy of the class that may be changed."""
    for name in ("book", "submissions"):
        shutil.copytree(room.book.parent / name, tmp_path / name, symlinks=True)
    return tmp_path


def change(path: Path, how) -> None:
    notebook = read(path)
    how(notebook)
    write(notebook, path)


# The teacher's notebook --------------------------------------------------------------------------


def other_points(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            cell.metadata["advlab"]["points"] = 7


def other_text(notebook: NotebookNode) -> None:
    notebook.cells[1].source = "# Another title"
    notebook.cells.insert(0, v4.new_markdown_cell("New words.", id="new"))


def other_outputs(notebook: NotebookNode) -> None:
    notebook.cells[0].outputs = [v4.new_output("stream", text="imported\n")]
    notebook.cells[0].execution_count = 3
    notebook.cells[0].metadata["mystnb"] = {"image": {"alt": "a figure"}}


def other_code(notebook: NotebookNode) -> None:
    notebook.cells[0].source += "\ntorch.manual_seed(1)"


def run_always(notebook: NotebookNode) -> None:
    notebook.cells[0].metadata["advlab"] = {"run": True}


@pytest.mark.parametrize("how", [other_points, other_text, other_outputs])
def test_what_running_does_not_depend_on_grades_nothing_anew(own, judged, how):
    where = own / "submissions", own / "book", own / "grades"
    before = jobs_of(judged, *where)
    change(own / "book" / f"{classroom.CHAPTER}.ipynb", how)
    assert jobs_of(judged, *where) == before


@pytest.mark.parametrize("how", [other_code, run_always])
def test_what_running_depends_on_grades_the_chapter_anew(own, judged, how):
    where = own / "submissions", own / "book", own / "grades"
    before = jobs_of(judged, *where)
    change(own / "book" / f"{classroom.CHAPTER}.ipynb", how)
    assert not jobs_of(judged, *where).keys() & before.keys()


def test_new_points_are_in_the_gradebook_all_the_same(own, judged):
    book = own / "book" / f"{classroom.CHAPTER}.ipynb"
    change(book, other_points)
    graded = grade_class(own / "submissions", own / "book", own / "grades", progress=False)
    (worth,) = graded.gradebook.worth.values()
    assert worth == 7 * len(classroom.POINTS)
    assert {row.earned for row in graded.gradebook.rows} == {0, worth}


def test_the_code_of_a_chapter_makes_the_same_chapter():
    chapter = Chapter(light.NAME, light.solved())
    code = Chapter(light.NAME, parse(chapter.code, light.NAME))
    assert [c.key for c in code.checks] == [c.key for c in chapter.checks]
    assert [c.arguments for c in code.checks] == [c.arguments for c in chapter.checks]
    assert (code.released, code.setup) == (chapter.released, chapter.setup)
    assert b"# Four exercises" not in chapter.code


def test_a_new_exercise_in_a_chapter_changes_nothing_for_these_tests(monkeypatch):
    """The teaching guide lets a teacher add one to chapter 4."""
    chapter = read(light.BOOK / "04-fgsm.ipynb")
    last = light.tasks(chapter, "04-fgsm.ipynb")[-1]
    for cell in (last.answer, last.check):
        more = copy.deepcopy(cell)
        more.id, more.source = f"more-{cell.id}", cell.source.replace(last.id, "4.99")
        more.metadata["advlab"]["exercise"] = "4.99"
        chapter.cells.append(more)
    assert len(light.tasks(chapter, "")) > 4
    before = light.teacher()
    monkeypatch.setattr(light, "read", lambda path: chapter)
    assert light.teacher.__wrapped__() == before


# The student's -----------------------------------------------------------------------------------


def one_of(own: Path) -> Path:
    return own / "submissions" / "student-005" / f"{classroom.CHAPTER}.ipynb"


def extra_cell(notebook: NotebookNode) -> None:
    notebook.cells.append(v4.new_code_cell("print('mine')", id="mine"))


@pytest.mark.parametrize("how", [other_outputs, other_text, extra_cell])
def test_a_notebook_with_the_same_answers_is_not_graded_again(own, judged, how):
    where = own / "submissions", own / "book", own / "grades"
    before = jobs_of(judged, *where)
    change(one_of(own), how)
    assert jobs_of(judged, *where) == before


def test_one_with_another_answer_is(own, judged):
    def longer(notebook):
        answer = next(c for c in notebook.cells if "exercise" in c.metadata.get("tags", []))
        answer.source += "\n# more"

    where = own / "submissions", own / "book", own / "grades"
    before = jobs_of(judged, *where)
    change(one_of(own), longer)
    assert len(jobs_of(judged, *where).keys() & before.keys()) == len(before) - 1


def test_the_same_as_another_has_the_same_answers_and_notes_of_its_own(own, judged):
    friend = own / "submissions" / "a-friend"
    shutil.copytree(one_of(own).parent, friend)
    change(friend / f"{classroom.CHAPTER}.ipynb", extra_cell)
    keys = jobs_of(judged, own / "submissions", own / "book", own / "grades")
    assert sorted(keys.values()) == [1, 1, 1, 1, 1, 2]
    assert "9 submissions of 9 students, 1 the same as another, 2 that cannot" in judged["said"]
    found = json.loads((own / "grades" / "gradebook.json").read_text(encoding="utf-8"))
    notes = {s["student"]: s["submissions"][0]["result"]["notes"] for s in found["students"]}
    assert "1 code cell was added and not run" in notes["a-friend"][0]
    assert notes["student-005"] == []


def test_each_notebook_is_read_once_and_none_is_kept(own, judged, monkeypatch):
    opened = []
    real = reading.read_file
    monkeypatch.setattr(
        submissions, "read_file", lambda path, top: opened.append(path) or real(path, top)
    )
    assert not hasattr(classes, "read_file")
    padding = "x" * 10**6
    change(one_of(own), lambda notebook: notebook.metadata.update(padding=padding))
    jobs_of(judged, own / "submissions", own / "book", own / "grades")
    assert len(opened) == len(set(opened)) > 5
    assert max(len(json.dumps(job.to_json())) for job in judged["jobs"]) < 10**5


# Options -----------------------------------------------------------------------------------------


def test_a_roster_that_is_moved_while_the_class_is_graded_was_read_before(
    room, judged, tmp_path, monkeypatch
):
    roster = tmp_path / "class.csv"
    roster.write_text("Student,ID\nstudent-005,17\n")
    run = classes.run
    monkeypatch.setattr(
        classes, "run", lambda *a, **k: (roster.unlink(missing_ok=True), run(*a, **k))[1]
    )
    grade_class(room.submissions, room.book, tmp_path / "grades", roster=roster, progress=False)
    assert "student-005,17," in (tmp_path / "grades" / "canvas.csv").read_text()


def test_a_roster_that_cannot_be_read_stops_before_the_class_is_graded(room, judged, tmp_path):
    with pytest.raises(ValueError, match="expected a CSV file"):
        grade_class(room.submissions, room.book, tmp_path / "grades", roster=tmp_path / "no.csv")
    assert "jobs" not in judged
    assert not (tmp_path / "grades").exists()


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_not_all_cores(room, tmp_path, workers):
    with pytest.raises(ValueError, match=f"workers: expected at least 1, found {workers}"):
        grade_class(room.submissions, room.book, tmp_path / "grades", workers=workers)
