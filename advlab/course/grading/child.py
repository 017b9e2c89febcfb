"""The process that grades one notebook: what it does besides, and how it is ended.

It hears nothing of Ctrl-C, prints nothing, takes in whatever is left without a parent below it, and
ends with all that is below it when its own parent is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .jobs import Job
from .results import FAILED, Result
from .sandbox.tree import Tree

_PR_SET_CHILD_SUBREAPER = 36
_MOST = 4 * 2**30  # bytes of memory: this process fails, and not the machine


def answer(job: dict[str, Any], grade: str, until_gone: Callable[[], Any]) -> str:
    """The result as JSON. To be called once, in a process of its own.

    :param job: from :meth:`~advlab.course.grading.jobs.Job.to_json`.
    :param grade: ``"module:function"`` from a job to a result.
    :param until_gone: returns when this process's parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader hears it and ends this process
    _silence()
    _bound()
    if sys.platform == "linux":  # so that a daemon's parent is this process, and it is found
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_end_with_parent, args=(until_gone,), daemon=True).start()
    try:
        module, _, name = grade.partition(":")
        function = getattr(importlib.import_module(module), name)
        if "torch" in sys.modules:  # one notebook, one core: the others have their own
            sys.modules["torch"].set_num_threads(1)
        return json.dumps(function(Job.from_json(job)).to_json())
    except BaseException as error:
        return json.dumps(failed(job["chapter"], _where(error)).to_json())
    finally:
        Tree(os.getpid()).kill()  # all below: it leaves out who calls it


def failed(chapter: str, why: str) -> Result:
    """What the gradebook shows where the grader failed."""
    return Result(chapter, FAILED, f"the grader itself failed: {why}")


def _where(error: BaseException) -> str:
    at = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({Path(at.filename).name}, line {at.lineno})"


def _silence() -> None:
    """What pytest and the kernel print is nobody's: a bar is on the screen."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _bound() -> None:
    """A net below the limits: what a kernel sends is held here."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard == resource.RLIM_INFINITY or hard > _MOST:
            resource.setrlimit(resource.RLIMIT_DATA, (_MOST, hard))


def _end_with_parent(until_gone: Callable[[], Any]) -> None:
    until_gone()
    try:
        Tree(os.getpid()).kill()
    finally:
        os._exit(1)
