"""Where a student's code runs: levels of isolation, the strongest available chosen."""

from __future__ import annotations

from importlib import import_module

from .base import Box, Sandbox

# The strongest first. A container is a choice, never taken unasked: it needs an image.
LEVELS = ("bubblewrap", "unshare", "landlock", "plain")
ENGINES = ("docker", "podman")

__all__ = ["ENGINES", "LEVELS", "Box", "Sandbox", "choose", "named", "passed_over"]


def choose(name: str = "auto", image: str = "") -> Sandbox:
    """The level called ``name``, or the strongest one that works on this machine.

    :param name: ``"auto"``, one of ``LEVELS``, or an engine, ``"docker"`` or ``"podman"``.
    :param image: of the container; for an engine only.
    :raises ValueError: an unknown name; a level that does not work here, with the reason.
    """
    if name == "auto":
        return next(level for level in map(named, LEVELS) if not level.unavailable())
    level = named(name, image)
    if why := level.unavailable():
        raise ValueError(
            f"sandbox {name!r} is not available: {why}. Mend that, or choose 'auto', "
            f"which takes {choose().name!r} here"
        )
    return level


def named(name: str, image: str = "") -> Sandbox:
    """The level called ``name``, untried: for a process whose parent chose it.

    :raises ValueError: an unknown name.
    """
    if name in ENGINES:
        return import_module(f"{__name__}.container").Container(name, image)
    if name in LEVELS:
        return getattr(import_module(f"{__name__}.{name}"), name.capitalize())()
    known = ", ".join(("auto", *LEVELS, *ENGINES))
    raise ValueError(f"sandbox: expected one of {known}; found {name!r}")


def passed_over(level: Sandbox) -> dict[str, str]:
    """The levels stronger than this one, each with the reason why it does not work here."""
    stronger = LEVELS[: LEVELS.index(level.name)] if level.name in LEVELS else ()
    return {name: named(name).unavailable() for name in stronger}
