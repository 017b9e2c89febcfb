"""Start a command so that nothing of it outlives it: ``python -I -S launch.py OPTIONS -- COMMAND``.

Three processes. The *doorman* is what the grader starts and may kill. The *keeper* takes in every
orphan (a subreaper), and stays outside all restrictions; when the command ends, when it is told to
stop, or when the doorman or whoever started it is gone, even by a kill -9, it kills all that the
command left behind. The *command* sets its limits, gives up its rights and becomes what was asked
for. It ends with the command's exit code, or 128 and the number of the signal that ended it.

Only the standard library, and fast: no package is on the path here. OPTIONS is a JSON object, all
of it optional:

- ``folder``: working folder; ``environment``: all variables of the command.
- ``user``: uid and gid to change to; ``connection``: a file that this user must be able to read;
  ``reads_all``: keep the right to read past file modes (the interpreter may lie in somebody's
  private home).
- ``resources``: limits by name, as :func:`advlab.course.grading.sandbox.tools.resources` has them.
- ``landlock``: ``readable``, ``hidden``, ``writable``, ``devices`` (lists of paths), and ``abi`` to
  use less than there is; ``seccomp``: true for the filter of system calls.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

EVERY = 0.2  # seconds between two looks whether the parent is still there
REFUSED = 126  # exit code when the command could not be started as asked
STOPPING = (signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    """Best effort: what the system does not know is done more slowly by looking at the parent."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def wait(child: int, parent: int) -> int | None:
    """Wait for a child; signals are handled meanwhile. Its status; None when we are told to stop,
    or our parent is another one than ``parent``."""
    told: list[int] = []
    listen, wake = os.pipe()
    for end in (listen, wake):
        os.set_blocking(end, False)
    for number in STOPPING:
        signal.signal(number, lambda found, frame: told.append(found))
    signal.signal(signal.SIGINT, lambda found, frame: os.kill(child, found))
    signal.signal(signal.SIGCHLD, lambda found, frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        pid = -1
        while pid != 0:  # orphans that ended are taken away as well
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return status
        if told or os.getppid() != parent:
            return None
        if select.select([listen], [], [], EVERY)[0]:
            os.read(listen, 4096)


def doorman(options: dict, argv: list[str]) -> int:
    parent, me = os.getppid(), os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(keeper(options, argv, me))
    status = wait(child, parent)
    if status is None:
        os.kill(child, signal.SIGTERM)
        status = os.waitpid(child, 0)[1]
    return exit_code(status)


def keeper(options: dict, argv: list[str], parent: int) -> int:
    os.setsid()  # who kills the doorman's process group does not kill us
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        become(options, argv, me)
    status = wait(child, parent)
    sweep(child)
    return 128 + signal.SIGTERM if status is None else exit_code(status)


def sweep(child: int) -> None:
    """Kill all that came from us, and take it away."""
    if sys.platform == "linux":
        from tree import Tree

        Tree(os.getpid()).kill()
    else:  # its session, that is: who left it gets away, and the watchdog must find it
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
    until = time.monotonic() + 2.0
    try:
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)
    except ChildProcessError:
        pass  # nobody left


def become(options: dict, argv: list[str], parent: int) -> None:
    """In the child: give up what the command may not have, and become it. Never returns."""
    try:
        import restrict

        os.setsid()
        os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), 2**16))
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGCHLD, *STOPPING):
            signal.signal(number, signal.SIG_DFL)
        restrict.limit(options)
        restrict.change_user(options)
        os.chdir(options.get("folder", "."))
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user clears it: not earlier
        if os.getppid() != parent:
            os._exit(REFUSED)
        restrict.give_up(options)
        environment = options.get("environment", dict(os.environ))
        os.execvpe(argv[0], argv, environment)
    except BaseException as error:
        os.write(2, f"launch: {argv[0]}: {type(error).__name__}: {error}\n".encode())
    os._exit(REFUSED)


def main(words: list[str]) -> int:
    if len(words) < 3 or words[1] != "--":
        print("usage: launch.py OPTIONS -- COMMAND", file=sys.stderr)
        return 2
    return doorman(json.loads(words[0]), words[2:])


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
