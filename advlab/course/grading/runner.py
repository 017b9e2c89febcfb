"""One submission, graded: its answers run by nbval, its JUnit report made into marks."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest

from ..notebooks import parse
from . import hidden as hidden_checks
from . import results as words
from . import temporary
from .boxes import a_user, make_box
from .grafting import Chapter, fresh_seed, graft
from .jobs import Job
from .kernel import GradedKernel
from .marking import Marking, read_report, settle
from .plugin import Grading
from .results import Result
from .sandbox import named
from .sandbox.base import Sandbox
from .sandbox.warm import WarmError
from .settings import START, Settings
from .site import site
from .slots import CONTROL

RESTARTS = 12  # kernels that may die in one submission


def grade(job: Job) -> Result:
    """Grade one submission, in this process.

    :raises NotebookError: the teacher's notebook or hidden checks break the rules.
    """
    start = time.perf_counter()
    extra = hidden_checks.load(job.hidden) if job.hidden is not None else ()
    chapter = Chapter(job.chapter, parse(job.teacher, f"{job.chapter}.ipynb"), extra)
    sandbox = named(job.settings.sandbox, job.settings.image)
    marking = Marking(chapter, job.answers)
    marking.refuse()
    ran = bool(marking.open())
    _run_all(marking, sandbox, job.settings)
    return Result(
        chapter=job.chapter,
        status=marking.limit or words.GRADED,
        reason=marking.reason,
        marks=marking.marks(),
        sandbox=sandbox.name if ran else "",
        seconds=round(time.perf_counter() - start, 3),
    )


def _run_all(marking: Marking, sandbox: Sandbox, settings: Settings) -> None:
    """Run the notebook until each check is settled: once, and again without an answer that ended
    the kernel."""
    end = time.monotonic() + settings.limits.notebook
    # The same in every run: who ends the kernel draws no better numbers.
    seeds = {key: fresh_seed() for key in marking.open()}
    for _ in range(RESTARTS):
        if not marking.open():
            return
        left = end - time.monotonic()
        if left <= 0:
            marking.end(words.TIMED_OUT, "its time was over", "", "")
            return
        if not _run(marking, sandbox, settings, left, {key: seeds[key] for key in marking.open()}):
            return
    for key in marking.open():
        marking.found[key] = (words.NOT_RUN, f"the kernel died {RESTARTS} times before it", "")


def _run(
    marking: Marking, sandbox: Sandbox, settings: Settings, seconds: float, seeds: dict[str, int]
) -> bool:
    """Run the notebook once. Returns whether another run, without an answer, is worth it."""
    notebook = graft(marking.chapter, marking.given(), seeds, whole=settings.whole)
    checks = {check.key: check for check in marking.chapter.checks}
    with temporary.folder() as folder:
        # Another user of this machine may not look in; the sandbox's may pass through.
        folder.chmod(0o711)
        path, report = folder / "g" / "notebook.ipynb", folder / "g" / "report.xml"
        path.parent.mkdir(mode=0o700)
        nbformat.write(notebook, path)
        start = partial(_start, sandbox, settings, folder, seconds)
        plugin = Grading(checks, seeds, start)
        said = _pytest(path, report, plugin)
        if plugin.problem:
            raise RuntimeError(plugin.problem)
        if not report.is_file():
            raise RuntimeError(f"nbval wrote no report: {said}")
        cells = read_report(report)
    return settle(marking, notebook, cells, settings.limits)


def _start(sandbox: Sandbox, settings: Settings, folder: Path, seconds: float) -> GradedKernel:
    """A kernel whose cells have so many seconds together."""
    if control := os.environ.get(CONTROL):
        box = make_box(Path(control).parent / "r", settings.limits, a_user())
        with contextlib.suppress(WarmError):  # then it is started, which takes longer
            return GradedKernel(sandbox, box, [], START, Path(control), seconds)
    run = folder / "r"
    run.mkdir(mode=0o711)
    box = make_box(run, settings.limits, a_user())
    argv = [sys.executable, str(site().kernel), "-f", str(box.connection)]
    return GradedKernel(sandbox, box, argv, START, left=seconds)


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
        else:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = before
    return said.getvalue()[-2000:]
