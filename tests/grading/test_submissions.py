"""What was handed in is found: whose, of which chapter, or why not. Nothing is lost."""

from __future__ import annotations

import os
import unicodedata
import zipfile

import pytest
from handed_in import BOOK, answer, broken, check, put, student, text, the_one
from nbformat.v4 import new_code_cell, new_notebook

from advlab.course.grading.submissions import find

FIFTH = student("5.1", "5.2", "5.3", a5_1="def project(x): return x")


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


def test_a_student_is_never_put_together_with_another(folder):
    """Each of these folders is somebody's: a name that is made must not be one that is there."""
    for name in (
        "ada_12_assignsubmission_file",
        "ada_13_assignsubmission_file",
        "ada_12",
        "ada_12_12",
        "ada_12_13_assignsubmission_file",
    ):
        put(folder / name / "04-fgsm.ipynb")
    found = {one.file.split("/")[0]: one.student for one in find(folder, BOOK)}
    assert found == {
        "ada_12": "ada_12",
        "ada_12_12": "ada_12_12",
        "ada_12_13_assignsubmission_file": "ada_12_13",
        "ada_12_assignsubmission_file": "ada_12_12_12",
        "ada_13_assignsubmission_file": "ada_13",
    }


def test_the_number_in_a_files_name_is_kept(folder):
    for name in ("ada_7_9_04-fgsm.ipynb", "Bo_5_assignsubmission_file/x.ipynb", "cy-04-fgsm.ipynb"):
        put(folder / name)
    assert [(one.student, one.number) for one in find(folder, BOOK)] == [
        ("ada", "7"),
        ("Bo", "5"),
        ("cy", ""),
    ]


def test_students_are_in_one_order_whatever_their_capitals(folder):
    for name in ("Zoe", "ada", "Bo", "Ada", "bo"):
        put(folder / name / "04-fgsm.ipynb")
    assert [one.student for one in find(folder, BOOK)] == ["Ada", "ada", "Bo", "bo", "Zoe"]


def test_what_is_broken_is_named_by_its_path_in_the_students_folder(folder):
    put(folder / "fay" / "a1" / "04-fgsm.ipynb")
    put(folder / "fay" / "a2" / "04-fgsm.ipynb", b"{")
    (folder / "fay" / "a3").mkdir()
    (folder / "fay" / "a3" / "04-fgsm.ipynb").symlink_to(folder / "fay" / "a1" / "04-fgsm.ipynb")
    good, bad, link = find(folder, BOOK)
    assert good.problem == ""
    assert bad.problem.startswith("a2/04-fgsm.ipynb: not a notebook: ")
    assert link.problem == ("a3/04-fgsm.ipynb: a symbolic link, and links are not followed")


def test_a_name_without_a_student_is_told_what_it_should_be(folder):
    put(folder / "-04-fgsm.ipynb")
    broken(folder, "says no student: expected STUDENT-04-fgsm.ipynb")


NFC, NFD = unicodedata.normalize("NFC", "Zoë"), unicodedata.normalize("NFD", "Zoë")


def test_unicode_names_stay_different(folder):
    names = {NFC, NFD, "עדה", "👩‍🔬", "👩", "ada", "Ada"}
    assert len(names) == 7
    for name in (*names, "ada\u202e", "ada\u200b"):  # two that cannot be seen are written out
        put(folder / name / "04-fgsm.ipynb")
    found = find(folder, BOOK)
    assert {one.student for one in found} == names | {r"ada\u202e", r"ada\u200b"}
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
