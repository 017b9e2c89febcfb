"""Where tensors live, and how long things take.

One place decides on the device, the precision, the seeds and the size of a batch, so that no
other file of the package names a kind of hardware.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from tqdm.auto import tqdm

_chosen: torch.device | None = None

# Images that go through a model at once. On a CPU, activations of larger batches fall out of the
# cache and the same work takes two to three times as long; a GPU wants to be filled.
BATCH_SIZE = {"cpu": 128, "mps": 512, "cuda": 2048}


def available_devices() -> list[str]:
    """The names that :func:`device` accepts here, the best one first."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if _has("cuda") else []
    return names + (["mps"] if _has("mps") else []) + ["cpu"]


def _has(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu"


def device(name: str | torch.device | None = None) -> torch.device:
    """The device that the package works on; with a name, choose it from now on.

    Without a name: the last one chosen, else the environment variable ``ADVLAB_DEVICE``, else
    the best that is there (CUDA, then MPS, then CPU).

    :param name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or ``"auto"`` for the best one.
    :raises ValueError: the name is misspelt, or the device is not there; the message lists what is.
    """
    global _chosen
    if name is not None:
        _chosen = _resolve(name, "device")
    if _chosen is not None:
        return _chosen
    return _resolve(os.environ.get("ADVLAB_DEVICE") or "auto", "ADVLAB_DEVICE")


def _resolve(name: str | torch.device, source: str) -> torch.device:
    names = available_devices()
    if str(name) == "auto":
        return torch.device(names[0])
    hint = f"expected one of: auto, {', '.join(names)}"
    try:
        wanted = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{source}: {name!r} is not the name of a device; {hint}") from error
    found = (
        str(wanted) == "cpu:0"
        or any(wanted == torch.device(n) for n in names)
        or (wanted.index is None and any(torch.device(n).type == wanted.type for n in names))
    )
    if not found:
        raise ValueError(f"{source}: {str(name)!r} is not available on this machine; {hint}")
    if wanted.type == "cpu":
        return torch.device("cpu")
    # "cuda" and "cuda:0" are the same place, but torch does not compare them equal.
    return torch.device("cuda", 0) if str(wanted) == "cuda" else wanted


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices). Attacks do not need it: they carry a seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (libraries still draw from the global state)
    torch.manual_seed(seed)


def generator(seed: int, where: torch.device | str = "cpu") -> torch.Generator:
    """A fresh random generator; on the CPU by default, so that all devices see the same numbers."""
    return torch.Generator(where).manual_seed(seed)


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, torch uses only algorithms that give the same bits at each run, or raises.

    On CUDA set ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` before the first CUDA call as well.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace or ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = before[2]
        if workspace is None:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]


@contextmanager
def own_random_state(where: torch.device) -> Iterator[None]:
    """Inside, the default generators of the CPU and of the device may be seeded at will."""
    if where.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        with torch.random.fork_rng(devices=[where], device_type=where.type):
            yield


def seed_device(where: torch.device, seed: int) -> None:
    """Seed the default generators of the CPU and of that device."""
    # Not torch.manual_seed: that would also seed devices that are not put back afterwards.
    torch.default_generator.manual_seed(seed)
    if where.type == "cuda":
        with torch.cuda.device(where):
            torch.cuda.manual_seed(seed)
    elif where.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def seeded(where: torch.device, seed: int) -> Iterator[None]:
    """Inside, what is drawn on the CPU and on that device is the same at each call.

    The caller's random state is left as it was found.
    """
    with own_random_state(where):
        seed_device(where, seed)
        yield


@contextmanager
def precision(name: str = "float32", where: torch.device | None = None) -> Iterator[None]:
    """Inside, models compute in ``"float32"`` or, on CUDA only, ``"bfloat16"`` by autocast.

    :param where: the device that is computed on; by default the one chosen, see :func:`device`.
    :raises ValueError: another name, or ``"bfloat16"`` where the device is not CUDA.
    """
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"precision: found {name!r}, expected 'float32' or 'bfloat16'")
    where = where or device()
    if name == "bfloat16" and where.type != "cuda":
        raise ValueError(f"precision: 'bfloat16' needs a CUDA device, and the device is {where}")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=name == "bfloat16"):
        yield


def check_compiler(where: torch.device) -> None:
    """Compile a line for that device, and see whether it runs.

    :raises ValueError: it does not.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=where))
    except Exception as error:  # of whatever part of the compiler is missing
        raise ValueError(
            f"compile: torch.compile fails here ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}); it needs a C++ compiler for a CPU, Triton for a GPU. "
            "Leave compile=False"
        ) from error


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while batches were worked on; those that were done are not lost.

    :ivar done: the results of the first rows, joined; None when no batch was done.
    :ivar rows: how many rows that is.
    """

    def __init__(self, done, rows: int):
        super().__init__(f"interrupted after {rows} rows, which are in .done")
        self.done, self.rows = done, rows


def batch_size_on(where: torch.device) -> int:
    """Images that go through a model at once on that device, as ``BATCH_SIZE`` has it."""
    return BATCH_SIZE.get(where.type, BATCH_SIZE["cpu"])


def in_batches(
    function: Callable,
    *tensors: torch.Tensor,
    batch_size: int | None = None,
    bar: tqdm | None = None,
):
    """``function(*tensors)``, a batch at a time, the results joined in order.

    A GPU that runs out of memory halves the batch and goes on from the same place; batches that
    were done stay done. A batch of one that does not fit raises torch's own error.

    :param function: takes batches of the tensors; returns a tensor, or a tuple of tensors, with
        a row for each row of the batch.
    :param tensors: with the same first dimension N.
    :param batch_size: rows at a time; by default what suits the device of the first tensor.
    :param bar: a progress bar over the N rows. A function may move it within its own batch; when
        the batch is done, the bar stands at the rows done.
    :raises ValueError: tensors of different length, or a batch size below 1.
    :raises Interrupted: on Ctrl-C, with what was done.
    """
    n = len(tensors[0])
    if any(len(t) != n for t in tensors):
        raise ValueError(f"expected tensors of one length, found {[len(t) for t in tensors]}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, found {batch_size}")
    size = batch_size or batch_size_on(tensors[0].device)
    size = min(size, max(n, 1))
    parts, start = [], 0
    try:
        while start < n or not parts:  # an empty input still goes through once, for its shape
            try:
                parts.append(function(*(t[start : start + size] for t in tensors)))
                fits = True
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                fits = False
            if not fits:  # out here the error, and with it the memory that it held, is gone
                size = (size + 1) // 2
                torch.cuda.empty_cache()
            else:
                start = min(start + size, n)
            if bar is not None:
                bar.update(start - bar.n)
    except KeyboardInterrupt as error:
        raise Interrupted(_joined(parts) if parts else None, start) from error
    return _joined(parts)


def _joined(parts: list):
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
    return torch.cat(parts)


class Stopwatch:
    """Seconds of wall time inside ``with Stopwatch() as watch:``, read as ``watch.seconds``.

    A GPU works on after the call has returned: the clock waits for it at both ends.
    """

    def __enter__(self) -> Stopwatch:
        _synchronize()
        self.seconds = 0.0
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error) -> None:
        _synchronize()
        self.seconds = time.perf_counter() - self._start


def _synchronize() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    if _has("mps"):
        torch.mps.synchronize()
