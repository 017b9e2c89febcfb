"""A process that has imported what is slow, and becomes a kernel by forking.

It runs inside bubblewrap, with nothing of a student's ever in it, and serves one notebook at a
time. For each it forks a process that takes namespaces of its own (processes, mounts, IPC), an
empty scratch folder, an empty /tmp and /dev/shm, gives up its user, its capabilities and the way
to new ones, and only then becomes a kernel. When that ends, its process namespace ends with all
that is in it.

The grader connects to a socket that it holds (which lies outside of all that a student's code
sees), sends what is to be started as one line of JSON, and keeps the connection open for as long
as the kernel shall live.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys

# <sched.h>, <sys/mount.h>, <linux/prctl.h>, <linux/capability.h>
NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_PROCESSES = 0x00020000, 0x04000000, 0x08000000, 0x20000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, REMOUNT = 1, 2, 4, 8, 32
BIND, RECURSIVE, PRIVATE = 1 << 12, 1 << 14, 1 << 18
DIE_WITH_PARENT, DUMPABLE, DROP_BOUND, NO_NEW_PRIVILEGES, AMBIENT = 1, 4, 24, 38, 47
AMBIENT_CLEAR, CAPABILITIES_VERSION = 4, 0x20080522
SECCOMP, FILTER = 22, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}{arguments}: {os.strerror(code)}")


def _mount(kind: str, where: str, flags: int, options: str = "") -> None:
    _call("mount", kind.encode(), where.encode(), kind.encode(), flags, options.encode())


def serve(control: socket.socket, sockets: str) -> None:
    """Fork for each connection, one after the other, until the grader is gone.

    :param control: where the grader connects.
    :param sockets: the folder in which kernels make their sockets, emptied after each.
    """
    # Nobody with the same user may look into this process, or write into it.
    _call("prctl", DUMPABLE, 0, 0, 0, 0)
    gc.collect()
    gc.freeze()  # what is imported stays as it is, and shared
    while True:
        # bubblewrap ends with the grader, but for a moment at its start: so this asks too.
        if sys.stdin in select.select([control, sys.stdin], [], [])[0]:
            return
        connection, _ = control.accept()
        child = os.fork()
        if child == 0:
            try:
                control.close()
                _keep(connection)
            finally:
                os._exit(1)
        connection.close()
        os.waitpid(child, 0)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # whoever is left in here
        if not _empty(sockets):
            return  # nothing of one student's is there when the next one starts


def _keep(connection: socket.socket) -> None:
    """Stay outside of the new namespaces, hold them as long as the grader wants, and end them."""
    _call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    lines = connection.makefile("rb")
    # The number of this process as the grader sees it comes with the message.
    mine = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
    connection.sendmsg([b"here\n"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, mine)])
    wanted = json.loads(lines.readline())  # sent when limits lie on this process
    if not wanted:
        return
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("800")  # where memory runs out, this goes before the graders
    _call("unshare", NEW_MOUNTS | NEW_PROCESSES | NEW_IPC | NEW_UTS)
    told, tell = os.pipe()
    first = os.fork()
    if first == 0:
        try:
            os.close(told)
            _first(wanted, tell, connection.fileno())
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode()[:500])
        finally:
            os._exit(1)
    os.close(tell)
    problem = os.read(told, 1000)  # empty once the kernel is on its way
    connection.sendall(json.dumps({"problem": problem.decode()}).encode() + b"\n")
    ended = os.pidfd_open(first)
    select.select([connection, ended], [], [])
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


def _empty(folder: str) -> bool:
    os.chmod(folder, 0o700)
    entries = [entry.path for entry in os.scandir(folder)]
    if entries:
        # It goes down where paths are too long for Python, and takes no limits of ours with it.
        remover = os.posix_spawn("/bin/rm", ["rm", "-rf", "--", *entries], {})
        os.waitpid(remover, 0)
    return not os.listdir(folder)


def _first(wanted: dict, tell: int, connection: int) -> None:
    """The first process of the new namespace: when it ends, everything in there does."""
    _call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    os.close(connection)
    _mounts(wanted)
    _limits(wanted["limits"])
    _give_up(wanted["user"])
    kernel = os.fork()
    if kernel == 0:
        # The watchdog, where it is no root's, looks at its memory and its open files.
        _call("prctl", DUMPABLE, 1, 0, 0, 0)
    _filter(base64.b64decode(wanted["filter"]))
    if kernel == 0:
        os.setsid()
        os.close(tell)
        _become(wanted)
    os.close(tell)
    while True:
        ended, status = os.waitpid(-1, 0)  # orphans come here too
        if ended == kernel:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _mounts(wanted: dict) -> None:
    _mount("none", "/", RECURSIVE | PRIVATE)
    limits, safe = wanted["limits"], NO_SUID | NO_DEVICES
    size = f"size={limits['disk']},nr_inodes={limits['files']},mode=1777"
    # What lies in /tmp and is to be seen there all the same.
    kept = {path: os.open(path, os.O_PATH) for path in wanted["keep"]}
    for place in ("/tmp", "/dev/shm"):
        _mount("tmpfs", place, safe, size)
    for path, handle in kept.items():
        if not os.path.isdir(path):
            os.makedirs(path, mode=0o755)
            source = f"/proc/self/fd/{handle}".encode()
            _call("mount", source, path.encode(), None, BIND | RECURSIVE, None)
        os.close(handle)
    _mount("tmpfs", wanted["scratch"], safe, size)
    for name, source in wanted["given"].items():
        to = os.path.join(wanted["scratch"], name)
        os.makedirs(os.path.dirname(to), mode=0o755, exist_ok=True)
        with open(source, "rb") as file, open(to, "wb") as copy:
            copy.write(file.read())
        os.chmod(to, 0o644)
        if wanted["user"] is not None:
            os.chown(os.path.dirname(to), wanted["user"], wanted["user"])
    folder, name = os.path.split(wanted["connection"])
    _mount("tmpfs", folder, safe, "size=65536,mode=0755")
    with open(wanted["connection"], "w") as file:
        file.write(wanted["content"])
    os.chmod(wanted["connection"], 0o444)
    _mount("tmpfs", folder, safe | REMOUNT | READ_ONLY)
    _mount("proc", "/proc", safe | NO_EXEC)


def _limits(limits: dict) -> None:
    for name, value in limits["resources"].items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def _give_up(user: int | None) -> None:
    """The user, all capabilities, and the way to new ones."""
    for capability in range(64):
        _libc.prctl(DROP_BOUND, capability, 0, 0, 0)
    _libc.prctl(AMBIENT, AMBIENT_CLEAR, 0, 0, 0)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header, nothing = struct.pack("Ii", CAPABILITIES_VERSION, 0), struct.pack("6I", *[0] * 6)
    _call("capset", header, nothing)
    _call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _filter(program: bytes) -> None:
    """Refuse the system calls that lead out."""
    if program:
        steps = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(steps))
        _call("prctl", SECCOMP, FILTER, described, 0, 0)


def _become(wanted: dict) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.closerange(3, 4096)
    os.nice(5)  # the graders come first
    os.chdir(wanted["scratch"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(name, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    sys.argv = ["kernel"]
    import numpy

    numpy.random.seed()  # noqa: NPY002  # the global state, as a new process would have it
    import advlab_kernel

    advlab_kernel.main(wanted["connection"])
    os._exit(0)


def preload() -> None:
    """What a chapter imports. What is missing is imported later, by the kernel."""
    names = (
        "numpy",
        "torch",
        "torch.nn.functional",
        "advlab_kernel",
        "matplotlib",
        "advlab.course",
    )
    names += ("advlab.attacks", "advlab.data", "advlab.models", "advlab.viz", "advlab.evaluation")
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("something that was imported started a thread: it would not be forked")


if __name__ == "__main__":
    preload()
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
