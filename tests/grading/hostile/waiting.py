"""Too long: cells that never end, by whatever means, and cells that are slow."""

from __future__ import annotations

from .case import ANY, HALTED, TIMED_OUT, Case, called, solved, stopped
from .chapter import solutions

CASES = [
    stopped("endless-loop", "loops without end", called("while True: pass"), TIMED_OUT),
    stopped(
        "endless-loop-in-the-cell",
        "loops without end in the answer's cell",
        "while True: pass\n" + called("pass"),
        TIMED_OUT,
    ),
    stopped(
        "deaf-loop",
        "loops without end, and catches every exception and signal",
        "import signal\n"
        "for number in range(1, 32):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        + called("while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
        TIMED_OUT,
    ),
    stopped(
        "loop-in-c",
        "keeps the interpreter's lock in a regular expression that takes years",
        "import re\n" + called('re.match(r"(a+)+$", "a" * 40 + "b")'),
        TIMED_OUT,
    ),
    stopped(
        "patched-time",
        "stops the clocks of the kernel, and loops",
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\n"
        "time.sleep = lambda seconds: None\n" + called("while True: pass"),
        TIMED_OUT,
    ),
    stopped(
        "stopped-by-a-signal",
        "stops its own process with SIGSTOP",
        "import os, signal\n"
        + called("os.kill(os.getpid(), signal.SIGSTOP)\nimport time\ntime.sleep(60)"),
        TIMED_OUT,
    ),
    stopped(
        "waits-for-input",
        "waits on a pipe that nobody writes to",
        "import os\n" + called("os.read(os.pipe()[0], 1)"),
        TIMED_OUT,
    ),
    Case(
        "just-below-the-limits",
        "sleeps for half of the time that a cell has: it is slow, and it is right",
        answers={"4.1": "import time\n" + solved("time.sleep(6)")},
    ),
    Case(
        "each-cell-in-time",
        "stays below the limit of a cell in each, and goes beyond that of the notebook",
        answers={
            "1.1": "import time\ntime.sleep(5)\n" + solutions()["1.1"],
            "4.1": "import time\ntime.sleep(5)\n" + solved(),
            "4.2": "import time\ntime.sleep(8)\ndef fgsm(model, x, y, eps):\n    time.sleep(8)\n",
        },
        marks={"4.1": ANY, "4.2": HALTED, "1.4": HALTED},
        status=TIMED_OUT,
        says="all cells together",
        limits={"notebook": 20.0},
    ),
]
