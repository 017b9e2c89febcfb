"""The environment of the peers, above the project's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

PEERS = ("nbgrader", "otter-grader")
REQUIREMENTS = Path(__file__).parents[1] / "requirements-grading.txt"
_PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"


def environment(folder: Path) -> Path:
    """A virtual environment with nbgrader and otter-grader, made where there is none. It holds only
    what the project's does not, and takes the rest, torch among it, from there."""
    done = folder / REQUIREMENTS.name
    if done.is_file() and done.read_text() == REQUIREMENTS.read_text():
        return folder
    print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    ours = subprocess.check_output([sys.executable, "-c", _PURELIB], text=True).strip()
    theirs = Path(subprocess.check_output([python, "-c", _PURELIB], text=True).strip())
    # A line that begins with "import" is run; addsitedir reads the .pth files there, too.
    (theirs / "project.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    install = [python, "-m", "pip", "install", "-qq", "--no-deps", "-r", REQUIREMENTS]
    subprocess.run(install, check=True)
    shutil.copy(REQUIREMENTS, done)
    return folder


def versions(folder: Path) -> dict[str, str]:
    """Those of the peers."""
    asked = f"import importlib.metadata as m; print(*(m.version(n) for n in {PEERS!r}))"
    said = subprocess.check_output([folder / "bin" / "python", "-c", asked], text=True)
    return dict(zip(PEERS, said.split(), strict=True))
