"""One notebook to grade, and the name under which its result is kept."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__
from .answers import Answers
from .results import Result
from .settings import Limits, Settings

GRADE = "advlab.course.grading.runner:grade"  # what a child process calls

Finished = tuple[str, Result]  # a key and its result


@dataclass(frozen=True)
class Job:
    """What a process needs to grade one notebook, and nothing else: it opens no file of the class.

    :param chapter: the name of the teacher's notebook, ``"04-fgsm"``.
    :param teacher: the bytes of a notebook with all that running the teacher's depends on:
        :attr:`~advlab.course.grading.grafting.Chapter.code`.
    :param answers: the student's.
    :param hidden: the source of the teacher's hidden checks; None: there are none.
    :param settings: with the sandbox by name, and not ``"auto"``.
    """

    chapter: str
    teacher: bytes
    answers: Answers
    hidden: bytes | None
    settings: Settings

    def key(self) -> str:
        """A SHA-256 of all that the result depends on, as 64 hexadecimal digits."""
        return self._key

    @functools.cached_property
    def _key(self) -> str:
        sha = hashlib.sha256()
        answers = json.dumps(self.answers.to_json(), sort_keys=True)
        settings = json.dumps(self.settings.without_rule(), sort_keys=True)
        hidden = b"none" if self.hidden is None else b"some" + self.hidden
        parts = (self.chapter.encode(), self.teacher, answers.encode(), hidden, settings.encode())
        for part in (version().encode(), *parts):
            sha.update(hashlib.sha256(part).digest())  # of equal length: no part runs into the next
        return sha.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """All but the rule for late and repeated submissions, which is applied afterwards."""
        return {
            "chapter": self.chapter,
            "teacher": _text(self.teacher),
            "answers": self.answers.to_json(),
            "hidden": None if self.hidden is None else _text(self.hidden),
            "settings": self.settings.without_rule(),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Job:
        """:raises (KeyError, TypeError, ValueError): what is no job."""
        settings, hidden = found["settings"], found["hidden"]
        return cls(
            found["chapter"],
            base64.b64decode(found["teacher"]),
            Answers.from_json(found["answers"]),
            None if hidden is None else base64.b64decode(hidden),
            Settings(**settings | {"limits": Limits(**settings["limits"])}),
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
