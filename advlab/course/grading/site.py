"""The packages as a student's kernel sees them: advlab without a verdict, an answer or a test."""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import advlab

from ...data.files import cache_folder

PACKAGE = Path(advlab.__file__).parent
COURSE = Path(__file__).parents[1]
MONTH = 30 * 24 * 3600  # seconds
# The files of advlab.course that run beside the student's code.
SHARED = ("probing.py", "records.py", "guarding.py")


@dataclass(frozen=True)
class Site:
    """Where the kernel's copy of advlab lies.

    :param folder: to be put on ``PYTHONPATH``; holds ``advlab/`` and what starts a kernel.
    :param given: files for the kernel's working folder: path there → file.
    """

    folder: Path
    given: dict[str, Path]

    @property
    def kernel(self) -> Path:
        """The program that becomes a kernel: ``kernel -f CONNECTION_FILE``."""
        return self.folder / "advlab_kernel.py"

    @property
    def zygote(self) -> Path:
        """The program that forks kernels."""
        return self.folder / "advlab_zygote.py"


@cache
def site() -> Site:
    """The copy for this version of the package, made where there is none yet.

    It lies in the cache, under a digest of the names, times and sizes of all files that went into
    it. The folder's own time is when it was last asked for; what nobody asked for in a month is
    removed when another is made.

    :raises OSError: the cache cannot be written.
    """
    files = sorted(_files())
    text = "\0".join(f"{path}\0{path.stat().st_mtime_ns}\0{path.stat().st_size}" for path in files)
    digest = hashlib.sha256(f"{sys.version}\0{text}".encode()).hexdigest()[:20]
    folder = cache_folder() / "grading" / digest
    if not folder.is_dir():
        _make(folder, files)
        _forget(folder.parent)
    with suppress(OSError):  # a cache that only its owner writes
        os.utime(folder)
    fonts = sorted((folder / "fonts").glob("*.json"))
    return Site(folder, {f".matplotlib/{path.name}": path for path in fonts})


def _files() -> list[Path]:
    """All files of the package but those of the course and of Python's caches."""
    found = []
    for path in PACKAGE.rglob("*"):
        inside = path.relative_to(PACKAGE).parts
        if path.is_file() and inside[0] != COURSE.name and "__pycache__" not in inside:
            found.append(path)
    return found + [COURSE / name for name in SHARED] + list(PLACES)


INSIDE = Path(__file__).parent / "inside"
PLACES = {
    INSIDE / "__init__.py": Path(PACKAGE.name) / COURSE.name / "__init__.py",
    INSIDE / "kernel.py": Path("advlab_kernel.py"),
    INSIDE / "zygote.py": Path("advlab_zygote.py"),
}


def _make(folder: Path, files: list[Path]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        for path in files:
            to = part / PLACES.get(path, Path(PACKAGE.name) / path.relative_to(PACKAGE))
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        # The kernel may not write here: compiled once, imported by every submission.
        compileall.compile_dir(part, quiet=2, workers=1)
        _find_fonts(part / "fonts")
        for path in (part, *part.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        part.rename(folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if not (isinstance(error, OSError) and folder.is_dir()):  # another made it meanwhile
            raise


def _forget(cache: Path) -> None:
    """Remove old copies, and what was left of copies that were not finished."""
    for path in cache.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MONTH:
                shutil.rmtree(path)


def _find_fonts(folder: Path) -> None:
    """Matplotlib's list of fonts, which takes it seconds to make: once, and not in each kernel."""
    folder.mkdir()
    environment = os.environ | {"MPLCONFIGDIR": str(folder)}
    argv = [sys.executable, "-P", "-c", "import matplotlib.font_manager"]
    subprocess.run(argv, env=environment, check=False, capture_output=True)


def readable() -> tuple[Path, ...]:
    """What the kernel reads besides the system: the interpreter, its packages, the site."""
    named = {Path(p).absolute() for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    # By the name that it is called by, which may be a link, and by its own.
    prefixes = named | {path.resolve() for path in named}
    return (*sorted(prefixes), site().folder)


# Libraries with the attacks that the exercises ask for. The course needs none of them, but they may
# be installed beside it. (`art` is the Adversarial Robustness Toolbox.)
LIBRARIES = (
    "advertorch",
    "art",
    "autoattack",
    "cleverhans",
    "foolbox",
    "robustbench",
    "secml",
    "torchattacks",
)


def hidden() -> tuple[Path, ...]:
    """The package itself, with its verdicts, and the :data:`LIBRARIES`, where they are installed
    among what is readable."""
    found = [PACKAGE.resolve(), *(path for name in LIBRARIES for path in _installed(name))]
    places = set()
    for folder in readable()[:-1]:  # each under every name that it can be reached by
        own = folder.resolve()
        places |= {folder / one.relative_to(own) for one in found if one.is_relative_to(own)}
    return tuple(sorted(places))


def _installed(name: str) -> list[Path]:
    """The folders or the file of a package, found without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # one that is broken, or was loaded in an odd way
        return []
    if spec is None:
        return []
    places = spec.submodule_search_locations or [spec.origin or ""]
    return [Path(place).resolve() for place in places if Path(place).exists() and place]
