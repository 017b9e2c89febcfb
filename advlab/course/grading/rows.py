"""The rows of the gradebook: what was handed in, with what it is worth; and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .results import BROKEN, FAILED, Result, keyed
from .submissions import Submission


@dataclass(frozen=True)
class Entry:
    """One thing handed in, with what it is worth.

    :param submission: as it was found.
    :param result: as it was graded, with the points that its checks are worth now.
    :param late: it came after the time that the rule sets.
    :param counts: it is the one that stands for its student and chapter.
    :param share: of its points that it keeps: less than 1 where it is late.
    :param points: that its chapter is worth; 0 where it belongs to none.
    :param reason: why it has no points, or what else a teacher must know; may be empty.
    :param said: to the student, a sentence each: what the rule did.
    """

    submission: Submission
    result: Result
    late: bool
    counts: bool
    share: float
    points: float
    reason: str
    said: tuple[str, ...] = ()

    @property
    def student(self) -> str:
        return self.submission.student

    @property
    def chapter(self) -> str:
        return self.submission.chapter or self.result.chapter

    @property
    def earned(self) -> float:
        """Points, after what being late costs."""
        return self.result.earned * self.share

    @property
    def refused(self) -> bool:
        """It came too late, and the rule gives nothing for that."""
        return self.late and self.share == 0

    @property
    def readable(self) -> bool:
        return self.result.status not in (BROKEN, FAILED)

    def by_check(self) -> dict[str, float]:
        """The points of each check, by the names in the columns: ``4.2``, ``4.2 hidden 1``."""
        return {key: mark.earned * self.share for key, mark in keyed(self.result.marks)}

    def to_json(self) -> dict[str, Any]:
        result = self.result.to_json()
        del result["seconds"]  # would differ from run to run
        result["notes"] = list(self.submission.notes)
        submitted = self.submission.submitted
        return {
            "chapter": self.chapter,
            "file": self.submission.file,
            "submitted": submitted.isoformat() if submitted else None,
            "late": self.late,
            "counts": self.counts,
            "earned": round(self.earned, 4),
            "points": self.points,
            "reason": self.reason,
            "result": result,
        }


@dataclass(frozen=True)
class Row:
    """One student.

    :param student: the name of the folder or in the files' names.
    :param entries: everything handed in, by chapter and time.
    """

    student: str
    entries: tuple[Entry, ...]

    def of(self, chapter: str) -> Entry | None:
        """The entry that counts for a chapter."""
        return next((e for e in self.entries if e.counts and e.chapter == chapter), None)

    @property
    def number(self) -> str:
        """Of the student, where Canvas or Moodle wrote it into a name; else empty."""
        return next((e.submission.number for e in self.entries if e.submission.number), "")

    @property
    def counted(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.counts]

    @property
    def earned(self) -> float:
        return sum(entry.earned for entry in self.counted)

    @property
    def status(self) -> str:
        """*graded*, or what else happened, each once."""
        found = dict.fromkeys(entry.result.status for entry in self.counted)
        return ", ".join(found) or BROKEN

    @property
    def reason(self) -> str:
        return " ".join(dict.fromkeys(entry.reason for entry in self.entries if entry.reason))

    @property
    def late(self) -> str:
        return ", ".join(entry.chapter for entry in self.counted if entry.late)

    @property
    def sandbox(self) -> str:
        found = dict.fromkeys(e.result.sandbox for e in self.entries if e.result.sandbox)
        return ", ".join(found)
