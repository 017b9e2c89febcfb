"""A real command inside each level of sandbox: what it cannot reach, and what it can.

Where the tests run as root, all run a second time as an ordinary user (test_sandbox_choice)."""

import os
import socket
import sys
import uuid
from pathlib import Path

import pytest
from levels_inside import ROOT, TRY, USER, in_every_level, inside

from advlab.course.grading.sandbox import seccomp
from advlab.course.grading.sandbox.watch import FILES


@in_every_level
def test_it_sees_no_file_outside(level, make, tmp_path):
    secret = tmp_path / "teacher" / "solutions.txt"
    secret.parent.mkdir()
    secret.write_text("42")
    other = make()
    level.prepare(other)
    (other.scratch / "answer.py").write_text("theirs")
    paths = [secret, other.scratch / "answer.py", other.connection, "/etc/shadow", "/etc/passwd"]
    paths += ["/etc/hostname", "/home", "/var", "/sys", "/run", Path.home() / ".bashrc", __file__]
    found = inside(
        level,
        make(),
        TRY + "print(json.dumps({p: os.path.lexists(p) for p in sys.argv[1:]}))",
        *paths,
    )
    assert found == {str(path): False for path in paths}
    assert secret.read_text() == "42"


@in_every_level
def test_it_sees_no_process_outside(level, make, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "pst-4711")
    code = (
        TRY
        + """
pids = [p for p in os.listdir("/proc") if p.isdigit()]
read = lambda p, what: open(f"/proc/{p}/{what}").read()
print(json.dumps({
    "pids": pids,
    "texts": [attempt(lambda: read(p, what)) for p in pids for what in ("environ", "cmdline")],
    "signals": [attempt(lambda: os.kill(int(p), 9))[0] for p in sys.argv[1:]],
    "parent": attempt(lambda: os.kill(os.getppid(), 9)), "again": os.getppid(),
}))"""
    )
    # Numbers far above what the few processes inside can have.
    found = inside(level, make(), code, *(pid for pid in (os.getpid(), os.getppid()) if pid > 500))
    assert len(found["pids"]) <= 4
    assert not any("pst-4711" in text for _, text in found["texts"])
    assert not any(found["signals"])
    assert found["again"] <= 4  # the first process is still there: nothing inside can kill it


@in_every_level
def test_it_writes_nowhere_but_to_its_own_folders(level, make, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    package.chmod(0o777)
    box = make(readable=(package,))
    places = [
        "/",
        "/usr",
        "/usr/bin",
        "/etc",
        "/dev",
        "/proc",
        package,
        sys.prefix,
        sys.base_prefix,
    ]
    places += [box.run, box.connection.parent, box.run.parent.parent.parent]
    code = TRY + "w = lambda p: open(p + '/new', 'w').close()\n"
    code += "print(json.dumps({p: attempt(lambda: w(p))[0] for p in sys.argv[1:]}))"
    own = [box.scratch, box.sockets, "/tmp", "/dev/shm"]
    found = inside(level, box, code, *places, *own)
    assert found == {str(p): False for p in places} | {str(p): True for p in own}
    assert not list(package.iterdir())

    settings = [
        "kernel/hostname",
        "kernel/core_pattern",
        "user/max_user_namespaces",
        "vm/swappiness",
    ]
    code = TRY + "w = lambda p: open('/proc/sys/' + p, 'w').write('1')\n"
    code += "print(json.dumps([attempt(lambda: w(p))[0] for p in sys.argv[1:]]))"
    assert not any(inside(level, make(), code, *settings))


@in_every_level
def test_the_connection_file_can_only_be_read(level, make):
    box = make()
    code = (
        TRY
        + """
path = sys.argv[1]; folder = os.path.dirname(path)
open("other", "w").write("forged")
print(json.dumps([open(path).read()] + [attempt(act)[0] for act in (
    lambda: open(path, "w"), lambda: open(path, "a"), lambda: os.unlink(path),
    lambda: os.replace("other", path), lambda: os.rename(folder, "c"),
    lambda: os.rename(path, "moved"), lambda: os.symlink("other", path),
)]))"""
    )
    level.prepare(box)
    box.connection.write_text("keys")
    assert inside(level, box, code, box.connection) == ["keys", *[False] * 7]
    assert box.connection.read_text() == "keys"


@in_every_level
def test_there_is_no_network(level, make):
    name = "\0" + uuid.uuid4().hex
    code = TRY + (
        "import socket as s\n"
        "tcp = lambda: s.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5)\n"
        "unix = lambda: s.socket(s.AF_UNIX).connect(chr(0) + sys.argv[2])\n"
        "out = lambda: s.create_connection(('192.0.2.1', 80), timeout=5)\n"
        "seen = open('/proc/net/unix').read() + open('/proc/net/tcp').read()\n"
        "names = [line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line]\n"
        "routes = open('/proc/net/route').readlines()[1:]\n"
        "print(json.dumps([[attempt(act)[0] for act in (tcp, unix, out)], seen, names, routes]))"
    )
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(name)
        unix.listen()
        port = tcp.getsockname()[1]
        connected, seen, names, routes = inside(level, make(), code, port, name[1:])
        assert name[1:] in Path("/proc/net/unix").read_text()
        assert f":{port:04X} " in Path("/proc/net/tcp").read_text()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()  # the listener is there
    assert connected == [False, False, False]
    assert name[1:] not in seen
    assert f":{port:04X} " not in seen
    # A new network may come with idle tunnels; what matters is that nothing leads out.
    assert "lo" in names
    assert not any(one.startswith(("eth", "en", "wl")) for one in names)
    assert routes == []


@in_every_level
def test_each_namespace_is_its_own(level, make):
    spaces = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    code = "import json, os, sys; print(json.dumps([os.readlink(p) for p in sys.argv[1:]]))"
    paths = [f"/proc/self/ns/{space}" for space in spaces]
    found = inside(level, make(), code, *paths)
    assert not {*found} & {os.readlink(path) for path in paths}


@in_every_level
def test_its_environment_is_the_boxes(level, make, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "pst-4711")
    wanted = {"HOME": "/nowhere", "ODD": "a b=c\n$(id) 'x'"}
    box = make(environment=wanted)
    # As the program got it: Python may add the locale's.
    code = "import json; print(json.dumps(open('/proc/self/environ').read()))"
    found = inside(level, box, code).rstrip("\0").split("\0")
    assert sorted(found) == sorted(f"{name}={value}" for name, value in wanted.items())
    where = inside(level, make(), "import json, os; print(json.dumps(os.getcwd()))")
    assert where.endswith("/scratch")


@in_every_level
def test_it_can_regain_nothing(level, make):
    code = TRY + (
        "import subprocess\n"
        "run = lambda *c: subprocess.run(c, capture_output=True, stdin=-3).returncode == 0\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(json.dumps([os.getuid(), status['NoNewPrivs'].strip(),"
        " [status['Cap' + c].strip() for c in ('Inh', 'Prm', 'Eff', 'Bnd', 'Amb')],"
        " [run('mount', '-t', 'tmpfs', 'x', '/tmp'), run('su', '-c', 'id'),"
        "  run('chroot', '/', 'id'),"
        "  run('umount', os.getcwd()), run('mount', '-o', 'remount,rw', '/')]]))"
    )
    uid, no_new_privileges, capabilities, did = inside(level, make(), code)
    assert no_new_privileges == "1"
    assert set(capabilities) == {"0" * 16}
    assert uid == USER or not ROOT
    assert did == [False] * 5


@in_every_level
def test_it_cannot_make_namespaces_or_reach_keys(level, make):
    code = TRY + (
        "import ctypes, subprocess\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "run = lambda *c: subprocess.run(c, capture_output=True).returncode == 0\n"
        "print(json.dumps([run('true'), run('unshare', '-Ur', 'true'),"
        " run('unshare', '-m', 'true'),"
        " libc.unshare(0x10000000) == 0,"
        " libc.syscall(250, 0, -3, 0, 0, 0) >= 0 if os.uname().machine == 'x86_64' else False]))"
    )
    assert inside(level, make(), code) == [True, False, False, False, False]


@in_every_level
def test_hidden_folders_look_empty(level, make, tmp_path):
    hidden = tmp_path / "package" / "course"
    shown = hidden / "inside"
    shown.mkdir(parents=True)
    for path in (hidden / "reference.py", shown / "emit.py", hidden.parent / "model.py"):
        path.write_text("x")
    (tmp_path / "package" / "key").write_text("secret")
    box = make(
        readable=(hidden.parent, shown),
        hidden=(hidden, hidden.parent / "key", tmp_path / "there is none"),
    )
    code = TRY + "print(json.dumps([sorted(os.listdir(p)) for p in sys.argv[1:3]] + "
    code += "[attempt(lambda: open(sys.argv[3]).read())[1], "
    code += "attempt(lambda: open(sys.argv[1] + '/x', 'w'))[0]]))"
    outer, inner, key, wrote = inside(level, box, code, hidden, shown, hidden.parent / "key")
    assert outer == ["inside"]
    assert inner == ["emit.py"]
    assert not wrote
    assert key in ("", "PermissionError")


@in_every_level
def test_given_files_are_there(level, make, tmp_path):
    (tmp_path / "digits.csv").write_text("1,2")
    (tmp_path / "digits.csv").chmod(0o600)
    box = make(given={"data/digits.csv": tmp_path / "digits.csv", "one": tmp_path / "digits.csv"})
    code = "import json; open('data/mine', 'w').close(); "
    code += "print(json.dumps([open(p).read() for p in ('data/digits.csv', 'one')]))"
    assert inside(level, box, code) == ["1,2", "1,2"]
    with pytest.raises(ValueError, match="scratch"):
        level.prepare(make(given={"../c/kernel.json": tmp_path / "digits.csv"}))


@in_every_level
def test_files_in_memory_are_bounded_in_number(level, make):
    """An empty file takes a kilobyte of the system's memory. bwrap has no option for their number:
    there it is kernels from a slot that have a bound (test_sandbox_warm)."""
    code = "import json, os; places = ('/tmp', '/dev/shm', '.')\n"
    code += "print(json.dumps([os.statvfs(place).f_files for place in places]))"
    found = inside(level, make(), code)
    assert found == [FILES] * 3 or level.name == "bubblewrap"


@in_every_level
def test_what_the_machine_has_few_of_is_not_there(level, make):
    """The same filter as in the Landlock level, where each call is tried (test_landlock)."""
    names = ("io_setup", "shmat", "shmctl", "semop", "semctl", "msgctl", "msgrcv", "mq_unlink")
    numbers = [
        seccomp.NUMBERS[name][seccomp.ARCHITECTURES[os.uname().machine][0]] for name in names
    ]
    code = "import ctypes, json, resource as r, sys; libc = ctypes.CDLL(None, use_errno=True)\n"
    code += "calls = [(libc.syscall(int(n), 1, 0, 0), ctypes.get_errno()) for n in sys.argv[1:]]\n"
    code += "limits = [r.getrlimit(one)[1] for one in (r.RLIMIT_NOFILE, r.RLIMIT_SIGPENDING)]\n"
    code += "print(json.dumps([calls, limits]))"
    assert inside(level, make(), code, *numbers) == [[[-1, 38]] * len(names), [256, 1024]]
