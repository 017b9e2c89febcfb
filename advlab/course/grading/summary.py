"""The content of the teacher's page: numbers of the class, and of each exercise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, median
from typing import Any

from .commonest import Bar, grouped, histogram
from .display import visible
from .gradebook import Gradebook
from .levels import isolated, promises
from .pages import anchor, count, kind, points
from .results import BROKEN, FAILED, GRADED, LIMITS, NO_ANSWER, PASSED, Mark
from .rows import Entry, Row

MOST_GROUPS = 8  # messages shown for one exercise
MOST_NAMES = 40  # students named for one message
MOST_LOOKS = 300  # submissions listed that were not graded to the end
SHORT_NAME = 60  # characters of a name, and
SHORT = 300  # of a message


def content(
    gradebook: Gradebook, links: Mapping[str, str], unmatched: Sequence[str] = ()
) -> dict[str, Any]:
    """What the template ``summary.html`` shows.

    :param gradebook: of the class.
    :param links: each student with the address of the feedback.
    :param unmatched: sentences about students and roster that do not fit together.
    """
    entries = gradebook.entries
    looks = [entry for entry in entries if entry.result.status != GRADED or not entry.chapter]
    possible = {chapter: sum(checks.values()) for chapter, checks in gradebook.points.items()}
    return {
        "tiles": numbers(gradebook),
        "rule": _rule(gradebook),
        "titles": gradebook.titles,
        "total": _total(gradebook),
        "levels": _levels(entries),
        "unmatched": [visible(sentence) for sentence in unmatched],
        "chapters": list(possible),
        "possible": list(possible.values()),
        "rows": [_row(row, links[row.student], possible) for row in gradebook.rows],
        "looks": [_look(entry) for entry in looks[:MOST_LOOKS]],
        "more_looks": max(len(looks) - MOST_LOOKS, 0),
        **_exercises(entry for entry in entries if entry.counts and entry.chapter),
    }


def numbers(gradebook: Gradebook) -> list[tuple[str, str]]:
    """Those of the class: ``[("students", "30"), …]``; how many were late, where that is asked."""
    entries = gradebook.entries
    late = [("late", f"{sum(entry.late for entry in entries)}")] if gradebook.rule.due else []
    statuses = Counter(entry.result.status for entry in entries)
    percents = [gradebook.percent(row) for row in gradebook.rows]
    return [
        ("students", f"{len(gradebook.rows)}"),
        ("submissions", f"{len(entries)}"),
        *late,
        ("notebooks graded", f"{statuses[GRADED]}"),
        ("over a limit", f"{sum(statuses[limit] for limit in LIMITS)}"),
        ("broken", f"{statuses[BROKEN]}"),
        ("not graded", f"{statuses[FAILED]}"),
        ("mean", f"{mean(percents):.0f} %" if percents else "–"),
        ("median", f"{median(percents):.0f} %" if percents else "–"),
    ]


def by_which_times(gradebook: Gradebook) -> str:
    """Where the times are from."""
    return "by --times" if gradebook.timed else "by the files' own times; --times sets others"


def _rule(gradebook: Gradebook) -> str:
    """The rule in force, in sentences."""
    due = gradebook.rule.due
    when = f"Due {due:%Y-%m-%d %H:%M %z}, {by_which_times(gradebook)}. " if due else ""
    said = f"{gradebook.rule}"
    return f"{when}{said[0].upper()}{said[1:]}."


def _total(gradebook: Gradebook) -> dict[str, Any] | None:
    bars = histogram([gradebook.percent(row) for row in gradebook.rows], 100)
    return {"bars": bars, "said": said(bars)} if gradebook.rows else None


def said(bars: Iterable[Bar]) -> str:
    """A histogram in words, for who does not see it."""
    return "; ".join(f"{bar.label}: {count(bar.count, 'student')}" for bar in bars if bar.count)


def _levels(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    found = Counter(entry.result.sandbox for entry in entries if entry.result.sandbox)
    return [
        {
            "name": name,
            "count": number,
            "promises": promises(name).removeprefix("NOT ISOLATED: ").rstrip("."),
            "isolated": isolated(name),
        }
        for name, number in sorted(found.items())
    ]


def _row(row: Row, link: str, chapters: Iterable[str]) -> dict[str, Any]:
    return {
        "student": visible(row.student, SHORT_NAME),
        "link": link,
        "cells": [_cell(row.of(chapter)) for chapter in chapters],
        "total": points(row.earned),
    }


def _cell(entry: Entry | None) -> dict[str, str] | None:
    if entry is None:
        return None
    status = entry.result.status
    return {"earned": points(entry.earned), "stopped": "" if status == GRADED else status}


def _look(entry: Entry) -> dict[str, str]:
    return {
        "student": visible(entry.student, SHORT_NAME),
        "chapter": entry.chapter or "–",
        "file": visible(entry.submission.file, SHORT_NAME),
        "status": entry.result.status,
        "reason": visible(entry.result.reason, SHORT),
    }


def _exercises(counted: Iterable[Entry]) -> dict[str, list]:
    """The exercises, chapter by chapter in the order of the chapter; then the hidden checks."""
    found: dict[str, dict[tuple, list[tuple[str, Mark]]]] = {}
    for entry in counted:
        chapter = found.setdefault(entry.chapter, {})
        for mark in entry.result.marks:
            key = (mark.hidden, _number(mark.id), mark.title)
            chapter.setdefault(key, []).append((entry.student, mark))
    shown = {
        chapter: [_exercise(chapter, *key, marks[key]) for key in sorted(marks)]
        for chapter, marks in sorted(found.items())
    }
    return {
        "exercises": [
            {"chapter": chapter, "anchor": anchor(chapter), "exercises": visible_ones}
            for chapter, every in shown.items()
            if (visible_ones := [one for one in every if not one["hidden"]])
        ],
        "hidden": [one for every in shown.values() for one in every if one["hidden"]],
    }


def _number(id: str) -> tuple:
    return tuple(int(part) if part.isdecimal() else 0 for part in id.split(".")), id


def _exercise(chapter, hidden, number, title, marks) -> dict[str, Any]:
    most = max(mark.points for _, mark in marks)
    bars = histogram([mark.earned for _, mark in marks], most)
    passed = sum(mark.status == PASSED for _, mark in marks)
    groups = grouped((who, mark) for who, mark in marks if mark.status != NO_ANSWER)
    blank = sorted(who for who, mark in marks if mark.status == NO_ANSWER)
    rest = groups[MOST_GROUPS:]
    return {
        "id": number[1],
        "title": title,
        "hidden": hidden,
        "anchor": anchor(f"{chapter} {hidden} {number[1]} {title}"),
        "bars": bars,
        "said": said(bars),
        "count": len(marks),
        "passed": passed,
        "percent": f"{100 * passed / len(marks):.0f}",
        "blank": _students(blank),
        "groups": [
            {
                "status": group.status,
                "kind": kind(group.status),
                "message": visible(group.message, SHORT),
                **_students(group.students),
            }
            for group in groups[:MOST_GROUPS]
        ],
        "more": len(rest),
        "more_students": sum(len(group.students) for group in rest),
    }


def _students(names: Sequence[str]) -> dict[str, Any]:
    return {
        "count": len(names),
        "named": [visible(name, SHORT_NAME) for name in names[:MOST_NAMES]],
        "more": max(len(names) - MOST_NAMES, 0),
    }
