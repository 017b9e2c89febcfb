"""A student's answers, read out of whatever was handed in."""

from __future__ import annotations

import json
import time

import pytest
from handed_in import answer, book, chapter, check, solved, student, text
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbval.plugin import find_comment_markers

from advlab.course.grading import answers as module
from advlab.course.grading import cells as cells_module
from advlab.course.grading.answers import read_answers
from advlab.course.grading.cells import MOST_CELLS, NotAnswers, cells

CHAPTER = book()["04-fgsm"]
GRADIENT = "def gradient(x):\n    return x.grad"
FGSM = "def fgsm(x):\n    return x.sign()"
BOTH = {"4.1": (GRADIENT,), "4.2": (FGSM,)}


def read(notebook, teacher=CHAPTER):
    return read_answers(notebook if isinstance(notebook, bytes) else text(notebook), teacher)


def written():
    return student(a4_1=GRADIENT, a4_2=FGSM)


def test_the_answers_and_nothing_to_say():
    found = read(written())
    assert found.sources == BOTH
    assert (found.untouched, found.missing, found.refused) == (frozenset(), frozenset(), {})
    assert found.notes == ()
    assert found.problem == ""


def test_the_teachers_own_notebook_is_answered():
    assert read(CHAPTER).sources == {"4.1": (solved("4.1"),), "4.2": (solved("4.2"),)}


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
    assert "“import advlab”" in note


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
    for n in range(module.MOST_CELLS):
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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"not a notebook", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"nbformat": 4, "cells": ' + b"[" * 200_000, "nested too deeply"),
        (b"[]", "without a notebook's format number"),
        (b'{"nbformat": true, "cells": []}', "without a notebook's format number"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3, expected 4: open it in Jupyter"),
        (b'{"nbformat": 5, "cells": []}', "format 5, expected 4"),
        (b'{"nbformat": 4}', "expected a list of cells"),
        (b'{"nbformat": 4, "cells": {}}', "expected a list of cells"),
        (b'{"nbformat": 4, "cells": [3]}', "cell 1 has no type"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "cell 1: expected its source"),
        (
            b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["a", 1]}]}',
            "cell 1: expected its source",
        ),
        (b'{"nbformat": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_notebook(content, says):
    found = read(content)
    assert says in found.problem
    assert found.missing == {"4.1", "4.2"}
    assert found.none
    if says == "not JSON":
        assert "cut off or damaged; open yours in Jupyter, save it, and hand it in" in found.problem
    with pytest.raises(NotAnswers, match=says):
        cells(content)


def test_a_byte_order_mark_does_no_harm():
    assert read(b"\xef\xbb\xbf" + text(written())).sources == BOTH


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
sources = st.one_of(
    anything,
    st.sampled_from([FGSM, "def fgsm", 'check("4.2", fgsm)', "# NBVAL_SKIP", "\ud800", "\0", ""]),
    st.lists(st.text(st.characters(), max_size=9), max_size=3),
)
marks = st.one_of(anything, st.fixed_dictionaries({"exercise": st.sampled_from(["4.1", "4.2"])}))
cell = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown"]) | anything, "source": sources},
    optional={
        "id": st.sampled_from(["a4-2", "c4-2", "setup"]) | anything,
        "metadata": st.one_of(
            anything,
            st.fixed_dictionaries(
                {}, optional={"advlab": marks, "tags": anything | st.just(["check"])}
            ),
        ),
    },
)
notebooks = st.fixed_dictionaries(
    {"nbformat": st.just(4) | anything, "cells": st.lists(cell, max_size=5) | anything}
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(notebooks, anything))
def test_whatever_the_json_it_never_raises(raw):
    found = read(json.dumps(raw).encode())
    places = [*found.sources, *found.untouched, *found.missing, *found.refused]
    assert sorted(places) == ["4.1", "4.2"]
    for own in found.sources.values():
        for source in own:
            source.encode("utf-8")
    assert all(isinstance(note, str) for note in found.notes)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_the_bytes_it_never_raises(content):
    assert read(content).missing == {"4.1", "4.2"}


def test_many_cells_take_no_long_time():
    raw = json.loads(text(written()))
    for n in range(2_000):
        for source in ('check("4.2", fgsm)', f"y = {n}"):
            raw["cells"].append({"cell_type": "code", "source": source, "metadata": {}})
    content = json.dumps(raw).encode()
    start = time.process_time()
    assert read(content).sources == BOTH
    assert time.process_time() - start < 5  # less than a second; in the square it would be minutes


def with_cells(count: int, id: str) -> bytes:
    raw = json.loads(text(written()))
    for cell in raw["cells"]:
        cell["metadata"] = {}
    extra = {"cell_type": "code", "source": "y = 1", "metadata": {}, "id": id}
    raw["cells"] += [extra] * (count - len(raw["cells"]))
    return json.dumps(raw).encode()


def test_more_cells_than_a_notebook_has_are_not_read():
    assert MOST_CELLS == 5_000
    assert read(with_cells(MOST_CELLS, "x")).sources == BOTH
    found = read(with_cells(MOST_CELLS + 1, "x"))
    assert found.problem == (
        "a notebook of 5,001 cells, and at most 5,000 are read: delete those that are no part of "
        "it, and hand it in again"
    )


def test_the_time_grows_as_the_cells_do(monkeypatch):
    monkeypatch.setattr(cells_module, "MOST_CELLS", 10**6)
    content = with_cells(40_000, "a4-2")
    start = time.process_time()
    found = read(content)
    assert time.process_time() - start < 4  # 8 s and more where each is compared with each
    assert "at most" in found.refused["4.2"]
