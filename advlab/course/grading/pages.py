"""What the pages of feedback and of the summary share: the templates, and words for a mark."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .clean import count
from .display import highlighted, visible
from .results import LIMITS, NO_ANSWER, NOT_RUN, NOT_YET, PASSED, Result
from .rows import Entry

LONGEST_NAME = 60  # characters of a file's name, before its hash

# The icon and the color of a status; all others, a limit or a crash, are a stop sign.
_KINDS = {PASSED: "passed", NOT_YET: "not-yet", NO_ANSWER: "no-answer", NOT_RUN: "not-run"}
_TAKEN = re.compile(
    r"(?i)(con|prn|aux|nul|(com|lpt)\d)(\..*)?|index.*|.*-([0-9a-f]{8}|[0-9a-f]{64})"
)


def render(template: str, **content: Any) -> str:
    """A page. A name that the template asks for and does not get is an error, never a gap."""
    return _environment().get_template(template).render(content)


@functools.cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("advlab.course.grading"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "points": points,
        "count": count,
        "worth": worth,
        "moment": moment,
        "highlighted": highlighted,
    }
    return found


def _finalize(value: Any) -> Any:
    # Runs on every {{ value }} before it is escaped, so that no template can forget it. What has
    # __html__ is HTML that we made: a macro's, or highlighted code.
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def kind(status: str) -> str:
    """The icon and color of a mark's status."""
    return _KINDS.get(status, "stopped")


def points(value: float) -> str:
    """Points without needless digits: 2, 2.5, 0.33."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def worth(value: float) -> str:
    """``1 point``, ``2.5 points``."""
    return f"{points(value)} point{'' if value == 1 else 's'}"


def reduced(entry: Entry) -> str:
    """What being late left of its points: ``8 points, late: 50 %``; empty where it cost nothing."""
    if entry.share == 1:
        return ""
    return f"{worth(entry.result.earned)}, late: {100 * entry.share:.0f} %"


def beyond(result: Result) -> str:
    """What its reason says beyond its status: the reason of a limit begins with the limit's name,
    which stands before it on a page."""
    if result.status in LIMITS and result.reason.startswith(result.status):
        return result.reason.removeprefix(result.status).lstrip(": ")
    return result.reason


def moment(time: datetime) -> str:
    """A time with its zone: ``2026-10-30 18:00 UTC+01:00``."""
    return f"{time:%Y-%m-%d %H:%M} {timezone(time.utcoffset())}"


def anchor(text: str) -> str:
    """An id for a heading, the same at each run: letters, digits and hyphens."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"h-{_slug(text)}-{digest}"


def file_names(students: Iterable[str]) -> dict[str, str]:
    """A file's name for each student, readable, safe on every system, and no two alike.

    Letters, digits, hyphens, underscores and points stay. A name that loses something that way,
    its case included (for many systems ``Ann`` and ``ann`` are one file), gets a short hash of the
    whole: ``ann-1f2e3d4c.html``.
    """
    students = sorted(set(students))
    short = {student: _file_name(student, 8) for student in students}
    often = Counter(short.values())
    # Somebody may have chosen a name for its hash: then the whole hash tells them apart.
    return {
        student: (name if often[name] == 1 else _file_name(student, 64)) + ".html"
        for student, name in short.items()
    }


def _file_name(student: str, digits: int) -> str:
    slug = _slug(student)
    if slug and slug == student and digits == 8 and not _TAKEN.fullmatch(slug):
        return slug
    digest = hashlib.sha256(student.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{slug or 'student'}-{digest}"


def _slug(text: str) -> str:
    text = (
        unicodedata.normalize("NFKD", text[: 4 * LONGEST_NAME]).encode("ascii", "ignore").decode()
    )
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")[:LONGEST_NAME].rstrip("-._")
