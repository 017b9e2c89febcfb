"""Landlock and seccomp refuse, and the plain level does not: each attempt is made in both, so that
what is refused is seen to be possible otherwise."""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from boxes import GRADERS, NOBODY, command, make_box, python, run
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

from advlab.course.grading.sandbox import rules, seccomp, tools
from advlab.course.grading.sandbox.landlock import Landlock
from advlab.course.grading.sandbox.launching import LAUNCH
from advlab.course.grading.sandbox.plain import Plain
from advlab.course.grading.sandbox.tree import Tree, read
from advlab.course.grading.settings import Limits

BEFORE = """
import ctypes, json, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    found = libc.syscall(ctypes.c_long(number), *args)
    if found < 0:
        raise OSError(ctypes.get_errno(), "")
    return found
def unix(address, kind=socket.SOCK_STREAM):
    socket.socket(socket.AF_UNIX, kind).connect(address)
"""

# What is tried, each on its own line of Python; {names} are filled in by the test.
ATTEMPTS = {
    "read a file outside": "open({secret!r}).read()",
    "read a hidden file": "open({hidden!r}).read()",
    "read through a link": "os.symlink({secret!r}, 'l'); open('l').read()",
    "write a file outside": "open({open!r} + '/new', 'w').close()",
    "change a file outside": "open({victim!r}, 'a').write('x')",
    "empty a file outside": "os.truncate({victim!r}, 0)",
    "empty a file that is readable": "os.open({package!r}, os.O_RDONLY | os.O_TRUNC)",
    "delete a file outside": "os.unlink({open!r} + '/delete')",
    "make a folder outside": "os.mkdir({open!r} + '/folder')",
    "move a file outside": "open('m', 'w').close(); os.rename('m', {open!r} + '/moved')",
    "list another run's folder": "os.listdir({other!r})",
    "change the connection file": "os.chmod({connection!r}, 0o600); open({connection!r}, 'w')",
    "TCP": "socket.create_connection(('127.0.0.1', {port}), 5)",
    "listen on TCP": "socket.socket().bind(('127.0.0.1', 0))",
    "UDP": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))",
    "a socket with a path": "unix({listener!r})",
    "an abstract socket": "unix({abstract!r})",
    "a datagram to a path": "socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', {box!r})",
    "signal another process": "os.kill({bystander}, 0)",
    "signal by pidfd": "signal = __import__('signal'); "
    "signal.pidfd_send_signal(os.pidfd_open({bystander}), signal.SIGCONT)",
    "trace another process": "call({ptrace}, 16, {bystander}, 0, 0)",
    "see another process": "open('/proc/{bystander}/status').read()",
    "limit another process": "__import__('resource').prlimit({bystander}, 7)",
    "memory of no process": "os.memfd_create('x')",
    "shared memory": "call({shmctl}, call({shmget}, 0, 4096, 0o1600), 0, None)",
}
if sys.platform == "linux":
    NUMBERS = {
        name: seccomp.NUMBERS[name][seccomp.ARCHITECTURES[os.uname().machine][0]]
        for name in (
            "ptrace",
            "shmget",
            "shmctl",
            "unshare",
            "open_by_handle_at",
            "bpf",
            "keyctl",
            "mount",
        )
    }
VERSIONS = [abi for abi in (1, 3, 5, None) if abi is None or abi <= rules.version()]


def attempts(sandbox, grader, folder: Path) -> dict[str, str]:
    """All attempts in one box: the name of each → ``"done"`` or the exception."""
    public = folder / "public"
    public.mkdir(mode=0o777)
    for name in ("package", "package/inner", "package/inner/hidden", "other", "other/s"):
        (folder / name).mkdir()
    files = {
        "secret": folder / "secret.txt",
        "hidden": folder / "package" / "inner" / "hidden" / "solution.py",
        "package": folder / "package" / "code.py",
        "victim": public / "victim",
        "delete": public / "delete",
    }
    for path in files.values():
        path.write_text("secret")
        os.chmod(path, 0o666)
        os.chown(path, *(NOBODY, NOBODY) if os.getuid() == 0 else (-1, -1))
    for path in (public, folder / "other"):
        os.chmod(path, 0o777)
    box = make_box(folder, grader)
    readable = (*box.readable, folder / "package")
    box = make_box(folder, grader, readable=readable, hidden=(files["hidden"].parent,))
    sandbox.prepare(box)
    box.connection.write_text("{}")
    abstract = f"\0advlab-test-{os.getpid()}-{folder.name}"
    kinds = ((socket.SOCK_STREAM, "listener"), (socket.SOCK_DGRAM, "box"))
    listeners = [socket.socket(socket.AF_UNIX, kind) for kind, _ in kinds]
    listeners.append(socket.socket(socket.AF_UNIX))
    # Short paths: a socket's may have 107 letters only.
    near = Path(os.path.relpath(public))
    for listener, (_, name) in zip(listeners[:2], kinds, strict=True):
        listener.bind(str(near / name))
        os.chmod(public / name, 0o777)
    listeners[2].bind(abstract)
    listeners.append(socket.create_server(("127.0.0.1", 0)))
    for listener in listeners:
        if listener.type == socket.SOCK_STREAM:
            listener.listen()
    user = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
    bystander = subprocess.Popen(["/bin/sleep", "60"], **user)
    known = {name: str(path) for name, path in files.items()}
    known |= {"open": str(public), "other": str(folder / "other"), "abstract": abstract}
    known |= {"listener": str(public / "listener"), "box": str(public / "box")}
    known |= {"connection": str(box.connection), "port": listeners[3].getsockname()[1]}
    known |= {"bystander": bystander.pid, **NUMBERS}
    lines = {name: line.format(**known) for name, line in ATTEMPTS.items()}
    code = BEFORE + (
        f"found = {{}}\nfor name, line in {lines!r}.items():\n"
        "    try:\n        exec(line)\n        found[name] = 'done'\n"
        "    except BaseException as error:\n        found[name] = repr(error)\n"
        "print(json.dumps(found))"
    )
    try:
        result = run(sandbox, box, grader, code)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)
    finally:
        for listener in listeners:
            listener.close()
        bystander.kill()
        bystander.wait()


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """Attempts in each level, made once: (grader, level) → what came of them."""
    found = {}
    for grader in GRADERS:
        for level in (Plain(), *(Landlock(abi) for abi in VERSIONS)):
            folder = tmp_path_factory.mktemp("t")
            found[grader, getattr(level, "abi", "plain")] = attempts(level, grader, folder)
    return found


def test_it_is_available_here():
    assert Landlock().unavailable() == ""


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("abi", VERSIONS)
def test_it_refuses_what_is_possible_otherwise(tried, grader, attempt, abi):
    refused = ("PermissionError", "OSError(38", "OSError(22")
    assert tried[grader, abi][attempt].startswith(refused), tried[grader, abi]
    if (grader, attempt) != ("root", "change the connection file"):  # root's: safe even there
        assert tried[grader, "plain"][attempt] == "done", tried[grader, "plain"]


@pytest.mark.parametrize("grader", GRADERS)
def test_dangerous_system_calls_are_refused(tmp_path, grader):
    code = BEFORE + (
        "def number(*args):\n"
        "    ctypes.set_errno(0)\n"
        "    return libc.syscall(*map(ctypes.c_long, args)), ctypes.get_errno()\n"
        f"for name, n in {NUMBERS!r}.items():\n"
        "    print(name, *number(n, 0x10000000, 0, 0, 0, 0))\n"
        "print('x32', *number(0x40000000 + 39))\n"
        "print('new', *number(460))\n"
        "print('clone', *number(56 if os.uname().machine == 'x86_64' else 220, 0x10000011, 0, 0))\n"
    )
    found = run(Landlock(), make_box(tmp_path, grader), grader, code)
    lines = dict(line.split(" ", 1) for line in found.stdout.splitlines())
    missing = [lines.pop(name) for name in ("x32", "new", "shmget", "shmctl")]
    assert missing == ["-1 38"] * 4
    assert len(lines) == len(NUMBERS) - 1  # with clone, without the two
    assert set(lines.values()) == {"-1 1"}


@pytest.mark.parametrize("grader", GRADERS)
def test_modes_of_files_outside_stay(tmp_path, grader):
    victim = tmp_path / "victim"
    victim.write_text("x")
    victim.chmod(0o644)
    if os.getuid() == 0:
        os.chown(victim, NOBODY, NOBODY)
    code = f"import os; os.chmod({str(victim)!r}, 0); os.utime({str(victim)!r}, (0, 0))"
    before = victim.stat()
    assert run(Landlock(), make_box(tmp_path, grader), grader, code).returncode == 0
    assert victim.stat() == before
    run(Plain(), make_box(tmp_path / "plain", grader), grader, code)
    assert victim.stat().st_mode & 0o777 == 0


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize(
    "level",
    [*map(Landlock, VERSIONS), Plain()],
    ids=[*(f"landlock-{version}" for version in VERSIONS), "plain"],
)
def test_ordinary_work_goes_on(tmp_path, grader, level):
    code = (
        "import multiprocessing.connection, os, shutil, socket, subprocess, tempfile, threading\n"
        "open('a', 'w').write('x'); shutil.copy('a', 'b'); os.makedirs('d/e'); os.remove('a')\n"
        "tempfile.NamedTemporaryFile().write(b'x'); assert tempfile.gettempdir().endswith('/tmp')\n"
        "assert subprocess.run(['ls'], capture_output=True, text=True).stdout.split()[0] == 'b'\n"
        "socket.socketpair(); socket.socket(socket.AF_UNIX).bind(os.environ['S'] + '/x')\n"
        "t = threading.Thread(target=len, args=('',)); t.start(); t.join()\n"
        "p = subprocess.Popen(['sleep', '9'])\n"
        "open('/dev/null', 'w').write('x'); os.urandom(4); open('/proc/self/status').read()\n"
        "assert open(os.environ['C']).read() == 'key'\n"
        "os.kill(os.getpid(), 0); print('well')\n"
    )
    box = make_box(tmp_path, grader)
    names = {"S": str(box.sockets), "C": str(box.connection), "PATH": "/usr/bin:/bin"}
    box = make_box(tmp_path, grader, environment=names)
    level.prepare(box)
    box.connection.write_text("key")
    box.connection.chmod(0o600)  # as jupyter_client writes it
    found = run(level, box, grader, code)
    assert found.stdout == "well\n", found.stderr


def test_a_hidden_package_is_gone_and_its_neighbors_are_not(tmp_path):
    import yaml

    box = make_box(tmp_path, GRADERS[0], hidden=(Path(yaml.__file__).parent,))
    code = "import zmq; print('zmq', flush=True); import yaml"
    started = command(Landlock(), box, GRADERS[0], [sys.executable, "-c", code])
    found = subprocess.run(started, capture_output=True, text=True)
    assert found.stdout == "zmq\n", found.stderr
    assert found.returncode == 1
    assert "yaml" in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("level", [Landlock(), Plain()], ids=lambda level: level.name)
@pytest.mark.parametrize("grader", GRADERS)
def test_environment_folder_user_and_exit_code(tmp_path, grader, level):
    code = (
        "import json, os, sys; "
        "print(json.dumps([dict(os.environ), os.getcwd(), os.getuid(), os.getgroups()])); "
        "sys.exit(7)"
    )
    box = make_box(tmp_path, grader, environment={"A": "1", "LC_CTYPE": "C.UTF-8"})
    found = run(level, box, grader, code)
    environment, folder, user, groups = json.loads(found.stdout)
    assert environment == {"A": "1", "LC_CTYPE": "C.UTF-8", "TMPDIR": str(box.scratch / "tmp")}
    assert folder == str(box.scratch)
    assert user == (NOBODY if os.getuid() == 0 else os.getuid())
    assert os.getuid() != 0 or groups == []
    assert found.returncode == 7
    assert run(level, box, grader, "import os; os.abort()").returncode == 128 + signal.SIGABRT


def test_a_file_too_large_is_an_error(tmp_path):
    box = make_box(tmp_path, GRADERS[0], limits=Limits(file=10**6))
    code = "f = open('x', 'wb')\nfor _ in range(20): f.write(bytes(10**5)); f.flush()"
    found = run(Landlock(), box, GRADERS[0], code)
    assert "File too large" in found.stderr
    assert (box.scratch / "x").stat().st_size == 10**6


@pytest.mark.parametrize("level", [Landlock(), Plain()], ids=lambda level: level.name)
@pytest.mark.parametrize("grader", GRADERS)
def test_its_limits_are_those_of_all_levels_and_not_the_graders_own(tmp_path, level, grader):
    """The process that grades bounds itself to 4 GiB, and a submission may be given more."""
    box = make_box(tmp_path, grader, limits=Limits(memory=8 * 2**30, cpu=1.5))
    kinds = {
        name: getattr(resource, f"RLIMIT_{name.upper()}") for name in tools.resources(box.limits)
    }
    del kinds["nproc"]  # it leaves room for the other processes of the user
    code = (
        "import json, resource\n"
        f"print(json.dumps({{n: resource.getrlimit(kind) for n, kind in {kinds!r}.items()}}))"
    )
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30, before[1]))
    try:
        wanted = tools.resources(box.limits)
        found = json.loads(run(level, box, grader, code).stdout)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert found == {name: [wanted[name]] * 2 for name in kinds}
    assert wanted["data"] == 16 * 2**30
    assert wanted["cpu"] == 3


def test_root_without_another_user_keeps_no_right(tmp_path):
    box = make_box(tmp_path, "ordinary")
    found = run(Landlock(), box, "root", "print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in found.stdout.splitlines() if ":\t" in line)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0 or (kind == "CapBnd" and os.getuid() != 0), kind


def test_a_command_that_cannot_be_started_says_so(tmp_path):
    box = make_box(tmp_path, GRADERS[0])
    started = command(Landlock(), box, GRADERS[0], ["/no/such/program"])
    found = subprocess.run(started, capture_output=True, text=True)
    assert found.returncode == 126
    assert "/no/such/program" in found.stderr


# A child in a session of its own that ignores all it can, and whose parent ends at once.
DAEMON = (
    "import os, signal, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
    "        os.close(1); os.open('/dev/null', os.O_WRONLY); time.sleep(300)\n"
    "    os._exit(0)\n"
    "os.wait()\n"
)


def gone(pids, within=3.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        left = [one for one in map(read, pids) if one is not None and not one.ended]
        if not left:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("level", [Landlock(), Plain()], ids=lambda level: level.name)
@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize("how", ["ends", "terminated", "killed", "group killed", "parent killed"])
def test_nothing_outlives_it(tmp_path, grader, level, how):
    wait = "sys.exit(0)" if how == "ends" else "time.sleep(300)"
    argv = python(DAEMON + "print('ready', flush=True); sys.stdin.read(1)\n" + wait)
    started = command(level, make_box(tmp_path, grader), grader, argv)
    if how == "parent killed":
        code = f"import subprocess, time; subprocess.Popen({started!r}); time.sleep(300)"
        started = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(started, start_new_session=True, **pipes) as process:
        assert process.stdout.readline() == b"ready\n"
        inside = [one.pid for one in Tree(process.pid).look() if one.pid != process.pid]
        assert len(inside) >= 3  # keeper, command, daemon
        process.stdin.write(b"x")
        process.stdin.flush()
        if how == "group killed":
            os.killpg(process.pid, signal.SIGKILL)
        elif how != "ends":
            process.send_signal(signal.SIGTERM if how == "terminated" else signal.SIGKILL)
        assert gone(inside), [read(pid) for pid in inside]
        process.wait(5)
    assert process.returncode == {"ends": 0, "terminated": 143}.get(how, -9)


def test_the_launcher_is_fast():
    """Processor time, with that of the children: the machine may be busy."""

    def seconds():
        before = os.times()
        launch = (sys.executable, "-I", "-S", str(LAUNCH), '{"seccomp": true}', "--")
        subprocess.run([*launch, "/bin/true"], check=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
@pytest.mark.parametrize("abi", [0, 2, 7])
def test_the_filter_ends_in_a_verdict_on_every_path(machine, abi):
    code = seccomp.program(machine, abi, 4242)
    steps = [code[at : at + 8] for at in range(0, len(code), 8)]
    assert len(steps) <= 4096
    for at, step in enumerate(steps):
        kind, yes, no = step[0] | step[1] << 8, step[2], step[3]
        if kind in (seccomp.EQUAL, seccomp.AT_LEAST):
            assert at + 1 + max(yes, no) < len(steps)
    assert steps[-1][0] == seccomp.RETURN


def test_an_unknown_machine_is_named():
    with pytest.raises(ValueError, match="found 'vax'"):
        seccomp.program("vax", 7, 1)


def test_the_plain_level_says_what_it_is():
    assert not Plain().isolated
    assert "can read, write and send whatever the grader can" in Plain().promises
    assert Plain().unavailable() == ""


@pytest.mark.parametrize("level", [Landlock(), Plain()], ids=lambda level: level.name)
@pytest.mark.parametrize("grader", GRADERS)
def test_a_kernel_of_jupyter_runs_in_it(tmp_path, tmp_path_factory, grader, level):
    folder = tmp_path_factory.mktemp("k")
    box = make_box(folder, grader)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]

    class Ours(KernelSpecManager):
        def get_kernel_spec(self, name):
            started = command(level, box, grader, argv)
            if grader == "ordinary" and os.getuid() == 0:
                os.chown(box.connection, NOBODY, NOBODY)
            return KernelSpec(argv=started, display_name=name, interrupt_mode="message")

    manager = KernelManager(
        transport="ipc",
        ip=str(box.sockets / "k"),
        connection_file=str(box.connection),
        kernel_spec_manager=Ours(),
        kernel_name="advlab",
    )
    level.prepare(box)
    manager.write_connection_file()
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    heard = []
    try:
        client.wait_for_ready(timeout=60)
        pid = manager.provisioner.pid
        inside = [one.pid for one in Tree(pid).look() if one.pid != pid]
        reply = client.execute_interactive(
            "import torch; 1+1", output_hook=lambda message: heard.append(message["content"])
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok"
    assert {"text/plain": "2"} in [content.get("data") for content in heard]
    assert gone(inside)


# What all processes of the machine share. The things of {names} are the test's, and everybody may
# use them.
SHARED = {
    "attach shared memory": "call({shmat}, {memory}, None, 0)",
    "look into shared memory": "call({shmctl}, {memory}, 2, room)",
    "change a semaphore": "call({semop}, {semaphore}, struct.pack('Hhh', 0, 1, 0), 1)",
    "change it in time": "call({semtimedop}, {semaphore}, struct.pack('Hhh', 0, 1, 0), 1, None)",
    "read a semaphore": "call({semctl}, {semaphore}, 0, 12)",
    "send a message": "call({msgsnd}, {queue}, struct.pack('l', 1) + b'x', 1, 0)",
    "take a message": "call({msgrcv}, {queue}, room, 8, 0, 0o4000)",
    "look at the messages": "call({msgctl}, {queue}, 2, room)",
    "remove a POSIX queue": "call({mq_unlink}, b{name!r})",
    "slots for AIO": "call({io_setup}, 1, room)",
    "huge pages": "mmap.mmap(-1, 2**21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON | 0x44000)",
    "a lease": "fcntl.fcntl(os.open('own', os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "news of a folder": "fcntl.fcntl(os.open('/usr', os.O_RDONLY), fcntl.F_NOTIFY, 2)",
    "a large pipe": "fcntl.fcntl(os.pipe()[1], 1031, 2**18)",
    "hide open files": "call({prctl}, 4, 0, 0, 0, 0)",
}


@pytest.fixture
def shared():
    """Shared memory, a semaphore, and two queues of messages, open to everybody."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {
        name: n[seccomp.ARCHITECTURES[os.uname().machine][0]] for name, n in seccomp.NUMBERS.items()
    }
    name = f"advlab-test-{os.getpid()}"
    everybody = ctypes.c_uint(0o666)
    queue = libc.syscall(number["mq_open"], name.encode(), os.O_CREAT, everybody, None)
    made = {
        "memory": libc.shmget(0, 4096, 0o1666),
        "semaphore": libc.semget(0, 1, 0o1666),
        "queue": libc.msgget(0, 0o1666),
    }
    assert queue >= 0
    assert min(made.values()) >= 0
    os.fchown(queue, *(NOBODY, NOBODY) if os.getuid() == 0 else (-1, -1))
    yield {**number, **made, "name": name}
    os.close(queue)
    libc.syscall(number["mq_unlink"], name.encode())
    libc.shmctl(made["memory"], 0, None)
    libc.semctl(made["semaphore"], 0, 0)
    libc.msgctl(made["queue"], 0, None)


@pytest.mark.parametrize("grader", GRADERS)
def test_what_the_machine_shares_is_out_of_reach(tmp_path, grader, shared):
    lines = {name: line.format(**shared) for name, line in SHARED.items()}
    code = BEFORE + (
        "import fcntl, mmap, struct\n"
        "libc.syscall.restype = ctypes.c_long\n"
        "room, found = ctypes.create_string_buffer(4096), {}\n"
        "open('own', 'w').close()\n"
        f"for name, line in {lines!r}.items():\n"
        "    try:\n        exec(line)\n        found[name] = 'done'\n"
        "    except BaseException as error:\n        found[name] = repr(error)\n"
        "print(json.dumps(found))"
    )
    plain, inside = (
        run(level, make_box(tmp_path / level.name, grader), grader, code)
        for level in (Plain(), Landlock())
    )
    assert json.loads(plain.stdout) == dict.fromkeys(SHARED, "done"), plain.stderr
    refused = ("PermissionError", "OSError(38", "OSError(12")
    for name, found in json.loads(inside.stdout).items():
        assert found.startswith(refused), (name, found)


@pytest.mark.parametrize("column", [0, 1])
def test_no_two_calls_have_one_number(column):
    numbers = [pair[column] for pair in seccomp.NUMBERS.values() if pair[column] is not None]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) <= seccomp.LAST
