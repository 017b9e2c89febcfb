"""What pytest and nbval need to run a grafted notebook: kernels of ours, and verdicts.

nbval runs the cells, one test each, and fails a test where the kernel reports an error. That alone
is no evidence: a student's code can silence the report. So a check passes only by its verdict,
taken here, on the one record that its cell brought back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from ..judging import Verdict, judge
from ..records import MIME
from .grafting import SKIP, Check
from .kernel import GradedKernel, KernelStopped, Unwatched
from .results import NOT_RUN
from .settings import START

FIRST = 300  # characters of an error message that are kept


@dataclass
class Grading:
    """The plugin for one run of one notebook.

    :param checks: key → check, for those that are run.
    :param seeds: key → the seed of its inputs.
    :param start: gives the kernel.
    :param problem: of the grader's own, with the kernel: never the student's fault.
    """

    checks: Mapping[str, Check]
    seeds: Mapping[str, int]
    start: Callable[[], GradedKernel]
    problem: str = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Iterator[None]:
        found = yield
        return [_File.of(c, parent, self) if isinstance(c, IPyNbFile) else c for c in found]


class _File(IPyNbFile):
    """A notebook whose kernel is ours, and whose cells are named by their ids."""

    grading: Grading

    @classmethod
    def of(cls, found: IPyNbFile, parent: pytest.Collector, grading: Grading) -> _File:
        file = cls.from_parent(parent, path=found.path)
        file.grading = grading
        return file

    def setup(self) -> None:
        try:
            self.kernel = self.grading.start()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self.grading.problem = f"no kernel could be started: {why}"
            raise
        self.setup_sanitize_files()

    def collect(self) -> Iterator[IPyNbCell]:
        for item in super().collect():
            # Tags are the grader's own, and what an answer says in a comment counts for nothing.
            skip = SKIP in item.cell.metadata.get("tags", [])
            yield _Cell.from_parent(
                self,
                name=item.cell.id,
                cell_num=item.cell_num,
                cell=item.cell,
                options={"skip": skip, "check": False, "check_exception": False},
            )

    def teardown(self) -> None:
        if self.kernel is not None:
            self.kernel.stop()


class _Cell(IPyNbCell):
    """A cell; a check's cell fails unless its verdict says that it passed."""

    def runtest(self) -> None:
        kernel, ours = self.parent.kernel, self.cell.metadata["advlab"]
        # The time of the teacher's own cells, imports above all, is not the student's to keep.
        patience = START if ours["role"] == "given" else 0.0
        kernel.cell_seconds = max(kernel.limits.cell, patience)
        # The kernel keeps the time itself.
        self.output_timeout = self.config.option.nbval_cell_timeout = kernel.cell_seconds + START
        try:
            if not self.options["skip"]:
                kernel.look()  # it may have died since the last cell
            super().runtest()
        except KernelStopped as stopped:
            note = {"limit": stopped.limit, "message": str(stopped), "sure": stopped.sure}
            self._note("stopped", note)
            raise
        except Unwatched as error:
            self.parent.grading.problem = f"the kernel was lost: {error}"
            raise
        finally:
            self._note_error()
        key = ours.get("check")
        if key is not None:
            self._judge(self.parent.grading.checks[key], self.parent.grading.seeds[key])

    def _judge(self, check: Check, seed: int) -> None:
        found = [
            out["data"][MIME]
            for out in self.test_outputs
            if out.get("output_type") == "display_data"
            and isinstance(out.get("data"), dict)
            and MIME in out["data"]
        ]
        if len(found) != 1:
            many = f"{len(found)} times" if found else "never"
            message = f"the check must bring back its results once, and did so {many}"
            self._note("verdict", {"passed": False, "status": NOT_RUN, "message": message})
            self.raise_cell_error(message)
        verdict: Verdict = judge(check.exercise, found[0], seed)
        self._note("verdict", asdict(verdict))
        if not verdict.passed:
            self.raise_cell_error(verdict.message)

    def _note_error(self) -> None:
        """The first error that the kernel reported in this cell, for the student."""
        for out in self.test_outputs or ():
            if out.get("output_type") == "error":
                kind, text = str(out.get("ename"))[:FIRST], str(out.get("evalue"))[:FIRST]
                self._note("error", {"type": kind, "message": text})
                return

    def _note(self, name: str, value: dict[str, Any]) -> None:
        """Into the JUnit report, as a property of this cell's entry."""
        self.user_properties.append((name, json.dumps(value)))
