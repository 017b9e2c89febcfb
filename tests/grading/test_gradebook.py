"""Which submission counts, what it earns, and the gradebook's files."""

from __future__ import annotations

import csv
import errno
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from advlab.course.grading.export import write_gradebook
from advlab.course.grading.feedback import write_pages
from advlab.course.grading.gradebook import collect
from advlab.course.grading.results import (
    BROKEN,
    FAILED,
    GRADED,
    NO_ANSWER,
    PASSED,
    TIMED_OUT,
    Mark,
    Result,
)
from advlab.course.grading.settings import Rule
from advlab.course.grading.store import Store
from advlab.course.grading.submissions import Submission

DUE = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
POINTS = {
    "04-fgsm": {"4.1": 1, "4.2": 2, "4.2 hidden 1": 1, "4.2 hidden 2": 1},
    "05-many-steps": {"5.1": 5},
}


def result(earned: float, chapter="04-fgsm", status=GRADED, **more) -> Result:
    """A whole chapter, with so many of its points."""
    marks = []
    for key, points in POINTS[chapter].items():
        got = min(points, max(earned, 0))
        earned -= got
        marks.append(
            Mark(
                id=key.split()[0],
                title="t",
                points=points,
                earned=got,
                status=PASSED if got else NO_ANSWER,
                message="",
                hidden="hidden" in key,
            )
        )
    return Result(chapter, status, marks=tuple(marks), sandbox="bubblewrap", **more)


def handed_in(student="ada", hours=-1.0, file="a.ipynb", chapter="04-fgsm", **more):
    when = None if hours is None else DUE + timedelta(hours=hours)
    return Submission(student, Path("/x") / file, chapter, when, file=file, **more)


def broken(hours=-1.0, file="b.ipynb", chapter="04-fgsm", student="ada"):
    problem = f"{file}: not a notebook: the file is not JSON"
    one = handed_in(student, hours, file, chapter, problem=problem)
    return one, Result(chapter, BROKEN, problem)


def row(*pairs, rule=None):
    (one,) = collect(pairs, POINTS, rule or Rule()).rows
    return one


def table(gradebook) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gradebook.to_csv())))


# Which one counts --------------------------------------------------------------------------------

FIRST = (handed_in(hours=-3, file="1.ipynb"), result(4))
SECOND = (handed_in(hours=-2, file="2.ipynb"), result(2))


@pytest.mark.parametrize("pairs", [(FIRST, SECOND), (SECOND, FIRST)])
def test_the_last_or_the_best(pairs):
    last = row(*pairs)
    assert (last.earned, last.of("04-fgsm").submission.file) == (2, "2.ipynb")
    assert [entry.counts for entry in last.entries] == [False, True]
    best = row(*pairs, rule=Rule(keep="best"))
    assert (best.earned, best.of("04-fgsm").submission.file) == (4, "1.ipynb")
    assert best.of("04-fgsm").said == (
        "Of 2 notebooks for this chapter, the best that can be graded counts: 1.ipynb.",
    )


def test_of_equals_the_first_is_the_best():
    again = (SECOND[0], result(4))
    assert row(FIRST, again, rule=Rule(keep="best")).of("04-fgsm").submission.file == "1.ipynb"


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("ada-04-fgsm.ipynb", "ada-04-fgsm-2.ipynb"),
        ("ada-04-fgsm.ipynb", "ada-04-fgsm (1).ipynb"),
        ("ada-04-fgsm-9.ipynb", "ada-04-fgsm-10.ipynb"),
        ("a.ipynb", "b.ipynb"),
    ],
)
@pytest.mark.parametrize("hours", [-1, None])
def test_of_files_with_one_time_the_name_says_which_is_later(early, late, hours):
    pairs = [(handed_in(hours=hours, file=file), result(1)) for file in (late, early)]
    assert row(*pairs).of("04-fgsm").submission.file == late


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("status", [BROKEN, FAILED])
def test_a_later_file_that_cannot_be_read_replaces_nothing_and_is_told(keep, status):
    later, how = broken(hours=-0.5)
    found = row((later, replace(how, status=status)), SECOND, rule=Rule(keep=keep))
    assert found.earned == 2
    assert found.status == GRADED
    assert found.reason == "Not counted: b.ipynb: not a notebook: the file is not JSON."
    assert "Not counted: b.ipynb: not a notebook: the file is not JSON." in (
        found.of("04-fgsm").said
    )


def test_a_broken_file_alone_has_a_row_with_a_reason():
    found = row(broken())
    assert (found.earned, found.status) == (0, BROKEN)
    assert found.of("04-fgsm").points == 5
    assert found.reason == "b.ipynb: not a notebook: the file is not JSON."


def test_what_belongs_to_no_chapter_has_a_row():
    one = Submission("ada", None, problem="no notebook in the folder.")
    gradebook = collect([(one, Result("", BROKEN, one.problem))], POINTS, Rule())
    (found,) = table(gradebook)
    assert found["student"] == "ada"
    assert (found["total"], found["points"], found["percent"]) == ("0", "10", "0")
    assert (found["status"], found["reason"]) == (BROKEN, "no notebook in the folder.")
    assert found["04-fgsm"] == found["4.1"] == ""


def test_a_limit_keeps_its_points_and_says_its_name():
    stopped = result(1, status=TIMED_OUT, reason="cell 5 took longer than 60 s")
    found = row((handed_in(), stopped))
    assert (found.earned, found.status) == (1, TIMED_OUT)
    assert found.reason == "04-fgsm: cell 5 took longer than 60 s."


# Points -----------------------------------------------------------------------------------------


def test_points_are_applied_when_the_gradebook_is_made():
    """A result is kept whatever its checks are worth: other points need no other result."""
    graded = (handed_in(), result(3))  # 4.1 and 4.2 right, the hidden checks wrong
    twice = {"04-fgsm": {key: 2 * points + 1 for key, points in POINTS["04-fgsm"].items()}}
    (found,) = collect([graded], twice, Rule()).rows
    entry = found.of("04-fgsm")
    assert entry.by_check() == {"4.1": 3, "4.2": 5, "4.2 hidden 1": 0, "4.2 hidden 2": 0}
    assert [mark.points for mark in entry.result.marks] == [3, 5, 3, 3]
    assert (found.earned, entry.points) == (8, 14)


def test_a_share_of_points_stays_the_share():
    half = Result("05-many-steps", GRADED, marks=(Mark("5.1", "t", 5, 2.5, PASSED, ""),))
    (found,) = collect([(handed_in(chapter="05-many-steps"), half)], POINTS, Rule()).rows
    assert found.earned == 2.5
    worth = {"05-many-steps": {"5.1": 8}}
    (found,) = collect([(handed_in(chapter="05-many-steps"), half)], worth, Rule()).rows
    assert found.earned == 4


# Late --------------------------------------------------------------------------------------------

ON_TIME = (handed_in(hours=0, file="1.ipynb"), result(2))
LATE = (handed_in(hours=0.001, file="2.ipynb"), result(5))


def test_without_a_time_due_nothing_is_late():
    assert row(LATE).of("04-fgsm").late is False
    assert row((handed_in(hours=None), result(5)), rule=Rule(due=DUE, late=0)).earned == 5


def test_late_ones_earn_their_share():
    found = row(LATE, rule=Rule(due=DUE, late=0.5))
    entry = found.of("04-fgsm")
    assert (entry.late, found.late, found.earned) == (True, "04-fgsm", 2.5)
    assert entry.by_check() == {"4.1": 0.5, "4.2": 1, "4.2 hidden 1": 0.5, "4.2 hidden 2": 0.5}
    assert entry.said == ("It was handed in late, and earns 50% of its points.",)
    assert row(ON_TIME, rule=Rule(due=DUE, late=0.5)).late == ""


def test_the_last_counts_though_it_is_late_and_the_best_by_what_is_left():
    assert row(ON_TIME, LATE, rule=Rule(due=DUE, late=0.2)).earned == 1
    assert row(ON_TIME, LATE, rule=Rule("best", DUE, 0.2)).earned == 2
    assert row(ON_TIME, LATE, rule=Rule("best", DUE, 0.5)).earned == 2.5


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_late_one_that_is_refused_replaces_nothing(keep):
    found = row(ON_TIME, LATE, rule=Rule(keep, DUE, 0))
    assert (found.earned, found.late) == (2, "")
    assert found.reason == "2.ipynb: handed in too late, not counted."
    assert "2.ipynb: handed in too late, not counted." in found.of("04-fgsm").said
    alone = row(LATE, rule=Rule(keep, DUE, 0))
    assert (alone.earned, alone.late) == (0, "04-fgsm")
    assert alone.reason == "04-fgsm: handed in too late."
    assert alone.of("04-fgsm").said == ("It was handed in late, and earns no points.",)


def test_a_broken_file_that_came_too_late_is_broken_and_no_more():
    rule = Rule("best", DUE, 0)
    reason = "b.ipynb: not a notebook: the file is not JSON."
    assert row(broken(hours=1), rule=rule).reason == reason
    assert row(ON_TIME, broken(hours=1), rule=rule).reason == f"Not counted: {reason}"


def test_a_notebook_that_does_not_count_says_so_before_what_stopped_it():
    stopped = result(1, status=TIMED_OUT, reason="timed out: 60 s")
    found = row((handed_in(hours=-3, file="ada/1.ipynb"), stopped), SECOND)
    assert found.reason == "Not counted: ada/1.ipynb: timed out: 60 s."
    assert found.of("04-fgsm").said[1:] == ("Not counted: ada/1.ipynb: timed out: 60 s.",)


# The table ---------------------------------------------------------------------------------------


def test_the_table():
    gradebook = collect(
        [
            (handed_in("zoe", chapter="05-many-steps"), result(5, "05-many-steps")),
            (handed_in("ada", chapter="05-many-steps"), result(0, "05-many-steps")),
            (handed_in("ada"), result(3.5)),
        ],
        POINTS,
        Rule(),
    )
    assert gradebook.to_csv().splitlines() == [
        "student,total,points,percent,status,reason,late,sandbox,04-fgsm,4.1,4.2,4.2 hidden 1,"
        "4.2 hidden 2,05-many-steps,5.1",
        "ada,3.5,10,35,graded,,,bubblewrap,3.5,1,2,0.5,0,0,0",
        "zoe,5,10,50,graded,,,bubblewrap,,,,,,5,5",
    ]
    assert [(e.student, e.chapter) for e in gradebook.entries] == [
        ("ada", "04-fgsm"),
        ("ada", "05-many-steps"),
        ("zoe", "05-many-steps"),
    ]


def test_every_student_has_one_row():
    names = ["ada", "Ada", "Zoe\u0308", "Zoë", "👩‍🔬", "bo"]
    gradebook = collect([(handed_in(name), result(1)) for name in names], POINTS, Rule())
    found = [line["student"] for line in table(gradebook)]
    assert sorted(found) == sorted(names)
    assert found[:5] == ["Ada", "ada", "bo", "Zoe\u0308", "Zoë"], "whatever capitals and accents"
    assert [one["student"] for one in json.loads(gradebook.to_json())["students"]] == found


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r=1", "' =1"),
        ("\n=1", "' =1"),
        ("\tada", "' ada"),
        ("\x1b[31m=1", "'=1"),
        (" =1", "' =1"),
        ("   ", "   "),
        ("ada  king ", "ada  king "),
        ('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'),
        ("ada\x1b[31m\x00 =1", "ada =1"),
        ('a,"b\nc', 'a,"b c'),
        ("＝1+1", "'＝1+1"),
        ("＋1", "'＋1"),
        ("－1", "'－1"),
        ("＠SUM(A1)", "'＠SUM(A1)"),
        ("x;=1+1", "x;'=1+1"),
        ("x; ＝1;@y", "x;' ＝1;'@y"),
        ('x;"=1', "x;'\"=1"),
        ("x;y", "x;y"),
        ("'=x", "''=x"),
        ("''=x", "'''=x"),
        ("' =x", "'' =x"),
        ("x;'=1", "x;''=1"),
        ("'t Hooft", "'t Hooft"),
        ("a\u202e\u2066b\u00ad\u200b\ufeff\u200dc", "ab\u200dc"),
        ("\u202e=1", "'=1"),
    ],
)
def test_a_name_that_is_a_formula(name, cell):
    gradebook = collect([(handed_in(name), result(5, reason=name))], POINTS, Rule())
    (found,) = table(gradebook)
    assert found["student"] == cell
    assert len(gradebook.to_csv().splitlines()) == 2


def test_a_reason_is_made_harmless_too():
    stopped = result(0, status=TIMED_OUT)
    one = handed_in(problem="=cmd|' /C calc'!A0")
    (found,) = table(collect([(one, stopped)], POINTS, Rule()))
    assert found["reason"].startswith("'=cmd")


def test_numbers_stay_numbers():
    third = Result("05-many-steps", GRADED, marks=(Mark("5.1", "t", 5, 5 / 3, PASSED, ""),))
    (found,) = table(collect([(handed_in(chapter="05-many-steps"), third)], POINTS, Rule()))
    assert (found["total"], found["5.1"], found["percent"]) == ("1.6667", "1.6667", "16.67")


@pytest.mark.parametrize(
    ("what", "written"),
    [
        ("gradebook.csv", write_gradebook),
        ("feedback/ada.html", write_pages),
        ("key.json", lambda gradebook, folder: Store(folder).put("key", FIRST[1])),
    ],
)
def test_a_full_disk_names_the_file_and_what_is_kept(tmp_path, monkeypatch, what, written):
    def full(path, content):
        if str(path).endswith(what):
            raise OSError(errno.ENOSPC, "No space left on device", "a part of it")

    monkeypatch.setattr("advlab.course.grading.store.write_atomically", full)
    gradebook = collect([FIRST], POINTS, Rule())
    with pytest.raises(OSError, match="No space left on device") as found:
        written(gradebook, tmp_path)
    said = str(found.value)
    assert said.startswith(f"{tmp_path / what}: it cannot be written (No space")
    assert "results graded so far are kept, and the same command goes on from there" in said


# JSON and files ----------------------------------------------------------------------------------


def test_the_json_holds_marks_and_notes_but_no_seconds():
    one = handed_in(notes=("beside", "split"))
    graded = result(5, seconds=1.5)
    gradebook = collect([(one, graded)], POINTS, Rule(due=DUE))
    found = json.loads(gradebook.to_json())
    assert found["points"] == POINTS
    assert found["rule"] == {"keep": "last", "due": DUE.isoformat(), "late": 1.0}
    (student,) = found["students"]
    (entry,) = student["submissions"]
    assert entry["result"]["notes"] == ["beside", "split"]
    assert [mark["earned"] for mark in entry["result"]["marks"]] == [1, 2, 1, 1]
    assert entry["file"] == "a.ipynb"
    assert "seconds" not in gradebook.to_json()
    assert "/x" not in gradebook.to_json()  # no path of the teacher's machine


def test_the_same_class_gives_the_same_bytes_however_it_was_graded(tmp_path):
    pairs = [FIRST, SECOND, broken(), (handed_in("bo"), result(1))]
    slower = [(one, replace(how, seconds=9.0)) for one, how in reversed(pairs)]
    write_gradebook(collect(pairs, POINTS, Rule()), tmp_path / "a")
    write_gradebook(collect(slower, POINTS, Rule()), tmp_path / "b")
    names = {"gradebook.csv", "gradebook.json", "canvas.csv", "moodle.csv"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_control_characters_do_not_reach_the_json():
    one = handed_in("ada", chapter="05-many-steps")
    marks = (Mark("5.1", "t", 5, 0, NO_ANSWER, "\x1b[31mred\x07 \ud800", answer="a\n\tb"),)
    text = collect([(one, Result("05-many-steps", GRADED, marks=marks))], POINTS, Rule()).to_json()
    (entry,) = json.loads(text)["students"][0]["submissions"]
    assert entry["result"]["marks"][0]["message"] == "red "
    assert entry["result"]["marks"][0]["answer"] == "a\n\tb"


def test_the_files_are_utf_8_and_only_the_gradebook_has_a_mark(tmp_path):
    gradebook = collect([(handed_in("Zoë"), result(1))], POINTS, Rule())
    paths = write_gradebook(gradebook, tmp_path)
    starts = {path.name: path.read_bytes()[:3] == b"\xef\xbb\xbf" for path in paths}
    assert starts == {
        "gradebook.csv": True,
        "gradebook.json": False,
        "canvas.csv": False,
        "moodle.csv": False,
    }
    assert all("Zoë" in path.read_text(encoding="utf-8") for path in paths)
