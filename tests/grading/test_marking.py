"""What a report of nbval becomes."""

from __future__ import annotations

import light
import pytest

from advlab.course.grading.answers import read_answers
from advlab.course.grading.grafting import Chapter, graft
from advlab.course.grading.marking import Entry, Marking, settle
from advlab.course.grading.results import CRASHED


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("invalid syntax (1066826123.py, line 3)", "invalid syntax (line 3 of your cell)"),
        ("'(' was never closed (<ipython-input-2-ab>, line 1)", "closed (line 1 of your cell)"),
        ("bad magic in (setup.py, line 3)", "bad magic in (setup.py, line 3)"),
    ],
)
def test_a_line_of_an_error_is_one_of_the_students_cell(message, said):
    chapter = Chapter(light.NAME, light.solved())
    marking = Marking(chapter, read_answers(light.dump(light.solved()), light.solved()))
    notebook = graft(chapter, {}, {"4.1": 1})
    cells = {
        (c.metadata["advlab"]["role"], c.metadata["advlab"]["exercise"]): c.id
        for c in notebook.cells
    }
    error = {"error": {"type": "SyntaxError", "message": message}}
    settle(
        marking,
        notebook,
        [
            Entry(cells["answer", "4.1"], "failed", error),
            Entry(cells["check", "4.1"], "failed", {}),
        ],
    )
    status, told, _ = marking.found["4.1"]
    assert status == CRASHED
    assert told.startswith("the answer's cell stopped with SyntaxError: ")
    assert told.endswith(said)
