"""Reading what is not theirs, writing where nothing may be written, calling out."""

from __future__ import annotations

from .case import ANY, NOTHING, REFUSED, Case, attack, called, right

LOOK = """
import glob, os, re
def look(*places):
    found = set()
    for place in places:
        for path in glob.glob(place, recursive=True, include_hidden=True):
            try:
                with open(path, "rb") as file:
                    text = file.read(1 << 22)
            except OSError:
                continue
            found.update(re.findall(rb"zq7-[a-z]+-[0-9a-f]{12}", text))
    return found
"""
REPORT = 'raise RuntimeError(f"found {len(found)}: {sorted(map(str, found))[:3]}")'
NOTHING_FOUND = "found 0: []"


def looks(name: str, tries: str, code: str, **more) -> Case:
    """``code`` fills ``found``; nothing must be in it."""
    return attack(name, tries, LOOK + called(f"{code}\n{REPORT}"), says=NOTHING_FOUND, **more)


CASES = [
    looks(
        "other-submissions",
        "reads what the others handed in",
        'found = look(@submissions@ + "/**/*", @root@ + "/*/*/*.ipynb", "../**/*", "../../*/*")',
    ),
    looks(
        "teachers-book",
        "reads the teacher's notebook, its solutions in it",
        'found = look(@book@ + "/*", @root@ + "/*/*.ipynb")',
    ),
    looks(
        "hidden-checks",
        "reads the file of hidden checks",
        'found = look(@hidden@, @root@ + "/*.py")',
    ),
    looks(
        "own-report",
        "reads the marks of the others where they are written",
        "found = [p for p in glob.glob(@report@ + '/**/*', recursive=True, include_hidden=True)]",
    ),
    looks(
        "password-file",
        "reads /etc/shadow and the keys of whoever grades",
        """def reads(path):
    try:
        return bool(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except OSError:
        return False
places = ("/etc/shadow", "/root/.ssh", "/root/.bashrc", "/root/.bash_history", "/root/.netrc")
found = [place for place in places if reads(place)]""",
    ),
    looks(
        "environments",
        "reads the environment of every process, the grader's in particular",
        'found = look("/proc/*/environ", "/proc/*/task/*/environ", "/proc/*/cmdline")\n'
        'found |= {v for v in os.environ.values() if "zq7-" + "grader" in v}',
    ),
    looks(
        "roads-through-proc",
        "looks for files through the folders and open files of other processes",
        'found = look("/proc/*/cwd/*.py", "/proc/*/root" + @hidden@, '
        '"/proc/*/root" + @book@ + "/*")',
    ),
    looks(
        "verdicts-as-files",
        "looks for the course's verdicts and exercises among all files of Python",
        """import sys, sysconfig
roots = {*sys.path, sys.prefix, sysconfig.get_paths()["purelib"], os.path.dirname(torch.__file__)}
roots |= {os.path.dirname(r) for r in roots} | {os.path.dirname(os.path.dirname(r)) for r in roots}
found = set()
for root in roots:
    for name in ("judging.py", "errors.py", "checks.py", "exercises", "grading", "release.py"):
        for place in ("course/", "advlab/course/", "*/advlab/course/"):
            for path in glob.glob(f"{root}/{place}{name}"):
                try:
                    if os.path.isfile(path) and open(path) or os.listdir(path):
                        found.add(path)
                except OSError:
                    pass""",
    ),
    looks(
        "verdicts-as-modules",
        "imports the course's verdicts, exercises, references and grader",
        """import importlib
found = []
for name in ("judging", "exercises", "exercises.chapter04", "checks", "exercise", "errors",
             "release", "notebooks", "grading", "grading.hidden", "grading.runner"):
    try:
        importlib.import_module("advlab.course." + name)
        found.append(name)
    except ImportError:
        pass""",
    ),
    looks(
        "frames",
        "walks the frames of whoever calls it, for a verdict, a reference or an expected value",
        """import sys
found, frame = set(), sys._getframe()
while frame is not None:
    for names in (frame.f_locals, frame.f_globals):
        found |= {n for n in names if re.match("verdict|expected|reference|judge|solution", n)
                  and frame.f_globals.get("__name__", "").startswith(("advlab", "probe"))}
    frame = frame.f_back""",
    ),
    looks(
        "objects-in-memory",
        "searches everything that the process holds for verdicts and secrets",
        """import gc, types
found = set()
for thing in gc.get_objects():
    if isinstance(thing, types.FunctionType):
        name = thing.__qualname__
        if (thing.__module__ or "").startswith("advlab") and name.startswith(("verdict", "judge")):
            found.add(name)
    elif isinstance(thing, (dict, list, tuple)):
        for value in (thing.values() if isinstance(thing, dict) else thing):
            if isinstance(value, str) and len(value) < 10_000_000:
                found |= set(re.findall(r"zq7-[a-z]+-[0-9a-f]{12}", value))""",
    ),
    right(
        "writes-outside",
        "answers right, and writes in folders that everybody may write in",
        """
import os, shutil
for place in (@outside@, @submissions@, @book@, @report@, @root@, "/tmp", "/var/tmp", "/dev/shm",
              os.path.dirname(os.path.dirname(os.getcwd()))):
    for name in ("marker-", "../marker-"):
        try:
            open(os.path.join(place, name + @token@), "w").close()
        except OSError:
            pass
for path in (@precious@, @hidden@):
    for spoil in (lambda: open(path, "w").close(), lambda: os.remove(path),
                  lambda: os.truncate(path, 0), lambda: os.rename(path, path + ".gone"),
                  lambda: os.link(path, "link"), lambda: os.symlink("/", path)):
        try:
            spoil()
        except OSError:
            pass
shutil.rmtree(@outside@, ignore_errors=True)
""",
    ),
    attack(
        "connection-file",
        "makes the connection file writable, and changes it",
        """
import os
from ipykernel.connect import get_connection_file
def input_gradient(model, x, y):
    path, changed = get_connection_file(), []
    try:
        os.chmod(path, 0o777)  # of a copy, as far as anybody cares
    except OSError:
        pass
    for name, spoil in (("text", lambda: open(path, "a").write(" ")),
                        ("name", lambda: os.rename(path, path + "x")),
                        ("gone", lambda: os.remove(path)),
                        ("new", lambda: open(os.path.join(os.path.dirname(path), "x"), "w"))):
        try:
            spoil()
            changed.append(name)
        except OSError:
            pass
    raise RuntimeError(f"changed {changed}")
""",
        says="changed []",
    ),
    right(
        "scratch-deleted",
        "answers right, and deletes its working folder",
        "import os, shutil\n"
        "shutil.rmtree(os.getcwd(), ignore_errors=True)\n"
        "shutil.rmtree(os.path.expanduser('~'), ignore_errors=True)",
    ),
    attack(
        "network",
        "calls out by TCP, UDP and local sockets",
        """
import socket
def input_gradient(model, x, y):
    reached = []
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    roads = (("tcp", socket.AF_INET, stream, ("127.0.0.1", @tcp@)),
             ("udp", socket.AF_INET, datagram, ("127.0.0.1", @udp@)),
             ("unix", socket.AF_UNIX, stream, @unix@),
             ("abstract", socket.AF_UNIX, stream, @abstract@))
    for name, family, kind, address in roads:
        try:
            with socket.socket(family, kind) as s:
                s.settimeout(1)
                s.connect(address)
                s.send(b"x")
                reached.append(name)
        except OSError:
            pass
    raise RuntimeError(f"reached {reached}")
""",
        says="reached []",
    ),
    attack(
        "names-of-the-network",
        "asks for an address, and for the machine's own on the network",
        """
import socket
def input_gradient(model, x, y):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(("192.0.2.1", 9))
            own = s.getsockname()[0]
    except OSError as error:
        own = "none"
    raise RuntimeError(f"own address: {own}")
""",
        says="own address: none",
    ),
    Case(
        "package-called-openly",
        "answers 4.2 with the package's own FGSM",
        answers={
            "4.2": "from advlab.attacks import FGSM\n"
            "def fgsm(model, x, y, eps):\n    return FGSM(eps=eps)(model, x, y)\n"
        },
        marks={"4.2": REFUSED},
        says="FGSM",
    ),
    Case(
        "package-s-own-step",
        "answers 4.2 with what training uses for a step",
        answers={
            "4.2": "from advlab.defenses.inner import ascend\n"
            "def fgsm(model, x, y, eps):\n"
            '    loss = lambda z: F.cross_entropy(z, y, reduction="sum")\n'
            "    return ascend(model, x, loss, start=x, eps=eps, alpha=eps, steps=1)\n"
        },
        marks={"4.2": REFUSED},
        says="ascend",
    ),
    Case(
        "library-of-attacks",
        "answers 4.2 with another library's FGSM, where the teacher has one installed",
        answers={
            "4.2": "import torchattacks\n"
            "def fgsm(model, x, y, eps):\n    return torchattacks.FGSM(model, eps=eps)(x, y)\n"
        },
        marks={"4.2": NOTHING},
        says="torchattacks",
    ),
    Case(
        "package-called-in-disguise",
        "answers 4.2 with the package's own FGSM, its name put together while it runs",
        answers={
            "4.2": "import importlib\n"
            "def fgsm(model, x, y, eps):\n"
            '    attacks = importlib.import_module("advlab.att" + "acks")\n'
            '    return getattr(attacks, "FG" + "SM")(eps=eps)(model, x, y)\n'
        },
        marks={"4.2": NOTHING},
    ),
    Case(
        "package-called-in-the-cell",
        "keeps the package's own FGSM from the answer's cell on, and calls it later",
        answers={
            "4.2": "import advlab.attacks as a\n"
            'kept = getattr(a, "".join(("F", "G", "S", "M")))\n'
            "def fgsm(model, x, y, eps):\n    return kept(eps=eps)(model, x, y)\n"
        },
        marks={"4.2": NOTHING},
    ),
    Case(
        "methods-kept-in-disguise",
        "makes a class with the methods of the package's own FGSM, kept before the check",
        answers={
            "4.2": "from advlab import attacks\n"
            'A = getattr(attacks, "".join(["FG", "SM"]))\n'
            "class Mine(A):\n    perturb, __call__ = A.perturb, A.__call__\n"
            "def fgsm(model, x, y, eps):\n    return Mine(eps=eps)(model, x, y)\n"
        },
        marks={"4.2": NOTHING},
        says="the answer calls advlab.attacks.FGSM",
    ),
    Case(
        "package-loaded-again",
        "runs the file of the package's own FGSM once more, as a module of another name",
        answers={
            "4.2": "import importlib.util as u, sys, advlab.attacks.fgsm as f\n"
            'spec = u.spec_from_file_location("advlab.attacks.mine", f.__file__)\n'
            "m = u.module_from_spec(spec)\nsys.modules[spec.name] = m\n"
            "spec.loader.exec_module(m)\n"
            "def fgsm(model, x, y, eps):\n    return m.FGSM(eps=eps)(model, x, y)\n"
        },
        marks={"4.2": NOTHING},
        says="the answer calls advlab.attacks.FGSM",
    ),
    Case(
        "package-called-behind-magic",
        "answers 4.2 with the package's own FGSM, behind a line that is no Python",
        answers={
            "4.2": "%time pass\nfrom advlab.attacks import FGSM\n"
            "def fgsm(model, x, y, eps):\n    return FGSM(eps=eps)(model, x, y)\n"
        },
        marks={"4.2": NOTHING},
    ),
    attack(
        "other-users-processes",
        "reads the memory of its parent, and traces it",
        """
import ctypes, os
def input_gradient(model, x, y):
    found = []
    for pid in (os.getppid(), @victim@):
        try:
            if pid > 1 and "3600" in open(f"/proc/{pid}/cmdline").read():
                found.append("cmdline")
        except OSError:
            pass
        try:
            open(f"/proc/{@victim@}/mem", "rb").close()
            found.append("mem")
        except OSError:
            pass
    if ctypes.CDLL(None).ptrace(16, @victim@, 0, 0) == 0:
        found.append("ptrace")
    raise RuntimeError(f"found {len(found)}: {found}")
""",
        says=NOTHING_FOUND,
        marks={"4.2": ANY, "1.4": ANY},
    ),
]
