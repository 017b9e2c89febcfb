"""What the levels without a root of their own share: folders, and the start by
:mod:`advlab.course.grading.sandbox.launch`."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import tools
from .base import Box

LAUNCH = Path(__file__).with_name("launch.py")


def make_folders(box: Box) -> None:
    """The folders of a run: scratch and sockets belong to the one who runs the code, everything
    else to the grader."""
    for folder in (box.run, box.connection.parent, box.scratch, box.scratch / "tmp", box.sockets):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # another user may pass, whatever our umask, and not look around
    for name, source in box.given.items():
        target = box.scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for folder in (box.scratch, box.sockets):
        folder.chmod(0o700)
    if box.user is not None and os.name == "posix" and os.getuid() == 0:
        for top in (box.scratch, box.sockets):
            for path in (top, *top.rglob("*")):
                os.chown(path, box.user, box.user, follow_symlinks=False)


def open_to_all(path: Path) -> bool:
    """Whether another user gets to ``path``: each folder above lets everybody through."""
    try:
        modes = [one.stat().st_mode for one in Path(os.path.realpath(path)).parents]
        mode = path.stat().st_mode
    except OSError:
        return False
    return all(one & stat.S_IXOTH for one in modes) and bool(mode & stat.S_IROTH)


def launched(
    argv: Sequence[str], box: Box, environment: Mapping[str, str], **restrictions: object
) -> list[str]:
    """``argv`` started in the box's folder, as its user, with its limits."""
    options: dict[str, object] = {
        "folder": str(box.scratch),
        "environment": dict(environment),
        "resources": tools.resources(box.limits),
        **restrictions,
    }
    if box.user is not None and os.getuid() == 0:
        options["user"] = box.user
        options["connection"] = str(box.connection)
        program = shutil.which(argv[0]) or argv[0]
        # As root the interpreter often lies in a home that nobody else may enter.
        needed = (Path(program), *box.readable, box.run.parent)
        options["reads_all"] = not all(open_to_all(path) for path in needed)
    return [sys.executable, "-I", "-S", str(LAUNCH), json.dumps(options), "--", *argv]
