"""What a sandbox level of this name promises, also where it does not work on this machine."""

from __future__ import annotations

import functools
from importlib import import_module

from . import sandbox


@functools.cache
def _level(name: str) -> type[sandbox.Sandbox] | None:
    if name in sandbox.ENGINES:
        return import_module(f"{sandbox.__name__}.container").Container
    if name in sandbox.LEVELS:
        return getattr(import_module(f"{sandbox.__name__}.{name}"), name.capitalize())
    return None


def promises(name: str) -> str:
    """What it keeps from a student's code; empty for a level that nobody knows."""
    level = _level(name)
    return level.promises if level else ""


def isolated(name: str) -> bool:
    """Whether it keeps anything but the limits. Of an unknown level nothing is promised."""
    level = _level(name)
    return bool(level and level.isolated)
