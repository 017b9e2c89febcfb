"""The package as a graded kernel sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from advlab.course.grading import site


@pytest.fixture(scope="module")
def folder():
    return site.site().folder


def inside(folder, code: str) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": str(folder), "PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, cwd="/")


def test_the_course_has_no_verdict_no_reference_and_no_grader(folder):
    names = {path.name for path in (folder / "advlab" / "course").iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", "probing.py", "records.py", "guarding.py"}
    text = "".join(p.read_text() for p in (folder / "advlab" / "course").glob("*.py"))
    assert "def judge" not in text
    assert "EXERCISES" not in text


def test_the_rest_of_the_package_is_there_and_works(folder):
    code = (
        "import advlab, torch; from advlab import attacks, data, models, viz\n"
        "from advlab.course import check, emit, probe, watch\n"
        "check('4.2', print); print(advlab.__file__)"
    )
    done = inside(folder, code)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "4.2: judged once the notebook has run",
        str(folder / "advlab" / "__init__.py"),
    ]


@pytest.mark.parametrize("name", ["judging", "exercise", "exercises", "grading", "checks"])
def test_what_judges_cannot_be_imported(folder, name):
    done = inside(folder, f"import advlab.course.{name}")
    assert "ModuleNotFoundError" in done.stderr


def test_it_is_compiled_since_a_kernel_may_not_write_there(folder):
    assert list((folder / "advlab").glob("__pycache__/__init__.*.pyc"))
    assert (folder.stat().st_mode & 0o777) == 0o755


def test_it_is_made_once(folder):
    before = (folder / "advlab" / "__init__.py").stat().st_ino
    site.site.cache_clear()
    assert site.site().folder == folder
    assert (folder / "advlab" / "__init__.py").stat().st_ino == before


def test_the_package_itself_is_hidden_where_it_lies_among_what_is_readable(monkeypatch):
    monkeypatch.setattr(site, "readable", lambda: (site.PACKAGE.parent, site.PACKAGE))
    assert site.hidden() == (site.PACKAGE.resolve(),)
    monkeypatch.setattr(site, "readable", lambda: (site.PACKAGE.parent / "elsewhere", site.PACKAGE))
    assert site.hidden() == ()
