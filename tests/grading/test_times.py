"""When something was handed in: by its file, or by a teacher's table."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from handed_in import BOOK, put, the_one

from advlab.course.grading.settings import Rule
from advlab.course.grading.submissions import find


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
    found = {one.file: one for one in find(folder, BOOK, table, Rule(due=due))}
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


def test_without_a_time_the_files_own_says_which_is_the_last(folder, times):
    for name, when in (
        ("ada/an older one.ipynb", 1000),
        ("ada/new.ipynb", 2000),
        ("bo/a.ipynb", 1),
    ):
        os.utime(put(folder / name), (when, when))
    early = "1970-01-01T00:10Z"
    for row in (f"bo,,{early}", f"ada,an older one.ipynb,{early}", f"ada,new.ipynb,{early}"):
        found = find(folder, BOOK, times(row), Rule(due=datetime(1970, 1, 1, tzinfo=UTC)))
        known = [one for one in found if one.submitted]
        assert [one.submitted.timestamp() for one in known] == [600]  # the file's is no time known
        ada = [one for one in found if one.student == "ada"]
        last = max(ada, key=lambda one: one.when).file
        assert last == ("ada/an older one.ipynb" if "new" in row else "ada/new.ipynb")


def test_two_times_for_one_file_are_refused(folder, times):
    put(folder / "ada" / "a.ipynb")
    table = times(
        "ada,,2026-01-01T10:00Z", "ada,a.ipynb,2026-01-01T10:00Z", "ada,,2026-01-01T10:00Z"
    )
    with pytest.raises(ValueError, match="csv, lines 2 and 4: two times for ada; keep one"):
        find(folder, BOOK, table)


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
