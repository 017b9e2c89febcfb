"""One submission, graded: its answers run by nbval, its JUnit report made into marks."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest

from ..notebooks import parse
from . import hidden as hidden_checks
from . import results as words
from .answers import read_answers
from .boxes import a_user, make_box
from .grafting import Chapter, fresh_seed, graft
from .jobs import Job
from .kernel import GradedKernel
from .marking import Marking, read_report, settle
from .plugin import START, Grading
from .results import Result
from .sandbox import named
from .sandbox.base import Sandbox
from .sandbox.warm import WarmError
from .settings import Settings
from .site import site
from .slots import CONTROL

RESTARTS = 12  # kernels that may die in one submission


def deadline(settings: Settings) -> float:
    """Seconds after which a submission that is still being graded is given up."""
    return settings.limits.notebook + 3 * START


def grade(job: Job) -> Result:
    """Grade one submission, in this process.

    :raises NotebookError: the teacher's notebook or hidden checks break the rules.
    """
    start = time.perf_counter()
    extra = hidden_checks.load(job.hidden) if job.hidden is not None else ()
    chapter = Chapter(job.chapter, parse(job.teacher, f"{job.chapter}.ipynb"), extra)
    answers = read_answers(job.submission, chapter.notebook)
    if answers.problem:
        return Result(job.chapter, words.BROKEN, answers.problem, notes=answers.notes)
    sandbox = named(job.settings.sandbox, job.settings.image)
    marking = Marking(chapter, answers)
    marking.refuse()
    ran = bool(marking.open())
    _run_all(marking, sandbox, job.settings)
    return Result(
        chapter=job.chapter,
        status=marking.limit or words.GRADED,
        reason=marking.reason,
        marks=marking.marks(),
        notes=answers.notes,
        sandbox=sandbox.name if ran else "",
        seconds=round(time.perf_counter() - start, 3),
    )


def _run_all(marking: Marking, sandbox: Sandbox, settings: Settings) -> None:
    """Run the notebook until each check is settled: once, and again without an answer that ended
    the kernel."""
    end = time.monotonic() + settings.limits.notebook
    for _ in range(RESTARTS):
        if not marking.open():
            return
        left = end - time.monotonic()
        if left <= 0:
            marking.end(words.TIMED_OUT, "its time was over", "", "")
            return
        if not _run(marking, sandbox, settings, left):
            return
    for key in marking.open():
        marking.found[key] = (words.NOT_RUN, f"the kernel died {RESTARTS} times before it", "")


def _run(marking: Marking, sandbox: Sandbox, settings: Settings, seconds: float) -> bool:
    """Run the notebook once. Returns whether another run, without an answer, is worth it."""
    seeds = {key: fresh_seed() for key in marking.open()}
    notebook = graft(marking.chapter, marking.given(), seeds, whole=settings.whole)
    checks = {check.key: check for check in marking.chapter.checks}
    with tempfile.TemporaryDirectory(prefix="advlab-", ignore_cleanup_errors=True) as folder:
        # Another user of this machine may not look in; the sandbox's may pass through.
        os.chmod(folder, 0o711)
        path, report = Path(folder) / "g" / "notebook.ipynb", Path(folder) / "g" / "report.xml"
        path.parent.mkdir(mode=0o700)
        nbformat.write(notebook, path)
        start = partial(_start, sandbox, settings, Path(folder), seconds)
        plugin = Grading(checks, seeds, start)
        said = _pytest(path, report, plugin)
        if plugin.problem:
            raise RuntimeError(f"no kernel could be started: {plugin.problem}")
        if not report.is_file():
            raise RuntimeError(f"nbval wrote no report: {said}")
        entries = read_report(report)
    return settle(marking, notebook, entries)


def _start(sandbox: Sandbox, settings: Settings, folder: Path, seconds: float) -> GradedKernel:
    seconds = min(START, seconds)
    if control := os.environ.get(CONTROL):
        box = make_box(Path(control).parent / "r", settings.limits, a_user())
        with contextlib.suppress(WarmError):  # then it is started, which takes longer
            return GradedKernel(sandbox, box, [], seconds, Path(control))
    run = folder / "r"
    run.mkdir(mode=0o711)
    box = make_box(run, settings.limits, a_user())
    argv = [sys.executable, str(site().kernel), "-f", str(box.connection)]
    return GradedKernel(sandbox, box, argv, seconds)


def _pytest(path: Path, report: Path, plugin: Grading) -> str:
    """``pytest --nbval-lax`` on the notebook, in this process; what it printed."""
    argv = [str(path), "--nbval-lax", "-p", "nbval.plugin", f"--junitxml={report}"]
    argv += ["--color=no", "--tb=no", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    argv += [f"--rootdir={path.parent}", "--noconftest", "-o", "junit_family=xunit2"]
    # Both end a run with five collections of garbage, over all of torch's: half a second.
    argv += ["-p", "no:unraisableexception", "-p", "no:threadexception"]
    before = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            pytest.main(argv, plugins=[plugin])
    finally:
        if before is None:
            del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
    return said.getvalue()[-2000:]
