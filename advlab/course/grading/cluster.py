"""The same work on a Dask cluster: ``pip install advlab[cluster]``."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from .child import failed
from .jobs import Finished, Job, version
from .results import Result
from .sandbox.tree import Tree

PATIENCE = 30.0  # seconds for a first answer of the scheduler, and for a first worker


def on_cluster(todo: dict[str, Job], address: str, grade: str) -> Iterator[Finished | None]:
    """Each key with its result as it comes; None about once a second.

    :raises ValueError: no ``distributed`` here, no scheduler at the address, no worker, or a worker
        with another advlab.
    """
    try:
        from distributed import Client, TimeoutError
    except ImportError as error:
        raise ValueError(
            "a cluster needs the package distributed: pip install 'advlab[cluster]'"
        ) from error
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(f"cluster: no Dask scheduler answers at {address!r}: {error}") from error
    with client:
        _expect_the_same(client, address)
        futures = {}
        for key, job in todo.items():
            payload = json.dumps({"job": job.to_json(), "grade": grade})
            seconds = job.settings.limits.deadline
            future = client.submit(grade_there, payload, seconds, version(), pure=False, retries=2)
            futures[future] = (key, job)
        try:
            yield from _as_they_come(client, futures)
        finally:
            client.cancel(list(futures))


def _expect_the_same(client, address: str) -> None:
    """Every worker has this advlab, or there is no run."""
    with suppress(Exception):  # whatever this version of distributed raises where none comes
        client.wait_for_workers(1, timeout=PATIENCE)

    def theirs():  # sent by value, as there may be no advlab to find it in
        try:
            from advlab.course.grading.jobs import version
        except ImportError:
            return "none"
        return version()

    found = client.run(theirs)
    if not found:
        raise ValueError(f"cluster: the scheduler at {address!r} has no workers; start some")
    for worker, other in found.items():
        if other != version():
            raise ValueError(
                f"cluster: the worker {worker} has advlab {other}, and this machine has "
                f"{version()}: install the same version there"
            )


def _as_they_come(client, futures: dict) -> Iterator[Finished | None]:
    while futures:
        done = [future for future in futures if future.done()]
        for future in done:
            key, job = futures.pop(future)
            yield key, _result(future, job)
            future.release()
        if not done:
            if client.status not in ("running", "connecting"):
                raise ValueError("cluster: the connection to the scheduler is lost")
            yield None
            time.sleep(0.2)


def _result(future, job: Job) -> Result:
    """What it brought back; a worker that died, or a task that was lost, is the grader's fault."""
    try:
        return Result.from_json(json.loads(future.result(timeout=PATIENCE)))
    except Exception as error:
        return failed(job.chapter, f"on the cluster: {type(error).__name__}: {error}")


def grade_there(payload: str, seconds: float, expected: str) -> str:
    """Grade a job in a process below the worker: a Dask worker may start no multiprocessing child.

    The process ends when its input does: when the worker dies.

    :raises ValueError: this worker's advlab is another; it came after the run had begun.
    :raises RuntimeError: the process died; Dask tries again.
    """
    if version() != expected:
        raise ValueError(f"this worker has advlab {version()}, and the grader {expected}")
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.single"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(child.stdout.read()), daemon=True)
    until = time.monotonic() + seconds
    try:
        child.stdin.write(payload.encode() + b"\n")  # and it stays open
        child.stdin.flush()
        reader.start()
        while reader.is_alive() and time.monotonic() < until and not _is_cancelled():
            reader.join(0.5)
        if reader.is_alive():
            chapter = json.loads(payload)["job"]["chapter"]
            why = f"it took longer than {seconds:.0f} s, and was stopped"
            return json.dumps(failed(chapter, why).to_json())
    except BrokenPipeError:
        pass  # it died before it had read all
    finally:
        Tree(child.pid).kill()
        status = child.wait()
    if not found or not found[0]:
        raise RuntimeError(f"its process ended with status {status} and no result")
    return found[0].decode()


def _is_cancelled() -> bool:
    """Whether nobody waits for this task any more: the grader was stopped."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"
