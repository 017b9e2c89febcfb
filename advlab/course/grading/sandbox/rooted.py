"""What the levels with a root of their own share."""

from __future__ import annotations

from . import tools
from .base import Box, Sandbox


class Rooted(Sandbox):
    """A new root with nothing in it but what the box names: what it reads is read-only, what it
    writes is kept in memory and bounded."""

    promises = (
        "sees the interpreter, the packages and the system's programs, read-only, and no other "
        "file, process or network; writes to its own folder and /tmp, up to the limit, and to "
        "the folder of its sockets"
    )

    def prepare(self, box: Box) -> None:
        tools.prepare(box)
