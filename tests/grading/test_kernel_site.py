"""The package as a graded kernel sees it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time

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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a small site to make there."""
    monkeypatch.setenv("ADVLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(site, "_files", lambda: [site.COURSE / "records.py"])
    monkeypatch.setattr(site, "_find_fonts", lambda folder: folder.mkdir())
    site.site.cache_clear()
    yield tmp_path / "grading"
    site.site.cache_clear()


def test_copies_that_nobody_used_for_a_month_are_removed(cache):
    ages = {"old": 40, ".part-old": 40, "mine": 20, ".part-new": 1}
    for name, days in ages.items():
        (cache / name / "advlab").mkdir(parents=True)
        os.utime(cache / name, (0, time.time() - days * 24 * 3600))
    made = site.site().folder
    assert {path.name for path in cache.iterdir()} == {"mine", ".part-new", made.name}
    os.utime(made, (0, 0))
    site.site.cache_clear()
    assert site.site().folder == made
    assert time.time() - made.stat().st_mtime < 3600  # it was used


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_a_copy_that_is_not_finished_leaves_nothing(cache, monkeypatch, error):
    def fail(folder):
        raise error("in the middle")

    monkeypatch.setattr(site, "_find_fonts", fail)
    with pytest.raises(error):
        site.site()
    assert list(cache.iterdir()) == []


def test_the_package_itself_is_hidden_where_it_lies_among_what_is_readable(monkeypatch):
    monkeypatch.setattr(site, "LIBRARIES", ())
    monkeypatch.setattr(site, "readable", lambda: (site.PACKAGE.parent, site.PACKAGE))
    assert site.hidden() == (site.PACKAGE.resolve(),)
    monkeypatch.setattr(site, "readable", lambda: (site.PACKAGE.parent / "elsewhere", site.PACKAGE))
    assert site.hidden() == ()


def test_libraries_of_attacks_are_hidden_and_not_imported(tmp_path, monkeypatch):
    """Where they are installed: a package, a file, a part of a package that is split."""
    packages, away = tmp_path / "packages", tmp_path / "away"
    trap = "raise SystemExit('imported')"
    for path in (packages / "foolbox" / "__init__.py", packages / "autoattack.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trap)
    (packages / "secml" / "adv").mkdir(parents=True)
    (packages / "numbers_of_mine").mkdir()
    (away / "advertorch").mkdir(parents=True)
    (away / "advertorch" / "__init__.py").write_text(trap)
    monkeypatch.setattr(sys, "path", [str(packages), str(away)])
    for name in site.LIBRARIES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    monkeypatch.setattr(site, "readable", lambda: (packages, site.PACKAGE))
    found = {path.relative_to(packages.resolve()).as_posix() for path in site.hidden()}
    assert found == {"autoattack.py", "foolbox", "secml"}
    assert {"art", "cleverhans", "robustbench", "torchattacks"} < set(site.LIBRARIES)


def test_an_environment_that_is_called_by_a_link_can_be_read_by_both_names(monkeypatch, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(site.sys, "prefix", str(tmp_path / "link"))
    assert {tmp_path / "link", (tmp_path / "real").resolve()} <= set(site.readable())


def test_what_is_hidden_is_hidden_under_both_names(monkeypatch, tmp_path):
    package = tmp_path / "real" / "torchattacks"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.syspath_prepend(str(tmp_path / "link"))
    monkeypatch.setattr(site.sys, "prefix", str(tmp_path / "link"))
    found = {path for path in site.hidden() if path.name == "torchattacks"}
    assert {package.resolve(), tmp_path / "link" / "torchattacks"} <= found
