"""The process from which those that grade are forked; it has imported what is slow."""

from __future__ import annotations

import multiprocessing
import os
import sys

from .jobs import GRADE


def start_server(grade: str = GRADE):
    """Start it, unless it runs; what it imports, it imports while its caller goes on.

    :param grade: ``"module:function"``, what is called in the processes.
    :returns: a context of :mod:`multiprocessing`. Elsewhere than on Linux a fork of what is
        imported is not safe: there each process imports it anew.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    # There is one server for all that this process grades, whatever is called first.
    context.set_forkserver_preload([f"{__package__}.preload", grade.partition(":")[0]])
    before = os.environ.copy()
    # One notebook, one core: and a process with threads should not fork.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Nothing is imported from the working folder, which may be the one with the submissions.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context
