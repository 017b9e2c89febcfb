"""One notebook to grade, and the name under which its result is kept.

``python -m advlab.course.grading.jobs`` grades one job in a process of its own: it reads the job
as one line of JSON, and writes the result as JSON. It ends when its standard input is closed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ... import __version__
from .settings import Limits, Rule, Settings

GRADE = "advlab.course.grading.runner:grade"  # what a child process calls


@dataclass(frozen=True)
class Job:
    """What a process needs to grade one notebook, and nothing else: it opens no file of the class.

    :param student: the name, for messages; a result does not depend on it.
    :param chapter: the name of the teacher's notebook, ``"04-fgsm"``.
    :param teacher: the bytes of the teacher's notebook.
    :param submission: the bytes of the student's notebook.
    :param hidden: the source of the teacher's hidden checks; None: there are none.
    :param settings: with the sandbox by name, and not ``"auto"``.
    """

    student: str
    chapter: str
    teacher: bytes
    submission: bytes
    hidden: bytes | None
    settings: Settings

    def key(self) -> str:
        """A SHA-256 of all that the result depends on, as 64 hexadecimal digits."""
        sha = hashlib.sha256()
        settings = json.dumps(self.settings.affects_marks(), sort_keys=True)
        hidden = b"none" if self.hidden is None else b"some" + self.hidden
        parts = (self.chapter.encode(), self.teacher, self.submission, hidden, settings.encode())
        for part in (version().encode(), *parts):
            sha.update(hashlib.sha256(part).digest())  # of equal length: no part runs into the next
        return sha.hexdigest()

    def to_json(self) -> dict[str, Any]:
        rule = self.settings.rule
        due = rule.due.isoformat() if rule.due else None
        return {
            "student": self.student,
            "chapter": self.chapter,
            "teacher": _text(self.teacher),
            "submission": _text(self.submission),
            "hidden": None if self.hidden is None else _text(self.hidden),
            "settings": asdict(self.settings) | {"rule": asdict(rule) | {"due": due}},
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Job:
        """:raises (KeyError, TypeError, ValueError): what is no job."""
        settings, hidden = found["settings"], found["hidden"]
        rule = settings["rule"]
        due = datetime.fromisoformat(rule["due"]) if rule["due"] else None
        made = {"limits": Limits(**settings["limits"]), "rule": Rule(**rule | {"due": due})}
        return cls(
            found["student"],
            found["chapter"],
            base64.b64decode(found["teacher"]),
            base64.b64decode(found["submission"]),
            None if hidden is None else base64.b64decode(hidden),
            Settings(**settings | made),
        )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@functools.cache
def version() -> str:
    """The version of advlab and a digest of its sources: another grader may judge otherwise."""
    sha, package = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes().replace(b"\r\n", b"\n")  # the same on every system
        sha.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return f"{__version__} ({sha.hexdigest()[:16]})"


def main() -> int:
    """Grade the job on standard input, for who cannot start a process with a pipe to it."""
    from .child import answer

    out = os.fdopen(os.dup(1), "w")  # the only one who writes there
    found = json.loads(sys.stdin.readline())
    out.write(answer(found["job"], found["grade"], sys.stdin.read))
    out.close()
    return 0


if __name__ == "__main__":
    # Not at a normal exit: the thread that waits for the end of the input would be waited for.
    status = main()
    os._exit(status)
