"""A real command inside each level of sandbox: how it lives, within limits, and how it ends."""

import json
import resource
import socket
import subprocess
import sys
import uuid

import pytest
from levels_inside import DAEMON, TRY, alive, gone, in_every_level, inside, start

from advlab.course.grading.sandbox import Box, tools
from advlab.course.grading.settings import MIB, Limits


@in_every_level
def test_what_it_leaves_behind_dies_with_it(level, make):
    mark = uuid.uuid4().hex
    with start(level, make(), DAEMON, mark, 0.5) as process:
        assert process.stdout.readline() == "left\n"
        assert alive(mark) == 1
        assert process.wait(timeout=20) == 0
    assert gone(mark)


@in_every_level
def test_all_inside_dies_when_the_command_is_killed(level, make):
    mark = uuid.uuid4().hex
    with start(level, make(), DAEMON, mark, 300) as process:
        assert process.stdout.readline() == "left\n"
        assert alive(mark) == 1
        process.kill()
        assert gone(mark)


@in_every_level
def test_all_inside_dies_when_the_grader_is_killed(level, make):
    mark = uuid.uuid4().hex
    box = make()
    level.prepare(box)
    command = level.command([sys.executable, "-I", "-S", "-c", DAEMON, mark, "300"], box)
    grader = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"]
    with subprocess.Popen([*grader, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "left\n"
        assert alive(mark) == 1
        process.kill()
        assert gone(mark)


@in_every_level
@pytest.mark.parametrize("where", [".", "/tmp", "/dev/shm"])
def test_the_disk_has_a_limit(level, make, where):
    code = TRY + (
        "path = sys.argv[1] + '/big'\n"
        "def fill():\n"
        "    with open(path, 'wb', 0) as out:\n"
        "        for _ in range(64): out.write(bytes(2**20))\n"
        "done = attempt(fill); print(json.dumps(done + [os.path.getsize(path)]))"
    )
    full, error, size = inside(level, make(Limits(disk=4 * MIB)), code, where)
    assert not full
    assert error == "OSError"
    assert 3 * MIB < size <= 4 * MIB
    assert inside(level, make(Limits(disk=128 * MIB)), code, where)[0]


@in_every_level
def test_limits_of_files_processes_and_time(level, make):
    code = TRY + "def w(n):\n    with open('f', 'wb') as out: out.write(bytes(n))\n"
    code += "print(json.dumps([attempt(lambda: w(int(n)))[0] for n in sys.argv[1:]]))"
    assert inside(level, make(Limits(file=MIB)), code, MIB, MIB + 1) == [True, False]

    bomb = TRY + (
        "import time\n"
        "def child():\n"
        "    if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "print(json.dumps(sum(attempt(child)[0] for _ in range(200))))"
    )
    assert 8 < inside(level, make(Limits(processes=32)), bomb) < 32

    with start(level, make(Limits(cpu=1)), "while True: pass") as process:
        assert process.wait(timeout=30) != 0


@in_every_level
def test_its_limits_are_those_of_all_levels(level, make):
    limits = Limits(memory=8 * 2**30, cpu=1.5)
    kinds = {n: getattr(resource, f"RLIMIT_{n.upper()}") for n in tools.resources(limits)}
    code = "import json, resource\n"
    code += f"print(json.dumps({{n: resource.getrlimit(k) for n, k in {kinds!r}.items()}}))"
    wanted = {name: [value] * 2 for name, value in tools.resources(limits).items()}
    assert inside(level, make(limits), code) == wanted


@in_every_level
def test_its_sockets_are_reached_from_outside(level, make):
    box = make()
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "print('ready', flush=True); s.accept()[0].sendall(b'hello')"
    )
    with start(level, box, code, box.sockets / "k-1") as process:
        assert process.stdout.readline() == "ready\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(box.sockets / "k-1"))
            assert client.recv(5) == b"hello"


@in_every_level
def test_a_jupyter_kernel_runs_in_it(level, make):
    from jupyter_client import KernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    box = make()
    box = Box(**vars(box) | {"environment": {"HOME": str(box.scratch), "USER": "student"}})
    level.prepare(box)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]

    class Specs(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            return KernelSpec(argv=level.command(argv, box), interrupt_mode="message")

    manager = KernelManager(
        transport="ipc",
        ip=str(box.sockets / "k"),
        connection_file=str(box.connection),
        kernel_spec_manager=Specs(),
    )
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        shown = []
        client.execute_interactive("1 + 1", timeout=60, output_hook=shown.append)
        answers = [m["content"]["data"] for m in shown if m["msg_type"] == "execute_result"]
        assert answers == [{"text/plain": "2"}]
        keys = json.loads(box.connection.read_text())
        assert keys["transport"] == "ipc"
        assert len(keys["key"]) > 20
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not list(box.scratch.iterdir())  # what it wrote there went with it
