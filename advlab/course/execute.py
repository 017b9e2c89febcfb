"""Running the chapters, and storing what they show so that a second run changes nothing."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from .normalize import normalize, text_outputs, unportable
from .notebooks import read, write


@dataclass
class Run:
    """What came of running a chapter."""

    path: Path
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


def execute(path: str | Path, *, check: bool = False, timeout: int = 600) -> Run:
    """Run a chapter from a cold kernel and store its outputs, normalized, in the file.

    A chapter with an error, or with an output that belongs to one machine (a path in the user's
    home, a memory address), is not written.

    :param check: write nothing, and name the cells whose text is not what the file holds.
    :param timeout: seconds that one cell may take.
    """
    run = Run(path := Path(path))
    stored = read(path)
    start = time.perf_counter()
    try:
        notebook = run_notebook(read(path), path.parent, timeout)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        run.problems.append(_short(error))
    run.seconds = time.perf_counter() - start
    if run.problems:
        return run
    normalize(notebook)
    run.problems += unportable(notebook, [path.parent.resolve()])
    if check:
        run.problems += _differences(normalize(stored), notebook)
    elif run.ok:
        write(notebook, path)
    return run


def run_notebook(notebook: NotebookNode, folder: Path, timeout: int = 600) -> NotebookNode:
    """Run the cells in a new kernel that starts in ``folder``; widget states are stored."""
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=True,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # its warnings are about connections, not the page
    )
    # Widget states of an earlier run would be merged with those of this one.
    notebook.metadata.pop("widgets", None)
    return client.execute()


def _short(error: Exception) -> str:
    """The last lines of what a failed cell reported, without colors."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return "\n".join(text.splitlines()[-12:])


def _differences(stored: NotebookNode, new: NotebookNode) -> list[str]:
    found = []
    for n, (old, cell) in enumerate(zip(stored.cells, new.cells, strict=True), 1):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        before, after = text_outputs(old), text_outputs(cell)
        if before != after:
            found.append(f"cell {n} shows {_excerpt(after)!r}, and stored is {_excerpt(before)!r}")
    return found


def _excerpt(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


def execute_all(paths: list[Path], *, check: bool, timeout: int, out: Any = None) -> list[Run]:
    """Run chapters one after the other, printing a line for each."""
    out = out or sys.stdout
    runs = []
    for path in paths:
        print(f"{path.name:<40}", end=" ", flush=True, file=out)
        run = execute(path, check=check, timeout=timeout)
        runs.append(run)
        print(f"{run.seconds:6.1f} s  {'ok' if run.ok else 'FAILED'}", flush=True, file=out)
        for problem in run.problems:
            print("    " + problem.replace("\n", "\n    "), file=out)
    return runs
