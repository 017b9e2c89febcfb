"""Stands in for the runner: the answer says what becomes of the process that grades it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from advlab.course.grading.answers import Answers
from advlab.course.grading.jobs import Job
from advlab.course.grading.results import GRADED, PASSED, TIMED_OUT, Mark, Result
from advlab.course.grading.settings import Limits, Settings

GRADE = "fakes:grade"
SLEEPER = "import time; time.sleep(600)"


def job(does: str, *, seconds: float = 60.0, log: Path | None = None) -> Job:
    """A job whose only answer is what the process does.

    :param log: each process that grades writes a line there.
    """
    settings = Settings(Limits(notebook=seconds), sandbox="none")
    answers = Answers({"1.1": (does,)})
    return Job("99-fake", str(log or "").encode(), answers, None, settings)


def grade(job: Job) -> Result:
    (does,) = job.answers.sources["1.1"]
    if job.teacher:
        with open(job.teacher.decode(), "a") as log:
            log.write(f"{does} {os.getpid()}\n")
    word, _, rest = does.partition(" ")
    if word == "raise":
        raise RuntimeError(f"no such thing as {rest}")
    if word == "exit":
        os._exit(int(rest))
    if word == "killed":
        os.kill(os.getpid(), int(rest or signal.SIGKILL))
    if word in ("hang", "daemon"):  # the sleeper is nobody's, as its parent is gone
        code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]"
        code += f", start_new_session=True); open({rest!r}, 'w').close()"
        subprocess.run([sys.executable, "-c", code], check=True)
    if word == "hang":
        time.sleep(600)
    if word == "sleep":
        time.sleep(float(rest))
    status = TIMED_OUT if word == "limit" else GRADED
    earned = 1.0 if word in ("full", "sleep") else 0.5 if word == "half" else 0.0
    return Result(job.chapter, status, does, (Mark("1.1", "one", 1.0, earned, PASSED, does),))
