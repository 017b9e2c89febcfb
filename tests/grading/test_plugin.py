"""What becomes of the messages of a kernel: here it only plays back what each cell is to say."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import light
import nbformat
import pytest

from advlab.course.grading import runner
from advlab.course.grading.grafting import Chapter, graft
from advlab.course.grading.kernel import KernelStopped, Unwatched
from advlab.course.grading.marking import read_report
from advlab.course.grading.plugin import FIRST, Grading, _Cell
from advlab.course.grading.results import NOT_RUN, TIMED_OUT
from advlab.course.grading.settings import START, Limits
from advlab.course.probing import probe
from advlab.course.records import MIME

SEED = 7


class Kernel:
    """For each role of a cell, the messages that it gives, or what is raised."""

    def __init__(self, roles, says, before=None):
        self.limits, self.cell_seconds = Limits(cell=5), 0.0
        self.roles, self.says, self.before = roles, says, before or {}
        self.seconds, self.looks, self.ended = {}, 0, 0

    def look(self):
        role = self.roles[self.looks]
        self.looks += 1
        if role in self.before:
            raise self.before[role]

    def execute_cell_input(self, source, allow_stdin=None):
        role = self.roles[self.looks - 1]
        self.seconds.setdefault(role, self.cell_seconds)
        self.waiting = list(self.says.get(role, ()))
        return "ours"

    def await_reply(self, msg_id, timeout=None):
        pass

    def await_idle(self, msg_id, timeout):
        self.waiting = []

    def get_message(self, stream, timeout=None):
        kind, content = "status", {"execution_state": "idle"}
        if self.waiting:
            kind, content = self.waiting.pop(0)
        return {"msg_type": kind, "content": content, "parent_header": {"msg_id": "ours"}}

    def is_alive(self):
        return True

    def stop(self):
        self.ended += 1


@pytest.fixture
def play(tmp_path):
    """Run the light chapter, with the check of 4.1 only."""

    def run(says=None, **more):
        notebook = light.solved()
        notebook.cells.insert(2, light.v4.new_code_cell("print('not needed')"))
        chapter = Chapter(light.NAME, notebook)
        grafted = graft(chapter, {}, {"4.1": SEED})
        roles = [c.metadata["advlab"]["role"] for c in grafted.cells if "tags" not in c.metadata]
        assert len(roles) == len(grafted.cells) - 1
        path, report = tmp_path / "notebook.ipynb", tmp_path / "report.xml"
        nbformat.write(grafted, path)
        kernel = Kernel(roles, says or {}, **more)
        plugin = Grading({c.key: c for c in chapter.checks}, {"4.1": SEED}, lambda: kernel)
        runner._pytest(path, report, plugin)
        cells = {}
        for cell in read_report(report):
            cells.setdefault(cell.cell.split("-")[0], cell)
        return kernel, plugin, cells

    return run


def record(seed=SEED, answer=None):
    space = {}
    exec(f"{light.SETUP}\n{light.solution('4.1')}", space)
    exercise = Chapter(light.NAME, light.solved()).checks[0].exercise
    return probe(exercise, (answer or space["input_gradient"],), seed)


def shown(text, kind="display_data"):
    content = {"data": {MIME: text}, "metadata": {}, "execution_count": 1}
    return kind, content


def error(text):
    return "error", {"ename": "ValueError", "evalue": text, "traceback": []}


def test_a_right_record_passes_and_every_needed_cell_runs(play):
    kernel, plugin, cells = play({"check": [shown(record())]})
    assert cells["check"].outcome == "passed"
    assert cells["check"].notes["verdict"]["passed"] is True
    assert kernel.looks == len(kernel.roles)  # once before each cell, not before the skipped one
    assert kernel.ended == 1
    assert plugin.problem == ""


@pytest.mark.parametrize(
    ("says", "many"),
    [
        ([], "never"),
        ([shown(record()), shown(record())], "2 times"),
        ([shown(record(), "execute_result")], "never"),
        ([("display_data", {"data": [MIME], "metadata": {}})], "never"),
    ],
    ids=["none", "two", "result", "list"],
)
def test_a_record_is_brought_back_once(play, says, many):
    _, _, cells = play({"check": says})
    assert cells["check"].outcome == "failed"
    assert cells["check"].notes["verdict"] == {
        "passed": False,
        "status": NOT_RUN,
        "message": f"the check must bring back its results once, and did so {many}",
    }


@pytest.mark.parametrize(
    "wrong", [record(seed=8), record(answer=lambda model, x, y: x), json.dumps({})]
)
def test_a_wrong_record_fails_its_cell(play, wrong):
    _, _, cells = play({"check": [shown(wrong)]})
    assert cells["check"].outcome == "failed"
    assert cells["check"].notes["verdict"]["passed"] is False


def test_a_record_beside_an_error_is_no_verdict(play):
    _, _, cells = play({"check": [shown(record()), error("late")]})
    assert cells["check"].outcome == "failed"
    assert cells["check"].notes == {"error": {"type": "ValueError", "message": "late"}}


def test_an_error_is_told_and_is_short(play):
    _, _, cells = play({"answer": [error("x" * 1000)]})
    assert cells["answer"].outcome == "failed"
    assert cells["answer"].notes["error"]["message"] == "x" * FIRST


def test_of_two_errors_the_first_is_told():
    cell = SimpleNamespace(test_outputs=[], user_properties=[])
    cell._note = partial(_Cell._note, cell)
    for text in ("first", "second"):
        cell.test_outputs.append({"output_type": "error", "ename": "E", "evalue": text})
    _Cell._note_error(cell)
    assert cell.user_properties == [("error", '{"type": "E", "message": "first"}')]


def test_the_teachers_cells_have_more_time(play):
    kernel, _, _ = play()
    assert kernel.seconds["given"] == START
    assert {kernel.seconds[role] for role in ("forget", "answer", "check")} == {5}


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("limit", ["", TIMED_OUT])
def test_a_kernel_that_stopped_is_told(play, sure, limit):
    stopped = KernelStopped(limit, "why", sure=sure)
    kernel, plugin, cells = play(before={"check": stopped})
    assert cells["check"].outcome == "failed"
    assert cells["check"].notes == {"stopped": {"limit": limit, "message": "why", "sure": sure}}
    assert "check" not in kernel.seconds
    assert plugin.problem == ""


def test_a_kernel_that_was_lost_is_the_graders_problem(play):
    _, plugin, _ = play(before={"answer": Unwatched("why")})
    assert plugin.problem == "the kernel was lost: why"
