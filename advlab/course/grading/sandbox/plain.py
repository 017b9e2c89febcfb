"""No isolation: limits and a watchdog only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .base import Box, Sandbox
from .launching import launched, make_folders


class Plain(Sandbox):
    """Everything that the grader may do, the student's code may do."""

    name = "plain"
    isolated = False
    promises = (
        "the student's code can read, write and send whatever the grader can. Only the limits are "
        "kept. Grade nothing here that you would not run yourself."
    )

    def unavailable(self) -> str:
        return ""

    def prepare(self, box: Box) -> None:
        make_folders(box)

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        private = {"TMPDIR": str(box.scratch / "tmp")}
        if os.name == "posix":
            return launched(argv, box, environment={**box.environment, **private})
        # Windows: no limits of a process, no keeper; the watchdog finds who is left.
        private |= {"TEMP": private["TMPDIR"], "TMP": private["TMPDIR"]}
        start = (
            "import os, subprocess, sys; "
            f"sys.exit(subprocess.call({list(argv)!r}, cwd={str(box.scratch)!r}, "
            f"env={{**{dict(box.environment)!r}, **{private!r}}}))"
        )
        return [sys.executable, "-I", "-S", "-c", start]
