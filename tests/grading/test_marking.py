"""What a report of nbval becomes."""

from __future__ import annotations

import light
import pytest

from advlab.course.grading import needs
from advlab.course.grading.grafting import Chapter, graft
from advlab.course.grading.marking import CellReport, Marking, settle
from advlab.course.grading.results import (
    CRASHED,
    NO_ANSWER,
    NOT_YET,
    PASSED,
    REFUSED,
    TIMED_OUT,
    TOO_LARGE_A_FILE,
    TOO_MUCH_DISK,
)
from advlab.course.grading.settings import Limits


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
    marking = Marking(chapter, light.answers(light.solved()))
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
            CellReport(cells["answer", "4.1"], "failed", error),
            CellReport(cells["check", "4.1"], "failed", {}),
        ],
        Limits(),
    )
    status, told, _ = marking.found["4.1"]
    assert status == CRASHED
    assert told.startswith("the answer's cell stopped with SyntaxError: ")
    assert told.endswith(said)


GONE = {"stopped": {"limit": "", "message": "it died", "sure": False}}
SLOW = {"stopped": {"limit": TIMED_OUT, "message": "more than 60 seconds", "sure": False}}


def prepared(*dropped: str):
    """A marking, its notebook, and the ids of the notebook's cells by role and exercise."""
    chapter = Chapter(light.NAME, light.solved())
    marking = Marking(chapter, light.answers(light.solved()))
    for id in dropped:
        marking.drop(id, "dropped")
    seeds = dict.fromkeys(marking.open(), 1)
    notebook = graft(chapter, marking.given(), seeds)
    roles = {}
    for cell in notebook.cells:
        ours = cell.metadata["advlab"]
        roles.setdefault((ours["role"], ours["exercise"]), cell.id)
    return marking, notebook, roles


@pytest.mark.parametrize("place", [("given", ""), ("forget", "4.1")])
@pytest.mark.parametrize("note", [GONE, SLOW], ids=["died", "limit"])
def test_what_happens_before_any_answer_ran_is_not_the_students_fault(place, note):
    marking, notebook, cells = prepared()
    with pytest.raises(RuntimeError, match=r"^before any answer ran: "):
        settle(marking, notebook, [CellReport(cells[place], "failed", note)], Limits())
    assert not marking.found
    assert not marking.limit


def test_a_limit_in_a_run_after_an_answer_ended_the_kernel_is_the_students():
    marking, notebook, cells = prepared("4.2")
    again = settle(marking, notebook, [CellReport(cells["given", ""], "failed", SLOW)], Limits())
    assert (again, marking.limit, marking.reason) == (
        False,
        TIMED_OUT,
        "timed out: more than 60 seconds",
    )


def test_a_kernel_that_died_between_two_answers_is_the_next_ones_until_it_is_known():
    marking, notebook, cells = prepared()
    report = [
        CellReport(cells["answer", "4.1"], "passed", {}),
        CellReport(cells["forget", "4.2"], "failed", GONE),
    ]
    assert settle(marking, notebook, report, Limits())
    assert marking.suspects == {"4.2"}
    assert settle(marking, notebook, report, Limits())
    assert marking.dropped == {"4.2"}


NAME = "your code raised NameError at line 3 of the cell of f (fgsm(x)): name 'fgsm' is not defined"
UNFILLED = "exercise 4.2 is not filled in yet, and 4.4 builds on it"


@pytest.mark.parametrize(
    ("before", "message", "became"),
    [
        ((CRASHED, "the answer's cell stopped", ""), NAME, "stopped with an error"),
        ((REFUSED, "too many characters", ""), UNFILLED, "was refused"),
        ((NOT_YET, "name 'fgsm' is not defined", ""), NAME, "does not define fgsm"),
    ],
)
@pytest.mark.parametrize("status", [NOT_YET, CRASHED])
def test_what_builds_on_an_answer_that_is_not_there_says_so(before, message, became, status):
    marking = Marking(Chapter(light.NAME, light.solved()), light.answers(light.solved()))
    marking.found |= {"4.2": before, "4.4": (status, message, "a hint")}
    marks = {mark.id: mark for mark in marking.marks()}
    assert marks["4.4"].message == f"exercise 4.2 {became}, and 4.4 builds on it"
    assert marks["4.4"].hint == "Mend 4.2 first."
    assert marks["4.4"].status == status
    assert marks["4.2"].message == before[1], "its own message stays"


def test_what_builds_on_an_answer_that_ended_the_kernel_says_so():
    marking = prepared("4.2")[0]
    marking.found["4.4"] = (NOT_YET, UNFILLED, "")
    (*_, mark) = marking.marks()
    assert mark.message == "exercise 4.2 ended the kernel, and 4.4 builds on it"


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ((NO_ANSWER, "exercise 4.2 is not filled in", ""), UNFILLED),
        ((PASSED, "right", ""), NAME),
        ((CRASHED, "an error", ""), NAME.replace("'fgsm'", "'help'")),
        ((CRASHED, "an error", ""), NAME.replace("'fgsm'", "'accuracy_curve'")),
        ((CRASHED, "an error", ""), "the loss falls"),
    ],
)
def test_a_mistake_of_ones_own_keeps_its_message(before, message):
    marking = Marking(Chapter(light.NAME, light.solved()), light.answers(light.solved()))
    marking.found |= {"4.2": before, "4.4": (NOT_YET, message, "a hint")}
    (*_, mark) = marking.marks()
    assert (mark.message, mark.hint) == (message, "a hint")


def test_a_reading_that_fails_costs_its_exercise_alone(monkeypatch):
    chapter = Chapter(light.NAME, light.solved())
    marking = Marking(chapter, light.answers(light.solved()))
    bad = marking.answers.sources["4.2"]

    def called(cells, forbids, context):
        if cells == bad:
            raise IndexError("not foreseen")

    monkeypatch.setattr("advlab.course.grading.marking.called", called)
    marking.refuse()
    assert marking.open() == ["4.1", "4.3", "4.4"]
    status, told, hint = marking.found["4.2"]
    assert (status, told) == (REFUSED, "the answer to 4.2 cannot be read: IndexError")
    assert hint


def test_where_the_search_for_needed_cells_fails_the_answers_run(monkeypatch):
    """Of an answer alone: nothing but time is lost."""
    chapter = Chapter(light.NAME, light.solved())
    marking = Marking(chapter, light.answers(light.solved()))
    bad, real = marking.answers.sources["4.1"][0], needs.parse

    def parse(source):
        if source == bad:
            raise IndexError("not foreseen")
        return real(source)

    monkeypatch.setattr(needs, "parse", parse)
    assert set(marking.given()) == {"4.1", "4.2", "4.3", "4.4"}
    seeds = {"4.1": 1, "4.2": 2}
    assert bad in [cell.source for cell in graft(chapter, marking.given(), seeds).cells]
    marking.found = {"4.1": (PASSED, "", ""), "4.3": (PASSED, "", ""), "4.4": (PASSED, "", "")}
    marking.suspects = {"4.2"}
    assert set(marking.given()) == {"4.2", "4.3", "4.4"}


def test_cells_of_one_answer_are_read_one_by_one():
    """One that is no Python hides none of the others."""
    chapter = Chapter(light.NAME, light.solved())
    answers = light.answers(light.solved())
    call = "from advlab.attacks import FGSM\ndef fgsm(m, x, y, eps): return FGSM(eps=eps)(m, x, y)"
    answers.sources["4.2"] = ("=", call)
    marking = Marking(chapter, answers)
    marking.refuse()
    assert marking.found["4.2"][0] == REFUSED
    assert "the answer calls advlab.attacks.FGSM" in marking.found["4.2"][1]
    assert marking.open() == ["4.1", "4.3", "4.4"]


@pytest.mark.parametrize(
    ("role", "note", "limit"),
    [
        ("answer", {"error": {"type": "OSError", "message": "[Errno 27] too large"}}, "file"),
        ("check", {"verdict": {"passed": False, "message": "", "hint": ""}}, "file"),
        ("check", {"verdict": {"passed": False, "message": "", "hint": ""}}, "disk"),
    ],
)
def test_a_write_that_the_system_refused_is_a_limit(role, note, limit):
    marking, notebook, cells = prepared()
    words = {"file": (27, TOO_LARGE_A_FILE), "disk": (28, TOO_MUCH_DISK)}
    number, word = words[limit]
    if role == "check":
        said = f"your code raised OSError at line 3 of the cell of f (x): [Errno {number}] no more"
        note["verdict"]["message"] = said
    report = [
        CellReport(cells["answer", "4.1"], "passed", {}),
        CellReport(cells["check", "4.1"], "passed", {"verdict": VERDICT}),
        CellReport(cells[role, "4.2"], "failed", note),
    ]
    assert not settle(marking, notebook, report, Limits(file=2**20, disk=3 * 2**20))
    found = {mark.id: (mark.status, mark.message) for mark in marking.marks()}
    said = {
        "file": "the limit is 1M for one file",
        "disk": "the limit is 3M for all files together",
    }
    assert marking.limit == word
    assert marking.reason == f"{word} in exercise 4.2: {said[limit]}"
    assert found["4.1"][0] == PASSED
    assert found["4.2"] == (word, said[limit])
    assert found["4.3"][0] == found["4.4"][0] == "not run"


@pytest.mark.parametrize("message", ["[Errno 2] No such file", "no [Errno 28] at all"])
def test_another_error_of_the_system_is_no_limit(message):
    marking, notebook, cells = prepared()
    note = {"error": {"type": "OSError", "message": message}}
    if message.startswith("no"):
        note["error"]["type"] = "ValueError"
    report = [CellReport(cells["answer", "4.1"], "failed", note)]
    report.append(CellReport(cells["check", "4.1"], "failed", {}))
    settle(marking, notebook, report, Limits())
    assert marking.limit == ""
    assert marking.found["4.1"][0] == CRASHED


VERDICT = {"passed": True, "message": "right", "hint": ""}
