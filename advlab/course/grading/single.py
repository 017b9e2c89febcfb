"""``python -m advlab.course.grading.single`` grades one job in a process of its own.

It reads the job as one line of JSON, and writes the result as JSON. It ends when its standard input
is closed. For who cannot start a process with a pipe to it.
"""

from __future__ import annotations

import json
import os
import sys

from . import temporary
from .child import answer


def main() -> int:
    """Grade the job on standard input."""
    out = os.fdopen(os.dup(1), "w")  # the only one who writes there
    temporary.sweep()
    found = json.loads(sys.stdin.readline())
    out.write(answer(found["job"], found["grade"], sys.stdin.read))
    out.close()
    return 0


if __name__ == "__main__":
    # Not at a normal exit: the thread that waits for the end of the input would be waited for.
    status = main()
    os._exit(status)
