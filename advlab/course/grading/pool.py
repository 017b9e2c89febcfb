"""All notebooks of a class, each in a process of its own, over processes or a Dask cluster."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection, wait

from . import child as process
from .jobs import GRADE, Job
from .progress import Progress
from .results import FAILED, Result
from .sandbox.warm import possible
from .server import start_server
from .settings import Settings
from .slots import Slots
from .store import Store

Finished = tuple[str, Result]  # a key and its result


def run(
    jobs: Iterable[Job],
    store: Store,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
    again: bool = False,
    grade: str = GRADE,
    places: Slots | None = None,
) -> dict[str, Result]:
    """Grade what the store does not hold yet, and keep each result the moment it is there.

    Notebooks that are the same are graded once. A process that dies, raises or takes too long
    gives a result whose status is ``FAILED``: it ends nothing
    else, and is not kept, so that the next run tries it again. However the run ends (Ctrl-C, kill
    -9), the processes end with it, and what was done is kept.

    As with all of :mod:`multiprocessing`, a script that calls this does so under
    ``if __name__ == "__main__":``.

    :param jobs: with the sandbox by name.
    :param workers: processes at one time; by default one a core.
    :param cluster: the address of a Dask scheduler: its workers grade instead.
    :param progress: show how far it is, on the standard error.
    :param again: grade also what the store holds.
    :param grade: ``"module:function"``, from a job to a result; called in the process.
    :param places: of an earlier run, to go on with; as many as workers.
    :returns: the result of each job's key.
    :raises ValueError: workers below 1; a cluster that cannot be reached or has another advlab.
    :raises OSError: the store cannot be written.
    """
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise ValueError(f"workers: expected at least 1, found {workers}")
    wanted = {job.key(): job for job in jobs}
    results = {} if again else {key: r for key in wanted if (r := store.get(key))}
    todo = {key: job for key, job in wanted.items() if key not in results}
    shown = Progress(len(wanted), progress)
    try:
        for result in results.values():
            shown.add(result)
        if not todo:
            return results
        if cluster:
            from .cluster import on_cluster

            stream = on_cluster(todo, cluster, grade)
        else:
            stream = on_this_machine(todo, workers or cores(), grade, places)
        with closing(stream):  # whatever happens here, its processes are ended
            for finished in stream:
                if finished is None:
                    shown.tick()
                    continue
                key, result = finished
                if result.status != FAILED:
                    store.put(key, result)
                results[key] = result
                shown.add(result)
    finally:
        shown.close()
    return results


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def deadline(settings: Settings, grade: str = GRADE) -> float:
    """Seconds after which a process is ended: the runner keeps the limits itself, and is late only
    where it hangs."""
    runner = importlib.import_module(grade.partition(":")[0])
    return runner.deadline(settings)


def on_this_machine(
    todo: dict[str, Job], workers: int, grade: str, places: Slots | None = None
) -> Iterator[Finished | None]:
    """Each key with its result as it comes; None about once a second."""
    waiting, running = deque(todo.items()), {}
    context = start_server(grade)
    warm = grade == GRADE and all(possible(job.settings.sandbox) for job in todo.values())
    slots = places or Slots(workers, warm=warm)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                key, job = waiting.popleft()
                try:
                    started = _Child(context, key, job, grade, slots)
                except (OSError, EOFError) as error:  # no more processes, no more memory
                    yield key, process.failed(job.chapter, f"no process could be started: {error}")
                else:
                    running[started.pipe] = started
            yield None
            ready = wait(list(running), timeout=1)
            late = [pipe for pipe, one in running.items() if one.is_late() and pipe not in ready]
            for pipe in (*ready, *late):
                one = running[pipe]
                result = one.too_late() if pipe in late else one.result()
                del running[pipe]
                yield one.key, result
    finally:
        for one in running.values():
            one.end()
        if places is None:
            slots.close()


class _Child:
    """A process that grades one job."""

    def __init__(self, context, key: str, job: Job, grade: str, slots: Slots):
        self._slots, self._place = slots, slots.take()
        self.key, self.chapter = key, job.chapter
        self.seconds = deadline(job.settings, grade)
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_grade,
            args=(job.to_json(), grade, theirs, self._place.environment()),
        )
        try:
            self.process.start()
        except BaseException:
            self.pipe.close()
            slots.give_back(self._place)
            raise
        finally:
            theirs.close()  # so that its death is the end of the pipe
        self.until = time.monotonic() + self.seconds  # the first waits for the server's imports

    def is_late(self) -> bool:
        return time.monotonic() > self.until

    def too_late(self) -> Result:
        self.end()
        return process.failed(
            self.chapter, f"it took longer than {self.seconds:.0f} s, and was stopped"
        )

    def result(self) -> Result:
        """What it sent, or how it died."""
        try:
            found = Result.from_json(json.loads(self.pipe.recv_bytes()))
        except (EOFError, OSError):
            self.process.join(5)
            found = process.failed(self.chapter, _death(self.process.exitcode))
        except (ValueError, KeyError, TypeError) as error:
            found = process.failed(self.chapter, f"its process sent no result: {error}")
        self.process.join(2)
        self.end()
        return found

    def end(self) -> None:
        if self.process.is_alive():
            process.end(self.process.pid)
            self.process.join(5)
        self.pipe.close()
        if self._place is not None:
            self._slots.give_back(self._place)
        self._place = None


def _grade(job: dict, grade: str, pipe: Connection, place: dict[str, str]) -> None:
    os.environ.update(place)
    parent = multiprocessing.parent_process()
    pipe.send_bytes(process.answer(job, grade, parent.join).encode())
    pipe.close()


def _death(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        memory = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{memory}"
    return f"its process ended with status {status} and no result"
