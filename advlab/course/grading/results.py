"""What grading finds: a mark for each check, a result for each notebook; plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

PASSED = "passed"
NOT_YET = "not yet"  # judged, and not right
NO_ANSWER = "no answer"  # the answer's cell is missing, empty, or as it was released
REFUSED = "refused"  # it calls what it may not call
CRASHED = "crashed"  # its cell raised an exception, or it ended the kernel
NOT_RUN = "not run"  # the check brought back no record, or the submission was stopped before it

TIMED_OUT = "timed out"
OUT_OF_MEMORY = "out of memory"
TOO_MUCH_CPU = "too much processor time"
TOO_MANY_PROCESSES = "too many processes"
TOO_MUCH_OUTPUT = "too much output"
TOO_MUCH_DISK = "too much disk"
TOO_LARGE_A_FILE = "too large a file"
LIMITS = (
    *(TIMED_OUT, OUT_OF_MEMORY, TOO_MUCH_CPU),
    *(TOO_MANY_PROCESSES, TOO_MUCH_OUTPUT, TOO_MUCH_DISK, TOO_LARGE_A_FILE),
)

GRADED = "graded"  # of a whole notebook: every check was judged or has its reason
BROKEN = "broken"  # no notebook of this course; the reason says why
FAILED = "not graded"  # the grader itself failed: never the student's fault


@dataclass(frozen=True)
class Mark:
    """One check of one submission.

    :param id: of the exercise, ``"4.2"``.
    :param title: what it is about.
    :param points: that it is worth.
    :param earned: points earned.
    :param status: one of the words above.
    :param message: the check's sentence.
    :param hint: where to look; may be empty.
    :param hidden: a check of the teacher's own; students see its title and whether it passed, and
        no more. Message and hint are the teacher's to read.
    :param answer: the student's code; empty for a hidden check.
    """

    id: str
    title: str
    points: float
    earned: float
    status: str
    message: str
    hint: str = ""
    hidden: bool = False
    answer: str = ""


@dataclass(frozen=True)
class Result:
    """A submitted notebook, graded.

    :param chapter: the name of the teacher's notebook, ``"04-fgsm"``; empty if it has none.
    :param status: ``GRADED``, a limit, ``BROKEN`` or ``FAILED``.
    :param reason: in a sentence, where the status is not ``GRADED``.
    :param marks: in the order of the chapter, hidden checks after the one that they belong to.
    :param sandbox: the name of the level that it ran in; empty if it never ran.
    :param seconds: of wall time.
    """

    chapter: str
    status: str
    reason: str = ""
    marks: tuple[Mark, ...] = ()
    sandbox: str = ""
    seconds: float = 0.0

    @property
    def earned(self) -> float:
        return sum(mark.earned for mark in self.marks)

    @property
    def points(self) -> float:
        return sum(mark.points for mark in self.marks)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Result:
        """:raises (KeyError, TypeError): what is no result."""
        marks = tuple(Mark(**mark) for mark in found["marks"])
        return cls(**found | {"marks": marks})

    def worth(self, points: Mapping[str, float]) -> Result:
        """The same with these points: each mark keeps the share of its own that it earned.

        :param points: of each check, by the names of the columns: ``{"4.2 hidden 1": 2}``.
        """
        marks = [
            replace(mark, points=points[key], earned=points[key] * mark.earned / mark.points)
            for key, mark in keyed(self.marks)
        ]
        return replace(self, marks=tuple(marks))


def keyed(marks: Iterable[Mark]) -> list[tuple[str, Mark]]:
    """Each mark with the name of its check, and of its column: ``4.2``, ``4.2 hidden 1``."""
    found, hidden = [], {}
    for mark in marks:
        key = mark.id
        if mark.hidden:
            hidden[mark.id] = hidden.get(mark.id, 0) + 1
            key = f"{mark.id} hidden {hidden[mark.id]}"
        found.append((key, mark))
    return found
