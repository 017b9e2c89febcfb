"""All notebooks of a class, each in a process of its own, over processes or a Dask cluster."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection, wait

from . import child as process
from . import temporary
from .cluster import on_cluster
from .cores import cores
from .jobs import GRADE, Finished, Job
from .progress import Progress
from .results import FAILED, Result
from .sandbox.tree import Tree
from .sandbox.warm import possible
from .server import start_server
from .slots import Slots
from .store import Store


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
    shown = Progress(len(wanted), progress, before=results.values())
    try:
        if not todo:
            return results
        if cluster:
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


def on_this_machine(
    todo: dict[str, Job], workers: int, grade: str, places: Slots | None = None
) -> Iterator[Finished | None]:
    """Each key with its result as it comes; None about once a second."""
    temporary.sweep()
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
        self.key, self.chapter = key, job.chapter
        self.seconds = job.settings.limits.deadline
        self._slots, self._place = slots, slots.take()
        with ExitStack() as undo:
            undo.callback(slots.give_back, self._place)
            self.pipe, theirs = context.Pipe(duplex=False)
            undo.callback(self.pipe.close)
            with theirs:  # it is closed here, so that the process's death is the end of the pipe
                arguments = (job.to_json(), grade, theirs, self._place.environment())
                self.process = context.Process(target=_grade, args=arguments)
                self.process.start()
            undo.pop_all()
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
            Tree(self.process.pid).kill()
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
        name = _signal(-status)
        memory = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{memory}"
    return f"its process ended with status {status} and no result"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of those for real time have no name
        return f"signal {number}"
