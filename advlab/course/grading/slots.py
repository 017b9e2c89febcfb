"""As many slots as notebooks are graded at one time, each mended when it is found dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sandbox.warm import Slot

# In the environment of a process that grades one notebook: the socket of its slot.
CONTROL = "ADVLAB_GRADING_SLOT"


class Slots:
    """The slots of a class: see :mod:`advlab.course.grading.sandbox.warm`.

    :param count: how many; 0 where kernels are started one by one.
    """

    def __init__(self, count: int):
        self._count = count
        self._free: list[Slot] = []
        self._all: list[Slot] = []
        for _ in range(count):  # so that they import while other things are made ready
            self._free.append(self._make())

    def take(self) -> Slot | None:
        """A slot that nobody uses; None where there are none."""
        while self._free:
            slot = self._free.pop(0)
            if slot.alive():
                return slot
            self._drop(slot)
        return self._make() if len(self._all) < self._count else None

    def give_back(self, slot: Slot | None) -> None:
        """Another notebook may use it now."""
        if slot is not None and slot in self._all:
            self._free.append(slot)

    def close(self) -> None:
        """End them all, and all that came from them."""
        for slot in list(self._all):
            self._drop(slot)

    def _make(self) -> Slot:
        from .boxes import make_slot

        self._all.append(slot := make_slot())
        return slot

    def _drop(self, slot: Slot) -> None:
        self._all.remove(slot)
        slot.close()
