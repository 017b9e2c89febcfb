"""A container of Docker or Podman, where the teacher names an image that holds a Python with the
course's packages."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import tools
from .base import Box
from .rooted import Rooted

# Around the engine. It holds the other end of the engine's standard input, which closes when this
# program ends, be it by a kill; and it ends when its parent is gone.
KEEPER = """
import os, subprocess, sys
parent = os.getppid()
read, write = os.pipe()
engine = subprocess.Popen(sys.argv[1:], stdin=read)
os.close(read)
while os.getppid() == parent:
    try:
        os._exit(engine.wait(0.2) % 256)
    except subprocess.TimeoutExpired:
        pass
"""
# The first process inside. The engine's daemon keeps a container alive when the program that asked
# for it is killed; what it does close is the standard input. So the end of input is the end of all.
SUPERVISOR = """
import json, os, shutil, signal, sys, threading
child = 0
def end(*_):
    if child: os.kill(child, signal.SIGKILL)
    os._exit(137)
def wait_for_the_grader():
    while os.read(0, 4096): pass
    end()
signal.signal(signal.SIGTERM, end)
threading.Thread(target=wait_for_the_grader, daemon=True).start()
variables, *words = sys.argv[1:]
program = shutil.which(words[0]) or words[0]
nothing = os.open("/dev/null", os.O_RDONLY)
child = os.posix_spawn(program, words, json.loads(variables), setsid=True,
    file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 0)])
while True:
    pid, status = os.wait()
    if pid == child:
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
"""


class Container(Rooted):
    """The image's root, read-only, without capabilities and network.

    The interpreter and the packages are the image's own. Of the box's readable paths those of this
    process's interpreter are therefore left out, and the others are bound.

    :param engine: ``"docker"`` or ``"podman"``.
    :param image: one that the engine has; none is pulled.
    """

    promises = (
        "sees the image and the package, read-only, and no other file, process or network; "
        "writes to its own folder and /tmp, up to the limit, and to the folder of its sockets; "
        "as safe as the engine that runs it"
    )

    def __init__(self, engine: str, image: str):
        self.name, self.image = engine, image

    def unavailable(self) -> str:
        return _unavailable(self.name, self.image)

    def command(self, argv: Sequence[str], box: Box) -> list[str]:
        program, *words = argv
        if Path(program) == Path(sys.executable):
            program = "python3"
        inner = ["python3", "-I", "-S", "-c", SUPERVISOR, json.dumps(dict(box.environment))]
        keeper = [sys.executable, "-I", "-S", "-c", KEEPER]
        engine = [_engine(self.name), "run", *self._options(box), self.image]
        found = [*keeper, *engine, *inner, program, *words]
        if box.user is None:
            return found
        # The connection file is the grader's; the uid inside may read it.
        share = f'chgrp {box.user} "$0" && chmod 640 "$0" && exec "$@"'
        return [tools.tool("sh"), "-c", share, str(box.connection), *found]

    def _options(self, box: Box) -> list[str]:
        limits = box.limits
        user = os.getuid() if box.user is None else box.user
        group = os.getgid() if box.user is None else box.user
        found = ["--rm", "--interactive", "--pull", "never", "--log-driver", "none"]
        found += ["--network", "none", "--hostname", "sandbox", "--read-only"]
        found += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        found += ["--user", f"{user}:{group}", "--workdir", str(box.scratch)]
        found += ["--memory", str(limits.memory), "--memory-swap", str(limits.memory)]
        processes = limits.processes + 2  # two for the supervisor and its thread
        found += ["--pids-limit", str(processes), "--shm-size", str(limits.disk)]
        # Processes are counted by uid, also those outside: a limit for one that nobody else has.
        resources = tools.resources(limits) | {"nproc": processes}
        if box.user is None:
            del resources["nproc"]
        for name, value in resources.items():
            found += ["--ulimit", f"{name}={value}:{value}"]
        if self.name == "podman":
            found.append("--read-only-tmpfs=false")
            found += [] if os.getuid() == 0 else ["--userns", "keep-id"]
        for path in (Path("/tmp"), box.scratch):
            found += ["--tmpfs", f"{path}:rw,nosuid,nodev,mode=1777,size={limits.disk}"]
        ours = tools.interpreter()
        for path, hidden in tools.view(box):
            if any(path.is_relative_to(one) for one in ours):
                continue
            if hidden:
                found += ["--tmpfs", f"{path}:ro,mode=0555,size=65536"]
            else:
                found += _mount(path, readonly=True)
        for name in box.given:
            found += _mount(box.scratch / name, readonly=True)
        found += _mount(box.connection, readonly=True)
        return [*found, *_mount(box.sockets)]


def _mount(path: Path, readonly: bool = False) -> list[str]:
    return ["--mount", f"type=bind,src={path},dst={path}" + (",readonly" if readonly else "")]


def _engine(name: str) -> str:
    return shutil.which(name) or ""


@functools.cache
def _unavailable(engine: str, image: str) -> str:
    if not _engine(engine):
        return f"{engine} not found: install it, and build an image with the course's packages"
    if not image:
        return f"{engine} needs an image: --image NAME, one with a Python and the course's packages"
    wrong = tools.trial(Container(engine, image))
    if not wrong:
        return ""
    return (
        f"{engine} does not run the image {image!r} ({wrong}): build or pull it, and see that "
        f"'{engine} run --rm {image} python3 --version' works"
    )
