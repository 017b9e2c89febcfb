"""Landlock and seccomp: a box that needs neither root nor any package, but Linux 5.13."""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Sequence

from . import rules, seccomp, tools
from .base import Box, Sandbox
from .launching import launched, make_folders

# What programs read to start at all: code, and how names, fonts and times are written here.
SYSTEM = (
    *("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/fonts", "/etc/mime.types"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/os-release"),
    *("/sys/devices/system/cpu", "/dev/urandom", "/dev/random", "/dev/zero"),
    # Of the processes only itself, by the number it has when it starts: not those of others.
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat"),
)
DEVICES = ("/dev/null",)
TRIAL = """
import sys
try:
    open(sys.argv[1])
except PermissionError:
    print("works")
else:
    sys.exit("a file outside could be read")
"""


class Landlock(Sandbox):
    """See :mod:`advlab.course.grading.sandbox.rules` and
    :mod:`advlab.course.grading.sandbox.seccomp` for what is taken away.

    :param abi: use at most this version of Landlock; None: the newest there is.
    """

    name = "landlock"
    promises = (
        "reads only the interpreter, its packages and the system's programs; writes only its own "
        "folder; no network, no connection to any socket; no signals to others, no look into "
        "them. It can still see whether a file exists, how large it is, and that other processes "
        "run."
    )

    def __init__(self, abi: int | None = None):
        self.abi = abi

    def unavailable(self) -> str:
        return _unavailable(self.abi)

    def prepare(self, box: Box) -> None:
        make_folders(box)

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        readable = [*SYSTEM, *box.readable, box.connection]
        private = {"TMPDIR": str(box.scratch / "tmp")}
        return launched(
            argv,
            box,
            environment={**box.environment, **private},
            seccomp=True,
            landlock={
                "readable": [str(path) for path in readable],
                "writable": [str(box.scratch), str(box.sockets)],
                "hidden": [str(path) for path in box.hidden],
                "devices": list(DEVICES),
                "abi": self.abi,
            },
        )


@functools.cache
def _unavailable(abi: int | None) -> str:
    if sys.platform != "linux":
        return f"it needs Linux, and this is {platform.system()}"
    if platform.machine() not in seccomp.ARCHITECTURES:
        return f"no filter of system calls is written for {platform.machine()}"
    if rules.version() < 1:
        return "this kernel has no Landlock: it is older than Linux 5.13, or has it turned off"
    wrong = tools.trial(Landlock(abi), TRIAL)
    return wrong and f"trying it failed: {wrong}"
