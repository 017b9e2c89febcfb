"""Boxes for the tests of the sandbox, and graders of two kinds: root, and an ordinary user."""

import json
import os
import subprocess
import sys
from pathlib import Path

from advlab.course.grading.sandbox.base import Box, Sandbox
from advlab.course.grading.sandbox.launching import LAUNCH
from advlab.course.grading.settings import Limits

NOBODY = 65534
READABLE = (Path(sys.prefix), Path(sys.base_prefix))
GRADERS = ("root", "ordinary") if os.getuid() == 0 else ("ordinary",)


def as_grader(command: list[str], grader: str) -> list[str]:
    """A command as it runs when this grader starts it. An ordinary one is, for a test that root
    runs, a process of another user that may read past file modes, as the interpreter may lie in
    root's home; nothing more."""
    if grader == "root" or os.getuid() != 0:
        return command
    options = json.dumps({"user": NOBODY, "reads_all": True})
    return [sys.executable, "-I", "-S", str(LAUNCH), options, "--", *command]


def make_box(folder: Path, grader: str, **more) -> Box:
    """A box; the sandbox's user differs from the grader only where that is root."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder / "r" / "scratch")}
    defaults = {"limits": Limits(), "readable": READABLE, "environment": environment}
    user = NOBODY if grader == "root" else None
    return Box(folder / "r", user=user, **defaults | more)


def command(sandbox: Sandbox, box: Box, grader: str, argv: list[str]) -> list[str]:
    """The whole command; the folders are made, and are the grader's."""
    sandbox.prepare(box)
    if grader == "ordinary" and os.getuid() == 0:
        for path in (box.run, *box.run.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        # Whoever is not root does not change the user: the options are those of an ordinary one.
    return as_grader(sandbox.command(argv, box), grader)


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def run(sandbox, box, grader, code, timeout=60) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(sandbox, box, grader, python(code)),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
