"""Too long, too much, too many. Each bomb is bounded, for the day on which a defense fails."""

from __future__ import annotations

from .case import (
    ANY,
    CPU,
    DISK,
    FILE,
    GRADED,
    MEMORY,
    NOTHING,
    OUTPUT,
    PASSED,
    PROCESSES,
    TIMED_OUT,
    attack,
    called,
    right,
    stopped,
)

LATER = {"4.2": ANY, "1.4": ANY}
# A child of a fork never comes back into the kernel's own code.
FORK = """
import os, time
def fork(work):
    if os.fork() == 0:
        try:
            work()
        finally:
            os._exit(0)
"""
GROW = """
def grow(megabytes=3000):
    held = []
    for _ in range(megabytes // 50):
        held.append(b"x" * (50 << 20))
        time.sleep(0.01)
    time.sleep(20)
"""

CASES = [
    stopped(
        "burns-processors",
        "keeps every processor busy from several processes",
        FORK
        + called(
            "def burn():\n    end = time.time() + 60\n    while time.time() < end: pass\n"
            "for _ in range(3): fork(burn)\ntime.sleep(60)"
        ),
        CPU,
        limits={"cpu": 12.0, "cell": 90.0, "notebook": 120.0},
    ),
    stopped(
        "memory-bomb",
        "takes 3 GB of memory, step by step",
        "import time\n" + GROW + called("grow()"),
        MEMORY,
    ),
    attack(
        "memory-at-once",
        "takes 3 GB of memory in one piece",
        called('held = b"x" * (3 << 30)\nimport time\ntime.sleep(20)'),
        status=GRADED | MEMORY,  # refused, or stopped
        marks=LATER | {"4.1": NOTHING},
    ),
    stopped(
        "memory-of-several-processes",
        "takes 3 GB of memory with ten processes, none of them large",
        FORK + GROW + called("for _ in range(10): fork(lambda: grow(300))\ntime.sleep(20)"),
        MEMORY,
    ),
    attack(
        "memory-that-no-process-has",
        "takes 3 GB of memory as files in memory",
        """
import os, time
def input_gradient(model, x, y):
    held = [os.memfd_create("held")] if hasattr(os, "memfd_create") else []
    for place in ("/dev/shm/", "/tmp/", "/run/", "./"):
        try:
            held.append(os.open(place + @token@, os.O_RDWR | os.O_CREAT))
        except OSError:
            pass
    for file in held:
        try:
            for _ in range(300):
                os.write(file, b"x" * (10 << 20))
                time.sleep(0.005)
        except OSError:
            pass
    time.sleep(1)
    return x * 0
""",
        status=GRADED | MEMORY | DISK,
        marks=LATER,
    ),
    stopped(
        "fork-bomb",
        "forks until it can no more",
        FORK
        + """
def bomb(depth=9):
    end = time.time() + 15
    for _ in range(depth):
        try:
            os.fork()
        except OSError:
            pass
    time.sleep(max(0, end - time.time()))
def input_gradient(model, x, y):
    fork(bomb)
    time.sleep(9)
    return x * 0
""",
        PROCESSES,
    ),
    stopped(
        "thread-bomb",
        "starts a thousand threads",
        "import threading, time\n"
        + called(
            "for _ in range(1000):\n"
            "    try: threading.Thread(target=time.sleep, args=(15,), daemon=True).start()\n"
            "    except RuntimeError: pass\n"
            "time.sleep(9)"
        ),
        PROCESSES,
    ),
    stopped(
        "print-flood",
        "prints without end, and catches every exception",
        called(
            "while True:\n    try:\n        while True: print('x' * 1000)\n"
            "    except BaseException: pass"
        ),
        OUTPUT,
    ),
    stopped(
        "output-of-100-megabytes",
        "prints 100 MB at once",
        called("print('x' * 100_000_000)\nimport time\ntime.sleep(5)"),
        OUTPUT,
    ),
    stopped(
        "output-without-a-cell",
        "floods the standard error of the process, which no cell reports",
        called(
            "import os\nfor _ in range(400):\n    os.write(2, b'x' * 100_000)\n"
            "    os.write(1, b'x' * 100_000)\nwhile True: print('x' * 1000)"
        ),
        OUTPUT,
    ),
    stopped(
        "messages-without-a-byte",
        "publishes empty messages without end, which have no bytes to count",
        called(
            "thread = get_ipython().kernel.iopub_thread\n"
            "def flood():\n    while True: thread.socket.send(b'')\n"
            "thread.schedule(flood)\nimport time\ntime.sleep(8)"
        ),
        OUTPUT,
    ),
    stopped(
        "replies-without-end",
        "floods the channel on which the grader waits for its reply",
        called(
            "import time\nkernel = get_ipython().kernel\n"
            "socket, who = kernel.shell_stream.socket, kernel._parent_ident['shell']\n"
            "def flood():\n    while True: socket.send_multipart([*who, b''])\n"
            "kernel.shell_channel_thread.io_loop.add_callback(flood)\ntime.sleep(8)"
        ),
        OUTPUT | TIMED_OUT,
    ),
    stopped(
        "large-file",
        "writes one file of 200 MB",
        called(
            "with open('large', 'wb') as file:\n    for _ in range(20):\n"
            "        file.write(b'x' * (10 << 20))\n        file.flush()"
        ),
        FILE | DISK,
        says="the limit is ",
    ),
    attack(
        "many-files",
        "writes 300 MB in files of 5 MB",
        "import time\n"
        + called(
            "for n in range(60):\n    open(f'file-{n}', 'wb').write(b'x' * (5 << 20))\n"
            "    time.sleep(0.02)\ntime.sleep(5)"
        ),
        status=GRADED | DISK,  # refused, or stopped
        marks=LATER | {"4.1": NOTHING},
    ),
    attack(
        "sockets-folder-filled",
        "fills the folder in which the kernel makes its sockets",
        """
import json, os, time
from ipykernel.connect import get_connection_file
def input_gradient(model, x, y):
    place = os.path.dirname(json.load(open(get_connection_file()))["ip"])
    os.chmod(place, 0o777)
    for n in range(60):
        open(f"{place}/file-{n}", "wb").write(b"x" * (5 << 20))
""",
        says="PermissionError",
    ),
    right(
        "sockets-folder-nested",
        "answers right, and leaves a large file, 1200 folders deep, in the folder of the sockets",
        """
import json, os
from ipykernel.connect import get_connection_file
os.chdir(os.path.dirname(json.load(open(get_connection_file()))["ip"]))
for _ in range(1200):
    os.mkdir("d")
    os.chdir("d")
for n in range(3):
    open(f"file-{n}", "wb").write(b"x" * (13 << 20))
os.chdir("/")
""",
        status=GRADED | DISK,  # where it cannot be counted, it is too much
        marks=LATER | {"4.1": ANY},
    ),
    right(
        "folders-without-end",
        "answers right, and leaves 1500 folders one in the other, and one that nobody may open",
        "import os",
        "here = os.getcwd()\nos.mkdir('closed')\nopen('closed/file', 'w').close()\n"
        "os.chmod('closed', 0)\n"
        "for _ in range(1500):\n    os.mkdir('d' * 100)\n    os.chdir('d' * 100)\nos.chdir('/')",
        status=GRADED | DISK,  # where it cannot be counted, it is too much
        marks=LATER | {"4.1": ANY},
    ),
    attack(
        "limits-raised",
        "raises its own limits, its priority, and the processors that it may use",
        """
import os, resource
def input_gradient(model, x, y):
    raised = []
    for name in ("RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_CORE"):
        kind = getattr(resource, name)
        before = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            raised += [name] if before != resource.RLIM_INFINITY else []
        except (ValueError, OSError):
            pass
    before = os.nice(0)
    try:
        os.nice(-5)
    except OSError:
        pass
    raised += ["nice"] if os.nice(0) < before else []
    raise RuntimeError(f"raised {raised}")
""",
        says="raised []",
    ),
    right("polite", "answers right, at the lowest priority", "import os\nos.nice(19)"),
    attack("waits-for-a-person", "asks for input", called("input('points? ')")),
    right(
        "other-dtype",
        "answers right, and makes torch compute in float64 from then on",
        "",
        "torch.set_default_dtype(torch.float64)",
        marks={"4.1": PASSED, "4.2": NOTHING},
    ),
]
