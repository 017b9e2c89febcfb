"""The gradebook: which submission of each student and chapter counts, and what it earns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .clean import alphabetical, plain
from .results import GRADED, Result
from .rows import Entry, Row
from .settings import Rule
from .submissions import Submission
from .table import write_table

Points = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Gradebook:
    """All students.

    :param rows: by name, whatever its capitals and accents.
    :param points: of each chapter's checks: ``{"04-fgsm": {"4.1": 1, "4.2 hidden 1": 2}}``.
    :param rule: by which late and repeated submissions counted.
    :param timed: the times are those of a teacher's file, and not the notebooks' own.
    :param titles: of the chapters, where they are known.
    """

    rows: tuple[Row, ...]
    points: Points
    rule: Rule
    timed: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> list[Entry]:
        """Everything handed in, by student, chapter and time."""
        return [entry for row in self.rows for entry in row.entries]

    @property
    def students(self) -> dict[str, str]:
        """Each student, with the number of the files' names in Canvas or Moodle, or nothing."""
        return {row.student: row.number for row in self.rows}

    @property
    def worth(self) -> dict[str, float]:
        """The points of each chapter."""
        return {chapter: _worth(self.points, chapter) for chapter in self.points}

    @property
    def possible(self) -> float:
        """The points of all chapters."""
        return sum(self.worth.values())

    def percent(self, row: Row) -> float:
        return round(100 * row.earned / self.possible, 2) if self.possible else 0.0

    def to_csv(self) -> str:
        """A row for each student. A chapter not handed in has empty cells, and counts 0."""
        table: list[list[Any]] = [
            ["student", "total", "points", "percent", "status", "reason", "late", "sandbox"]
            + [name for chapter, checks in self.points.items() for name in (chapter, *checks)]
        ]
        for row in self.rows:
            cells = [row.student, row.earned, self.possible, self.percent(row)]
            cells += [row.status, row.reason, row.late, row.sandbox]
            for chapter, checks in self.points.items():
                entry = row.of(chapter)
                by_check = entry.by_check() if entry else {}
                cells.append(entry.earned if entry else None)
                cells += [by_check.get(key, 0.0) if entry else None for key in checks]
            table.append(cells)
        return write_table(table)

    def to_json(self) -> str:
        """Everything, marks and answers too. The same submissions give the same text."""
        students = [
            {
                "student": row.student,
                "earned": round(row.earned, 4),
                "percent": self.percent(row),
                "status": row.status,
                "reason": row.reason,
                "late": row.late,
                "sandbox": row.sandbox,
                "submissions": [entry.to_json() for entry in row.entries],
            }
            for row in self.rows
        ]
        points = {chapter: dict(checks) for chapter, checks in self.points.items()}
        whole = {"points": points, "possible": self.possible, "rule": self.rule.to_json()}
        whole["students"] = students
        return json.dumps(_clean(whole), ensure_ascii=False, indent=1) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list | tuple) else value


def collect(
    graded: Iterable[tuple[Submission, Result]],
    points: Points,
    rule: Rule,
    *,
    timed: bool = False,
    titles: Mapping[str, str] | None = None,
) -> Gradebook:
    """Put together what was graded, and apply the rule.

    For each student and chapter one submission counts: the last, or the one with most points after
    what being late costs. A file that cannot be read never replaces one that can, and the reason
    says that there is such a file. Neither does one that came too late, where the rule refuses
    late ones (``late=0``); alone it counts, with 0 points. Of files with the same time the one
    with the longer name is the later one, as in ``04-fgsm`` and ``04-fgsm-2``.

    :param graded: every submission with its result.
    :param points: of each chapter's checks, in the order of the columns. They are applied here: a
        result is the same whatever its checks are worth.
    :param rule: of late and repeated submissions.
    :param timed: the times are those of a teacher's file.
    :param titles: of the chapters.
    """
    students: dict[str, dict[str, list[Entry]]] = {}
    for submission, result in graded:
        entry = _entry(submission, result, points, rule)
        students.setdefault(entry.student, {}).setdefault(entry.chapter, []).append(entry)
    order = {"": -1} | {chapter: n for n, chapter in enumerate(points)}
    rows = []
    for student in sorted(students, key=alphabetical):
        chapters = students[student]
        entries: list[Entry] = []
        for chapter in sorted(chapters, key=lambda c: (order.get(c, len(order)), c)):
            entries += _chosen(chapters[chapter], rule)
        rows.append(Row(student, tuple(entries)))
    return Gradebook(tuple(rows), points, rule, timed, titles or {})


def _entry(submission: Submission, result: Result, points: Points, rule: Rule) -> Entry:
    late = rule.late_at(submission.submitted)
    chapter = submission.chapter or result.chapter
    return Entry(
        submission=submission,
        result=result.worth(points.get(chapter, {})),
        late=late,
        counts=False,
        share=rule.late if late else 1.0,
        points=_worth(points, chapter),
        reason="",
    )


def _worth(points: Points, chapter: str) -> float:
    return sum(points.get(chapter, {}).values())


def _reason(entry: Entry) -> str:
    """Why it has no points, in sentences; empty where there is nothing to say."""
    where = entry.chapter if entry.counts else entry.submission.file
    reasons = []
    aside = "" if entry.counts else "Not counted: "
    if entry.submission.problem:
        reasons.append(f"{aside}{entry.submission.problem}")
    elif entry.result.status != GRADED:
        reasons.append(f"{aside}{where}: {entry.result.reason or entry.result.status}")
    if entry.refused and entry.readable:
        reasons.append(f"{where}: handed in too late{'' if entry.counts else ', not counted'}")
    return " ".join(reason.rstrip(".") + "." for reason in reasons)


def _chosen(entries: list[Entry], rule: Rule) -> list[Entry]:
    """The entries of one student and chapter by time, one of them marked as the one that counts."""
    entries = sorted(entries, key=lambda entry: entry.submission.when)
    if not entries[0].chapter:  # it stands for itself, with no points
        return [_told(replace(entry, counts=True)) for entry in entries]
    readable = [entry for entry in entries if entry.readable]
    able = [entry for entry in readable if entry.share > 0] or readable or entries
    chosen = max(able, key=lambda entry: entry.earned) if rule.keep == "best" else able[-1]
    entries = [_told(replace(entry, counts=entry is chosen)) for entry in entries]
    chosen = next(entry for entry in entries if entry.counts)
    said = _said(chosen, entries, rule)
    return [replace(entry, said=said) if entry.counts else entry for entry in entries]


def _told(entry: Entry) -> Entry:
    return replace(entry, reason=_reason(entry))


def _said(chosen: Entry, entries: list[Entry], rule: Rule) -> tuple[str, ...]:
    said = []
    if chosen.late:
        left = f"{chosen.share:.0%} of its points" if chosen.share else "no points"
        said.append(f"It was handed in late, and earns {left}.")
    if len(entries) > 1:
        which = "the last" if rule.keep == "last" else "the best"
        said.append(
            f"Of {len(entries)} notebooks for this chapter, {which} that can be graded counts: "
            f"{chosen.submission.file}."
        )
    for entry in entries:
        if entry is not chosen and entry.reason:
            said.append(entry.reason)
    return tuple(dict.fromkeys(said))
