"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from tqdm.auto import tqdm

from .results import BROKEN, FAILED, GRADED, Result

_BAR = "graded {n_fmt} of {total_fmt} |{bar}| {elapsed}, {remaining} left{postfix}"
EVERY = 10.0  # seconds between two lines
DELAY = 2.0  # seconds before there is a bar for what may be done at once
T = TypeVar("T")


class Progress:
    """Shows "graded n of m" from the start, and what became of them.

    :param total: notebooks.
    :param show: False: say nothing.
    :param out: a stream; the standard error where there is none.
    :param before: what is done already.
    """

    def __init__(self, total: int, show: bool = True, out=None, *, before: Collection[Result] = ()):
        self.total, self.done = total, len(before)
        self.counts = Counter(_kind(result) for result in before)
        self.out, self.show, self.start = out or sys.stderr, show, time.monotonic()
        self.said = -1
        self.bar = None
        if show and self.out.isatty():
            self.bar = tqdm(
                total=total, initial=self.done, bar_format=_BAR, file=self.out, dynamic_ncols=True
            )
            self.bar.set_postfix_str(self._counts(), refresh=False)
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


def watched(things: Sequence[T], word: str, show: bool = True, out=None) -> Iterator[T]:
    """Each of the things. Where they take long, "read n of m": a bar, or a line now and then.

    :param word: for what is done with each: ``"read"``.
    :param show: False: say nothing.
    :param out: a stream; the standard error where there is none.
    """
    out = out or sys.stderr
    bar_format = _BAR.replace("graded", word)
    silent = not (show and out.isatty())
    said = time.monotonic()
    with tqdm(
        total=len(things), bar_format=bar_format, delay=DELAY, file=out, disable=silent
    ) as bar:
        for n, thing in enumerate(things):
            now = time.monotonic()
            if show and silent and now - said > EVERY:
                print(f"{word} {n} of {len(things)}", file=out, flush=True)
                said = now
            yield thing
            bar.update()
