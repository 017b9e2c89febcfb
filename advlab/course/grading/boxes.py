"""The box of a kernel, and the slots that kernels may be forked from."""

from __future__ import annotations

from pathlib import Path

from .sandbox import Box
from .sandbox.users import a_user
from .sandbox.warm import Slot
from .settings import Limits
from .site import hidden, readable, site

__all__ = ["a_user", "make_box", "make_slot"]


def make_box(run: Path, limits: Limits, user: int | None) -> Box:
    """The box of a kernel whose folders are in ``run``."""
    ours = site()
    return Box(
        run=run,
        limits=limits,
        readable=readable(),
        hidden=hidden(),
        given=ours.given,
        environment=_environment(run / "scratch", ours.folder),
        user=user,
    )


def _environment(home: Path, packages: Path) -> dict[str, str]:
    """All that the kernel's environment holds."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "MPLCONFIGDIR": str(home / ".matplotlib"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "ADVLAB_CACHE": str(home / ".cache"),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(packages),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(threads, "1"),
    }


def make_slot() -> Slot:
    """A slot for kernels of the class. Its folder has the folders that its kernels use."""
    return Slot(lambda run: make_box(run, Limits(), None), site().zygote)
