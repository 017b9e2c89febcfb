"""The same work on a Dask cluster of two workers, each a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import fakes
import psutil
import pytest
from distributed import Client, LocalCluster
from fakes import job
from test_pool import lines, sleepers, until

from advlab.course.grading import pool
from advlab.course.grading.cluster import on_cluster
from advlab.course.grading.results import FAILED, GRADED, TIMED_OUT
from advlab.course.grading.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # The workers' children must find the fakes.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        with LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=tmp_path_factory.mktemp("dask"),
        ) as found:
            yield found


def run(cluster, jobs, folder, **options):
    options = {"progress": False, "grade": fakes.GRADE} | options
    found = pool.run(jobs, Store(folder), cluster=cluster.scheduler_address, **options)
    return [found[one.key()] for one in jobs]


def test_each_job_gets_its_result_and_a_second_run_grades_only_what_failed(cluster, tmp_path):
    log = tmp_path / "log"
    does = ["full", "raise money", "half", "exit 3", "limit", "zero"]
    jobs = [job(what, log=log) for what in does]
    found = run(cluster, jobs, tmp_path / "store")
    assert [r.status for r in found] == [GRADED, FAILED, GRADED, FAILED, TIMED_OUT, GRADED]
    assert [r.earned for r in found] == [1, 0, 0.5, 0, 0, 0]
    assert "no such thing as money" in found[1].reason
    assert "on the cluster: RuntimeError: its process ended with status 3" in found[3].reason
    first = lines(log)
    assert len([line for line in first if line.startswith("exit")]) == 3  # Dask tried it again
    assert len(first) == 5 + 3
    assert run(cluster, jobs, tmp_path / "store")[0] == found[0]
    words = {line.split()[0] for line in lines(log)[len(first) :]}
    assert words == {"raise", "exit"}


def test_it_gives_what_this_machine_gives(cluster, tmp_path):
    jobs = [job(what) for what in ("full", "half", "limit", "zero")]
    there = run(cluster, jobs, tmp_path / "there")
    here = pool.run(jobs, Store(tmp_path / "here"), progress=False, grade=fakes.GRADE)
    assert there == [here[one.key()] for one in jobs]
    names = [sorted(p.name for p in (tmp_path / at).iterdir()) for at in ("here", "there")]
    assert names[0] == names[1]


def test_one_that_hangs_is_ended_with_all_below_it(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("advlab.course.grading.settings.START", 0.0)
    (found,) = run(cluster, [job(f"hang {tmp_path / 'there'}", seconds=20)], tmp_path / "s")
    assert found.status == FAILED
    assert "took longer than 20 s" in found.reason
    assert (tmp_path / "there").exists()
    assert until(lambda: not sleepers(), 5)


def test_a_grader_that_stops_waiting_ends_the_work_on_the_cluster(cluster, tmp_path):
    hanging = job(f"hang {tmp_path / 'there'}", seconds=600)
    jobs = {one.key(): one for one in (hanging, job("full"))}
    with closing(on_cluster(jobs, cluster.scheduler_address, fakes.GRADE)) as stream:
        for _ in stream:
            if (tmp_path / "there").exists():
                break
        assert sleepers()
    assert until(lambda: not sleepers(), 20)


def test_a_worker_that_is_killed_costs_nothing(cluster, tmp_path):
    jobs = [job(f"sleep 1.{n}") for n in range(6)]
    stream = on_cluster({one.key(): one for one in jobs}, cluster.scheduler_address, fakes.GRADE)
    found, killed = {}, False
    for finished in stream:
        if finished is None:
            continue
        found.update([finished])
        if not killed:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                pids = list(client.run(os.getpid).values())
            os.kill(pids[0], signal.SIGKILL)
            killed = True
    assert [found[one.key()].earned for one in jobs] == [1] * 6


def test_a_worker_with_another_advlab_is_refused(cluster, tmp_path, monkeypatch):
    for module in ("cluster", "jobs"):
        monkeypatch.setattr(f"advlab.course.grading.{module}.version", lambda: "0.0.1 (old)")
    with pytest.raises(ValueError, match=r"has advlab 0\..* and this machine has 0\.0\.1 \(old\)"):
        run(cluster, [job("full")], tmp_path)


def test_an_address_where_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setattr("advlab.course.grading.cluster.PATIENCE", 2.0)
    for address in ("tcp://127.0.0.1:9", "nonsense", "tcp://"):
        start = time.monotonic()
        with pytest.raises(ValueError, match="cluster: no Dask scheduler answers at"):
            pool.run([job("full")], Store(tmp_path), cluster=address, grade=fakes.GRADE)
        assert time.monotonic() - start < 20


def test_a_scheduler_without_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("advlab.course.grading.cluster.PATIENCE", 1.0)
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=None) as empty,
        pytest.raises(ValueError, match="has no workers; start some"),
    ):
        run(empty, [job("full")], tmp_path)


def test_without_distributed_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'advlab\[cluster\]'"):
        pool.run([job("full")], Store(tmp_path), cluster="tcp://x:1", grade=fakes.GRADE)


def test_nothing_is_left_behind():
    below = [p.cmdline() for p in psutil.Process().children(recursive=True)]
    assert not [words for words in below if any(word.endswith(".single") for word in words)]
