"""What a sandbox level of this name promises, also where it does not work on this machine."""

from __future__ import annotations

from . import sandbox


def _level(name: str) -> sandbox.Sandbox | None:
    try:
        return sandbox.named(name)
    except ValueError:  # nobody knows it
        return None


def promises(name: str) -> str:
    """What it keeps from a student's code; empty for a level that nobody knows."""
    level = _level(name)
    return level.promises if level else ""


def isolated(name: str) -> bool:
    """Whether it keeps anything but the limits. Of an unknown level nothing is promised."""
    level = _level(name)
    return bool(level and level.isolated)
