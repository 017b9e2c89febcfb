"""As many places as notebooks are graded at one time: each with a core, and a slot for kernels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sandbox.warm import Slot

# In the environment of a process that grades one notebook: the socket of its slot, and the number
# of its place.
CONTROL, PLACE = "ADVLAB_GRADING_SLOT", "ADVLAB_GRADING_PLACE"


@dataclass
class Place:
    """Where one notebook at a time is graded.

    :param number: from 0.
    :param slot: where its kernels come from, made when it is first needed; None: they are started
        one by one.
    """

    number: int
    slot: Slot | None = None

    def environment(self) -> dict[str, str]:
        """For the process that grades here."""
        control = {CONTROL: str(self.slot.control)} if self.slot else {}
        return {PLACE: str(self.number)} | control


class Slots:
    """The places of a class; a slot that is found dead is made anew.

    :param count: how many.
    :param warm: with slots, see :mod:`advlab.course.grading.sandbox.warm`.
    """

    def __init__(self, count: int, warm: bool):
        self._warm = warm
        self._all = [Place(n) for n in range(count)]
        self._free = list(self._all)

    def take(self) -> Place:
        """A place that nobody uses.

        :raises IndexError: there is none.
        """
        place = self._free.pop(0)
        if place.slot is not None and not place.slot.alive():
            place.slot.close()
            place.slot = None
        if self._warm and place.slot is None:
            place.slot = _make()
        return place

    def give_back(self, place: Place) -> None:
        """Another notebook may use it now."""
        self._free.append(place)

    def __enter__(self) -> Slots:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all slots, and all that came from them."""
        for place in self._all:
            if place.slot is not None:
                place.slot.close()


def _make() -> Slot:
    from .boxes import make_slot

    return make_slot()


def pin(pid: int) -> None:
    """Keep a process, and all that come from it, on the core of this place: however many a student
    starts, the others' cores are theirs. Nothing where there is no place, or no way to do it."""
    number = os.environ.get(PLACE)
    if number is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, {cores[int(number) % len(cores)]})
