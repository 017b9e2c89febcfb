"""Kernels forked from a process that has imported torch: as fresh as those that were started."""

from __future__ import annotations

import os
import time

import light
import pytest

from advlab.course.grading import boxes, runner, site
from advlab.course.grading.cores import PLACE
from advlab.course.grading.jobs import Job
from advlab.course.grading.kernel import GradedKernel, KernelStopped
from advlab.course.grading.results import OUT_OF_MEMORY
from advlab.course.grading.sandbox.bubblewrap import Bubblewrap
from advlab.course.grading.sandbox.warm import WarmError
from advlab.course.grading.sandbox.watch import FILES
from advlab.course.grading.settings import Limits, Settings
from advlab.course.grading.slots import CONTROL, Slots

LIMITS = Limits(cell=20, notebook=60, memory=1500 * 2**20, disk=50 * 2**20)


@pytest.fixture(scope="module", autouse=True)
def _grader(tmp_path_factory):
    """A grader with a secret, whose home may not be there: the cache lies elsewhere."""
    assert Bubblewrap().unavailable() == "", "bubblewrap must be installed for these tests"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVLAB_TEST_SECRET", "of the grader")
        patch.setenv("ADVLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        site.site.cache_clear()
        yield
    site.site.cache_clear()


@pytest.fixture(scope="module")
def slot(_grader):
    slot = boxes.make_slot()
    yield slot
    slot.close()


class Kernel:
    """A kernel from a slot, and what its cells print."""

    def __init__(self, slot, user: int | None = None):
        user = user or boxes.a_user()
        self.box = boxes.make_box(slot.control.parent / "r", LIMITS, user)
        self.kernel = GradedKernel(Bubblewrap(), self.box, [], 60, slot.control)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kernel.stop()

    def run(self, code: str) -> str:
        msg_id = self.kernel.execute_cell_input(code, allow_stdin=False)
        self.kernel.await_reply(msg_id, 20)
        said = []
        while True:
            message = self.kernel.get_message("iopub", 5)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                said.append(message["content"]["text"])
            if message["msg_type"] == "error":
                said.append(message["content"]["ename"])
            if message["content"].get("execution_state") == "idle":
                return "".join(said).strip()


def test_its_folder_says_whose_it_is(slot):
    """So that another grader removes it where this one is killed."""
    assert slot.control.parent.name.startswith(f"advlab-{os.getpid()}-")


def test_it_starts_with_torch_imported_and_nothing_else_of_anyone(slot):
    with Kernel(slot) as kernel:
        assert kernel.run("import sys; print('torch' in sys.modules)") == "True"
        assert (
            kernel.run("print([n for n in sys.modules if 'judging' in n or 'grading' in n])")
            == "[]"
        )
        names = kernel.run("import os; print(*os.environ)").split()
        assert set(kernel.box.environment) <= set(names)
        # IPython adds a few of its own: how many colors, which pager.
        assert len(names) < len(kernel.box.environment) + 12
        assert "ADVLAB_TEST_SECRET" not in names


LEAVE = """
import os, subprocess, sys
for folder in ({scratch!r}, "/tmp", "/dev/shm"):
    open(folder + "/left", "w").write("from the first")
os.chdir("/tmp")
for _ in range(1200):
    os.mkdir("d"); os.chdir("d")
open("bottom", "w").write("x" * 1000)
os.chdir({scratch!r})
sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleeper, start_new_session=True)
print("done")
"""


def test_nothing_of_one_is_there_for_the_next(slot):
    with Kernel(slot) as kernel:
        box = kernel.box
        code = LEAVE.format(scratch=str(box.scratch))
        assert kernel.run(code) == "done"
        assert int(kernel.run("print(len([p for p in os.listdir('/proc') if p.isdigit()]))")) >= 3
    with Kernel(slot) as kernel:
        look = (
            "import os\n"
            f"for folder in ({str(box.scratch)!r}, '/tmp', '/dev/shm', {str(box.sockets)!r}):\n"
            "    print(sorted(n for n in os.listdir(folder) if n[0] != '.' and n[:2] != 'k-'\n"
            "                 and not n.startswith(('advlab-', 'pytest-of-'))))"
        )
        assert kernel.run(look) == "[]\n[]\n[]\n[]"
        # The first process of the namespace, and the kernel.
        assert kernel.run("print(len([p for p in os.listdir('/proc') if p.isdigit()]))") == "2"


def test_it_has_no_rights_and_no_way_to_them(slot):
    with Kernel(slot) as kernel:
        status = dict(
            line.split(":\t", 1)
            for line in kernel.run("print(open('/proc/self/status').read())").splitlines()
            if ":\t" in line
        )
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        expected = kernel.box.user if kernel.box.user is not None else os.getuid()
        assert set(status["Uid"].split()) == {str(expected)}
        assert status["Groups"].strip() in ("", str(expected), "65534")


DENIED = {
    "mount": "import ctypes; print(ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None))",
    "user namespace": "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))",
    "ptrace": "import ctypes; print(ctypes.CDLL(None).ptrace(16, 1, 0, 0))",
    "write packages": "open({site!r} + '/x', 'w')",
    "write the connection file": "open({connection!r}, 'a')",
    "replace the connection file": "import os; os.rename({connection!r}, {connection!r} + 'x')",
    "fill the folder of the sockets": "open({sockets!r} + '/x', 'w')",
    "put another socket in place": "import os; os.unlink({sockets!r} + '/k-1')",
    "open it again": "import os; os.chmod({sockets!r}, 0o777); open({sockets!r} + '/x', 'w')",
    "leave its core": "import os; os.sched_setaffinity(0, {{0, 1}})",
    "go first": "import os; old = os.nice(0); os.nice(-1); print(-1 if os.nice(0) == old else 0)",
    "see the control socket": "import os; os.stat({control!r})",
    "read the home of root": "import os; os.listdir('/root/.ssh')",
    "network": "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
    "write to proc": "open('/proc/sys/kernel/hostname', 'w').write('x')",
    "disk": "open('big', 'wb').write(bytes(60 * 2**20))",
}


@pytest.mark.parametrize("what", DENIED)
def test_what_is_denied(slot, what):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server, Kernel(slot) as kernel:
        code = DENIED[what].format(
            site=str(site.site().folder),
            connection=str(kernel.box.connection),
            sockets=str(kernel.box.sockets),
            control=str(slot.control),
            port=server.getsockname()[1],
        )
        said = kernel.run(code)
        assert said == "-1" or "Error" in said, said


def test_no_descriptor_of_the_waiting_process_is_open(slot):
    with Kernel(slot) as kernel:
        code = (
            "import os\n"
            "for n in os.listdir('/proc/self/fd'):\n"
            "    try: print(os.readlink(f'/proc/self/fd/{n}'))\n"
            "    except OSError: pass"
        )
        kinds = {line.split(":")[0] for line in kernel.run(code).splitlines()}
        files = {kind for kind in kinds if kind.startswith("/")}
        assert files <= {"/dev/null", "/proc/self/fd"} | {
            f for f in files if f.startswith("/proc/")
        }


def test_two_kernels_do_not_share_random_numbers(slot):
    drawn = set()
    for _ in range(2):
        with Kernel(slot) as kernel:
            drawn.add(
                kernel.run("import numpy, random; print(numpy.random.rand(), random.random())")
            )
    assert len(drawn) == 2


def test_a_kernel_that_passed_a_limit_leaves_a_slot_that_works(slot):
    with Kernel(slot) as kernel, pytest.raises(KernelStopped) as stopped:
        kernel.run("held = []\nwhile True: held.append(bytearray(50 * 2**20))")
    assert stopped.value.limit == OUT_OF_MEMORY
    with Kernel(slot) as kernel:
        assert kernel.run("print(1)") == "1"


@pytest.mark.parametrize("code", ["import os; os._exit(0)", "import os; os.abort()"])
def test_a_kernel_that_died_is_noticed_at_once(slot, code):
    with Kernel(slot) as kernel:
        start = time.monotonic()
        with pytest.raises(KernelStopped, match="it died"):
            kernel.run(code)
        # Well before the cell's time is over; benchmarks/grading.py --deaths measures it.
        assert time.monotonic() - start < LIMITS.cell / 4


def test_when_the_slot_ends_its_kernel_does():
    slot = boxes.make_slot()
    with Kernel(slot) as kernel:
        slot.close()
        end = time.monotonic() + 5
        while kernel.kernel.is_alive() and time.monotonic() < end:
            time.sleep(0.05)
        assert not kernel.kernel.is_alive()


def test_it_ends_when_nobody_holds_its_input():
    """As where the grader is killed before bubblewrap has bound its life to the grader's."""
    slot = boxes.make_slot()
    try:
        slot._process.stdin.close()
        slot._process.wait(60)
    finally:
        slot.close()


def test_without_a_slot_that_lives_the_kernel_is_started(monkeypatch):
    slot = boxes.make_slot()
    slot.close()
    with pytest.raises(WarmError):
        Kernel(slot)
    monkeypatch.setenv(CONTROL, str(slot.control))
    answers = light.answers(light.answered(e42=None, e43=None, e44=None))
    job = Job(light.NAME, light.teacher(), answers, None, Settings(sandbox="bubblewrap"))
    assert runner.grade(job).earned == 2


def test_a_slot_whose_folder_was_filled_in_between_is_emptied(slot):
    """Whoever finds a way to write there all the same leaves nothing for the next."""
    with Kernel(slot) as kernel:
        deep = kernel.box.sockets
        deep.chmod(0o700)
        here = os.open(deep, os.O_RDONLY)
        for _ in range(1200):
            os.mkdir("d", dir_fd=here)
            here, old = os.open("d", os.O_RDONLY, dir_fd=here), here
            os.close(old)
        os.close(here)
    with Kernel(slot) as kernel:
        said = kernel.run(f"import os; print(*sorted(os.listdir({str(deep)!r})))")
        assert said == "k-1 k-2 k-3 k-4 k-5"


def refuse(*args, **options):
    raise OSError("not now")


@pytest.mark.parametrize("what", ["prepare", "bind", "start"])
def test_a_slot_that_cannot_be_made_leaves_nothing(what, tmp_path, monkeypatch):
    top = tmp_path
    if what == "bind":  # a path that is too long for a socket
        top = tmp_path / ("long" * 30)
        top.mkdir()
    if what == "prepare":
        monkeypatch.setattr(Bubblewrap, "prepare", refuse)
    if what == "start":
        monkeypatch.setattr("advlab.course.grading.sandbox.warm.subprocess.Popen", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(top))
    with pytest.raises(OSError, match="too long" if what == "bind" else "not now"):
        boxes.make_slot()
    assert list(top.iterdir()) == []


def test_places_are_mended_and_ended(monkeypatch):
    places = Slots(2, warm=True)
    first, other = places.take(), places.take()
    assert (first.number, other.number) == (0, 1)
    assert first.environment()[CONTROL] == str(first.slot.control)
    with pytest.raises(IndexError):
        places.take()
    dead = first.slot
    dead.close()
    places.give_back(first)
    assert places.take() is first
    assert first.slot is not dead
    assert first.slot.alive()
    # Its kernels stay on the core of the place.
    monkeypatch.setenv(PLACE, "1")
    cores = sorted(os.sched_getaffinity(0))
    with Kernel(other.slot) as kernel:
        found = kernel.run("import os; print(sorted(os.sched_getaffinity(0)))")
        assert found == str([cores[1 % len(cores)]])
    places.close()
    assert not first.slot.alive()
    assert not other.slot.control.parent.exists()


def test_files_in_memory_are_bounded_in_number(slot):
    """An empty file takes a kilobyte of the system's memory."""
    code = """
import os
for place in ("/tmp", "/dev/shm", "."):
    try:
        for n in range(30_000): open(f"{place}/{n}", "w").close()
    except OSError as error:
        print(os.statvfs(place).f_files, error.strerror)
"""
    with Kernel(slot) as kernel:
        assert kernel.run(code).splitlines() == [f"{FILES} No space left on device"] * 3


def test_the_watchdog_of_an_ordinary_user_may_look_into_a_kernel(slot):
    """A process that forbids it belongs to root in ``/proc``. The first one still forbids it."""
    code = """
import os
print(os.stat("/proc/self/fd").st_uid, os.getuid())
try:
    print(os.listdir("/proc/1/fd"))
except OSError as error:
    print(error.strerror)
"""
    with Kernel(slot) as kernel:
        owners, first = kernel.run(code).splitlines()
    assert len(set(owners.split())) == 1
    assert first == "Permission denied"
