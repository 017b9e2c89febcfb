"""The cores of this machine, and the one that a place keeps to."""

from __future__ import annotations

import os

# In the environment of a process that grades one notebook: the number of its place.
PLACE = "ADVLAB_GRADING_PLACE"


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pin(pid: int) -> None:
    """Keep a process, and all that come from it, on the core of this place: however many a student
    starts, the others' cores are theirs. Nothing where there is no place, or no way to do it."""
    number = os.environ.get(PLACE)
    if number is not None and hasattr(os, "sched_setaffinity"):
        numbers = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, {numbers[int(number) % len(numbers)]})
