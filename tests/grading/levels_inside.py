"""Real commands inside the levels that give a root of their own: what the tests of them share."""

import functools
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from advlab.course.grading.sandbox import Box, tools
from advlab.course.grading.sandbox.bubblewrap import Bubblewrap
from advlab.course.grading.sandbox.unshare import Unshare
from advlab.course.grading.settings import Limits

ROOT = os.getuid() == 0
USER = 54321 if ROOT else None
LEVELS = [Bubblewrap(), Unshare()]


def can_mount():
    """Whether this process may make namespaces: then a level that is installed must work."""
    command = ["unshare", "--mount", "--pid", "--fork"]
    return ROOT and subprocess.run([*command, "mount", "-t", "tmpfs", "x", "/mnt"]).returncode == 0


def in_every_level(test):
    """Run a test in each level, with ``make`` to make boxes; a level that this machine lacks must
    say so in a sentence."""

    @pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
    @functools.wraps(test)
    def run(level, **given):
        if why := level.unavailable():
            assert "install" in why or "grade as root" in why
            assert "not found" in why or not can_mount()
            return
        with tempfile.TemporaryDirectory(prefix="advlab-") as folder:
            os.chmod(folder, 0o755)
            test(level=level, make=functools.partial(make_box, Path(folder).resolve()), **given)

    signature = inspect.signature(test)
    left = [one for name, one in signature.parameters.items() if name != "make"]
    run.__signature__ = signature.replace(parameters=left)
    return run


def make_box(folder, limits=None, readable=(), **others):
    """A box in a folder with a short path, as its sockets need it."""
    others.setdefault("environment", {"LANG": "C.UTF-8", "PATH": tools.PATH})
    run = folder / uuid.uuid4().hex[:4]
    return Box(run, limits or Limits(), (*tools.interpreter(), *readable), user=USER, **others)


def start(level, box, code, *arguments, **popen):
    level.prepare(box)
    command = level.command([sys.executable, "-I", "-S", "-c", code, *map(str, arguments)], box)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **popen
    )


def inside(level, box, code, *arguments):
    """What a program prints inside, from JSON."""
    with start(level, box, code, *arguments) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return json.loads(out)


TRY = """
import json, os, sys
def attempt(action):
    try:
        return [True, str(action())]
    except Exception as error:
        return [False, type(error).__name__]
"""


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)",
            sys.argv[1] + "-daemon"])
    os._exit(0)
os.wait()
time.sleep(0.3)
print("left", flush=True)
time.sleep(float(sys.argv[2]))
"""


def alive(mark):
    """Processes of this machine with ``mark`` as the last argument, and the daemons among them."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes().rstrip(b"\0").endswith(f"{mark}-daemon".encode())
        except OSError:
            continue  # it has just ended
    return found


def gone(mark, seconds=5.0):
    until = time.monotonic() + seconds
    while alive(mark) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(mark)
