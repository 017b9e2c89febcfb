"""``advlab grade``: its arguments, what it prints, its exit status."""

from __future__ import annotations

import argparse
import html
import shutil
from datetime import datetime

import classroom
import pytest

from advlab.cli import main
from advlab.course.grading import classes, cli
from advlab.course.grading.classes import Graded, grade_class
from advlab.course.grading.results import BROKEN, FAILED, GRADED, NOT_YET, Mark, Result
from advlab.course.grading.sandbox import choose, named
from advlab.course.grading.settings import Limits, Settings

LEVEL = choose().name


def grade(room, report, *more) -> int:
    return main(
        [
            "grade",
            str(room.submissions),
            "--against",
            str(room.book),
            "--report",
            str(report),
            *more,
        ]
    )


def test_it_says_the_level_what_there_is_and_what_came_of_it(room, judged, tmp_path, capsys):
    assert grade(room, tmp_path / "grades") == 0
    out, err = capsys.readouterr()
    assert f"sandbox {LEVEL}: a student's code {choose().promises}" in out
    assert "8 submissions of 8 students, 2 that cannot be graded" in out
    assert "gradebook  " in out
    for name in ("gradebook.csv", "gradebook.json", "index.html", "canvas.csv", "moodle.csv"):
        assert (tmp_path / "grades" / name).is_file()
    numbers = dict(line.rsplit("  ", 1) for line in out.splitlines() if "  " in line)
    numbers = {key.strip(): value for key, value in numbers.items()}
    assert (numbers["submissions"], numbers["notebooks graded"], numbers["broken"]) == (
        "8",
        "6",
        "2",
    )
    assert "NOT ISOLATED" not in err
    assert len(judged["jobs"]) == 6


def test_the_arguments_reach_the_grader(room, judged, tmp_path):
    more = ["--jobs", "3", "--again", "--whole", "--keep", "best", "--late", "0.5"]
    more += ["--due", "2026-10-01 23:59+02:00", "--cell-seconds", "5", "--notebook-seconds", "50"]
    more += ["--cpu-seconds", "40", "--memory", "2G", "--processes", "64", "--output", "1M"]
    more += ["--file-size", "500K", "--disk", "1000000", "--cluster", "tcp://nowhere:1"]
    assert grade(room, tmp_path / "grades", *more) == 0
    assert (judged["workers"], judged["again"]) == (3, True)
    assert judged["cluster"] == "tcp://nowhere:1"
    settings = judged["jobs"][0].settings
    expected = Limits(5, 50, 40, 2**31, 64, 2**20, 500 * 2**10, 10**6)
    assert settings.limits == expected
    assert (settings.whole, settings.sandbox) == (True, LEVEL)
    assert (settings.rule.keep, settings.rule.late) == ("best", 0.5)
    assert settings.rule.due == datetime.fromisoformat("2026-10-01T23:59+02:00")


def test_by_default_the_limits_are_those_of_the_settings(room, judged, tmp_path):
    assert grade(room, tmp_path / "grades") == 0
    assert judged["jobs"][0].settings == Settings(sandbox=LEVEL)


def test_where_the_grader_fails_the_status_is_1(room, judged, tmp_path, capsys):
    judged["result"] = Result(classroom.CHAPTER, FAILED, "the grader itself failed: a reason")
    assert grade(room, tmp_path / "grades") == 1
    assert "the grader itself failed on 6" in capsys.readouterr().err
    assert "a reason" in (tmp_path / "grades" / "gradebook.csv").read_text()


def test_a_check_that_the_chapters_own_solution_fails_stops_before_the_class(
    room, monkeypatch, tmp_path, capsys
):
    graded = []

    def run(jobs, store, **options):
        graded.append((len(jobs), options["progress"]))
        mark = Mark("4.1", "One image", 1, 0, NOT_YET, "division by zero", hidden=True)
        return {"key": Result(classroom.CHAPTER, GRADED, marks=(mark,))}

    monkeypatch.setattr("advlab.course.grading.classes.run", run)
    assert grade(room, tmp_path / "grades") == 2
    said = capsys.readouterr().err
    assert "own solution does not pass the hidden check 'One image' of 4.1" in said
    assert "division by zero" in said
    assert graded == [(1, False)]  # the one chapter, and nobody's notebook


def test_an_interrupt_says_how_to_go_on(room, monkeypatch, tmp_path, capsys):
    def run(jobs, store, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("advlab.course.grading.classes.run", run)
    assert grade(room, tmp_path / "grades") == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_a_level_that_isolates_nothing_is_said_loudly(room, judged, tmp_path, capsys):
    level = type("Open", (), {"name": "open", "promises": "sees everything", "isolated": False})
    cli._say(level(), "3 submissions")
    out, err = capsys.readouterr()
    assert "advlab: NOT ISOLATED: " in err
    assert "sandbox open: sees everything" in out


@pytest.mark.parametrize(("root", "said"), [(0, True), (1000, False)])
def test_root_is_told(monkeypatch, capsys, root, said):
    monkeypatch.setattr("os.geteuid", lambda: root)
    cli._say(choose(), "3 submissions")
    err = capsys.readouterr().err
    assert ("you are root, which grading does not need" in err) == said
    assert "every file" not in err
    cli._say(named("plain"), "3 submissions")
    err = capsys.readouterr().err
    assert ("so is the students' code: it can read and write every file" in err) == said
    assert "as another user" not in err


def test_who_is_in_the_roster_and_who_is_not_is_said(room, judged, tmp_path, capsys):
    known, *others = sorted(room.expected)
    roster = tmp_path / "roster.csv"
    roster.write_text(f"Student,ID\n{known},1\nMax,2\n", encoding="utf-8")
    assert grade(room, tmp_path / "grades", "--roster", str(roster)) == 0
    out = capsys.readouterr().out
    said = [
        f"not found in the roster: {len(others)}: {', '.join(others[:50])}",
        "in the roster, handed in nothing: 1: Max",
    ]
    for sentence in said:
        assert sentence in out
        assert sentence in (tmp_path / "grades" / "index.html").read_text(encoding="utf-8")
        assert sentence not in (tmp_path / "grades" / "gradebook.json").read_text(encoding="utf-8")
    assert grade(room, tmp_path / "others") == 0
    assert "in the roster" not in capsys.readouterr().out


@pytest.mark.parametrize("timed", [False, True])
def test_how_many_were_late_by_which_times_and_what_that_costs(
    room, judged, tmp_path, capsys, timed
):
    times = tmp_path / "times.csv"
    (one, *_) = (name for name, points in room.expected.items() if points is not None)
    times.write_text(f"student,file,submitted\n{one},,2020-01-02T00:00Z\n")
    more = ["--times", str(times)] if timed else []
    rule = ["--due", "2020-01-01 12:00+00:00", "--late", "0.5", "--keep", "best"]
    assert grade(room, tmp_path / "grades", *rule, *more) == 0
    out = capsys.readouterr().out
    said = (
        "what is late earns 50% of its points; of several notebooks for a chapter the best counts"
    )
    assert f"due 2020-01-01 12:00 +0000: {said}" in out
    (line,) = (line for line in out.splitlines() if line.startswith("late "))
    known = "by --times" if timed else "by the files' own times; --times sets others"
    number, told = line.removeprefix("late").strip().split("  ")
    assert told == f"({known})"
    # Of a link the time is not asked, nor of a folder without a notebook.
    assert number == "1" if timed else int(number) >= room.notebooks
    page = html.unescape((tmp_path / "grades" / "index.html").read_text(encoding="utf-8"))
    whence = "the list of times that you gave" if timed else "its file was last changed"
    sentence = "no time known for 7 submissions: not late"
    assert (sentence in out, sentence in page) == (timed, timed)
    assert "Due 2020-01-01 12:00 UTC. " in page
    assert f"{whence}. W{said[1:]}." in page
    assert "<dt>late</dt>" in page


def test_where_nothing_is_due_nobody_is_late(room, judged, tmp_path, capsys):
    assert grade(room, tmp_path / "grades") == 0
    assert "\nlate " not in capsys.readouterr().out
    page = (tmp_path / "grades" / "index.html").read_text(encoding="utf-8")
    assert "<li>Of several notebooks for a chapter the last counts.</li>" in page


def test_a_student_whose_chapter_is_not_known_is_named(room, judged, tmp_path, capsys):
    submissions, book = tmp_path / "submissions", tmp_path / "book"
    shutil.copytree(room.submissions, submissions, symlinks=True)
    shutil.copytree(room.book, book)
    other = classroom.read(classroom.BOOK / "07-few-pixels.ipynb")
    classroom.write(other, book / "07-few-pixels.ipynb")
    (submissions / "dan").mkdir()
    (submissions / "dan" / "answers.ipynb").write_text("{")
    arguments = [str(submissions), "--against", str(book), "--report", str(tmp_path / "grades")]
    assert main(["grade", *arguments]) == 0
    said = "no chapter could be told for: dan"
    assert said in capsys.readouterr().out


def test_the_help_names_the_columns_of_times(capsys):
    with pytest.raises(SystemExit):
        main(["grade", "--help"])
    assert "columns student, file and submitted" in " ".join(capsys.readouterr().out.split())


def test_what_is_due_reaches_the_search_for_notebooks(room, judged, tmp_path, monkeypatch):
    seen = []
    find = classes.find
    monkeypatch.setattr(
        classes, "find", lambda *given, **more: seen.append(given) or find(*given, **more)
    )
    assert grade(room, tmp_path / "grades", "--due", "2026-10-01 23:59+02:00") == 0
    assert seen[0][3].due == datetime.fromisoformat("2026-10-01T23:59+02:00")


# Bad arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--sandbox", "vault"], "expected one of auto, bubblewrap"),
        (["--image", "python:3.12"], "--image is of a container, and --sandbox is 'auto'"),
        (["--jobs", "0"], "--jobs: expected at least 1, found 0"),
        (
            ["--due", "soon"],
            "expected a date and a time such as \"2026-10-01 23:59\", found 'soon'",
        ),
        (["--due", "2026-10-01"], "expected a date and a time"),
        (["--due", "2026-13-01 23:59"], "expected a date and a time"),
        (["--due", "2026-10-01 23:59", "--late", "1.5"], "--late: expected a share from 0 to 1"),
        (["--late", "0.5"], "say --due as well"),
        (["--memory", "0"], "error: --memory: expected a number above 0"),
        (["--cell-seconds", "-1"], "error: --cell-seconds: expected a number above 0"),
        (
            ["--cpu-seconds", "inf"],
            "--cpu-seconds: expected a number above 0 and at most 1e+15",
        ),
        (["--notebook-seconds", "nan"], "--notebook-seconds: expected a number above 0"),
        (["--memory", "9999999T"], "memory: expected a number above 0 and at most 1e+15"),
        (["--processes", "9" * 400], "processes: expected a number above 0 and at most 1e+15"),
        (["--file-size", "0"], "error: --file-size: expected a number above 0"),
        (
            ["--hidden", "no-such.py"],
            "no-such.py: expected a Python file with hidden checks",
        ),
        (["--roster", "no-such.csv"], "no-such.csv"),
        (["--times", "no-such.csv"], "no-such.csv"),
    ],
)
def test_a_bad_argument_is_told_in_a_line(room, judged, tmp_path, capsys, more, said):
    assert grade(room, tmp_path / "grades", *more) == 2
    err = capsys.readouterr().err
    assert err.startswith("advlab: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert "jobs" not in judged


@pytest.mark.parametrize(
    "more", [["--memory", "lots"], ["--disk", "4X"], ["--output", "-1M"], ["--keep", "worst"]]
)
def test_what_is_no_size_and_no_choice_is_refused(room, tmp_path, capsys, more):
    with pytest.raises(SystemExit) as stopped:
        grade(room, tmp_path / "grades", *more)
    assert stopped.value.code == 2
    assert f"argument {more[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 * 2**30), ("512m", 2**29), ("1.5K", 1536), ("10 MiB", 10 * 2**20), ("7", 7)],
)
def test_sizes(text, size):
    assert cli._size(text) == size


def test_a_size_that_is_none():
    for text in ("", "G", "1e9", "4GG", "nan", "١x"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a size such as 4G"):
            cli._size(text)


def test_a_time_without_a_zone_is_of_this_machine():
    found = cli._due("2026-10-01 23:59")
    assert found == datetime(2026, 10, 1, 23, 59).astimezone()
    assert found.utcoffset() is not None
    assert cli._due("2026-10-01T23:59Z").utcoffset().total_seconds() == 0
    assert cli._due(None) is None


def test_folders_that_are_wrong(room, judged, tmp_path, capsys):
    def said(submissions, against, report) -> str:
        arguments = [str(submissions), "--against", str(against), "--report", str(report)]
        assert main(["grade", *arguments]) == 2
        return capsys.readouterr().err

    here, book, grades = room.submissions, room.book, tmp_path / "grades"
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert "expected a folder with submissions" in said(tmp_path / "none", book, grades)
    assert "expected a notebook, or a folder with" in said(here, tmp_path / "none", grades)
    assert "expected a notebook, or a folder with" in said(here, tmp_path / "empty", grades)
    assert "found a file" in said(here, book, tmp_path / "file")
    assert "the report lies in the submissions" in said(here, book, here / "grades")
    assert "the report lies in the submissions" in said(here, book, here)
    assert "the submissions lie in the report" in said(here, book, here.parent)
    assert "the chapters lie there" in said(here, book, book)
    assert not grades.exists()
    assert not (here / "grades").exists()
    assert not (book / ".results").exists()


def test_a_book_without_exercises_and_one_with_an_exercise_twice(room, tmp_path):
    file = room.book / f"{classroom.CHAPTER}.ipynb"
    book = tmp_path / "book"
    book.mkdir()
    plain = classroom.v4.new_notebook(cells=[classroom.v4.new_markdown_cell("Hello", id="a")])
    classroom.write(plain, book / "00-hello.ipynb")
    with pytest.raises(ValueError, match="no exercises there, so there is nothing to grade"):
        grade_class(room.submissions, book, tmp_path / "grades")
    shutil.copy(file, book / "01-one.ipynb")
    shutil.copy(file, book / "02-two.ipynb")
    with pytest.raises(ValueError, match=r"1\.1 stands in 01-one\.ipynb and in 02-two\.ipynb"):
        grade_class(room.submissions, book, tmp_path / "grades")


def test_several_chapters_are_named_and_the_one_that_nobody_handed_in_is_told(
    room, judged, tmp_path, capsys
):
    mine, other = room.book / f"{classroom.CHAPTER}.ipynb", tmp_path / "07-few-pixels.ipynb"
    classroom.write(classroom.read(classroom.BOOK / other.name), other)
    arguments = [str(room.submissions), "--report", str(tmp_path / "grades")]
    sentence = (
        "handed in by nobody, and counted 0 for everybody: 1 chapter: 07-few-pixels; name the "
        "assigned ones with --against"
    )
    for books, said in (([other, mine], True), ([mine], False), ([room.book, mine], False)):
        named = [word for book in books for word in ("--against", str(book))]
        assert main(["grade", *arguments, *named]) == 0
        assert (sentence in capsys.readouterr().out) == said
        page = (tmp_path / "grades" / "index.html").read_text(encoding="utf-8")
        assert (sentence in page) == said
    graded = grade_class(room.submissions, [other, mine], tmp_path / "grades", progress=False)
    assert list(graded.gradebook.points) == [classroom.CHAPTER, other.stem]
    assert sentence in graded.unmatched


def test_where_nobody_handed_in_anything_nothing_is_said_of_the_chapters(room, judged, tmp_path):
    (tmp_path / "submissions" / "ada").mkdir(parents=True)
    other = tmp_path / "07-few-pixels.ipynb"
    classroom.write(classroom.read(classroom.BOOK / other.name), other)
    graded = grade_class(tmp_path / "submissions", [room.book, other], tmp_path / "grades")
    assert [one for one in graded.unmatched if "by nobody" in one] == []


def test_two_chapters_of_one_name_are_refused(room, judged, tmp_path):
    copy = tmp_path / f"{classroom.CHAPTER}.ipynb"
    shutil.copy(room.book / copy.name, copy)
    with pytest.raises(ValueError, match="two chapters of one name: "):
        grade_class(room.submissions, [room.book, copy], tmp_path / "grades")


def test_a_hidden_check_of_no_exercise_there_is_told(room, judged, tmp_path):
    hidden = tmp_path / "hidden.py"
    hidden.write_text(
        "from advlab.course.grading import Hidden\n"
        "def probe(fgsm, seed): return {}\n"
        "def verdict(results, seed): return 'fine'\n"
        "HIDDEN = (Hidden('9.9', 'Nothing', probe, verdict),)\n"
    )
    with pytest.raises(ValueError, match=r"a hidden check of 9\.9"):
        grade_class(room.submissions, room.book, tmp_path / "grades", hidden=hidden)
    hidden.write_text(hidden.read_text().replace("9.9", "4.1").replace("fgsm", "input_gradient"))
    graded = grade_class(room.submissions, room.book, tmp_path / "grades", hidden=hidden)
    assert isinstance(graded, Graded)
    assert judged["jobs"][0].hidden == hidden.read_bytes()


def test_no_folder_is_lost_and_nothing_changes_but_the_report(room, judged, tmp_path):
    before = sorted(path for path in room.submissions.rglob("*"))
    graded = grade_class(room.submissions, room.book, tmp_path / "grades")
    assert [row.student for row in graded.gradebook.rows] == sorted(room.expected)
    broken = [row for row in graded.gradebook.rows if row.status == BROKEN]
    assert len(broken) == 2
    assert all(row.reason for row in broken)
    assert sorted(path for path in room.submissions.rglob("*")) == before
    assert graded.failed == 0
