"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter

from tqdm.auto import tqdm

from .results import BROKEN, FAILED, GRADED, Result

_BAR = "graded {n_fmt} of {total_fmt} |{bar}| {elapsed}, {remaining} left{postfix}"
EVERY = 10.0  # seconds between two lines


class Progress:
    """Shows "graded n of m" from the start, and what became of them.

    :param total: notebooks.
    :param show: False: say nothing.
    :param out: a stream; the standard error where there is none.
    """

    def __init__(self, total: int, show: bool = True, out=None):
        self.total, self.done, self.counts = total, 0, Counter()
        self.out, self.show, self.start = out or sys.stderr, show, time.monotonic()
        self.said = -1
        self.bar = None
        if show and self.out.isatty():
            self.bar = tqdm(total=total, bar_format=_BAR, file=self.out, dynamic_ncols=True)
        self.tick()

    def add(self, result: Result) -> None:
        """One more notebook is done."""
        self.done += 1
        self.counts[_kind(result)] += 1
        if self.bar is not None:
            self.bar.set_postfix_str(self._counts(), refresh=False)
            self.bar.update()
        self.tick()

    def tick(self) -> None:
        """To be called about once a second: the time goes on, and a line is due now and then."""
        if self.bar is not None:
            self.bar.refresh()
        elif self.show and self.done > self.said:
            late = time.monotonic() - self.start > EVERY
            if late or self.said < 0 or self.done == self.total:
                counts = f": {self._counts()}" if self.counts else ""
                print(f"graded {self.done} of {self.total}{counts}", file=self.out, flush=True)
                self.said, self.start = self.done, time.monotonic()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _counts(self) -> str:
        return ", ".join(f"{self.counts[kind]} {kind}" for kind in _KINDS if self.counts[kind])


_KINDS = ("in full", "in part", "without points", "at a limit", "broken", "not graded")


def _kind(result: Result) -> str:
    if result.status != GRADED:
        return {BROKEN: "broken", FAILED: "not graded"}.get(result.status, "at a limit")
    if result.earned <= 0:
        return "without points"
    return "in full" if result.earned >= result.points else "in part"
