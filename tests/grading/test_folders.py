"""What lies in a folder of submissions: names that are not opened, and how much is looked at."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime

import pytest
from handed_in import BOOK, broken, put, student, the_one

from advlab.course.grading import folders, progress
from advlab.course.grading import submissions as module
from advlab.course.grading.filenames import wrong_name
from advlab.course.grading.results import BROKEN, Result
from advlab.course.grading.settings import Rule
from advlab.course.grading.submissions import find

# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says", "shown"),
    [
        ("..\\..\\ada-04-fgsm.ipynb", "climbs out", "..\\\\..\\\\ada-04-fgsm.ipynb"),
        ("..ada-04-fgsm.ipynb", "climbs out", "..ada-04-fgsm.ipynb"),
        ("C:\\ada-04-fgsm.ipynb", "climbs out", "C:\\\\ada-04-fgsm.ipynb"),
        ("ada\x1b[2J-04-fgsm.ipynb", "control characters", "ada\\x1b[2J-04-fgsm.ipynb"),
        ("ada\n-04-fgsm.ipynb", "control characters", "ada\\n-04-fgsm.ipynb"),
        ("ada\u2028-04-fgsm.ipynb", "control characters", "ada\\u2028-04-fgsm.ipynb"),
        (b"ada\xff-04-fgsm.ipynb", "not text in UTF-8", "ada\\udcff-04-fgsm.ipynb"),
        ("a" * 201 + "-04-fgsm.ipynb", "longer than 200 bytes", "a" * 201 + "-04-fgsm.ipynb"),
    ],
)
def test_names_that_are_not_opened(folder, name, says, shown):
    put(folder / os.fsdecode(name))
    one = broken(folder, says)
    assert one.student == shown
    assert one.path is None
    (folder / os.fsdecode(name)).rename(folder / "x")
    put(folder / os.fsdecode(name).removesuffix(".ipynb") / "04-fgsm.ipynb")
    found = [one for one in find(folder, BOOK) if one.student != "x"]
    assert [says in one.problem for one in found] == [True]


def test_such_names_in_a_students_folder(folder):
    put(folder / "ada" / "..\\x.ipynb")
    put(folder / "ada" / "y\x07" / "04-fgsm.ipynb")
    one, two = find(folder, BOOK)
    assert (one.student, two.student) == ("ada", "ada")
    assert sorted("climbs" in s.problem for s in (one, two)) == [False, True]
    assert "\x07" not in one.problem + two.problem


def test_names_that_are_too_long_in_bytes():
    assert wrong_name("é" * 100) == ""
    assert "longer than" in wrong_name("é" * 101)


# Folders -----------------------------------------------------------------------------------------


def test_too_deep_a_folder_is_told(folder):
    put(folder / "ada" / "1" / "2" / "3" / "04-fgsm.ipynb")
    broken(folder, "The folder 3 is too deep, and was not read.")
    put(folder / "ada" / "04-fgsm.ipynb")
    assert "The folder 3 is too deep, and was not read." in the_one(folder).notes


def test_files_beside_the_notebook_are_told_and_not_used(folder):
    put(folder / "ada" / "04-fgsm.ipynb")
    for name in ("conftest.py", "advlab.py", "sitecustomize.py", "data/x.csv"):
        put(folder / "ada" / name, b"x")
    assert the_one(folder).notes == (
        "Files beside the notebook are not used: advlab.py, conftest.py, sitecustomize.py, "
        "data/x.csv.",
    )


def test_a_folder_with_too_many_files_ends(folder, monkeypatch):
    monkeypatch.setattr(folders, "MOST_FILES", 10)
    for n in range(12):
        put(folder / "ada" / f"x{n:02}.txt", b"")
    put(folder / "ada" / "a.ipynb")
    found = find(folder, BOOK)
    assert len(found) == 2
    assert any("more than 10 files" in one.problem for one in found)


def test_a_folder_with_too_many_notebooks_is_not_read_to_the_end(folder, monkeypatch):
    monkeypatch.setattr(folders, "MOST_OPENED", 3)
    read = []
    monkeypatch.setattr(module, "read_file", lambda path, top: read.append(path) or (b"{", None))
    for n in range(6):
        put(folder / "ada" / f"{n}.ipynb")
    found = find(folder, BOOK)
    assert len(read) == 3
    assert len(found) == 4
    assert "ada: more than 3 notebooks, and the rest was not read" in {o.problem for o in found}


def test_of_one_students_notebooks_those_changed_last_are_read_up_to_a_size(folder, monkeypatch):
    assert module.MOST_BYTES == 100 * 10**6
    size = put(folder / "ada" / "old.ipynb").stat().st_size
    monkeypatch.setattr(module, "MOST_BYTES", 3 * size)
    paths = [folder / "ada" / "old.ipynb", put(folder / "ada" / "1" / "new.ipynb")]
    paths += [put(folder / "ada-04-fgsm.ipynb"), put(folder / "ada-04-fgsm-2.ipynb")]
    for n, path in enumerate(paths):
        os.utime(path, (n, n))
    put(folder / "bo" / "1.ipynb")  # another student has room of their own
    read = []
    real = module.read_file
    monkeypatch.setattr(module, "read_file", lambda path, top: read.append(path) or real(path, top))
    found = {one.file: one for one in find(folder, BOOK)}
    assert len(read) == 4
    assert paths[0] not in read
    (left,) = (one for one in found.values() if one.problem)
    assert (left.student, left.file, left.answers) == ("ada", "ada/old.ipynb", None)
    assert left.problem == (
        "old.ipynb: not read: with those changed after it, more than 0 MB of notebooks"
    )


def test_what_is_too_large_to_be_read_takes_no_room(folder, monkeypatch):
    size = put(folder / "ada" / "old.ipynb").stat().st_size
    os.utime(folder / "ada" / "old.ipynb", (5, 5))
    put(folder / "ada" / "huge.ipynb", b" " * (size + 1))
    monkeypatch.setattr(module, "LARGEST", size)
    monkeypatch.setattr(module, "MOST_BYTES", size)
    problems = {one.file: one.problem for one in find(folder, BOOK)}
    assert problems["ada/old.ipynb"] == ""


def test_how_far_the_reading_is_is_said_where_it_takes_long(folder, capsys, monkeypatch):
    for n in range(25):
        put(folder / f"s{n:02}" / "a.ipynb")
    find(folder, BOOK, progress=True)
    assert capsys.readouterr().err == ""  # done at once
    now = iter(range(1000))
    monkeypatch.setattr("advlab.course.grading.progress.time.monotonic", lambda: next(now))
    find(folder, BOOK, progress=True)
    assert capsys.readouterr().err == "read 10 of 25\nread 21 of 25\n"
    find(folder, BOOK)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_reading_has_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress, "DELAY", 0)
    assert list(progress.watched(["a", "b"], "read", out=(out := Terminal()))) == ["a", "b"]
    assert "read 0 of 2" in out.getvalue()
    assert list(progress.watched(["a"], "read", False, out=(out := Terminal()))) == ["a"]
    assert out.getvalue() == ""


def test_of_a_students_notebooks_for_a_chapter_the_last_are_graded(folder, monkeypatch):
    assert module.MOST_GRADED == 20
    monkeypatch.setattr(module, "MOST_GRADED", 2)
    for name, when in (("a", 30), ("b", 10), ("c", 40), ("d", 20)):
        os.utime(put(folder / "ada" / f"{name}.ipynb"), (when, when))
    other = student("5.1", "5.2", "5.3", a5_1="def project(x): return x")
    os.utime(put(folder / "ada" / "e.ipynb", other), (5, 5))  # of another chapter
    os.utime(put(folder / "bo" / "a.ipynb"), (5, 5))
    put(folder / "ada" / "f-04-fgsm.ipynb", b"{")  # a broken one takes no place

    def graded(due=None):
        return [one.file for one in find(folder, BOOK, rule=Rule(due=due)) if not one.problem]

    assert graded() == ["ada/a.ipynb", "ada/c.ipynb", "ada/e.ipynb", "bo/a.ipynb"]
    left = [one for one in find(folder, BOOK) if "one of the 2 notebooks" in one.problem]
    assert [one.file for one in left] == ["ada/b.ipynb", "ada/d.ipynb"]
    assert left[0].problem == "04-fgsm: not one of the 2 notebooks handed in last"
    # What was handed in after the due time costs none that was in time.
    due = datetime.fromtimestamp(15, UTC)
    assert "ada/b.ipynb" in graded(due)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("   ", r"\x20\x20\x20"),
        (" ", r"\x20"),
        ("\u3000", r"\u3000"),
        ("\u200b", r"\u200b"),
        ("a b", "a b"),
    ],
)
def test_a_folder_named_by_blanks_can_be_seen(folder, name, shown):
    put(folder / name / "a.ipynb")
    assert the_one(folder).student == shown


def test_the_count_begins_with_what_was_graded_before(monkeypatch):
    kept = [Result("04-fgsm", BROKEN)] * 4
    progress.Progress(6, out=(out := io.StringIO()), before=kept)
    assert out.getvalue() == "graded 4 of 6: 4 broken\n"
    monkeypatch.setattr(out, "isatty", lambda: True)
    shown = progress.Progress(6, out=out, before=kept)
    shown.close()
    assert "graded 4 of 6 |" in out.getvalue()
    assert "graded 0 of 6" not in out.getvalue()
