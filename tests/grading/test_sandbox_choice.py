"""The choice of a level, what a missing one says, containers, and grading as an ordinary user."""

import itertools
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from levels_inside import ROOT, alive, gone, make_box

from advlab.course.grading import sandbox
from advlab.course.grading.sandbox import bubblewrap, container, tools, unshare, users
from advlab.course.grading.settings import Limits


@pytest.fixture
def forget():
    """Levels remember whether they work; here the machine changes under them."""
    levels = (bubblewrap, unshare, container)
    for level in levels:
        level._unavailable.cache_clear()
    yield
    for level in levels:
        level._unavailable.cache_clear()


def test_the_strongest_level_that_works_is_chosen(monkeypatch):
    works = [name for name in sandbox.LEVELS if not sandbox.named(name).unavailable()]
    assert sandbox.choose().name == works[0]
    for name in works:
        assert sandbox.choose(name).name == name
    assert works[-1] == "plain"
    monkeypatch.setattr(bubblewrap.Bubblewrap, "unavailable", lambda self: "not today")
    assert sandbox.choose().name == next(name for name in works if name != "bubblewrap")
    with pytest.raises(ValueError, match="'bubblewrap' is not available: not today"):
        sandbox.choose("bubblewrap")


def test_an_unknown_level_lists_the_known_ones():
    with pytest.raises(ValueError, match="auto, bubblewrap, unshare, landlock, plain, docker"):
        sandbox.choose("jail")


def test_a_missing_program_is_named(monkeypatch, tmp_path, forget):
    monkeypatch.setattr(tools, "PATH", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"bwrap and .* not found: install the packages bubblewrap"
    ):
        sandbox.choose("bubblewrap")
    with pytest.raises(ValueError, match=r"unshare and mount .* not found: install .* util-linux"):
        sandbox.choose("unshare")
    assert sandbox.choose().name in ("landlock", "plain")


def test_forbidden_user_namespaces_are_named():
    """In a user namespace that allows no other, as in many containers."""
    code = (
        "from advlab.course.grading.sandbox import bubblewrap, unshare\n"
        "print(bubblewrap.Bubblewrap().unavailable())\n"
        "print(unshare.Unshare().unavailable())"
    )
    script = (
        "echo 1 > /proc/sys/user/max_user_namespaces\n"
        'exec unshare --user --map-user=1000 --map-group=1000 "$@"'
    )
    command = ["unshare", "--user", "--map-root-user", "sh", "-euc", script, "sh"]
    done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert len(said) == 2, done.stderr
    assert all("user namespaces" in line and "grade as root" in line for line in said)


def test_root_with_one_uid_takes_a_level_that_works():
    """As in a user namespace that maps nobody else."""
    code = (
        "from advlab.course.grading import sandbox\n"
        "from advlab.course.grading.boxes import a_user\n"
        "print(a_user(), sandbox.choose().name)\n"
        "print([sandbox.named(name).unavailable() for name in sandbox.LEVELS])"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    user, _, name = done.stdout.splitlines()[0].partition(" ")
    assert (user, name != "plain") == ("None", True), done.stdout + done.stderr


FULL = "         0          0 4294967295\n"


@pytest.mark.parametrize(
    ("uids", "gids", "expected"),
    [
        (FULL, FULL, range(200_000, 300_000)),
        ("0 100000 65536\n", "0 100000 65536\n", range(61_184, 65_520)),
        ("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n", range(61_184, 65_520)),
        (FULL, "0 100000 65536\n", range(61_184, 65_520)),
        ("0 100000 1000\n", FULL, range(1, 1000)),
        ("0 1000 1\n", "0 1000 1\n", None),
        (FULL, "0 1000 1\n", None),
    ],
)
def test_the_user_of_a_submission_exists_here(uids, gids, expected, tmp_path, monkeypatch):
    (tmp_path / "uid").write_text(uids)
    (tmp_path / "gid").write_text(gids)
    monkeypatch.setattr(users, "MAP", str(tmp_path / "{}"))
    monkeypatch.setattr(users.os, "geteuid", lambda: 0)
    for pid in (1, 4_194_303, 65_533):
        monkeypatch.setattr(users.os, "getpid", lambda pid=pid: pid)
        user = users.a_user()
        assert user is None if expected is None else user in expected
    monkeypatch.setattr(users.os, "geteuid", lambda: 1000)
    assert users.a_user() is None


def test_a_level_that_cannot_be_prepared_is_passed_over(monkeypatch, forget):
    def refuse(self, box):
        raise OSError("no such user")

    monkeypatch.setattr(bubblewrap.Bubblewrap, "prepare", refuse)
    assert "no such user" in bubblewrap.Bubblewrap().unavailable()
    assert sandbox.choose().name != "bubblewrap"


def test_an_old_bubblewrap_is_named(monkeypatch, forget):
    said = "bwrap: Unknown option --disable-userns"
    monkeypatch.setattr(tools, "trial", lambda level: said)
    assert "version 0.8 or newer" in bubblewrap.Bubblewrap().unavailable()


ENGINE = """#!{python} -IS
import json, os, sys
words = sys.argv[1:]
image = words.index("course:1")
json.dump(words[:image], open({record!r}, "w"))
os.chdir(words[words.index("--workdir") + 1])
os.execvp(words[image + 1], words[image + 1:])
"""


@pytest.fixture
def engine(tmp_path, monkeypatch, forget):
    """A program called docker and podman on the path: it writes down its arguments, and runs the
    command outside of any container. Returns what reads those arguments."""
    record = tmp_path / "record.json"
    for name in sandbox.ENGINES:
        (tmp_path / name).write_text(ENGINE.format(python=sys.executable, record=str(record)))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}:{tools.PATH}")
    return lambda: json.loads(record.read_text())


def start_in(level, box, code, *arguments):
    level.prepare(box)
    command = level.command([sys.executable, "-I", "-S", "-c", code, *arguments], box)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", sandbox.ENGINES)
def test_the_engine_is_asked_for_no_network_and_no_rights(name, engine, tmp_path):
    level = sandbox.choose(name, "course:1")
    packages, course = tmp_path / "p", tmp_path / "p" / "course"
    course.mkdir(parents=True)
    (tmp_path / "data.csv").write_text("1")
    box = make_box(
        tmp_path,
        Limits(memory=2**30, processes=30, disk=2**20, file=2**19),
        readable=(packages,),
        hidden=(course,),
        given={"data.csv": tmp_path / "data.csv"},
    )
    with start_in(level, box, "print(open('data.csv').read())") as process:
        assert process.stdout.read() == "1\n"
    words = engine()
    assert words[0] == "run"
    for flag in ("--rm", "--interactive", "--read-only"):
        assert flag in words
    pairs = list(itertools.pairwise(words))
    user = os.getuid() if box.user is None else box.user
    for pair in (
        ("--network", "none"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--pull", "never"),
        ("--log-driver", "none"),
        ("--memory", str(2**30)),
        ("--memory-swap", str(2**30)),
        ("--pids-limit", "32"),
        ("--workdir", str(box.scratch)),
        ("--mount", f"type=bind,src={packages},dst={packages},readonly"),
        ("--mount", f"type=bind,src={box.connection},dst={box.connection},readonly"),
        ("--mount", f"type=bind,src={box.sockets},dst={box.sockets}"),
    ):
        assert pair in pairs
    resources = tools.resources(box.limits) | {"nproc": 32}
    limits = {name: f"{name}={value}:{value}" for name, value in resources.items()}
    found = {pair[1] for pair in pairs if pair[0] == "--ulimit"}
    assert found == {*limits.values()} - ({limits["nproc"]} if box.user is None else set())
    assert ("--user", f"{user}:{user if box.user else os.getgid()}") in pairs
    assert any(word.startswith(f"{course}:ro") for word in words)
    # The image has its own interpreter.
    assert not any(f"src={path}," in word for path in tools.interpreter() for word in words)
    writable = [w for w in words if w.startswith("type=bind") and not w.endswith(",readonly")]
    assert writable == [f"type=bind,src={box.sockets},dst={box.sockets}"]


def test_a_container_gives_the_environment_and_the_status(engine, tmp_path):
    level = sandbox.choose("docker", "course:1")
    box = make_box(tmp_path, environment={"LANG": "C.UTF-8", "ODD": "a b=c\n$(id)"})
    code = "import json, os; print(json.dumps(dict(os.environ))); raise SystemExit(7)"
    with start_in(level, box, code) as process:
        assert json.loads(process.stdout.read()) == dict(box.environment)
        assert process.wait(timeout=20) == 7
    with start_in(level, make_box(tmp_path), "import os; os.abort()") as process:
        assert process.wait(timeout=20) == 128 + 6


def test_a_container_ends_with_the_command_and_the_grader(engine, tmp_path):
    level = sandbox.choose("podman", "course:1")
    code = "import time; print('up', flush=True); time.sleep(300)"
    mark = uuid.uuid4().hex
    with start_in(level, make_box(tmp_path), code, f"{mark}-daemon") as process:
        assert process.stdout.readline() == "up\n"
        assert alive(mark) >= 1
        process.kill()
        assert gone(mark)

    box = make_box(tmp_path)
    level.prepare(box)
    command = level.command([sys.executable, "-I", "-S", "-c", code, f"{mark}-daemon"], box)
    grader = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"]
    with subprocess.Popen([*grader, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        assert alive(mark) >= 1
        process.kill()
        assert gone(mark)


def test_a_container_that_does_not_work_says_why(monkeypatch, tmp_path, engine):
    with pytest.raises(ValueError, match="docker needs an image: --image NAME"):
        sandbox.choose("docker")
    with pytest.raises(ValueError, match=r"does not run the image 'another:2' .*python3 --version"):
        sandbox.choose("docker", "another:2")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    with pytest.raises(ValueError, match="podman not found: install it"):
        sandbox.choose("podman", "course:1")


def closed(path):
    """The topmost folder above a path that others may not enter; None where there is none."""
    above = reversed(path.parents)
    return next((one for one in above if not one.stat().st_mode & 0o001), None)


def opened(paths, aside):
    """Lines of a shell script, for a mount namespace of its own: each closed folder is replaced by
    one that anybody may enter, and that holds nothing but the paths."""
    paths = sorted(path for path in paths if closed(path))
    keep = [f"mkdir {aside}/{n}; mount --bind {path} {aside}/{n}" for n, path in enumerate(paths)]
    replace = [f"mount -t tmpfs -o mode=755 new {one}" for one in {closed(path) for path in paths}]
    back = [f"mkdir -p {path}; mount --bind {aside}/{n} {path}" for n, path in enumerate(paths)]
    return ["umask 022", *keep, *replace, *back]


if ROOT:

    def test_all_this_as_an_ordinary_user(tmp_path):
        """The interpreter may lie in root's home, where an ordinary user cannot reach it."""
        here = Path(__file__).parent
        lines = opened({*tools.interpreter(), here.parents[1]}, tmp_path)
        lines += [f"cd {here.parents[1]}", 'exec "$@"']
        command = ["unshare", "--mount", "sh", "-euc", "\n".join(lines), "sh"]
        command += ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command += ["--inh-caps=-all", "--bounding-set=-all", sys.executable, "-B", "-m", "pytest"]
        command += [
            *(str(path) for path in sorted(here.glob("test_sandbox*.py"))),
            "-q",
            "--color=no",
            "-p",
            "no:cacheprovider",
        ]
        environment = os.environ | {"HOME": "/nowhere", "TMPDIR": "/tmp"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30
