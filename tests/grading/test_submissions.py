"""What was handed in is found: whose, of which chapter, or why not. Nothing is lost."""

from __future__ import annotations

import os
import socket
import unicodedata
import zipfile
from datetime import UTC, datetime, timedelta, timezone

import pytest
from handed_in import answer, book, check, put, student, text
from nbformat.v4 import new_code_cell, new_notebook

from advlab.course.grading import reading
from advlab.course.grading import submissions as module
from advlab.course.grading.entries import wrong_name
from advlab.course.grading.reading import LARGEST, Unreadable, read_file
from advlab.course.grading.submissions import find

BOOK = book()
FIFTH = student("5.1", "5.2", "5.3", a5_1="def project(x): return x")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "submissions").mkdir()
    return tmp_path / "submissions"


def the_one(folder, **more):
    (one,) = find(folder, BOOK, **more)
    return one


def broken(folder, says):
    """The one submission there is: it cannot be graded, and the reason says so."""
    one = the_one(folder)
    assert says in one.problem, one.problem
    return one


# Whose, and of which chapter ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ada/04-fgsm.ipynb", "ada"),
        ("ada/homework.ipynb", "ada"),
        ("ada/second try/04-fgsm.ipynb", "ada"),
        ("ada/a/b/04-fgsm.ipynb", "ada"),
        ("ada-04-fgsm.ipynb", "ada"),
        ("ada_04-fgsm.IPYNB", "ada"),
        ("Ada-04-FGSM.ipynb", "Ada"),
        ("ada-04-fgsm-2.ipynb", "ada"),
        ("ada-04-fgsm (1).ipynb", "ada"),
        ("ada-king-04-fgsm.ipynb", "ada-king"),
        ("ada 2-04-fgsm.ipynb", "ada 2"),
        ("lovelaceada_123_456_04-fgsm-1.ipynb", "lovelaceada"),
        ("lovelaceada_LATE_123_456_04-fgsm.ipynb", "lovelaceada"),
        ("lovelaceada_123_456_my work.ipynb", "lovelaceada"),
        ("Ada Lovelace_123_assignsubmission_file_/04-fgsm.ipynb", "Ada Lovelace"),
        ("Ada Lovelace_123_assignsubmission_file/04-fgsm.ipynb", "Ada Lovelace"),
        ("Ada Lovelace_123_assignsubmission_file_04-fgsm.ipynb", "Ada Lovelace"),
    ],
)
def test_names(folder, name, expected):
    path = put(folder / name)
    one = the_one(folder)
    assert (one.student, one.path, one.chapter) == (expected, path, "04-fgsm")
    assert (one.problem, one.notes, one.file) == ("", (), name)


def test_a_name_inside_another_chapters_name_is_not_that_chapter(folder):
    longer = BOOK | {"04-fgsm-more": BOOK["05-many-steps"]}
    del longer["05-many-steps"]
    put(folder / "ada-04-fgsm-more.ipynb", FIFTH)
    (one,) = find(folder, longer)
    assert (one.student, one.chapter, one.problem) == ("ada", "04-fgsm-more", "")


def test_all_of_a_students_notebooks_are_found(folder):
    put(folder / "ada" / "04-fgsm.ipynb")
    put(folder / "ada" / "later" / "04-fgsm.ipynb")
    put(folder / "ada" / "05.ipynb", FIFTH)
    put(folder / "ada-04-fgsm-2.ipynb")
    found = find(folder, BOOK)
    assert {one.student for one in found} == {"ada"}
    assert sorted(one.chapter for one in found) == ["04-fgsm"] * 3 + ["05-many-steps"]
    assert [one.file for one in found] == sorted(one.file for one in found)


def test_two_of_one_name_stay_two(folder):
    put(folder / "Ada_1_assignsubmission_file_" / "x.ipynb")
    put(folder / "Ada_2_assignsubmission_file_" / "x.ipynb")
    put(folder / "bo_1_5_04-fgsm.ipynb")
    put(folder / "bo_1_6_05.ipynb", FIFTH)  # in Canvas the first number is the student's
    assert [one.student for one in find(folder, BOOK)] == ["Ada_1", "Ada_2", "bo", "bo"]


NFC, NFD = unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë")


def test_unicode_names_stay_different(folder):
    names = {NFC, NFD, "עדה", "👩‍🔬", "👩", "ada", "Ada", "ada\u202e"}
    assert len(names) == 8
    for name in names:
        put(folder / name / "04-fgsm.ipynb")
    found = find(folder, BOOK)
    assert {one.student for one in found} == names
    assert all(not one.problem for one in found)


def test_the_cells_say_the_chapter_and_not_the_name(folder):
    put(folder / "ada-05-many-steps.ipynb")
    one = the_one(folder)
    assert (one.student, one.chapter, one.problem) == ("ada", "04-fgsm", "")
    assert one.notes == ("Its name says 05-many-steps, its answers are those of 04-fgsm.",)


def test_answers_of_two_chapters(folder):
    both = new_notebook(cells=[answer(id) for id in ("4.1", "5.1", "5.2")])
    put(folder / "ada.ipynb", both)
    one = the_one(folder)
    assert (one.chapter, one.problem) == ("05-many-steps", "")
    assert "graded as 05-many-steps, not as 04-fgsm" in one.notes[0]
    both.cells.pop()  # as many of each: then the name decides
    put(folder / "ada.ipynb").unlink()
    put(folder / "ada-05-many-steps.ipynb", both)
    assert the_one(folder).chapter == "05-many-steps"
    (folder / "ada-05-many-steps.ipynb").rename(folder / "ada.ipynb")
    assert the_one(folder).chapter == "04-fgsm"


def test_lost_metadata_leaves_the_name_and_the_cell_ids(folder):
    notebook = student(a4_1="def gradient(x): return 1")
    for cell in notebook.cells:
        cell.metadata = {}
    put(folder / "ada" / "homework.ipynb", notebook)
    assert the_one(folder).chapter == "04-fgsm"
    for n, cell in enumerate(notebook.cells):
        cell.id = f"n{n}"
    put(folder / "ada" / "homework.ipynb", notebook)
    broken(folder, "no answers of this course")
    (folder / "ada" / "homework.ipynb").rename(folder / "ada" / "04-fgsm.ipynb")
    one = the_one(folder)
    assert (one.chapter, one.problem) == ("04-fgsm", "")


# Nothing is lost ---------------------------------------------------------------------------------


def test_hidden_files_are_no_submissions(folder):
    for name in (".DS_Store", "__MACOSX/._04-fgsm.ipynb", ".git/x.ipynb", "Thumbs.db"):
        put(folder / name, b"x")
    put(folder / "ada" / ".ipynb_checkpoints" / "04-fgsm-checkpoint.ipynb")
    put(folder / "ada" / "._04-fgsm.ipynb", b"x")
    put(folder / "ada" / "04-fgsm.ipynb")
    assert the_one(folder).file == "ada/04-fgsm.ipynb"


def test_a_folder_with_no_notebook(folder):
    (folder / "ada").mkdir()
    one = broken(folder, "no notebook in the folder")
    assert (one.student, one.path, one.chapter) == ("ada", None, "")
    put(folder / "ada" / "04-fgsm.py", b"1")
    broken(folder, "found 04-fgsm.py")


def test_an_archive_is_to_be_unpacked(folder):
    with zipfile.ZipFile(folder / "ada-04-fgsm.zip", "w") as archive:
        archive.writestr("04-fgsm.ipynb", text(student()))
    one = broken(folder, "unpack it into a folder first")
    assert (one.student, one.chapter) == ("ada", "04-fgsm")
    (folder / "ada").mkdir()
    (folder / "ada-04-fgsm.zip").rename(folder / "ada" / "all.zip")
    broken(folder, "but an archive: unpack it first (all.zip)")


@pytest.mark.parametrize("name", ["essay.pdf", "ada-04-fgsm.ipynb.txt", "Makefile"])
def test_a_file_that_is_no_notebook(folder, name):
    put(folder / name, b"x")
    broken(folder, "not a notebook: expected STUDENT-CHAPTER.ipynb, or a folder")


def test_a_name_that_says_no_student(folder):
    put(folder / "04-fgsm.ipynb")
    one = broken(folder, "its name says no student: expected STUDENT-04-fgsm.ipynb")
    assert one.student == "04-fgsm.ipynb"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{not json", "not JSON"),
        (b"", "not JSON"),
        (b"\x89PNG", "not JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3, expected 4"),
        (b'{"nbformat": 4, "cells": "none"}', "expected a list of cells"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 5}]}', "source to be text"),
        (b'{"nbformat": 4, "cells": []}', "no answers of this course"),
        (text(new_notebook(cells=[new_code_cell("print(1)")])), "no answers of this course"),
        (text(new_notebook(cells=[check("4.1"), check("4.2")])), "no answers of this course"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ""}, 3]}', "cell 2 has no"),
    ],
)
@pytest.mark.parametrize("name", ["ada/04-fgsm.ipynb", "ada-04-fgsm.ipynb"])
def test_broken_notebooks(folder, name, content, says):
    path = put(folder / name, content)
    put(folder / "bo-04-fgsm.ipynb")
    ada, bo = find(folder, BOOK)
    assert says in ada.problem, ada.problem
    assert (ada.student, ada.path, ada.chapter) == ("ada", path, "04-fgsm")
    assert bo.problem == ""


def test_another_chapters(folder):
    notebook = new_notebook(cells=[answer("4.1")])
    notebook.cells[0].metadata["advlab"]["exercise"] = "9.1"
    put(folder / "ada" / "09.ipynb", notebook)
    one = broken(folder, "another chapter's: its exercises are 9.1")
    assert "04-fgsm, 05-many-steps" in one.problem
    put(folder / "ada" / "09.ipynb", new_notebook(cells=[new_code_cell("1")]))
    (folder / "ada" / "09.ipynb").rename(folder / "ada-09-other.ipynb")
    (folder / "ada").rmdir()
    one = broken(folder, "another chapter's: 09-other")
    assert (one.student, one.chapter) == ("ada", "")


def test_100_mb_are_not_read(folder, monkeypatch):
    path = folder / "ada-04-fgsm.ipynb"
    with open(path, "wb") as file:
        file.truncate(100 * 10**6)
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda p, *a, **k: opened.append(p) or real(p, *a, **k))
    one = broken(folder, "100 MB, and at most 20 MB are read: clear the outputs")
    assert one.chapter == "04-fgsm"
    assert path.name not in opened


def test_a_file_that_grows_while_it_is_read(folder, monkeypatch):
    path = put(folder / "ada-04-fgsm.ipynb", b" " * 100)
    monkeypatch.setattr(reading, "LARGEST", 10)
    monkeypatch.setattr(reading, "_check", lambda *_: None)
    with pytest.raises(Unreadable, match="larger than"):
        read_file(path, folder)
    assert LARGEST == 20_000_000


# Links and special files -------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    return put(tmp_path / "teacher" / "04-fgsm.ipynb")


def test_links_are_not_followed(folder, secret):
    (folder / "ada-04-fgsm.ipynb").symlink_to(secret)
    (folder / "bo").symlink_to(secret.parent)
    (folder / "cy").mkdir()
    (folder / "cy" / "04-fgsm.ipynb").symlink_to(secret)
    (folder / "di").mkdir()
    (folder / "di" / "all").symlink_to(secret.parent)
    (folder / "ed-04-fgsm.ipynb").symlink_to(folder / "nowhere")
    found = {one.student: one for one in find(folder, BOOK)}
    assert set(found) == {"ada", "bo", "cy", "di", "ed"}
    for name in ("ada", "bo", "cy", "ed"):
        assert "a symbolic link, and links are not followed" in found[name].problem, name
    assert "no notebook in the folder; found all" in found["di"].problem


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    put(folder / "ada-04-fgsm.ipynb")
    (tmp_path / "link").symlink_to(folder)
    assert the_one(tmp_path / "link").problem == ""


def test_a_link_put_there_later_is_not_followed(folder, secret):
    path = put(folder / "ada" / "04-fgsm.ipynb")
    assert the_one(folder).problem == ""
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(Unreadable, match="symbolic link"):
        read_file(path, folder)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(secret.parent)
    with pytest.raises(Unreadable, match="symbolic link"):
        read_file(path, folder)


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_link_put_there_between_the_look_and_the_opening(folder, secret, monkeypatch, swapped):
    path = put(folder / "ada" / "04-fgsm.ipynb", b"{}")
    real = os.open

    def swap(name, *args, **kwargs):
        if name == (path.name if swapped == "file" else "ada"):
            victim = path if swapped == "file" else path.parent
            victim.rename(folder / "away")
            victim.symlink_to(secret if swapped == "file" else secret.parent)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(Unreadable, match="cannot be read"):
        read_file(path, folder)


def test_a_path_out_of_the_folder_is_not_read(folder, secret):
    for path in (secret, folder / ".." / "teacher" / "04-fgsm.ipynb"):
        with pytest.raises(Unreadable, match="climbs out"):
            read_file(path, folder)


def test_special_files_are_not_waited_for(folder, monkeypatch):
    os.mkfifo(folder / "ada-04-fgsm.ipynb")
    listening = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(folder)  # the name of a socket must be short
    listening.bind("bo-04-fgsm.ipynb")
    (folder / "cy-04-fgsm.ipynb").mkdir()
    os.mkfifo(folder / "di")
    try:
        ada, bo, cy, di = find(folder, BOOK)
    finally:
        listening.close()
    for one in (ada, bo):
        assert "not a file but a folder, a pipe or a device" in one.problem
    assert "no notebook in the folder" in cy.problem
    assert "not a notebook" in di.problem


def test_a_pipe_put_there_between_the_look_and_the_opening(folder, monkeypatch):
    path = put(folder / "ada-04-fgsm.ipynb")
    real = os.open

    def swap(name, *args, **kwargs):
        if name == path.name:
            path.unlink()
            os.mkfifo(path)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)  # a blocking open would wait for a writer for ever
    with pytest.raises(Unreadable, match="pipe"):
        read_file(path, folder)


def test_what_may_not_be_read(folder, monkeypatch):
    put(folder / "ada-04-fgsm.ipynb")
    put(folder / "bo" / "04-fgsm.ipynb")
    put(folder / "cy" / "04-fgsm.ipynb")
    real_open, real_scan = os.open, os.scandir

    def no_open(name, *args, **kwargs):
        if name == "ada-04-fgsm.ipynb":
            raise PermissionError(13, "Permission denied")
        return real_open(name, *args, **kwargs)

    def no_scan(path):
        if str(path).endswith("bo"):
            raise PermissionError(13, "Permission denied")
        return real_scan(path)

    monkeypatch.setattr(os, "open", no_open)
    monkeypatch.setattr(os, "scandir", no_scan)
    ada, bo, cy = find(folder, BOOK)
    assert "it cannot be read (Permission denied)" in ada.problem
    assert "the folder cannot be read (Permission denied)" in bo.problem
    assert cy.problem == ""


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
    monkeypatch.setattr(module, "MOST_FILES", 10)
    for n in range(12):
        put(folder / "ada" / f"x{n:02}.txt", b"")
    put(folder / "ada" / "a.ipynb")
    found = find(folder, BOOK)
    assert len(found) == 2
    assert any("more than 10 files" in one.problem for one in found)


def test_a_folder_with_too_many_notebooks_is_not_read_to_the_end(folder, monkeypatch):
    monkeypatch.setattr(module, "MOST_OPENED", 3)
    read = []
    monkeypatch.setattr(module, "read_file", lambda path, top: read.append(path) or (b"{", None))
    for n in range(6):
        put(folder / "ada" / f"{n}.ipynb")
    found = find(folder, BOOK)
    assert len(read) == 3
    assert len(found) == 4
    assert "ada: more than 3 notebooks, and the rest was not read" in {o.problem for o in found}


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
        return [one.file for one in find(folder, BOOK, due=due) if not one.problem]

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


def test_everything_gives_a_row(folder):
    """One of each kind, and a row for each: nothing ends the search."""
    put(folder / "ok-04-fgsm.ipynb")
    put(folder / "json-04-fgsm.ipynb", b"{")
    os.mkfifo(folder / "fifo-04-fgsm.ipynb")
    (folder / "link").symlink_to(folder)
    (folder / "empty").mkdir()
    put(folder / "zip.zip", b"PK")
    put(folder / "ctrl\x1b", b"")
    put(folder / "deep" / "1" / "2" / "3" / "4" / "x.ipynb")
    found = find(folder, BOOK)
    assert len(found) == len(os.listdir(folder)) == len({one.student for one in found})
    assert [one.student for one in found if not one.problem] == ["ok"]


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match="expected a folder with submissions"):
        find(tmp_path / "nowhere", BOOK)


# Times -------------------------------------------------------------------------------------------


def test_the_time_is_that_of_the_file(folder):
    path = put(folder / "ada-04-fgsm.ipynb")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert the_one(folder).submitted == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    path.write_bytes(b"{")
    assert the_one(folder).submitted > datetime(2020, 1, 1, tzinfo=UTC)  # of a broken one as well


@pytest.fixture
def times(tmp_path):
    def write(*rows, header="student,file,submitted"):
        path = tmp_path / "times.csv"
        path.write_text("\n".join([header, *rows]), encoding="utf-8-sig")
        return path

    return write


def test_times_from_a_table(folder, times):
    for name in ("ada/a.ipynb", "ada/old/a.ipynb", "bo-04-fgsm.ipynb", "cy/a.ipynb"):
        put(folder / name)
    table = times(
        "ada,ada/old/a.ipynb,2026-01-01T10:00Z",
        "ada,,2026-01-02T10:00+01:00",
        "bo,bo-04-fgsm.ipynb,2026-01-03T10:00-05:00",
        header="Student, FILE ,submitted",
    )
    due = datetime(2027, 1, 1, tzinfo=UTC)
    found = {one.file: one for one in find(folder, BOOK, table, due)}
    hours = {file: one.submitted for file, one in found.items()}
    assert hours["ada/old/a.ipynb"] == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert hours["ada/a.ipynb"] == datetime(2026, 1, 2, 9, tzinfo=UTC)
    assert hours["bo-04-fgsm.ipynb"] == datetime(
        2026, 1, 3, 10, tzinfo=timezone(timedelta(hours=-5))
    )
    assert hours["cy/a.ipynb"] is None
    assert found["cy/a.ipynb"].notes == ("No time is known at which it was handed in.",)
    assert found["ada/a.ipynb"].notes == ()
    # Where nothing is due, nobody asks.
    assert all(one.notes == () for one in find(folder, BOOK, table))


def test_a_path_goes_before_a_name(folder, times):
    for name in ("ada/a.ipynb", "ada/old/a.ipynb"):
        put(folder / name)
    table = times("ada,a.ipynb,2026-01-01T10:00Z", "ada,ada/old/a.ipynb,2026-01-02T10:00Z")
    days = {one.file: one.submitted.day for one in find(folder, BOOK, table)}
    assert days == {"ada/a.ipynb": 1, "ada/old/a.ipynb": 2}


@pytest.mark.parametrize(
    ("row", "says"),
    [("cydd,,", "as that file: cydd; expected"), ("cy,b.ipynb,", "file: cy b.ipynb; expected")],
)
def test_a_time_of_nobody_is_told(folder, times, row, says):
    put(folder / "cy" / "a.ipynb")
    good = "cy,,2026-01-01T10:00Z"
    with pytest.raises(ValueError, match=says):
        find(folder, BOOK, times(good, row + "2026-01-01T10:00Z"))
    assert the_one(folder, times=times(good)).submitted.year == 2026


def test_a_wrong_file_is_told_those_that_are_known(folder, times):
    for name in ("cy/a.ipynb", "cy/old/b.ipynb"):
        put(folder / name)
    table = times("cy,c.ipynb,2026-01-01T10:00Z", "dan,c.ipynb,2026-01-01T10:00Z")
    with pytest.raises(ValueError, match=r"; known of cy: cy/a\.ipynb, cy/old/b\.ipynb$"):
        find(folder, BOOK, table)


def test_a_path_below_the_students_own_folder(folder, times):
    for name in ("ada/1/a.ipynb", "ada/2/a.ipynb"):
        put(folder / name)
    table = times("ada,1/a.ipynb,2026-01-01T10:00Z", "ada,2/a.ipynb,2026-01-02T10:00Z")
    days = {one.file: one.submitted.day for one in find(folder, BOOK, table)}
    assert days == {"ada/1/a.ipynb": 1, "ada/2/a.ipynb": 2}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("ada,,yesterday", "line 2: found the time 'yesterday', expected one with its zone"),
        ("ada,,2026-01-01T10:00", "expected one with its zone"),
        ("ada,,", "expected one with its zone"),
    ],
)
def test_times_that_are_none(folder, times, row, says):
    with pytest.raises(ValueError, match=says):
        find(folder, BOOK, times(row))


def test_a_table_without_its_columns(folder, times):
    with pytest.raises(ValueError, match="there is no column submitted"):
        find(folder, BOOK, times(header="student,file,when"))
    with pytest.raises(ValueError, match="expected a CSV file"):
        find(folder, BOOK, folder / "nowhere.csv")
