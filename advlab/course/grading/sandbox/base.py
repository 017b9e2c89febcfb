"""What every sandbox level is: a way to start a command so that it reaches little."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..settings import Limits


@dataclass(frozen=True)
class Box:
    """What one sandbox needs to know. Paths are the same inside and outside.

    :param run: a private folder of this one submission, with a short path: ``scratch/`` in it is
        the kernel's working folder and home, and all that it may write besides ``s/``, where it
        makes its sockets; ``c/kernel.json`` is the connection file, which it may only read.
    :param limits: of the submission.
    :param readable: files and folders that the kernel may read: the interpreter, the packages.
    :param hidden: folders inside those that it must not see (they appear empty, or not at all).
    :param given: files that lie in ``scratch/`` from the start: path there → file to take.
    :param environment: all environment variables of the kernel.
    :param user: the uid and gid to run as, where the grader is root; None: the grader's own.
    """

    run: Path
    limits: Limits
    readable: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()
    given: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None

    @property
    def scratch(self) -> Path:
        return self.run / "scratch"

    @property
    def sockets(self) -> Path:
        return self.run / "s"

    @property
    def connection(self) -> Path:
        return self.run / "c" / "kernel.json"


class Sandbox(ABC):
    """A level. ``name`` stands in the report; ``promises`` is what it keeps from the student's
    code, in a sentence; ``isolated`` is False where it keeps nothing but the limits."""

    name: str
    promises: str
    isolated: bool = True

    @abstractmethod
    def unavailable(self) -> str:
        """Why it does not work on this machine, in a sentence; empty where it does. It is tried,
        not guessed: something small is run inside. The answer is remembered."""

    @abstractmethod
    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        """The command that runs ``argv`` inside, in ``box.scratch``, with ``box.environment`` and
        no other variables. It lives until ``argv`` ends; when it is killed, or its parent dies,
        everything inside dies too."""

    @abstractmethod
    def prepare(self, box: Box) -> None:
        """Make the folders of ``box.run`` as this level needs them (owner, modes, files given).
        Called once, before the command starts; ``c/kernel.json`` is written later, by the
        grader."""
