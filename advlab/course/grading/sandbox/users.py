"""The user that one submission runs as, where the grader is root."""

from __future__ import annotations

import os
from pathlib import Path

MAP = "/proc/self/{}_map"
# Numbers that no account has, the best first: a container, or a user namespace, has few of them,
# often 65,536. The second are given out by no useradd; the third leave out root and nobody.
ROOMS = (range(200_000, 300_000), range(61_184, 65_520), range(1, 65_534))


def a_user() -> int | None:
    """A uid, and gid, for one submission, where the grader is root and another exists; else None,
    the grader's own. The system counts processes by uid: nobody else should have it."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    for room in ROOMS:
        for uids in _mapped("uid"):
            for gids in _mapped("gid"):
                first = max(room.start, uids.start, gids.start)
                both = range(first, min(room.stop, uids.stop, gids.stop))
                if both:
                    return both[os.getpid() % len(both)]
    return None


def _mapped(kind: str) -> list[range]:
    """The numbers that exist here, from ``/proc/self/uid_map``; all where there is no such file."""
    try:
        lines = Path(MAP.format(kind)).read_text().splitlines()
    except OSError:
        return [range(2**32 - 1)]
    firsts = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    return [range(first, first + count) for first, count in firsts]
