"""What the levels share: the system's folders, the folders of a box, limits, and the trial run."""

from __future__ import annotations

import base64
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from .. import temporary
from ..settings import Limits
from . import rules, seccomp
from .base import Box, Sandbox
from .users import a_user

# All that a Python needs of the system. Of /etc no more than this: no users, no host names.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/libx32", "/lib64")
ETC = ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/alternatives")
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


def tool(name: str) -> str:
    """The path of a program of the system; empty where there is none."""
    return shutil.which(name, path=PATH) or ""


def system() -> list[Path]:
    """The system's files and folders that there are on this machine."""
    return [Path(path) for path in SYSTEM + ETC if os.path.lexists(path)]


def view(box: Box) -> list[tuple[Path, bool]]:
    """The box's readable paths, and with True the hidden ones, shallow before deep: a folder may
    be hidden inside a readable one, and the other way around."""
    paths = dict.fromkeys(box.readable, False)
    paths |= {path: True for path in box.hidden if path.exists()}
    return sorted(paths.items(), key=lambda item: len(item[0].parts))


def below(top: Path, path: Path) -> list[Path]:
    """The folders on the way from ``top`` down to ``path``, without both."""
    return [parent for parent in reversed(path.parents) if top in parent.parents]


def prepare(box: Box) -> None:
    """Make the folders of ``box.run``. The uid inside owns what it writes to, and the grader the
    rest; an empty connection file keeps its place until the grader writes it."""
    owner = os.getuid() if box.user is None else box.user
    group = os.getgid() if box.user is None else box.user
    modes = {box.scratch: 0o755, box.connection.parent: 0o755, box.sockets: 0o700}
    for folder, mode in modes.items():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    os.chown(box.sockets, owner, group)
    box.connection.touch(mode=0o600)
    for name, source in box.given.items():
        copy = box.scratch / name
        if not copy.resolve().is_relative_to(box.scratch.resolve()):
            raise ValueError(f"a given file must lie in the scratch folder, found {name!r}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        copy.chmod(0o644)


def inner(box: Box) -> list[str]:
    """What runs first inside: programs that each take something away and become the next one."""
    return [*_drop(box.user), *_filter(), *environment(box), *_prlimit(box.limits)]


def environment(box: Box) -> list[str]:
    """``env`` and its arguments: the variables of the box and no other, in its scratch folder."""
    pairs = [f"{name}={value}" for name, value in box.environment.items()]
    return [tool("env"), f"--chdir={box.scratch}", "-i", *pairs]


def resources(limits: Limits) -> dict[str, int]:
    """Resource limits by name, of those that this system has and no higher than the grader's own.
    Each holds for one process, except the number of processes: that is counted for the uid (in its
    user namespace). There is no limit on the address space, of which torch reserves much; the one
    on data is a backstop."""
    import resource  # not on Windows

    wanted = {
        "core": 0,
        "cpu": math.ceil(limits.cpu) + 1,
        "data": 2 * limits.memory,
        "fsize": limits.file,
        "memlock": 2**16,
        "msgqueue": 0,
        "nice": 0,
        "nofile": 256,  # a kernel with torch and two pools of eight workers has 94
        "nproc": limits.processes,
        "rtprio": 0,
        "sigpending": 1024,
    }
    found = {}
    for name, value in wanted.items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            found[name] = int(value if hard == resource.RLIM_INFINITY else min(value, hard))
    return found


def _prlimit(limits: Limits) -> list[str]:
    """``prlimit`` and its arguments."""
    pairs = resources(limits).items()
    return [tool("prlimit"), *(f"--{name}={value}:{value}" for name, value in pairs)]


def _drop(user: int | None) -> list[str]:
    """``setpriv`` and its arguments: another uid where there is one, and nothing to regain."""
    identity = [] if user is None else [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    nothing = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    return [tool("setpriv"), *identity, *nothing]


# Python for a small program: ctypes reaches prctl, and bubblewrap is not everywhere.
FILTER = """
import base64, ctypes, os, struct, sys
code = base64.b64decode(sys.argv[1])
steps = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(steps))
if ctypes.CDLL(None).prctl(22, 2, program, 0, 0):
    sys.exit("the filter of system calls was refused")
os.execv(sys.argv[2], sys.argv[2:])
"""


def filter_code() -> str:
    """The filter of system calls of the Landlock level, so that a student's code finds the same
    ones everywhere, and no user namespace: in one it would be its own root. In base64; empty for a
    machine that none is written for."""
    machine = platform.machine()
    if machine not in seccomp.ARCHITECTURES:
        return ""
    return base64.b64encode(seccomp.program(machine, rules.NEWEST, 0)).decode()


def _filter() -> list[str]:
    code = filter_code()
    return [sys.executable, "-I", "-S", "-c", FILTER, code] if code else []


def missing(*names: str) -> str:
    """A sentence on the programs of the system that are not there; empty where all are."""
    absent = [name for name in names if not tool(name)]
    return f"{' and '.join(absent)} not found" if absent else ""


def interpreter() -> tuple[Path, ...]:
    """The folders that the Python of this process needs."""
    return tuple(sorted({Path(sys.prefix), Path(sys.base_prefix)}))


# A thread, as every kernel starts some, and a file in the scratch folder.
TRIAL = (
    "import threading; t = threading.Thread(target=lambda: open('t', 'w').write('works'));"
    "t.start(); t.join(); print(open('t').read())"
)


def trial(sandbox: Sandbox, script: str = TRIAL) -> str:
    """Run something small inside. What went wrong, in the words of the programs; empty: nothing.

    :param script: in Python; prints ``works``. Its argument is a file outside, that file modes
        alone would let everybody read.
    """
    # A second time before a level is given up for a weaker one: a busy machine passes.
    return _trial(sandbox, script) and _trial(sandbox, script)


def _trial(sandbox: Sandbox, script: str) -> str:
    try:
        with temporary.folder() as folder:
            folder.chmod(0o755)
            outside = folder / "outside"
            outside.touch()
            outside.chmod(0o644)
            run = folder.resolve() / "r"
            box = Box(run, Limits(), interpreter(), environment={"HOME": str(run)}, user=a_user())
            sandbox.prepare(box)
            command = sandbox.command([sys.executable, "-c", script, str(outside)], box)
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0 and done.stdout.strip() == "works":
        return ""
    return " ".join(done.stderr.split())[-300:] or f"it ended with status {done.returncode}"


def user_namespaces() -> str:
    """What to do where an ordinary user may make no user namespace."""
    if Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists():
        return (
            "an AppArmor rule of this system (Ubuntu has it) may forbid user namespaces: give the "
            "program a profile that allows userns, set the kernel setting "
            "kernel.apparmor_restrict_unprivileged_userns to 0, or grade as root"
        )
    return (
        "this system or container may forbid user namespaces (kernel.unprivileged_userns_clone, "
        "user.max_user_namespaces): allow them, or grade as root"
    )
