"""The content of the teacher's page: numbers of the class, and of each exercise."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import mean, median
from typing import Any

from .clean import alphabetical
from .commonest import Bar, grouped, histogram
from .display import visible
from .gradebook import Gradebook
from .levels import isolated, promises
from .pages import anchor, beyond, kind, moment, points, reduced
from .results import BROKEN, FAILED, GRADED, LIMITS, NO_ANSWER, PASSED, Mark
from .rows import Entry, Row

MOST_GROUPS = 8  # messages shown for one exercise
MOST_NAMES = 40  # students named for one message
MOST_LOOKS = 300  # submissions listed that were not graded to the end
MOST_SAME = 100  # groups of equal answers
SHORT_NAME = 60  # characters of a name, and
SHORT = 300  # of a message


def content(
    gradebook: Gradebook,
    links: Mapping[str, str],
    unmatched: Sequence[str] = (),
    *,
    made: datetime,
) -> dict[str, Any]:
    """What the template ``summary.html`` shows.

    :param gradebook: of the class.
    :param links: each student with the address of the feedback.
    :param unmatched: sentences about students and roster that do not fit together.
    :param made: when the page was made.
    """
    entries = gradebook.entries
    looks = [entry for entry in entries if entry.result.status != GRADED or not entry.chapter]
    same = _same(entries)
    worth = gradebook.worth
    rows = [_row(row, links[row.student], worth) for row in gradebook.rows]
    cells = [cell for row in rows for cell in row["cells"] if cell]
    return {
        "made": made,
        "tiles": numbers(gradebook),
        "rule": _rule(gradebook),
        "titles": gradebook.titles,
        "total": _total(gradebook),
        "levels": _levels(entries),
        "unmatched": [visible(sentence) for sentence in unmatched],
        "chapters": _headers(worth),
        "possible": list(worth.values()),
        "rows": rows,
        "flags": {kind for kind in ("stopped", "late") for cell in cells if cell[kind]},
        "looks": [_look(entry) for entry in looks[:MOST_LOOKS]],
        "more_looks": max(len(looks) - MOST_LOOKS, 0),
        "same": same[:MOST_SAME],
        "more_same": max(len(same) - MOST_SAME, 0),
        **_exercises(gradebook),
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
    whence = (
        "taken from the list of times that you gave"
        if gradebook.timed
        else "the time at which its file was last changed"
    )
    when = f"Due {moment(due)}. When a notebook was handed in is {whence}. " if due else ""
    said = f"{gradebook.rule}"
    return f"{when}{said[0].upper()}{said[1:]}."


def _total(gradebook: Gradebook) -> list[Bar]:
    return histogram([gradebook.percent(row) for row in gradebook.rows], 100, " %")


def _headers(chapters: Iterable[str]) -> list[dict[str, str]]:
    """The columns of the table: by their numbers, where each chapter has one of its own."""
    names = list(chapters)
    found = [re.match(r"0*(\d+)(?!\d)", name) for name in names]
    short = [match[1] if match else "" for match in found]
    if "" in short or len(set(short)) < len(short):
        short = names
    return [{"short": s, "name": name} for s, name in zip(short, names, strict=True)]


def _same(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Students who handed in the same answers in all of a chapter, released cells aside."""
    found: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        answers = entry.submission.answers
        if answers is not None and answers.sources:
            key = (entry.chapter, json.dumps(answers.to_json(), sort_keys=True))
            found.setdefault(key, set()).add(entry.student)
    groups = [
        (chapter, len(json.loads(answers)["sources"]), sorted(who, key=alphabetical))
        for (chapter, answers), who in found.items()
        if len(who) > 1
    ]
    groups.sort(key=lambda group: (group[0], -group[1], alphabetical(group[2][0])))
    return [{"chapter": name, "answers": n, **_students(who)} for name, n, who in groups]


def _levels(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    found = Counter(entry.result.sandbox for entry in entries if entry.result.sandbox)
    return [
        {
            "name": name,
            "count": number,
            "promises": promises(name).rstrip("."),
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
    return {
        "earned": points(entry.earned),
        "stopped": "" if status == GRADED else status,
        "late": reduced(entry) or "late" if entry.late else "",
    }


def _look(entry: Entry) -> dict[str, str]:
    return {
        "student": visible(entry.student, SHORT_NAME),
        "chapter": entry.chapter or "–",
        "file": visible(entry.submission.file, SHORT_NAME),
        "status": entry.result.status,
        "reason": visible(beyond(entry.result), SHORT),
    }


def _exercises(gradebook: Gradebook) -> dict[str, list]:
    """The exercises, chapter by chapter in the order of the chapter; then the hidden checks."""
    found: dict[str, dict[tuple, list[tuple[str, Mark]]]] = {}
    handed_in: Counter[str] = Counter()
    for entry in (one for row in gradebook.rows for one in row.counted if one.chapter):
        handed_in[entry.chapter] += 1
        chapter = found.setdefault(entry.chapter, {})
        for mark in entry.result.marks:
            key = (mark.hidden, _number(mark.id), mark.title)
            chapter.setdefault(key, []).append((entry.student, mark))
    shown = {
        chapter: [
            _exercise(chapter, *key, marks[key])
            | {
                "ungraded": max(handed_in[chapter] - len(marks[key]), 0),
                "absent": len(gradebook.rows) - handed_in[chapter],
            }
            for key in sorted(marks)
        ]
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
    passed = sum(mark.status == PASSED for _, mark in marks)
    groups = grouped((who, mark) for who, mark in marks if mark.status != NO_ANSWER)
    blank = sorted((who for who, mark in marks if mark.status == NO_ANSWER), key=alphabetical)
    rest = groups[MOST_GROUPS:]
    return {
        "id": number[1],
        "title": title,
        "hidden": hidden,
        "bars": histogram([mark.earned for _, mark in marks], most),
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
