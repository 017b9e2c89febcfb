"""What the name of a submitted file or folder says: whose it is, and of which chapter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 200  # bytes of a name

# The names that Canvas and Moodle give to downloaded submissions.
_CANVAS = re.compile(r"(?P<who>.+?)(?:_LATE)?_(?P<number>\d+)_\d+_(?P<rest>.+)")
_MOODLE = re.compile(
    r"(?P<who>.+)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<rest>.*)"
)
_ANY_CHAPTER = r"\d\d-[a-z]+(?:-[a-z]+)*"


@dataclass(frozen=True)
class Named:
    """What a name says.

    :param student: empty where it says none.
    :param number: of the student or the submission in Canvas or Moodle; empty elsewhere.
    :param chapter: a name of the book's, one of that form that is not in it, or empty.
    """

    student: str
    number: str
    chapter: str


def is_hidden(name: str) -> bool:
    """Files that systems leave behind, and nobody hands in: ``.DS_Store``, ``__MACOSX``, …"""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def wrong_name(name: str) -> str:
    """Why nothing of this name is opened, in a sentence; empty where it may be."""
    if name.startswith("..") or "/" in name or "\\" in name:
        return "its name climbs out of the folder, and is not opened"
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in name):
        return "its name has control characters, and is not opened"
    if any("\ud800" <= c <= "\udfff" for c in name):
        return "its name is not text in UTF-8, and is not opened"
    if len(os.fsencode(name)) > LONGEST:
        return f"its name is longer than {LONGEST} bytes, and is not opened"
    return ""


def from_file(stem: str, chapters: Iterable[str]) -> Named:
    """What a file's name, without its ending, says: ``ada-04-fgsm (1)``."""
    if found := _MOODLE.fullmatch(stem) or _CANVAS.fullmatch(stem):
        return Named(found["who"], found["number"], chapter_in(found["rest"], chapters)[0])
    chapter, start = chapter_in(stem, chapters)
    return Named(stem[:start].rstrip("-_ .") if chapter else stem, "", chapter)


def from_folder(name: str) -> Named:
    """Whose a folder is."""
    found = _MOODLE.fullmatch(name)
    return Named(found["who"], found["number"], "") if found else Named(name, "", "")


def chapter_in(stem: str, chapters: Iterable[str]) -> tuple[str, int]:
    """The chapter that a name holds, and where it starts: ``("04-fgsm", 4)``; else ``("", 0)``."""
    known = {chapter.lower(): chapter for chapter in chapters}
    for pattern in (*map(re.escape, sorted(known, key=len, reverse=True)), _ANY_CHAPTER):
        if found := re.search(rf"(?<![A-Za-z0-9])({pattern})(?![A-Za-z0-9])", stem, re.I):
            said = found[1].lower()
            return known.get(said, said), found.start()
    return "", 0


def students(named: Iterable[Named]) -> dict[Named, str]:
    """What each student is called, and no two the same: two of one name in Canvas or Moodle keep
    their numbers, once more where somebody else is called so."""
    named = set(named)
    numbers: dict[str, set[str]] = {}
    for one in named:
        numbers.setdefault(one.student, set()).add(one.number)
    called: dict[tuple[str, str], str] = {}
    longer = []
    for student, own in numbers.items():
        for number in own:
            if number and len(own) > 1:
                longer.append((student, number))
            else:
                called[student, number] = student
    taken = set(called.values())
    for student, number in sorted(longer):
        name = f"{student}_{number}"
        while name in taken:
            name += f"_{number}"
        taken.add(name)
        called[student, number] = name
    return {one: called[one.student, one.number] for one in named}
