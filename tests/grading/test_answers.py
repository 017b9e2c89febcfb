"""A student's answers, read out of whatever was handed in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from handed_in import (
    BOOK,
    BOTH,
    FGSM,
    GRADIENT,
    answer,
    chapter,
    check,
    read,
    solved,
    student,
    text,
    written,
)
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbval.plugin import find_comment_markers

from advlab.course.grading import answers as module
from advlab.course.grading.answers import Answers, read_answers
from advlab.course.grading.cells import cells


def test_the_answers_and_nothing_to_say():
    found = read(written())
    assert found.sources == BOTH
    assert (found.untouched, found.missing, found.refused) == (frozenset(), frozenset(), {})
    assert found.notes == ()


def test_the_teachers_own_notebook_is_answered():
    assert read(BOOK["04-fgsm"]).sources == {"4.1": (solved("4.1"),), "4.2": (solved("4.2"),)}


@pytest.mark.parametrize("end", ["", "\n", "  \n\n"])
def test_as_released(end):
    notebook = student()
    for cell in notebook.cells:
        cell.source += end
    found = read(notebook)
    assert found.untouched == {"4.1", "4.2"}
    assert found.sources == {}
    assert not found.none
    assert found.notes == ()


@pytest.mark.parametrize("blank", ["", " \n\n "])
def test_an_emptied_answer_is_no_answer(blank):
    found = read(student(a4_1=blank, a4_2=FGSM))
    assert found.untouched == {"4.1"}
    assert found.sources == {"4.2": (FGSM,)}


def test_a_missing_answer():
    notebook = written()
    del notebook.cells[2]
    found = read(notebook)
    assert found.missing == {"4.1"}
    assert found.sources == {"4.2": (FGSM,)}


def test_every_exercise_is_in_exactly_one_place():
    found = read(student(a4_1="", a4_2="x" * (module.MOST_CHARACTERS + 1)))
    places = (set(found.sources), found.untouched, found.missing, set(found.refused))
    assert sorted(id for place in places for id in place) == ["4.1", "4.2"]


def test_a_source_in_lines_and_in_one_piece_are_the_same():
    notebook = written()
    for cell in notebook.cells:
        cell.source = cell.source.splitlines(keepends=True)
    assert read(notebook).sources == BOTH


def test_a_split_answer_keeps_the_order_of_the_students_notebook():
    notebook = written()
    first = answer("4.2", "helper = 1") | {"id": "other"}
    notebook.cells.insert(2, first)
    found = read(notebook)
    assert found.sources["4.2"] == ("helper = 1", FGSM)
    assert found.notes[0] == (
        "Exercise 4.2: its answer stands in 2 cells; they were run one after the other."
    )


def test_an_answer_that_stands_twice():
    notebook = written()
    notebook.cells.append(answer("4.2", FGSM + "  # again") | {"id": "copy"})
    found = read(notebook)
    assert found.sources["4.2"] == (FGSM, FGSM + "  # again")
    assert found.notes == (
        "Exercise 4.2: its answer stands in 2 cells; fgsm is defined more than once, and the last "
        "one counts.",
    )


def test_the_released_cell_left_below_an_answer_does_not_undo_it():
    notebook = student(a4_1=GRADIENT)
    notebook.cells.insert(2, answer("4.2", FGSM) | {"id": "above"})
    found = read(notebook)
    assert found.sources["4.2"] == (FGSM,)


def test_another_order_is_told_and_costs_nothing():
    notebook = written()
    notebook.cells[2:4], notebook.cells[4:6] = notebook.cells[4:6], notebook.cells[2:4]
    found = read(notebook)
    assert found.sources == BOTH
    assert found.notes == ("The answers stand in another order; they were run in the chapter's.",)


CHECKS_CHANGED = "Check cells were changed, deleted or repeated. It changes nothing"


@pytest.mark.parametrize("what", ["deleted", "edited", "repeated", "emptied"])
def test_checks_that_were_tampered_with(what):
    notebook = written()
    if what == "deleted":
        del notebook.cells[5]
    elif what == "edited":
        notebook.cells[5].source = 'print("4.2: passed")'
    elif what == "emptied":
        notebook.cells[5].source = ""
    else:
        notebook.cells.append(check("4.2") | {"id": "again"})
    found = read(notebook)
    assert found.sources == BOTH
    assert [note for note in found.notes if note.startswith(CHECKS_CHANGED)]
    assert len(found.notes) == 1


@pytest.mark.parametrize("known_by", ["tag", "cell id", "source"])
def test_a_check_cell_is_never_an_answer(known_by):
    disguised = check("4.2", FGSM if known_by != "source" else 'check("4.2", fgsm)\n# fgsm')
    disguised.metadata = {"advlab": {"exercise": "4.2"}}
    if known_by == "tag":
        disguised.metadata["tags"] = ["check"]
    if known_by != "cell id":
        disguised.id = "new"
    notebook = written()
    notebook.cells[4:6] = [disguised]
    found = read(notebook)
    assert found.missing == {"4.2"}
    assert found.sources == {"4.1": (GRADIENT,)}
    if known_by != "source":
        assert any("stands in a check cell" in note for note in found.notes)


def test_an_answer_that_calls_its_check_is_an_answer():
    source = FGSM + '\n\ncheck("4.2", fgsm)'
    assert read(student(a4_1=GRADIENT, a4_2=source)).sources["4.2"] == (source,)


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_only_a_code_cell_answers(kind):
    notebook = written()
    notebook.cells[4].cell_type = kind
    found = read(notebook)
    assert found.missing == {"4.2"}
    assert found.notes == ("Exercise 4.2: its cell is no code cell, so there is no answer.",)


def test_metadata_lost_found_by_the_cell_id():
    notebook = written()
    notebook.cells[4].metadata = {}
    found = read(notebook)
    assert found.sources == BOTH
    assert found.notes == (
        "Exercise 4.2: the mark of its answer's cell was lost; the answer was found by its place "
        "in the notebook.",
    )


def test_metadata_and_cell_ids_lost_found_by_the_last_definition():
    notebook = written()
    old = new_code_cell("def fgsm(x): return 0", id="old")
    notebook.cells.insert(2, old)
    for n, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"n{n}"
    found = read(notebook)
    assert found.sources == BOTH
    assert sum("by the name that it defines" in note for note in found.notes) == 2


def test_a_cell_of_the_chapter_is_no_answer_by_its_name():
    teacher = chapter("4.1", "4.2")
    shown = new_code_cell("def fgsm(x): return advlab.fgsm(x)", id="shown")
    teacher.cells.append(shown)
    notebook = written()
    notebook.cells[4:] = [shown]
    assert read(notebook, teacher).missing == {"4.2"}
    notebook.cells[4].id = "renamed"  # known by its source then
    assert read(notebook, teacher).missing == {"4.2"}


def test_metadata_goes_before_cell_ids_and_names():
    notebook = written()
    notebook.cells[4].metadata = {}  # has the cell id, but another has the mark
    marked = answer("4.2", "def fgsm(x): return 7") | {"id": "marked"}
    notebook.cells.append(marked)
    assert read(notebook).sources["4.2"] == ("def fgsm(x): return 7",)


def test_an_id_of_no_exercise_claims_nothing():
    notebook = written()
    notebook.cells.append(answer("5.1", "def evil(): pass"))
    found = read(notebook)
    assert found.sources == BOTH
    assert set(found.sources) | found.missing == {"4.1", "4.2"}


def test_extra_cells_are_told_and_not_run():
    notebook = written()
    notebook.cells += [
        new_code_cell("import advlab\nadvlab.judge = None", id="x1"),
        new_code_cell("1 + 1", id="x2"),
        new_code_cell("", id="x3"),
        new_markdown_cell("text", id="x4"),
    ]
    (note,) = read(notebook).notes
    assert note.startswith("2 code cells were added and not run")
    assert "cells are: “import advlab”, “1 + 1”. What" in note
    notebook.cells += [new_code_cell(f"{n}, 1", id=f"y{n}") for n in range(3)]
    (note,) = read(notebook).notes
    assert "cells are: “import advlab”; “1 + 1”; “0, 1” and 2 more. What" in note


def test_a_changed_cell_of_the_chapter_is_told():
    notebook = written()
    notebook.cells[1].source = "torch = None"
    (note,) = read(notebook).notes
    assert note == (
        "1 code cell of the chapter was changed; the chapter's own was run in its place: “torch = "
        "None”."
    )


def test_nbval_tags_and_comments_steer_nothing():
    source = (
        "# NBVAL_SKIP\n#  PYTEST_VALIDATE_IGNORE_OUTPUT\n\x0c # NBVAL_RAISES_EXCEPTION\n" + FGSM
    )
    notebook = student(a4_1=GRADIENT, a4_2=source)
    notebook.cells[4].metadata["tags"] = ["nbval-skip", "raises-exception"]
    found = read(notebook)
    assert list(find_comment_markers(source))  # they would steer it
    assert not list(find_comment_markers(found.sources["4.2"][0]))
    assert found.sources["4.2"][0].endswith(FGSM)
    assert found.notes == ("Exercise 4.2: comments that steer nbval are ignored.",)


def test_too_long_an_answer_is_refused_and_the_others_are_not():
    long = "#" * (module.MOST_CHARACTERS + 1)
    found = read(student(a4_1=GRADIENT, a4_2=long))
    assert found.sources == {"4.1": (GRADIENT,)}
    assert found.refused == {
        "4.2": "the answer has 200,001 characters, and at most 200,000 are run"
    }
    assert read(student(a4_1=GRADIENT, a4_2=long[1:])).refused == {}


def test_an_answer_in_too_many_cells_is_refused():
    notebook = written()
    for n in range(module.MOST_PARTS):
        notebook.cells.append(answer("4.2", f"x{n} = 1") | {"id": f"x{n}"})
    assert read(notebook).refused == {
        "4.2": "the answer stands in 21 cells, and at most 20 are run"
    }


def test_half_a_character_does_not_reach_the_notebook_that_is_run():
    found = read(student(a4_1=GRADIENT, a4_2="def fgsm(x): return '\ud800'"))
    assert found.sources["4.2"][0].encode("utf-8") == b"def fgsm(x): return '?'"


def test_a_quoted_line_has_no_control_characters():
    notebook = written()
    notebook.cells.append(new_code_cell("\x1b[31mx\x07 = 1" + "y" * 200, id="x"))
    (note,) = read(notebook).notes
    assert "\x1b" not in note
    assert "\x07" not in note
    assert len(note) < 300


def test_answers_survive_json():
    found, _ = read_answers(cells(text(student(a4_1=GRADIENT))), BOOK["04-fgsm"])
    refused = replace(found, refused={"4.3": "too long"}, missing=frozenset({"4.4"}))
    for one in (found, refused):
        assert Answers.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert found.sources
    assert found.untouched
