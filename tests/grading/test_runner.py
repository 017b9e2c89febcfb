"""One submission from its bytes to its marks: each test runs a real kernel in a sandbox."""

from __future__ import annotations

import os
import tempfile

import light
import pytest

from advlab.course.grading import results as words
from advlab.course.grading import runner
from advlab.course.grading.jobs import Job
from advlab.course.grading.sandbox import choose
from advlab.course.grading.sandbox.watch import Watch
from advlab.course.grading.settings import Limits, Settings

SMALL = Limits(cell=15, notebook=60, memory=1500 * 2**20, output=2 * 2**20)


def grade(notebook, *, hidden=None, limits=SMALL, whole=False):
    settings = Settings(limits=limits, sandbox=choose().name, whole=whole)
    return runner.grade(Job(light.NAME, light.teacher(), light.answers(notebook), hidden, settings))


def statuses(result):
    return [mark.status for mark in result.marks]


@pytest.mark.parametrize("whole", [False, True])
def test_a_solved_notebook_gets_all_points(whole):
    result = grade(light.solved(), whole=whole)
    assert (result.status, result.reason) == (words.GRADED, "")
    assert statuses(result) == [words.PASSED] * 4
    assert [mark.earned for mark in result.marks] == [2, 1, 1, 2]
    assert "each pixel moves up the loss" in result.marks[1].message
    assert result.sandbox == choose().name


def test_a_released_notebook_gets_none_and_starts_no_kernel(monkeypatch):
    monkeypatch.setattr(runner, "_start", None)
    result = grade(light.released())
    assert statuses(result) == [words.NO_ANSWER] * 4
    assert (result.earned, result.points) == (0, 6)
    assert result.sandbox == ""


def test_a_wrong_answer_costs_what_it_is_worth_and_is_told_why():
    wrong = light.solution("4.2").replace("x + eps", "x - eps")
    result = grade(light.answered(e42=wrong))
    assert statuses(result)[:2] == [words.PASSED, words.NOT_YET]
    assert "the loss falls" in result.marks[1].message
    assert result.marks[1].answer == wrong
    assert result.marks[1].earned == 0


def test_an_error_in_an_answers_cell_is_the_message_of_its_exercise():
    result = grade(light.answered(e42="def fgsm(model, x, y, eps:\n    pass", e43=None))
    assert statuses(result)[0] == words.PASSED
    assert statuses(result)[1] == words.CRASHED
    assert "SyntaxError" in result.marks[1].message
    assert statuses(result)[2] == words.NO_ANSWER


def test_what_another_cell_defined_is_not_judged_in_the_answers_place():
    late = "def helper():\n    pass\n"
    early = light.solution("4.1") + "\n\n" + light.solution("4.2")
    result = grade(light.answered(e41=early, e42=late))
    assert statuses(result)[0] == words.PASSED
    assert statuses(result)[1] == words.NOT_YET
    assert "name 'fgsm' is not defined" in result.marks[1].message


def test_output_on_stderr_and_stdout_costs_nothing():
    noisy = "import sys, warnings\nwarnings.warn('slow')\nprint('x', file=sys.stderr)\n"
    result = grade(light.answered(e41=noisy + light.solution("4.1")))
    assert statuses(result) == [words.PASSED] * 4


def test_an_answer_that_ends_the_kernel_costs_that_exercise_only():
    dying = "import os\n\n\ndef fgsm(model, x, y, eps):\n    os._exit(0)\n"
    own = "def targeted_fgsm(model, x, target, eps):\n" + (
        "    x = x.clone().requires_grad_()\n"
        "    g = torch.autograd.grad(F.cross_entropy(model(x), target, reduction='sum'), x)[0]\n"
        "    return (x - eps * g.sign()).clamp(0, 1).detach()\n"
    )
    result = grade(light.answered(e42=dying, e43=own))
    assert result.status == words.GRADED
    assert statuses(result)[:3] == [words.PASSED, words.CRASHED, words.PASSED]
    assert "ended the kernel" in result.marks[1].message


def test_a_limit_ends_the_submission_and_keeps_what_was_earned():
    endless = "def fgsm(model, x, y, eps):\n    while True:\n        pass\n"
    result = grade(light.answered(e42=endless), limits=Limits(cell=4, notebook=60))
    assert result.status == words.TIMED_OUT
    assert statuses(result) == [words.PASSED, words.TIMED_OUT, words.NOT_RUN, words.NOT_RUN]
    assert result.earned == 2
    assert "exercise 4.2" in result.reason
    assert "4 seconds" in result.reason


def test_output_beyond_its_limit_ends_the_submission():
    flood = "def fgsm(model, x, y, eps):\n    while True:\n        print('x' * 10_000)\n"
    result = grade(light.answered(e42=flood))
    assert result.status == words.TOO_MUCH_OUTPUT
    assert statuses(result)[:2] == [words.PASSED, words.TOO_MUCH_OUTPUT]


HIDDEN = b"""
import torch

from advlab.course import fail, tensor, watch
from advlab.course.grading import Hidden
from advlab.course.exercises import chapter04

SIZE = 0.2


def probe(fgsm, seed):
    model, x, y = chapter04.problem(seed)
    with watch(x=x) as changes:
        return {"x_adv": fgsm(model, x[:1], y[:1], SIZE), "changes": changes}


def verdict(results, seed):
    model, x, y = chapter04.problem(seed)
    if tensor(results, "x_adv").shape != x[:1].shape:
        fail("SECRET: not one image")
    return "works on one image"


def strict(results, seed):
    fail("SECRET: nobody passes")


HIDDEN = (
    Hidden("4.2", "A batch of one image", probe, verdict, points=3),
    Hidden("4.2", "Never", probe, strict, points=0.5),
)
"""


def test_hidden_checks_count_and_tell_the_student_no_more_than_their_title():
    result = grade(light.solved(), hidden=HIDDEN)
    hidden = [mark for mark in result.marks if mark.hidden]
    assert [(m.id, m.title, m.earned, m.points) for m in hidden] == [
        ("4.2", "A batch of one image", 3, 3),
        ("4.2", "Never", 0, 0.5),
    ]
    assert (result.earned, result.points) == (9, 9.5)
    # The teacher reads why.
    assert hidden[1].message == "SECRET: nobody passes"
    assert all(not mark.answer for mark in hidden)
    assert "SECRET" not in "".join(mark.message for mark in result.marks if not mark.hidden)


def test_the_checks_are_made_anew_each_time(monkeypatch):
    seeds = []
    real = runner.fresh_seed
    monkeypatch.setattr(runner, "fresh_seed", lambda: seeds.append(real()) or seeds[-1])
    grade(light.answered(e42=None, e43=None, e44=None))
    grade(light.answered(e42=None, e43=None, e44=None))
    assert len(seeds) == len(set(seeds)) == 2


def test_a_kernel_that_does_not_start_is_not_the_students_fault(monkeypatch):
    monkeypatch.setattr(runner.sys, "executable", "/nowhere/python")
    with pytest.raises(RuntimeError, match="no kernel could be started"):
        grade(light.solved())


def test_a_watchdog_that_fails_is_not_the_students_fault(monkeypatch):
    looks = []

    def look(self):
        looks.append(self)
        if len(looks) > 30:
            raise OSError("too many open files")
        return ""

    monkeypatch.setattr(Watch, "look", look)
    slow = "import time\ntime.sleep(10)\n" + light.solution("4.1")
    with pytest.raises(RuntimeError, match="it could not be watched: OSError: too many open"):
        grade(light.answered(e41=slow))


def test_no_process_and_no_file_is_left(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # a short path, as sockets need it
        monkeypatch.setattr(tempfile, "tempdir", folder)
        grade(light.answered(e42="import subprocess\nsubprocess.Popen(['sleep', '987'])"))
        assert os.listdir(folder) == []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                assert b"987" not in file.read().split(b"\0")
        except FileNotFoundError:
            pass


def test_a_kernel_has_the_time_that_is_left_and_a_whole_start(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(runner, "GradedKernel", lambda *args, **more: made.append((args, more)))
    monkeypatch.delenv(runner.CONTROL, raising=False)
    runner._start(choose(), Settings(), tmp_path, 7.0)
    (args, more) = made[0]
    assert (args[3], more) == (runner.START, {"left": 7.0})


def test_a_variable_of_pytest_is_put_back(monkeypatch, tmp_path):
    name = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
    seen = []
    monkeypatch.setattr(runner.pytest, "main", lambda *_, **__: seen.append(os.environ[name]))
    monkeypatch.setenv(name, "")
    runner._pytest(tmp_path / "n.ipynb", tmp_path / "r.xml", None)
    assert (seen, os.environ[name]) == (["1"], "")
    monkeypatch.delenv(name)
    runner._pytest(tmp_path / "n.ipynb", tmp_path / "r.xml", None)
    assert name not in os.environ


def test_a_chapter_whose_own_cell_fails_is_not_the_students_fault(monkeypatch):
    teacher = light.teacher().replace(b"import torch.nn", b"import absent; import torch.nn")
    answers = light.answers(light.solved())
    job = Job(light.NAME, teacher, answers, None, Settings(sandbox=choose().name))
    with pytest.raises(RuntimeError, match="of the chapter itself stopped with ModuleNotFound"):
        runner.grade(job)


EXIT = "def fgsm(model, x, y, eps):\n    exit()\n    return x\n"


@pytest.mark.parametrize("code", [EXIT, "exit()\n", "quit()\n"])
def test_an_exit_costs_its_own_exercise_and_not_the_next(code):
    own = "def targeted_fgsm(model, x, target, eps):\n" + (
        "    x = x.clone().requires_grad_()\n"
        "    g = torch.autograd.grad(F.cross_entropy(model(x), target, reduction='sum'), x)[0]\n"
        "    return (x - eps * g.sign()).clamp(0, 1).detach()\n"
    )
    result = grade(light.answered(e42=code, e43=own))
    assert statuses(result)[:3] == [words.PASSED, words.CRASHED, words.PASSED]


def test_a_kernel_that_is_killed_a_moment_later_costs_no_other_exercise():
    late = light.solution("4.1") + (
        "\nimport os, threading, time\n\n\n"
        "def later():\n    time.sleep(1.5)\n    os._exit(0)\n\n\n"
        "threading.Thread(target=later).start()\n"
    )
    own = "def fgsm(model, x, y, eps):\n" + (
        "    import time; time.sleep(2)\n"
        "    x = x.clone().requires_grad_()\n"
        "    g = torch.autograd.grad(F.cross_entropy(model(x), y, reduction='sum'), x)[0]\n"
        "    return (x + eps * g.sign()).clamp(0, 1).detach()\n"
    )
    result = grade(light.answered(e41=late, e42=own, e43=None, e44=None))
    assert statuses(result)[:2] == [words.PASSED, words.PASSED]


def test_many_small_messages_lose_neither_the_record_nor_the_end():
    chatty = light.solution("4.1").replace(
        "def input_gradient(model, x, y):\n",
        "def input_gradient(model, x, y):\n    for n in range(11_000):\n        display(n)\n",
        1,
    )
    room = Limits(cell=30, notebook=90, output=64 * 2**20)
    result = grade(light.answered(e41=chatty, e42=None, e43=None, e44=None), limits=room)
    assert chatty != light.solution("4.1")
    assert statuses(result)[0] == words.PASSED


TALKS = """
from IPython import get_ipython
import time


def input_gradient(model, x, y):
    kernel = get_ipython().kernel
    send = kernel.session.send
    def silent(stream, kind, *args, **kwargs):
        if kind != "status":
            return send(stream, kind, *args, **kwargs)
    kernel.session.send = silent
    import threading
    parent = kernel.get_parent()
    def talk():
        while True:
            send(kernel.iopub_socket, "stream", {"name": "stdout", "text": "."}, parent=parent)
            time.sleep(0.2)
    threading.Thread(target=talk, daemon=True).start()
"""


def test_a_kernel_that_never_says_that_it_is_idle_is_timed_out():
    result = grade(light.answered(e41=TALKS), limits=Limits(cell=4, notebook=30))
    assert result.status == words.TIMED_OUT


BIG = """
def input_gradient(model, x, y):
    from IPython import get_ipython
    session = get_ipython().kernel.session
    session.send(get_ipython().kernel.iopub_socket, "display_data", {"x": [{}] * 30_000_000})
"""


def test_a_message_beyond_the_limit_is_never_parsed(monkeypatch):
    import psutil

    before = psutil.Process().memory_info().rss
    result = grade(light.answered(e41=BIG), limits=Limits(cell=30, notebook=60, memory=3 * 2**30))
    assert result.status in (words.TOO_MUCH_OUTPUT, words.OUT_OF_MEMORY)
    assert psutil.Process().memory_info().rss - before < 6e8
