"""Kernels that start at once: forked, inside bubblewrap, from a process that has imported torch.

Importing takes most of the time of a small notebook, and is the same for each. So one bubblewrap
sandbox is kept for each worker, with a process in it that has imported what chapters import and
holds nothing else (``inside/zygote.py``). Each notebook gets a fork of it with namespaces of its
own, as fresh as bubblewrap's: nothing of one student's is there for the next.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .. import temporary
from ..cores import pin
from . import tools
from .base import Box
from .bubblewrap import Bubblewrap, bwrap
from .cgroup import Cgroup
from .watch import FILES

PATIENCE = 60.0  # seconds for the import


class WarmError(RuntimeError):
    """No kernel could be had from the process; a sandbox of its own still can."""


class Slot:
    """A sandbox with a process that forks kernels, for one notebook at a time.

    :param box: gives the box of a kernel whose folders are in the one given.
    :param script: the program of the process, readable inside.
    """

    def __init__(self, box: Callable[[Path], Box], script: Path):
        self._folder = temporary.make()
        with ExitStack() as undo:
            undo.callback(temporary.remove, self._folder)
            self._folder.chmod(0o711)
            self.control = self._folder / "control"
            box = box(self._folder / "r")
            box.run.mkdir(mode=0o711)
            Bubblewrap().prepare(box)
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(self.control))
                self.control.chmod(0o600)
                listening.listen(1)
                waiting = [sys.executable, str(script), str(listening.fileno()), str(box.sockets)]
                # What is imported meets the environment of a kernel.
                inner = [*tools.environment(box), *waiting]
                self._process = subprocess.Popen(
                    bwrap(box, inner, "--cap-add", "ALL"),
                    stdin=subprocess.PIPE,  # its end says that the grader is gone
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(listening.fileno(),),
                )
            undo.pop_all()

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and everything that it forked."""
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        temporary.remove(self._folder)


class Forked:
    """A kernel from a :class:`Slot`.

    :param control: the slot's socket.
    :param box: of this notebook; its ``run`` is the slot's.
    :param content: of the connection file.
    :param group: that the kernel shall be in.
    :raises WarmError: there is none.
    """

    def __init__(self, control: Path, box: Box, content: str, group: Cgroup | None):
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(PATIENCE)
        try:
            # From now on messages come with the sender's number, as this process sees it.
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._connection.connect(str(control))
            said, extra, _, _ = self._connection.recvmsg(5, socket.CMSG_SPACE(12))
            if said != b"here\n" or not extra:
                raise WarmError("the waiting process did not answer")
            self.pid = struct.unpack("3i", extra[0][2])[0]
            if group is not None:
                group.add(self.pid)
            pin(self.pid)
            box.sockets.chmod(0o700)
            if box.user is not None:
                os.chown(box.sockets, box.user, box.user)
            self._connection.sendall(_wanted(box, content))
            told = json.loads(self._connection.makefile("rb").readline())
            if told["problem"]:
                raise WarmError(told["problem"])
        except (OSError, ValueError, KeyError) as error:
            self._connection.close()
            raise WarmError(str(error)) from error
        except WarmError:
            self._connection.close()
            raise

    def alive(self) -> bool:
        """Whether the process that holds the kernel's namespaces is there."""
        try:
            self._connection.setblocking(False)
            return self._connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self) -> None:
        """The slot ends the kernel, and everything with it, when the connection is closed."""
        self._connection.setblocking(True)
        self._connection.settimeout(5)
        try:
            self._connection.shutdown(socket.SHUT_WR)
            while self._connection.recv(4096):
                pass
        except OSError:
            pass
        self._connection.close()


def _wanted(box: Box, content: str) -> bytes:
    limits = box.limits
    wanted = {
        "keep": [str(path) for path in (box.run, *box.readable)],
        "scratch": str(box.scratch),
        "sockets": str(box.sockets),
        "connection": str(box.connection),
        "content": content,
        "given": {name: str(path) for name, path in box.given.items()},
        "environment": dict(box.environment),
        "user": box.user,
        "limits": {
            "disk": limits.disk,
            "files": FILES,
            "resources": tools.resources(limits),
        },
        "filter": tools.filter_code(),
    }
    return json.dumps(wanted).encode() + b"\n"


def possible(level: str) -> bool:
    """Whether kernels of the level of this name may come from a slot."""
    return level == Bubblewrap.name and sys.platform == "linux"
