"""What the grader does with a kernel: its time, what it says, and what is left when it fails.

The kernel here is none of IPython's: a small program that speaks the protocol, starts at once, and
runs a "cell" with its own sockets at hand.
"""

from __future__ import annotations

import sys
import threading
import time
from queue import Empty

import pytest

from advlab.course.grading import kernel as module
from advlab.course.grading import results as words
from advlab.course.grading import temporary
from advlab.course.grading.boxes import make_box
from advlab.course.grading.kernel import GradedKernel, KernelStopped, Unwatched
from advlab.course.grading.sandbox.plain import Plain
from advlab.course.grading.settings import Limits

KERNEL = """
import json, sys, time, zmq
from jupyter_client.session import Session

about = json.load(open(sys.argv[1]))
session, context = Session(key=about["key"].encode()), zmq.Context()

def bound(kind, port):
    socket = context.socket(kind)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.bind(f"ipc://{about['ip']}-{about[port]}")
    return socket

shell, iopub = bound(zmq.ROUTER, "shell_port"), bound(zmq.PUB, "iopub_port")
while True:
    who, message = session.recv(shell, mode=0)
    content = {}
    if message["header"]["msg_type"] == "execute_request":
        exec(message["content"]["code"])
    session.send(shell, "reply", content, parent=message, ident=who)
    session.send(iopub, "status", {"execution_state": "idle"}, parent=message)
"""
FLOOD = """
end = time.monotonic() + 40
while time.monotonic() < end:
    for _ in range(500):
        {}
"""


class Started:
    """A kernel from a program, and the box that it is in."""

    def __init__(self, place, program=KERNEL, limits=None, **more):
        self.box = make_box(place / "r", limits or Limits(output=2**20), None)
        self.box.run.mkdir()
        argv = [sys.executable, "-c", program, str(self.box.connection)]
        self.kernel = GradedKernel(Plain(), self.box, argv, **more)

    def run(self, code: str) -> None:
        self.kernel.await_reply(self.kernel.execute_cell_input(code))


@pytest.fixture
def start():
    with temporary.folder() as place:
        made = []

        def begin(*args, **more):
            made.append(Started(place, *args, **more))
            return made[-1]

        yield begin
        for one in made:
            one.kernel.stop()


def test_it_runs_a_cell_and_ends(start):
    started = start()
    started.run("pass")
    assert started.kernel.is_alive()
    started.kernel.stop()
    assert not started.kernel.is_alive()
    started.kernel.stop()  # again


@pytest.mark.parametrize(
    "send",
    [
        "iopub.send(b'')",
        "shell.send_multipart([*who, b''])",
        "iopub.send_multipart([b''] * 1000)",
    ],
    ids=["published", "replied", "in-parts"],
)
def test_messages_without_a_byte_do_not_go_on_for_ever(start, send):
    started, began = start(), time.monotonic()
    with pytest.raises(KernelStopped) as stopped:
        started.run(FLOOD.format(send))
    assert stopped.value.limit == words.TOO_MUCH_OUTPUT
    assert time.monotonic() - began < 35  # and not when the flood is over


def test_other_replies_do_not_keep_the_clock_from_being_looked_at(start):
    started = start(limits=Limits(output=2**30, cell=1.5))
    with pytest.raises(KernelStopped, match=r"more than 1\.5 seconds for one cell") as stopped:
        started.run(FLOOD.format("shell.send_multipart([*who, b'x'])"))
    assert stopped.value.limit == words.TIMED_OUT


def test_a_grader_that_swells_stops_the_kernel(start):
    kernel = start().kernel
    kernel._before -= 11 * 2**20 + module.LARGEST  # as a message that is not yet all there
    with pytest.raises(KernelStopped) as stopped:
        kernel.look()
    assert stopped.value.limit == words.TOO_MUCH_OUTPUT


def test_a_slow_start_is_no_limit_that_was_passed(start):
    limits = Limits(cell=0.1, notebook=0.2)
    with pytest.raises(KernelStopped, match="the kernel did not start in time") as stopped:
        start("import time; time.sleep(60)", limits, start_seconds=0.5)
    assert stopped.value.limit == ""


def test_a_start_takes_nothing_of_the_cells_time(start):
    slow = "import time; time.sleep(1.5)\n" + KERNEL
    start(slow, Limits(notebook=1.5)).run("time.sleep(0.2)")


def test_a_kernel_has_the_time_that_is_left(start):
    started = start(left=0.5)
    with pytest.raises(KernelStopped, match="more than 600 seconds for all cells") as stopped:
        started.run("time.sleep(60)")
    assert stopped.value.limit == words.TIMED_OUT
    started.kernel._process._process.wait(20)  # it was killed, and not only told of


def test_no_reply_in_time_is_told_apart_from_a_limit(start):
    started = start()
    with pytest.raises(Empty):
        started.kernel.await_reply("never asked", timeout=0.2)
    assert started.kernel.is_alive()


def test_a_kernel_that_asks_for_its_end_has_ended(start):
    started = start()
    with pytest.raises(KernelStopped, match=r"by exit\(\)") as stopped:
        started.run("content = {'payload': [{'source': 'ask_exit'}]}")
    assert stopped.value.sure
    assert not started.kernel.is_alive()


def test_a_watchdog_that_failed_is_no_death_of_the_kernel(start):
    kernel = start().kernel
    kernel.watch.look = broken
    with pytest.raises(Unwatched, match="it could not be watched: OSError: no"):
        kernel.await_reply("never asked", timeout=20)


class Group:
    """Stands in for a cgroup."""

    removed = False

    def remove(self):
        self.removed = True


def broken(*_, **__):
    raise OSError("no")


@pytest.mark.parametrize("name", ["prepare", "write_connection_file", "_Process"])
def test_no_cgroup_is_left_where_a_kernel_cannot_be_made(start, monkeypatch, name):
    group = Group()
    monkeypatch.setattr(module.cgroup, "make", lambda limits: group)
    monkeypatch.setattr(Group, "command", lambda self, argv: argv, raising=False)
    monkeypatch.setattr(Plain if name == "prepare" else module, name, broken)
    with pytest.raises(OSError, match="no"):
        start()
    assert group.removed


@pytest.mark.parametrize("name", ["pin", "BlockingKernelClient"])
def test_no_process_is_left_where_a_kernel_cannot_be_used(start, monkeypatch, name):
    made = []
    real = module._Process.__init__
    monkeypatch.setattr(
        module._Process, "__init__", lambda self, command: made.append(self) or real(self, command)
    )
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(OSError, match="no"):
        start()
    assert not made[0].alive()
    assert not any(one.name == "watch" for one in threading.enumerate())
