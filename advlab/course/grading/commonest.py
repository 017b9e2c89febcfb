"""What a class found hard: points an exercise, and the commonest wrong answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .clean import alphabetical
from .results import PASSED, Mark

MOST_COMPARED = 500  # characters of a message


@dataclass(frozen=True)
class Group:
    """Students whose answers were told the same, up to the numbers in it.

    :param status: of their marks.
    :param message: what the first of them was told.
    :param students: by name.
    """

    status: str
    message: str
    students: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram.

    :param label: the points that it stands for: ``"2"``, or ``"1.5–3"``: 1.5 and more, below 3.
    :param count: how many have them.
    """

    label: str
    count: int


def grouped(marks: Iterable[tuple[str, Mark]]) -> list[Group]:
    """The wrong answers, the commonest first.

    :param marks: each with its student.
    """
    found: dict[tuple[str, str], list[tuple[str, Mark]]] = {}
    for student, mark in sorted(marks, key=lambda pair: alphabetical(pair[0])):
        if mark.status != PASSED:
            found.setdefault((mark.status, pattern(mark.message)), []).append((student, mark))
    groups = [
        Group(status, same[0][1].message, tuple(student for student, _ in same))
        for (status, _), same in found.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.students), group.status, group.message))


def pattern(message: str) -> str:
    """A message with its numbers taken out: "is 0.31 above" and "is 0.29 above" are one.

    Where code raised an exception, its line and the text of that line are taken out as well. The
    number of an exercise stays: another exercise is another matter.
    """
    message = _WHERE.sub(" at line #", " ".join(message[:MOST_COMPARED].split()))
    return _NUMBER.sub(lambda m: m[0] if m[1] else "#", message)


_WHERE = re.compile(r" at line \d+(?: of the cell of \S+)?(?: \(.*\))?(?=: |$)")
# A digit inside a name, conv2d or x_1, is no number; the sign is part of one.
_NUMBER = re.compile(r"(exercise )?(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)", re.I)


def histogram(values: Iterable[float], points: float, unit: str = "") -> list[Bar]:
    """How many earned how much of ``points``: one bar a point where all are whole and few, else
    ten bars of the same width, the last one with full points in it.

    :param unit: that each label ends with.
    """
    values = [min(max(value, 0.0), points) for value in values]
    if points <= 10 and all(float(v).is_integer() for v in (*values, points)):
        counts = Counter(int(v) for v in values)
        return [Bar(f"{n}{unit}", counts[n]) for n in range(int(points) + 1)]
    counts = Counter(min(int(10 * v / points + 1e-9), 9) for v in values)
    ends = [f"{points * n / 10:.4g}" for n in range(11)]
    return [Bar(f"{ends[n]}–{ends[n + 1]}{unit}", counts[n]) for n in range(10)]
