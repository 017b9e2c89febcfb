"""Ends: of the cell, of the kernel, of whatever is near."""

from __future__ import annotations

from .case import (
    ANY,
    CRASHED,
    DISK,
    GRADED,
    NOTHING,
    TIMED_OUT,
    Case,
    attack,
    called,
    right,
    solved,
)
from .chapter import solutions

LATER = {"4.2": ANY, "1.4": ANY}

LEAVE = """
import os
text = "import builtins\\nbuiltins.LEFT_BEHIND = True\\n"
names = ("sitecustomize.py", "usercustomize.py", "torch.py", "advlab.py",
         ".ipython/profile_default/startup/0.py", ".local/lib/python3.11/site-packages/x.pth")
for place in (".", os.path.expanduser("~"), *os.sys.path):
    for name in names:
        try:
            path = os.path.join(place, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text if name.endswith(".py") else "import builtins; "
                           "builtins.LEFT_BEHIND = True")
        except OSError:
            pass
os._exit(0)
"""

CASES = [
    attack("exit", "calls exit() in the answer's cell", "exit()\n" + called("pass")),
    attack("quit", "calls quit() when it is called", called("quit()")),
    attack("sys-exit", "raises SystemExit when it is called", called("raise SystemExit(0)")),
    attack(
        "os-exit",
        "ends the process with code 0 when it is called",
        "import os\n" + called("os._exit(0)"),
        marks={"4.1": CRASHED},
    ),
    attack(
        "os-exit-in-the-cell",
        "ends the process with code 0 in the answer's cell",
        "import os\nos._exit(0)\n" + called("pass"),
        marks={"4.1": CRASHED},
    ),
    attack(
        "kill-9",
        "kills its own process",
        "import os\n" + called("os.kill(os.getpid(), 9)"),
        marks={"4.1": CRASHED},
    ),
    attack(
        "kill-parent",
        "kills its parent process, and the parent's",
        """
import os, time
def input_gradient(model, x, y):
    above = [os.getppid()]
    try:
        above.append(int(open(f"/proc/{above[0]}/stat").read().rsplit(")")[1].split()[1]))
    except OSError:
        pass
    for pid in above:
        if pid > 0:
            try:
                os.kill(pid, 9)
            except OSError:
                pass
    time.sleep(0.5)
    return x * 0
""",
    ),
    attack(
        "kill-group",
        "kills its process group",
        "import os\n" + called("os.killpg(0, 9)"),
        marks={"4.1": CRASHED},
    ),
    attack(
        "kill-a-process-of-the-teacher",
        "kills a process that runs outside, and says so",
        """
import os
def input_gradient(model, x, y):
    name, killed = f"/proc/{@victim@}/cmdline", 0
    for signal in (15, 9):
        try:
            if os.path.exists(name) and "3600" not in open(name).read():
                break  # another process of this number, in a world of its own
            os.kill(@victim@, signal)
            killed += 1
        except OSError:
            pass
    raise RuntimeError(f"killed {killed}")
""",
        says="killed 0",
    ),
    attack(
        "segfault",
        "reads address 0 by ctypes",
        "import ctypes\n" + called("ctypes.string_at(0)"),
        marks={"4.1": CRASHED},
    ),
    attack(
        "abort",
        "aborts in the answer's cell",
        "import os\nos.abort()\n" + called("pass"),
        marks={"4.1": CRASHED},
    ),
    Case(
        "kernel-killed-twice",
        "ends the kernel in two of four exercises; the other two are right",
        answers={
            "4.1": "import os\n" + called("os._exit(1)"),
            "4.2": "import os\nos.kill(os.getpid(), 9)\n",
        },
        marks={"4.1": CRASHED, "4.2": CRASHED},
    ),
    attack(
        "kernel-shut-down",
        "asks the kernel to shut down",
        "get_ipython().kernel.do_shutdown(False)\n" + called("pass"),
        marks={"4.1": NOTHING, "4.2": ANY},
    ),
    attack(
        "loop-stopped",
        "stops the kernel's event loop",
        "get_ipython().kernel.io_loop.stop()\n" + called("pass"),
        marks={"4.1": NOTHING, "4.2": ANY},
    ),
    attack(
        "sockets-closed",
        "closes the kernel's sockets",
        "get_ipython().kernel.iopub_socket.close()\n" + called("pass"),
        status=GRADED | TIMED_OUT,
        marks=LATER,
    ),
    Case(
        "thread-that-kills-later",
        "answers right, and has a thread kill the kernel during the next exercise",
        answers={
            "4.1": "import os, threading\n"
            + solved("threading.Timer(0.5, os._exit, (0,)).start()"),
            "4.2": "import time\ntime.sleep(1)\n" + solutions()["4.2"],
        },
        marks=LATER | {"4.1": ANY},
    ),
    attack(
        "leaves-folders-and-ends",
        "leaves 1,500 folders with short names one in the other, and ends the process",
        """
import os
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
os._exit(0)
""",
        status=GRADED | DISK,  # where it cannot be counted, it is too much
        marks=LATER,
    ),
    right(
        "at-exit",
        "answers right, and writes outside when the process ends",
        """
import atexit, os, signal
def leave(*ignored):
    open(@outside@ + "/at-exit", "w").close()
    os._exit(0)
atexit.register(leave)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, leave)
""",
    ),
    right(
        "daemon-left-behind",
        "answers right, and leaves a process in a session of its own that writes outside later",
        """
import subprocess, sys
code = '''
import os, signal, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork() or os.fork():
    os._exit(0)
os.setsid() if os.getpid() != os.getsid(0) else None
for _ in range(300):
    time.sleep(1)
    try:
        open(PLACE + "/daemon", "w").close()
    except OSError:
        pass
'''.replace("PLACE", repr(@outside@))
null = subprocess.DEVNULL
subprocess.Popen([sys.executable, "-c", code, @token@], start_new_session=True,
                 stdin=null, stdout=null, stderr=null)
""",
    ),
    attack(
        "fork-and-go-on",
        "forks the kernel, and both go on",
        "import os\n" + called("os.fork()"),
        marks=LATER,
    ),
    Case(
        "startup-left-behind",
        "writes modules and start files for the next kernel, then ends this one",
        answers={
            "4.1": LEAVE,
            "1.4": """
import builtins
if hasattr(builtins, "LEFT_BEHIND"):
    raise RuntimeError("the next kernel ran what the first one left")
def push_needed(x, w, b):
    z = sum(wi * xi for wi, xi in zip(w, x)) + b
    return abs(z) / sum(abs(wi) for wi in w)
""",
        },
        marks={"4.1": CRASHED},
    ),
]
