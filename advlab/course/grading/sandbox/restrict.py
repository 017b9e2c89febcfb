"""What the process that becomes the command does to itself: limits, user, Landlock, seccomp. Used
by ``launch.py`` with nothing but the standard library on the path."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from contextlib import suppress

import rules
import seccomp

NICE = 5  # the grader and its watchdog come first
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 38, 24, 47
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
CAP_DAC_READ_SEARCH, LAST_CAP = 2, 63
CAPABILITY_VERSION_3 = 0x20080522


def _threads_of(uid: int) -> int:
    """Processes and threads that a user has on this machine."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def _set(kind: int, value: int) -> None:
    """Lower a limit for good. What the grader keeps to, and may raise, does not bind it."""
    most = resource.getrlimit(kind)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, value))


def limit(options: dict) -> None:
    """The limits that a process can carry: of each process, not of all together. Those of all
    together are the watchdog's; these are nets below it."""
    os.nice(NICE)
    wanted = dict(options.get("resources", {}))
    processes = wanted.pop("nproc", None)
    for name, value in wanted.items():
        _set(getattr(resource, f"RLIMIT_{name.upper()}"), value)
    if sys.platform != "linux":
        return
    # Should the whole machine run out of memory, this goes first, and not the grader.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    if processes is not None:
        # The system counts all processes of the user, other submissions' too: this only stops
        # what grows faster than the watchdog looks.
        user = options.get("user")
        others = _threads_of(os.getuid() if user is None else user)
        room = max(4, os.cpu_count() or 1) * processes
        _set(resource.RLIMIT_NPROC, others + room)


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}{arguments}: {os.strerror(code)}")


def _bound(mask: int) -> None:
    """These capabilities are all that this process and its children may ever have."""
    for capability in range(LAST_CAP + 1):
        if not mask >> capability & 1:
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def _hold(mask: int) -> None:
    """Have these capabilities, and no other."""
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _call("capset", header, struct.pack("6I", mask, mask, mask, 0, 0, 0))


def change_user(options: dict) -> None:
    """Become the user, for good. With ``reads_all`` the right to read past file modes is kept:
    what may be read is then Landlock's to say. Root who can become nobody else, as in a user
    namespace with one user, stays and keeps no capability."""
    user = options.get("user")
    if os.getuid() != 0:
        return
    if user is None:
        if sys.platform == "linux":
            _bound(0)
            _hold(0)
        return
    if os.path.exists(options.get("connection", "")):
        os.chown(options["connection"], 0, user)
        os.chmod(options["connection"], 0o640)
    keep = bool(options.get("reads_all")) and sys.platform == "linux"
    if keep:
        # access() would otherwise forget the right for all users but root.
        _call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        _bound(1 << CAP_DAC_READ_SEARCH)
    os.setgroups([])
    os.setresgid(user, user, user) if hasattr(os, "setresgid") else os.setgid(user)
    os.setresuid(user, user, user) if hasattr(os, "setresuid") else os.setuid(user)
    if keep:
        _hold(1 << CAP_DAC_READ_SEARCH)
        _call("prctl", PR_CAP_AMBIENT, 2, CAP_DAC_READ_SEARCH, 0, 0)


def give_up(options: dict) -> None:
    """No new privileges, then Landlock, then the filter of system calls."""
    if sys.platform != "linux":
        return
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    abi = 0
    if "landlock" in options:
        abi = rules.apply(**options["landlock"])
    if options.get("seccomp"):
        seccomp.apply(abi)
