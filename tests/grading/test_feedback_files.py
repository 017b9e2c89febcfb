"""The files of the feedback: their names, their bytes, and when they are written."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

from feedback_cases import (
    MADE,
    NASTY,
    book,
    handed_in,
    mark,
    nasty,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from advlab.course.grading.feedback import write_pages
from advlab.course.grading.pages import file_names


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text(max_size=80), max_size=12))
def test_file_names_are_safe_and_unique_on_every_system(students):
    names = file_names(students)
    assert set(names) == students
    assert len({name.lower() for name in names.values()}) == len(students)
    for name in names.values():
        assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]*\.html", name)
        assert len(name) < 140


def test_names_that_differ_little_or_ask_for_trouble():
    hashed = file_names(["Ann"])["Ann"]
    assert re.fullmatch(r"ann-[0-9a-f]{8}\.html", hashed)
    students = [
        "Ann",
        "ann",
        "ANN",
        hashed.removesuffix(".html"),
        "con",
        "nul.txt",
        "..",
        "a/b",
        "a b",
    ]
    names = file_names(students)
    assert len(set(names.values())) == len(students)
    assert names["ann"] == "ann.html"
    assert names["con"] != "con.html"
    assert file_names(["Ann", "zed"])["Ann"] == hashed, "a name does not depend on the others"


def test_pages_are_written_once_and_left_alone_when_nothing_changed(tmp_path):
    graded = [handed_in("ada"), handed_in("../../climbs"), handed_in("Ada")]
    files = write_pages(book(*graded), tmp_path, made=MADE)
    assert files[0] == tmp_path / "index.html"
    assert sorted(tmp_path.rglob("*.html")) == sorted(files)
    assert {f.parent.name for f in files[1:]} == {"feedback"}
    before = {f: f.stat().st_ino for f in files}
    later = MADE + timedelta(hours=24)
    write_pages(book(*graded), tmp_path, made=later)  # a time alone changes nothing
    assert {f: f.stat().st_ino for f in files} == before
    other = replace(graded[0][1], marks=(mark(message="as it should be"),))
    write_pages(book((graded[0][0], other), *graded[1:]), tmp_path, made=later)
    assert {f.name for f in files if f.stat().st_ino != before[f]} == {"ada.html"}
    assert "2026-11-03 09:30 UTC+01:00" in (tmp_path / "feedback/ada.html").read_text("utf-8")
    for link in re.findall(r'href="(feedback/[^"]+)"', files[0].read_text("utf-8")):
        assert (tmp_path / link).is_file()


def test_pages_of_who_is_no_longer_in_the_class_go_and_nothing_else_does(tmp_path):
    write_pages(book(handed_in("ada"), handed_in("bo"), handed_in("cy")), tmp_path)
    feedback = tmp_path / "feedback"
    (feedback / "mine.html").write_text("<p>A page of the teacher's.</p>")
    (feedback / "notes.txt").write_text("kept")
    (feedback / "cy.html").rename(tmp_path / "cy.html")
    (feedback / "cy.html").symlink_to(tmp_path / "cy.html")
    write_pages(book(handed_in("ada")), tmp_path)
    names = {path.name for path in feedback.iterdir()}
    assert names == {"ada.html", "mine.html", "notes.txt", "cy.html"}


def test_the_same_gradebook_gives_the_same_bytes(tmp_path):
    graded = [handed_in(f"s{n}", nasty(text)) for n, text in enumerate(NASTY.values())]
    gradebook = book(*graded)
    (tmp_path / "book").write_bytes(pickle.dumps(gradebook))
    (tmp_path / "made").write_bytes(pickle.dumps(MADE))
    code = (
        "import pickle, sys, pathlib; from advlab.course.grading.feedback import write_pages;"
        "book, made = (pickle.loads(pathlib.Path(a).read_bytes()) for a in sys.argv[1:3]);"
        "write_pages(book, sys.argv[3], made=made)"
    )
    subprocess.run(
        [sys.executable, "-c", code, *(tmp_path / name for name in ("book", "made", "there"))],
        env=os.environ | {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
        check=True,
    )
    write_pages(gradebook, tmp_path / "here", made=MADE)  # with the hash seed of this process
    here, there = (
        {f.name: f.read_bytes() for f in (tmp_path / where).rglob("*.html")}
        for where in ("here", "there")
    )
    assert here == there
    assert len(here) == len(graded) + 1
