"""Landlock by system calls: a process takes from itself all files but those on a list. Used by
``launch.py`` with nothing but the standard library on the path.

What each version of the kernel's interface adds: 1 (Linux 5.13) files and folders; 2 moving files
between folders; 3 (6.2) truncation; 4 (6.7) TCP; 5 ioctl on devices; 6 (6.12) signals and abstract
sockets to processes outside; 7 the log of refusals, which is off for us."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable, Iterator

CREATE, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on all machines
NEWEST = 7

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR
BOTH_TCP = 0b11
BOTH_SCOPES = 0b11


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(ctypes.c_long(number), *arguments)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return found


def version() -> int:
    """The newest version that this kernel and we know; 0 where Landlock is missing or off."""
    try:
        return min(_syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)), NEWEST)
    except (OSError, AttributeError, TypeError):
        return 0


def handled(abi: int) -> int:
    """The file rights that a version knows; all of them are taken away."""
    return (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1


def without(path: str, hidden: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The rules for reading ``path`` but not what is hidden in it: Landlock only allows, so that
    a folder with something hidden is allowed child by child. The folder itself may be listed, and
    with it, as a rule reaches down, the names in the hidden one; no file there may be read."""
    path = os.path.realpath(path)
    inside = [one for one in hidden if one == path or one.startswith(path.rstrip("/") + "/")]
    if path in inside:
        return
    if not inside:
        yield path, READ
        return
    yield path, READ_DIR
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_symlink():  # where it leads is allowed by its own name, or not
                yield from without(entry.path, inside)


def apply(
    readable: Iterable[str] = (),
    writable: Iterable[str] = (),
    hidden: Iterable[str] = (),
    devices: Iterable[str] = (),
    abi: int | None = None,
) -> int:
    """Restrict this process and all its children for good. Paths that do not exist are left out.

    :param readable: files and folders to read and execute.
    :param writable: folders to write, and make files, folders, sockets and links in.
    :param hidden: what lies in a readable folder and may not be read.
    :param devices: files to read and write, as ``/dev/null``.
    :param abi: use at most this version.
    :returns: the version used.
    :raises OSError: there is no Landlock.
    """
    abi = min(version(), NEWEST if abi is None else abi)
    every = handled(abi)
    fields = [every, BOTH_TCP, BOTH_SCOPES][: 1 if abi < 4 else 2 if abi < 6 else 3]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _syscall(CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))

    hidden = [os.path.realpath(one) for one in hidden]
    wanted = [rule for path in readable for rule in without(path, hidden)]
    wanted += [(path, every & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)) for path in writable]
    wanted += [(path, READ_FILE | WRITE_FILE | TRUNCATE) for path in devices]
    for path, rights in wanted:
        try:
            where = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this machine
        try:
            if not stat.S_ISDIR(os.fstat(where).st_mode):
                rights &= OF_FILES
            rule = struct.pack("=Qi", rights & every, where)
            _syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
        finally:
            os.close(where)
    _syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
    return abi
