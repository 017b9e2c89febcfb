"""Submissions that try to get past the grader, or are broken: each gets what it deserves.

One class holds them all, with two honest students among them, and is graded once.
"""

from __future__ import annotations

import csv
import json
import re
from contextlib import ExitStack

import pytest
from hostile import CASES, FAMILIES
from hostile.chapter import TOTAL
from hostile.classroom import HONEST, Outcome, classes, faults, graded
from hostile.world import SECRET

from advlab.course.grading.clean import escaped
from advlab.course.grading.sandbox import choose

# Tried in each level that isolates. Where a level does not work here, it says so.
ESSENTIAL = (
    *("record-instead-of-the-probe", "answer-to-the-public-seed", "emit-replaced"),
    *("memory-bomb", "memory-of-several-processes", "fork-bomb", "deaf-loop", "print-flood"),
    *("os-exit", "kill-parent", "kill-a-process-of-the-teacher", "daemon-left-behind", "network"),
    *("other-submissions", "teachers-book", "hidden-checks", "own-report", "environments"),
    *("roads-through-proc", "password-file", "verdicts-as-files", "verdicts-as-modules"),
    *("writes-outside", "connection-file", "limits-raised", "other-users-processes", "many-files"),
)
# What the level that isolates nothing keeps as well: the verdict is still taken outside.
PLAIN = (
    *("record-instead-of-the-probe", "answer-to-the-public-seed", "emit-replaced", "says-passed"),
    *("verdicts-as-modules", "memory-bomb", "deaf-loop", "print-flood", "os-exit"),
)
TEACHERS = ("index.html", "gradebook.json")
PRIVATE, OWN = "zq7-private-", ("honest.html", "half-right.html", "gradebook.json")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def named(*names: str) -> list:
    found = [case for case in CASES if case.name in names]
    assert len(found) == len(names)
    return found


@pytest.fixture(scope="module")
def outcomes():
    """A class for each set of limits, in the strongest level."""
    with ExitStack() as stack:
        yield [stack.enter_context(graded(cases)) for cases in classes(CASES)]


@pytest.fixture(scope="module")
def outcome(outcomes) -> Outcome:
    """The large class, with the limits of most."""
    return outcomes[0]


def of(outcomes: list[Outcome], case) -> Outcome:
    return next(outcome for outcome in outcomes if case in outcome.cases)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_gets_what_it_deserves(outcomes, case):
    found = faults(case, of(outcomes, case).entries(case.student))
    assert not found, "\n".join((case.tries, *found))


@pytest.mark.slow
def test_honest_students_get_what_they_deserve_among_them(outcomes):
    for outcome in outcomes:
        for student, points in HONEST.items():
            (entry,) = outcome.entries(student)
            assert (entry.result.status, entry.earned, entry.points) == ("graded", points, TOTAL)
            assert not entry.submission.notes


@pytest.mark.slow
def test_every_folder_has_a_row(outcomes):
    for outcome in outcomes:
        students = [row.student for row in outcome.graded.gradebook.rows]
        folders = [escaped(path.name) for path in outcome.world.submissions.iterdir()]
        assert sorted(students) == sorted(folders)
        assert len(students) == len(set(students)) == len(outcome.cases) + len(HONEST)


@pytest.mark.slow
def test_the_gradebook_as_a_file_has_every_row_too(outcome):
    with open(outcome.world.report / "gradebook.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) - 1 >= len(outcome.cases) + len(HONEST)
    json.loads((outcome.world.report / "gradebook.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_nothing_was_written_outside_and_nothing_still_runs(outcomes):
    for outcome in outcomes:
        assert outcome.outside == []
        assert outcome.running == []
        assert outcome.world.victim.poll() is None


@pytest.mark.slow
def test_nobody_called_out(outcomes):
    for outcome in outcomes:
        assert outcome.world.reached == []


def texts(outcome: Outcome):
    """The files of the report that people open."""
    for path in sorted(outcome.world.report.rglob("*")):
        stored = ".results" in path.relative_to(outcome.world.report).parts
        if path.is_file() and not stored:
            yield path, path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_secret_stands_in_the_report(outcomes):
    for outcome in outcomes:
        for path, text in texts(outcome):
            # An honest student's own code stands on the student's own page.
            own = path.name in OWN
            leaked = {w for w in SECRET.findall(text) if not (own and w.startswith(PRIVATE))}
            if path.name in TEACHERS:  # what a hidden check said is there for the teacher
                leaked = {word for word in leaked if not word.startswith("zq7-hidden-")}
            assert not leaked, f"{path.name}: {leaked}"


@pytest.mark.slow
def test_the_report_is_no_code_for_a_browser_a_terminal_or_a_spreadsheet(outcome):
    pages = 0
    # What a template would have computed stands there as it was written.
    assert "{{7*7}}" in (outcome.world.report / "index.html").read_text(encoding="utf-8")
    for path, text in texts(outcome):
        assert not CONTROL.search(text.replace("\r\n", "\n")), path.name
        if path.suffix == ".html":
            pages += 1
            assert "<script>alert(1)" not in text, path.name
            assert not re.search(r"<img[^>]+onerror", text), path.name
            assert text.count("</html>") == 1, path.name
        if path.suffix == ".csv":
            for row in csv.reader(text.splitlines(keepends=True)):
                for cell in row:
                    number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell)
                    assert number or not cell.lstrip().startswith(tuple("=+-@\t\r")), cell
    assert pages >= len(outcome.cases)


@pytest.mark.slow
def test_what_the_grader_says_is_no_code_for_a_terminal(capfd):
    cases = [case for case in FAMILIES["injections"] if case.name.startswith("name-of")]
    with graded(cases, capture=lambda: "".join(capfd.readouterr())) as outcome:
        assert len(outcome.said) > 10
        assert "\x1b[31mred" not in outcome.said
        assert "\x1b]0;" not in outcome.said


@pytest.mark.slow
@pytest.mark.parametrize("level", ["unshare", "landlock"])
def test_the_other_levels_keep_the_same(level):
    if why := missing(level):
        assert why.startswith(f"sandbox {level!r} is not available: ")
        return
    with graded(named(*ESSENTIAL), level) as outcome:
        check_class(outcome, level)
        assert outcome.world.reached == []
        assert outcome.outside == []


def missing(level: str) -> str:
    """Why the level does not work on this machine; empty where it does."""
    try:
        choose(level)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_without_isolation_the_verdict_is_still_taken_outside():
    with graded(named(*PLAIN), "plain") as outcome:
        check_class(outcome, "plain")


def check_class(outcome: Outcome, level: str) -> None:
    found = {}
    for case in outcome.cases:
        entries = outcome.entries(case.student)
        assert entries[0].result.sandbox == level
        if wrong := faults(case, entries):
            found[case.name] = wrong
    assert not found
    assert outcome.running == []
    for student, points in HONEST.items():
        assert [entry.earned for entry in outcome.entries(student)] == [points]
