"""As many places as notebooks are graded at one time: each with a core, and a slot for kernels."""

from __future__ import annotations

from dataclasses import dataclass

from .boxes import make_slot
from .cores import PLACE
from .sandbox.warm import Slot

# In the environment of a process that grades one notebook: the socket of its slot.
CONTROL = "ADVLAB_GRADING_SLOT"


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
        :raises OSError: its slot could not be made; nobody has the place.
        """
        place = self._free.pop(0)
        try:
            if place.slot is not None and not place.slot.alive():
                place.slot.close()
                place.slot = None
            if self._warm and place.slot is None:
                place.slot = make_slot()
        except BaseException:
            self.give_back(place)
            raise
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
