"""The watchdog ends what passes a limit, and nothing gets away."""

import errno
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from boxes import GRADERS, command, make_box, python

from advlab.course.grading import results
from advlab.course.grading.sandbox import cgroup, tree
from advlab.course.grading.sandbox.landlock import Landlock
from advlab.course.grading.sandbox.plain import Plain
from advlab.course.grading.sandbox.tree import Tree, read
from advlab.course.grading.sandbox.watch import FILES, Paced, Watch, disk
from advlab.course.grading.settings import MIB, Limits

GROUPS = ("watchdog", "cgroup") if cgroup.place() else ("watchdog",)

# Four processes that grow together; none of them is too large alone.
MEMORY = (
    "import os, time\n"
    "for _ in range(3):\n"
    "    if os.fork() == 0: break\n"
    "kept = []\n"
    "while True: kept.append(bytearray(4 * 2**20)); time.sleep(0.01)\n"
)
SHARED = (
    "import mmap, os, time\n"
    "kept = mmap.mmap(-1, 100 * 2**20); pages = range(0, len(kept), 4096)\n"
    "for page in pages: kept[page] = 1\n"
    "for _ in range(7):\n"
    "    if os.fork() == 0: sum(kept[page] for page in pages); time.sleep(60)\n"
    "time.sleep(1.5)\n"
)
FORKS = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
THREADS = (
    "import threading, time\n"
    "for _ in range(300): threading.Thread(target=time.sleep, args=(60,)).start()\n"
)
BURN = "while True: pass\n"
# Two at a time, each ended and waited for before anybody has looked twice.
BURN_IN_CHILDREN = (
    "import os\n"
    "while True:\n"
    "    if os.fork() == 0:\n"
    "        for _ in range(10**6): pass\n"
    "        os._exit(0)\n"
    "    os.wait()\n"
)
FILL = (
    "n = 0\nwhile True:\n    open(f'f{n}', 'wb').write(bytes(2**20)); n += 1\n"
    "    import time; time.sleep(0.005)\n"
)
FILL_UNSEEN = (
    "import os, time\nkept = []\nwhile True:\n    kept.append(open('x', 'wb', 0)); os.unlink('x')\n"
    "    kept[-1].write(bytes(2**20)); time.sleep(0.01)\n"
)
MANY_FILES = (
    f"for n in range({FILES + 10}): open(str(n), 'w').close()\nimport time; time.sleep(60)\n"
)
DEEP = (
    "import os, time\nfor n in range(300): os.mkdir('x' * 100); os.chdir('x' * 100)\n"
    "time.sleep(60)\n"
)
# A grandchild in a session of its own.
DAEMON = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(300)\ntime.sleep(300)\n"
SMALL = Limits(memory=200 * MIB, cpu=3.0, processes=40, disk=20 * MIB)
BOMBS = {
    "memory": (MEMORY, results.OUT_OF_MEMORY),
    "forks": (FORKS, results.TOO_MANY_PROCESSES),
    "threads": (THREADS, results.TOO_MANY_PROCESSES),
    "burn": (BURN, results.TOO_MUCH_CPU),
    "burn in children": (BURN_IN_CHILDREN, results.TOO_MUCH_CPU),
    "fill": (FILL, results.TOO_MUCH_DISK),
    "fill unseen": (FILL_UNSEEN, results.TOO_MUCH_DISK),
    "many files": (MANY_FILES, results.TOO_MUCH_DISK),
    "deep folders": (DEEP, results.TOO_MUCH_DISK),
}


class Measured(Watch):
    """Keeps the most that it saw: threads, and memory, where what is shared counts for each."""

    threads = memory = 0

    def look(self):
        found = super().look()
        living = [one for one in self._tree.members.values() if not one.ended]
        self.threads = max(self.threads, sum(one.threads for one in living))
        self.memory = max(self.memory, sum(one.memory for one in living))
        return found


@contextmanager
def watching(*arguments, **options):
    watch = Measured(*arguments, **options).start()
    try:
        yield watch
    finally:
        watch.stop()
        watch.kill()


def watched(level, box, grader, code, kind="watchdog"):
    """Run to the end, watched: the watch, and all members that it ever had."""
    group = cgroup.make(box.limits) if kind == "cgroup" else None
    argv = command(level, box, grader, python(code))
    process = subprocess.Popen(group.command(argv) if group else argv)
    try:
        folders = (box.scratch, box.sockets)
        with watching(process.pid, box.limits, folders, group=group) as watch:
            process.wait(timeout=60)
            watch.stop()
            assert watch.kill()
        assert Tree(process.pid).look() == []
    finally:
        if group:
            assert group.kill()
            assert group.remove()
    return watch


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(("level", "kind"), [(Landlock(), "watchdog"), (Plain(), GROUPS[-1])])
def test_the_first_limit_passed_ends_it(tmp_path, level, kind, bomb):
    code, verdict = BOMBS[bomb]
    box = make_box(tmp_path, GRADERS[0], limits=SMALL)
    start = time.monotonic()
    watch = watched(level, box, GRADERS[0], code, kind)
    assert watch.breach == verdict
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("bomb", ["memory", "forks", "fill unseen"])
def test_an_ordinary_grader_ends_it_too(tmp_path, bomb):
    """The whole of it as another user: the watchdog in there watches its own child."""
    code, verdict = BOMBS[bomb]
    box = make_box(tmp_path, "ordinary", limits=SMALL)
    grader = (
        "import subprocess\n"
        "from pathlib import Path\n"
        "from advlab.course.grading.sandbox.watch import Watch\n"
        "from advlab.course.grading.settings import Limits\n"
        f"process = subprocess.Popen({Landlock().command(python(code), box)!r})\n"
        f"folders = [Path({str(box.scratch)!r})]\n"
        f"watch = Watch(process.pid, {SMALL!r}, folders).start()\n"
        "process.wait(60); watch.stop(); print(watch.breach, watch.kill())\n"
    )
    started = command(Plain(), box, "ordinary", [])[:-1]  # the folders, and who runs
    started = started[: started.index("--") + 1] if os.getuid() == 0 else []
    found = subprocess.run(
        [*started, sys.executable, "-c", grader], capture_output=True, text=True, timeout=60
    )
    assert found.stdout == f"{verdict} True\n", found.stderr


def test_memory_is_stopped_within_a_second_of_the_limit(tmp_path):
    """Four processes take at most 400 MiB a second here, and the limit is at 200 MiB."""
    box = make_box(tmp_path, GRADERS[0], limits=SMALL)
    slower = MEMORY.replace("4 * 2**20", "2**20")
    assert slower != MEMORY
    watch = watched(Plain(), box, GRADERS[0], slower)
    assert watch.breach == results.OUT_OF_MEMORY
    assert 200 * MIB < watch.memory < 600 * MIB


@pytest.mark.parametrize("kind", GROUPS)
def test_shared_memory_counts_once(tmp_path, kind):
    box = make_box(tmp_path, GRADERS[0], limits=SMALL)
    watch = watched(Plain(), box, GRADERS[0], SHARED, kind)  # 8 processes see 100 MiB
    assert watch.breach == ""
    assert watch.threads >= 10


def test_within_the_limits_nothing_happens(tmp_path):
    box = make_box(tmp_path, GRADERS[0])
    code = "open('a', 'wb').write(bytes(2**20)); import time; time.sleep(0.5); exit(3)"
    watch = watched(Landlock(), box, GRADERS[0], code)
    assert watch.breach == ""
    assert MIB <= disk([box.scratch, box.sockets]) < 2 * MIB
    assert 0 < watch.memory < 200 * MIB
    assert watch.threads == 3  # doorman, keeper, command


def test_kill_takes_all_and_is_no_breach():
    code = (
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0: os.setsid()\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(python(code))
    watch = Measured(process.pid, Limits()).start()
    while watch.threads < 32:
        time.sleep(0.01)
    pids = [one.pid for one in Tree(process.pid).look()]
    assert watch.kill()
    process.wait(5)
    watch.stop()
    assert len(pids) == 32
    assert all(found is None or found.ended for found in map(read, pids))
    assert watch.breach == ""


def test_who_left_the_tree_is_remembered():
    """No supervisor here: the orphans' parent is another process, as with any double fork."""
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: os.setsid(); time.sleep(60)\n"
        "    time.sleep(0.5); os._exit(0)\n"
        "os.wait(); time.sleep(60)\n"
    )
    process = subprocess.Popen(python(code))
    tree = Tree(process.pid)
    until = time.monotonic() + 10
    while len(tree.look()) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    while len(tree.look()) > 2 and time.monotonic() < until:
        time.sleep(0.02)
    (orphan,) = [one for one in tree.look() if one.pid != process.pid]
    assert orphan.parent != process.pid
    assert tree.kill()
    process.wait(5)
    assert (found := read(orphan.pid)) is None or found.ended


def test_a_process_that_is_gone_is_no_error():
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    with watching(process.pid, Limits()) as watch:
        assert watch.look() == ""
    assert watch.kill()


def no_more_files():
    raise OSError(errno.EMFILE, "too many open files")


@pytest.mark.parametrize("times", [1, 10**9])
def test_what_cannot_be_watched_is_ended_and_the_error_kept(tmp_path, monkeypatch, times):
    """A moment without free descriptors, and a grader that has none any more."""
    box = make_box(tmp_path, GRADERS[0])
    process = subprocess.Popen(command(Plain(), box, GRADERS[0], python(DAEMON)))
    with watching(process.pid, box.limits, (box.scratch,)) as watch:
        while len(inside := list(watch._tree.members)) < 4:
            time.sleep(0.01)
        real, left = tree._pids, [times]

        def pids():
            left[0] -= 1
            return no_more_files() if left[0] >= 0 else real()

        monkeypatch.setattr(tree, "_pids", pids)
        process.wait(10)
        monkeypatch.setattr(tree, "_pids", real)
        assert watch.error.errno == errno.EMFILE
        assert watch.breach == ""
        until = time.monotonic() + 5
        while Tree(process.pid).look() or any(
            (one := read(pid)) is not None and not one.ended for pid in inside
        ):
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.mark.slow
def test_a_look_is_cheap():
    """Under 2 % of a core at ten looks a second, for a process with torch and its children."""
    code = "import os, time, torch\nos.fork(); os.fork()\ntime.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code])
    watch = Measured(process.pid, Limits())
    until = time.monotonic() + 60
    while watch.threads < 4 and time.monotonic() < until:
        watch.look()
        time.sleep(0.1)
    start = time.thread_time()
    for _ in range(100):
        assert watch.look() == ""
    used = (time.thread_time() - start) / 100
    watch.kill()
    process.wait(5)
    assert used / 0.1 < 0.02, f"{used * 1e3:.2f} ms a look"


def test_a_cgroup_or_a_reason_for_none():
    """Where the system lets us, the group holds; where it does not, ``make`` says None."""
    group = cgroup.make(SMALL)
    if group is None:
        assert cgroup.place() is None
        return
    folders = list(group._folders.values())
    with group:
        done = subprocess.run(
            group.command([sys.executable, "-c", "x = bytearray(400 * 2**20)"]), timeout=60
        )
        assert done.returncode == -9
        assert group.out_of_memory()
        assert not group.refused_process()
        left = subprocess.Popen(group.command(["/bin/sleep", "60"]))
        while left.pid not in group.pids():
            time.sleep(0.01)
    left.wait(5)
    assert not any(folder.exists() for folder in folders)


def test_version_2_of_cgroups_by_its_files(tmp_path):
    """Ordinary files stand for those of the system: what is written to them, and read."""
    group = cgroup.Cgroup({"": tmp_path}, SMALL)
    (folder,) = tmp_path.iterdir()
    assert (folder / "memory.max").read_text() == str(SMALL.memory)
    assert (folder / "pids.max").read_text() == str(SMALL.processes)
    assert (group.out_of_memory(), group.refused_process(), group.cpu()) == (False, False, 0.0)
    (folder / "memory.events").write_text("low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 1\n")
    (folder / "pids.events").write_text("max 3\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (folder / "cgroup.procs").write_text("")
    assert (group.out_of_memory(), group.refused_process(), group.cpu()) == (True, True, 2.5)
    assert subprocess.run(group.command(["/bin/sh", "-c", "exit 5"])).returncode == 5
    assert (folder / "cgroup.procs").read_text() == "0\n"


# Each keeps something that is in no process's own memory, or makes looking slow first.
HIDDEN = {
    "sockets": (
        "import socket, time\nkept = []\n"
        "for _ in range(4):\n    if os.fork() == 0: break\n"
        "for _ in range(100): kept.append(socket.socketpair())\n",
        results.OUT_OF_MEMORY,
    ),
    "pipes": (
        "for _ in range(4):\n    if os.fork() == 0: break\nfor _ in range(100): os.pipe()\n",
        results.OUT_OF_MEMORY,
    ),
    "page tables": (  # 300 MB of them: one page is read in each 2 MB, and all are the same zero
        "import ctypes, mmap\n"
        "size = 150 * 2**30\n"
        "kept = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANON, mmap.PROT_READ)\n"
        "for place in range(0, size, 2**21): kept[place]\n",
        results.OUT_OF_MEMORY,
    ),
}
SLOW = (
    "import os, time\n"
    f"for n in range({FILES - 1000}): open(f'e{{n}}', 'w').close()\n"
    "time.sleep(0.5)\n"
    "for n in range(600): open(f'f{n}', 'wb').write(bytes(2**20)); time.sleep(0.002)\n"
    "time.sleep(60)\n"
)


@pytest.mark.parametrize("what", HIDDEN)
@pytest.mark.parametrize("level", [Landlock(), Plain()], ids=lambda level: level.name)
def test_memory_of_no_process_counts(tmp_path, level, what):
    code, verdict = HIDDEN[what]
    box = make_box(tmp_path, GRADERS[0], limits=SMALL)
    code = f"import os, time\n{code}time.sleep(20)\n"
    assert watched(level, box, GRADERS[0], code).breach == verdict


def test_many_small_files_win_no_time_for_large_ones(tmp_path):
    box = make_box(tmp_path, GRADERS[0], limits=SMALL)
    assert watched(Plain(), box, GRADERS[0], SLOW).breach == results.TOO_MUCH_DISK
    assert disk([box.scratch]) < SMALL.disk + 150 * MIB


def test_a_slow_measurement_waits_half_a_second_at_most():
    paced = Paced()
    with paced:
        time.sleep(0.1)
    assert not paced.due()
    time.sleep(0.55)
    assert paced.due()


def test_open_files_are_seen_while_others_are_closed(tmp_path):
    """The second file is deleted, and the first is opened and closed without end."""
    code = (
        "import os\nlow = os.open('a', os.O_CREAT | os.O_RDWR)\n"
        "kept = open('b', 'wb', 0); kept.write(bytes(2**20)); os.unlink('b')\n"
        "print('ready', flush=True)\n"
        "while True: os.close(low); os.open('a', os.O_RDWR)\n"
    )
    with subprocess.Popen(python(code), cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        one = read(process.pid)
        assert all(sum(tree.held(one).files.values()) == MIB for _ in range(2000))
        process.kill()
