"""What the tests of the grader share."""

from __future__ import annotations

import classroom
import pytest

from advlab.course.grading.results import GRADED, PASSED, Mark, Result
from advlab.course.grading.sandbox import choose


@pytest.fixture
def folder(tmp_path):
    """For submissions, empty."""
    (tmp_path / "submissions").mkdir()
    return tmp_path / "submissions"


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    """A class of 8, of which 2 are broken. It is not to be changed."""
    return classroom.make(tmp_path_factory.mktemp("class"), 8, seed=3, broken=2)


@pytest.fixture
def judged(monkeypatch):
    """Stands in for the pool: full points for each, and the jobs that it was given."""
    given = {}

    def run(jobs, store, **options):
        own = "again" not in options  # the chapters' own solutions, which are graded first
        jobs = list(jobs)
        given.update(options, jobs=jobs, store=store)
        marks = tuple(
            Mark(id, "title", points, points, PASSED, "") for id, points in classroom.POINTS.items()
        )
        full = Result(classroom.CHAPTER, GRADED, marks=marks, sandbox=choose().name)
        return {job.key(): full if own else given.get("result", full) for job in jobs}

    monkeypatch.setattr("advlab.course.grading.classes.run", run)
    return given
