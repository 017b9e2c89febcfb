"""Devices, batches, determinism, precision and time."""

from __future__ import annotations

import io
import os
import random
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm.auto import tqdm

from advlab import backend


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch):
    """Each test starts as a fresh process does, and leaves no choice behind."""
    monkeypatch.setattr(backend, "_chosen", None)
    monkeypatch.delenv("ADVLAB_DEVICE", raising=False)


def machine_with(monkeypatch, *names):
    monkeypatch.setattr(backend, "available_devices", lambda: list(names))


def test_the_best_device_is_chosen(monkeypatch):
    assert str(backend.device()) == backend.available_devices()[0]
    machine_with(monkeypatch, "cuda:0", "cuda:1", "cpu")
    assert backend.device() == torch.device("cuda", 0)
    machine_with(monkeypatch, "mps", "cpu")
    assert backend.device() == torch.device("mps")


def test_available_devices_lists_the_best_first(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert backend.available_devices() == ["cuda:0", "cuda:1", "mps", "cpu"]


def test_a_choice_holds_and_goes_before_the_environment(monkeypatch):
    machine_with(monkeypatch, "cuda:0", "cuda:1", "cpu")
    monkeypatch.setenv("ADVLAB_DEVICE", "cuda:1")
    assert backend.device() == torch.device("cuda:1")
    assert backend.device("cpu") == torch.device("cpu")
    assert backend.device() == torch.device("cpu")
    assert backend.device("auto") == torch.device("cuda:0")
    assert backend.device("cuda") == torch.device("cuda:0")
    monkeypatch.setenv("ADVLAB_DEVICE", "")
    monkeypatch.setattr(backend, "_chosen", None)
    assert backend.device() == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["cpuu", "gpu", "", "cuda:x", "cpu:0:0"])
def test_a_misspelt_device_is_named_with_what_is_there(name):
    with pytest.raises(ValueError, match=r"not the name of a device; expected one of: auto, .*cpu"):
        backend.device(name)


def test_an_absent_device_is_named_with_what_is_there(monkeypatch):
    machine_with(monkeypatch, "cuda:0", "cpu")
    for name in ("cuda:3", "mps", "meta"):
        with pytest.raises(ValueError, match=f"'{name}' is not available .* auto, cuda:0, cpu"):
            backend.device(name)
    monkeypatch.setenv("ADVLAB_DEVICE", "mps")
    with pytest.raises(ValueError, match="ADVLAB_DEVICE: 'mps' is not available"):
        backend.device()


def test_a_refused_device_leaves_the_choice_as_it_was():
    backend.device("cpu")
    with pytest.raises(ValueError):
        backend.device("nonsense")
    assert backend.device() == torch.device("cpu")


def test_seed_everything_repeats_python_numpy_and_torch(device):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1, device=device).item()  # noqa: NPY002

    backend.seed_everything(3)
    first = draw()
    backend.seed_everything(3)
    assert draw() == first
    backend.seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first))


def test_generator_repeats_and_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    first = torch.rand(3, generator=backend.generator(1))
    assert torch.equal(first, torch.rand(3, generator=backend.generator(1)))
    assert not torch.equal(first, torch.rand(3, generator=backend.generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


def determinism():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )


@pytest.mark.parametrize("before", [(False, False, True), (True, True, False)])
def test_deterministic_restores_what_was_set_also_after_an_error(before):
    found = determinism()
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.benchmark = before[2]
    try:
        with pytest.raises(KeyError), backend.deterministic():  # noqa: PT012
            assert determinism() == (True, False, False)
            raise KeyError
        assert determinism() == before
    finally:
        torch.use_deterministic_algorithms(found[0], warn_only=found[1])
        torch.backends.cudnn.benchmark = found[2]


def test_deterministic_restores_the_environment(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with backend.deterministic():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with backend.deterministic():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_precision_float32_changes_nothing_and_warns_of_nothing(recwarn):
    x = torch.rand(4, 4)
    with backend.precision():
        assert not torch.is_autocast_enabled("cuda")
        assert (x @ x).dtype == torch.float32
    assert not recwarn.list


def test_precision_refuses_other_names_and_bfloat16_off_cuda():
    with (
        pytest.raises(ValueError, match="precision: found 'float16', expected 'float32' or"),
        backend.precision("float16"),
    ):
        pass
    backend.device("cpu")
    with (
        pytest.raises(ValueError, match="'bfloat16' needs a CUDA device, and the device is cpu"),
        backend.precision("bfloat16"),
    ):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="bfloat16 autocast is for CUDA")
def test_precision_bfloat16_on_cuda():
    backend.device("cuda")
    x = torch.rand(4, 4, device="cuda")
    with backend.precision("bfloat16"):
        assert (x @ x).dtype == torch.bfloat16
    assert (x @ x).dtype == torch.float32


@settings(deadline=None, derandomize=True, max_examples=50)
@given(n=st.integers(0, 40), size=st.one_of(st.none(), st.integers(1, 50)))
def test_any_split_gives_the_same(n, size):
    x, y = torch.arange(3.0 * n).view(n, 3), torch.arange(n)
    seen = []

    def function(x, y):
        seen.append(len(x))
        return x.sum(1) + y, 2 * y

    total, twice = backend.in_batches(function, x, y, batch_size=size)
    assert torch.equal(total, x.sum(1) + y)
    assert torch.equal(twice, 2 * y)
    assert sum(seen) == n
    if size is not None:
        assert max(seen) <= size
        assert len(seen) == max(1, -(-n // size))


def test_the_default_batch_is_what_suits_the_device(device):
    size = backend.BATCH_SIZE[device.type]
    seen = []
    x = torch.zeros(2 * size + 1, 1, device=device)
    backend.in_batches(lambda x: seen.append(len(x)) or x, x)
    assert seen == [size, size, 1]


def memory_for(limit, calls):
    """A function that has memory for ``limit`` rows and fails as a GPU does above that."""

    def function(x):
        calls.append(len(x))
        if len(x) > limit:
            raise torch.OutOfMemoryError("out of memory (simulated)")
        return x * 2

    return function


@settings(deadline=None, derandomize=True, max_examples=50)
@given(n=st.integers(1, 60), size=st.integers(1, 64), limit=st.integers(1, 64))
def test_out_of_memory_halves_the_batch_and_loses_nothing(n, size, limit):
    x, calls = torch.arange(float(n)), []
    assert torch.equal(backend.in_batches(memory_for(limit, calls), x, batch_size=size), 2 * x)
    done = [rows for rows in calls if rows <= limit]
    assert sum(done) == n  # no row is computed twice
    failed = [rows for rows in calls if rows > limit]
    assert failed == sorted(failed, reverse=True)
    assert len(failed) <= 7
    if failed:
        assert max(done) > limit / 2 - 1  # halved no further than it had to


def test_a_batch_that_fits_no_longer_midway_goes_on_from_the_same_place():
    calls = []

    def function(x):
        calls.append(x.tolist())
        if len(calls) == 2:
            raise torch.OutOfMemoryError("another process took the memory (simulated)")
        return x

    x = torch.arange(8)
    assert torch.equal(backend.in_batches(function, x, batch_size=4), x)
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7]]


def test_out_of_memory_lets_go_of_what_failed_before_trying_again():
    """The error's traceback holds the failed batch's tensors: they must be gone at the retry."""
    import weakref

    held = []

    def function(x):
        assert not any(ref() is not None for ref in held), "the failed batch is still in memory"
        if len(x) > 2:
            activations = torch.zeros(len(x), 100)
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("simulated")
        return x

    emptied = []
    original = torch.cuda.empty_cache
    torch.cuda.empty_cache = lambda: emptied.append([ref() is None for ref in held])
    try:
        backend.in_batches(function, torch.arange(8), batch_size=8)
    finally:
        torch.cuda.empty_cache = original
    assert emptied == [[True], [True, True]]


def test_a_batch_of_one_that_does_not_fit_raises_torchs_own_error():
    calls = []
    with pytest.raises(torch.OutOfMemoryError, match="simulated"):
        backend.in_batches(memory_for(0, calls), torch.arange(5.0), batch_size=4)
    assert calls == [4, 2, 1]


def test_other_errors_pass_through_at_once():
    calls = []

    def function(x):
        calls.append(len(x))
        raise RuntimeError("not memory")

    with pytest.raises(RuntimeError, match="not memory"):
        backend.in_batches(function, torch.arange(5), batch_size=4)
    assert calls == [4]


def test_in_batches_refuses_ragged_tensors_and_batches_of_none():
    with pytest.raises(ValueError, match=r"tensors of one length, found \[3, 2\]"):
        backend.in_batches(lambda a, b: a, torch.zeros(3), torch.zeros(2))
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size: expected at least 1, found {size}"):
            backend.in_batches(lambda a: a, torch.zeros(3), batch_size=size)


def test_a_bar_stands_at_the_rows_done():
    x, seen = torch.arange(10), []
    with tqdm(total=10, disable=True) as bar, tqdm(total=10, file=io.StringIO()) as shown:

        def function(x):
            seen.append(shown.n)
            shown.update(0.5)  # inside its batch
            return x

        assert torch.equal(backend.in_batches(function, x, batch_size=4, bar=shown), x)
        assert shown.n == 10
        assert seen == [0, 4, 8]
        assert torch.equal(backend.in_batches(lambda x: x, x, batch_size=4, bar=bar), x)


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_an_interrupt_hands_over_what_was_done(stop):
    calls = []

    def function(x):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(len(x))
        return 2 * x, x

    with pytest.raises(backend.Interrupted) as caught:
        backend.in_batches(function, torch.arange(10), batch_size=4)
    assert caught.value.rows == 4 * stop
    if stop:
        assert torch.equal(caught.value.done[0], 2 * torch.arange(4 * stop))
    else:
        assert caught.value.done is None


def test_stopwatch_measures_wall_time():
    with backend.Stopwatch() as watch:
        time.sleep(0.05)
    assert 0.05 <= watch.seconds < 1
    first = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == first


def test_stopwatch_stops_at_an_error_and_lets_it_pass():
    watch = backend.Stopwatch()
    with pytest.raises(KeyError), watch:  # noqa: PT012
        time.sleep(0.01)
        raise KeyError
    assert watch.seconds >= 0.01


def test_stopwatch_waits_for_the_device_at_both_ends(monkeypatch):
    order = []
    monkeypatch.setattr(backend, "_synchronize", lambda: order.append("wait"))
    with backend.Stopwatch():
        order.append("work")
    assert order == ["wait", "work", "wait"]
    waited = []
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("cuda"))
    with backend.Stopwatch():
        pass
    assert waited == ["cuda", "cuda"]
