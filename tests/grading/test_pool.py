"""The pool of processes: what dies in one costs no other, and a run goes on where it was."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import fakes
import psutil
import pytest
from fakes import job

from advlab.course.grading import pool
from advlab.course.grading.child import end, end_below
from advlab.course.grading.jobs import Job, version
from advlab.course.grading.progress import Progress
from advlab.course.grading.results import BROKEN, FAILED, GRADED, TIMED_OUT, Result
from advlab.course.grading.settings import Limits, Rule, Settings
from advlab.course.grading.store import Store


def run(jobs, folder, **options):
    """The results in the order of the jobs."""
    options = {"workers": 2, "progress": False, "grade": fakes.GRADE} | options
    found = pool.run(jobs, Store(folder), **options)
    return [found[one.key()] for one in jobs]


def sleepers() -> list[psutil.Process]:
    """The processes that a fake left behind, wherever they hang."""
    found = []
    for one in psutil.process_iter(["cmdline", "status"]):
        if fakes.SLEEPER in (one.info["cmdline"] or []):
            found += [one] * (one.info["status"] != psutil.STATUS_ZOMBIE)
    return found


def until(condition, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# Results ----------------------------------------------------------------------------------------


def test_each_job_gets_its_result_and_what_fails_ends_nothing_else(tmp_path):
    does = ["full", "raise money", "half", "exit 3", "killed", "limit", "zero"]
    jobs = [job(f"s{n}", what) for n, what in enumerate(does)]
    found = run(jobs, tmp_path)
    assert [r.status for r in found] == [
        *(GRADED, FAILED, GRADED, FAILED, FAILED, TIMED_OUT, GRADED)
    ]
    assert [r.earned for r in found] == [1, 0, 0.5, 0, 0, 0, 0]
    assert "RuntimeError: no such thing as money (fakes.py, line" in found[1].reason
    assert "ended with status 3" in found[3].reason
    assert "killed by SIGKILL, as the system does where memory runs out" in found[4].reason
    assert all(r.chapter == "99-fake" for r in found)


def test_one_that_hangs_is_ended_with_all_below_it(tmp_path):
    jobs = [job("a", f"hang {tmp_path / 'there'}", seconds=4), job("b", "full", seconds=60)]
    start = time.monotonic()
    hung, other = run(jobs, tmp_path / "store")
    assert 4 <= time.monotonic() - start < 30
    assert hung.status == FAILED
    assert "took longer than 4 s" in hung.reason
    assert other.status == GRADED
    assert (tmp_path / "there").exists()
    assert not sleepers()


def test_a_daemon_that_is_left_behind_is_ended(tmp_path):
    (result,) = run([job("a", f"daemon {tmp_path / 'there'}")], tmp_path / "store")
    assert result.status == GRADED
    assert (tmp_path / "there").exists()
    assert until(lambda: not sleepers(), 5)


def test_a_grader_that_cannot_be_imported_fails_each_job(tmp_path):
    with pytest.raises(ModuleNotFoundError):
        run([job("a", "full")], tmp_path, grade="no_such_module:grade")
    (result,) = run([job("a", "full")], tmp_path, grade="fakes:no_such_function")
    assert result.status == FAILED
    assert "no_such_function" in result.reason


def test_workers_are_as_many_as_asked_for(tmp_path):
    for bad in (0, -1, True):
        with pytest.raises(ValueError, match="workers: expected at least 1"):
            run([], tmp_path, workers=bad)
    log = tmp_path / "log"
    jobs = [job(f"s{n}", f"sleep 0.{n}1", log=log) for n in range(6)]
    seen = 0
    for _ in pool.on_this_machine({one.key(): one for one in jobs}, 3, fakes.GRADE):
        seen = max(seen, len(children_of_the_server()))
    assert seen == 3
    assert len(lines(log)) == 6


def children_of_the_server() -> list[psutil.Process]:
    """Processes that grade: below the server that forks, which is below this one."""
    below = [p for one in psutil.Process().children() for p in one.children()]
    return [one for one in below if alive(one)]


def alive(one: psutil.Process) -> bool:
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_jobs_give_no_results(tmp_path):
    assert run([], tmp_path) == []


# Resuming ---------------------------------------------------------------------------------------


def test_a_second_run_grades_only_what_failed_or_changed(tmp_path):
    log = tmp_path / "log"
    does = ("full", "half", "raise x")
    jobs = [job(f"s{n}", what, log=log) for n, what in enumerate(does)]
    first = run(jobs, tmp_path / "store")
    assert len(lines(log)) == 3
    again = run([*jobs, job("s3", "zero", log=log)], tmp_path / "store")
    assert again[:2] == first[:2]
    assert sorted(line.split()[0] for line in lines(log)[3:]) == ["raise", "zero"]
    run(jobs, tmp_path / "store", again=True)
    assert len(lines(log)) == 5 + 3


def test_the_same_notebook_is_graded_once(tmp_path):
    log = tmp_path / "log"
    found = run([job(f"s{n}", "half", log=log) for n in range(5)], tmp_path / "store")
    assert len(lines(log)) == 1
    assert [r.earned for r in found] == [0.5] * 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-40],
        lambda text: "",
        lambda text: text.replace("0.5", "1.0"),
        lambda text: "[" * 100_000,
        lambda text: '{"sha256": 3}',
        lambda text: "null",
        lambda text: "\0\xff",
    ],
)
def test_a_result_that_was_damaged_is_graded_again(tmp_path, damage):
    log = tmp_path / "log"
    jobs, store = [job("a", "half", log=log)], tmp_path / "store"
    first = run(jobs, store)
    (file,) = store.iterdir()
    file.write_text(damage(file.read_text()), encoding="latin-1")
    assert run(jobs, store) == first
    assert len(lines(log)) == 2


def test_a_result_under_another_name_is_graded_again(tmp_path):
    log, store = tmp_path / "log", tmp_path / "store"
    half, full = job("a", "half", log=log), job("b", "full", log=log)
    run([half], store)
    (store / f"{half.key()}.json").rename(store / f"{full.key()}.json")
    assert run([full], store)[0].earned == 1
    assert len(lines(log)) == 2


GRADER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import fakes
from advlab.course.grading import jobs, pool
from advlab.course.grading.store import Store
jobs.version = lambda: {version!r}
if __name__ == "__main__":
    folder = Path({folder!r})
    does = [*["sleep 0.%d" % n for n in range(1, 9)], "hang %s" % (folder / "there")]
    class_ = [fakes.job(what, what, seconds=600, log=folder / "log") for what in does]
    try:
        pool.run(class_, Store(folder / "store"), workers=2, grade=fakes.GRADE)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start_a_grader(folder: Path) -> subprocess.Popen:
    """It hangs at the last of nine."""
    script = folder / "grader.py"
    here = str(Path(__file__).parent)
    script.write_text(GRADER.format(here=here, folder=str(folder), version=version()))
    with (folder / "err").open("w") as err:
        grader = subprocess.Popen([sys.executable, script], stderr=err, start_new_session=True)
    there = until(lambda: (folder / "there").exists() and len(stored(folder)) == 8, 90)
    assert there, (folder / "err").read_text()
    return grader


def stored(folder: Path) -> list[Path]:
    return list((folder / "store").glob("*.json")) if (folder / "store").exists() else []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_grader_that_is_killed_leaves_no_process_and_keeps_what_was_done(tmp_path, how):
    grader = start_a_grader(tmp_path)
    below = psutil.Process(grader.pid).children(recursive=True)
    assert len(below) >= 3  # the server, the one that hangs, and the sleeper below it
    assert sleepers()
    os.kill(grader.pid, how)
    assert grader.wait(20) == (130 if how == signal.SIGINT else -how)
    assert until(lambda: not sleepers() and not any(alive(one) for one in below), 10)
    done = [json.loads(path.read_text())["result"]["reason"] for path in stored(tmp_path)]
    assert sorted(done) == [f"sleep 0.{n}" for n in range(1, 9)]
    jobs = [job("x", f"sleep 0.{n}", seconds=600, log=tmp_path / "log") for n in range(1, 9)]
    assert [r.earned for r in run(jobs, tmp_path / "store")] == [1] * 8
    assert len(lines(tmp_path / "log")) == 9  # nothing was graded twice


def test_an_interrupt_in_the_middle_ends_the_children(tmp_path, monkeypatch):
    there = tmp_path / "there"
    put = Store.put

    def interrupted(self, key, result):
        put(self, key, result)
        assert until(there.exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run([job("a", f"hang {there}"), job("b", "sleep 1")], tmp_path / "store")
    assert not sleepers()
    assert not children_of_the_server()
    assert len(stored(tmp_path)) == 1


def test_everything_below_a_process_is_ended():
    code = "import subprocess, sys, time\n"
    code += f"subprocess.Popen([sys.executable, '-c', {fakes.SLEEPER!r}])\ntime.sleep(600)"
    top = subprocess.Popen([sys.executable, "-c", code])
    assert until(lambda: sleepers())
    end_below(top.pid)
    assert until(lambda: not sleepers(), 5)
    assert top.poll() is None
    end(top.pid)
    assert top.wait(5) == -signal.SIGKILL
    end(top.pid)  # there is none any more


# Keys -------------------------------------------------------------------------------------------


def base() -> Job:
    return Job("Ada", "01-neurons", b"teacher", b"student", None, Settings(sandbox="bubblewrap"))


@pytest.mark.parametrize(
    "change",
    [
        {"chapter": "02-gradient-descent"},
        {"teacher": b"teacher "},
        {"submission": b""},
        {"hidden": b""},
        {"hidden": b"HIDDEN = ()"},
        {"settings": Settings(sandbox="unshare")},
        {"settings": Settings(sandbox="bubblewrap", whole=True)},
        {"settings": Settings(sandbox="bubblewrap", image="x")},
        {"settings": Settings(Limits(cell=59), "bubblewrap")},
    ],
)
def test_a_key_depends_on_what_the_result_depends_on(change):
    assert replace(base(), **change).key() != base().key()


def test_a_key_depends_on_the_sources_of_advlab(monkeypatch):
    before = base().key()
    monkeypatch.setattr("advlab.course.grading.jobs.version", lambda: "0.1.0 (another)")
    assert base().key() != before


def test_a_key_does_not_depend_on_the_name_or_the_rule():
    late = Settings(sandbox="bubblewrap", rule=Rule("best", datetime(2026, 10, 1), 0.5))
    assert replace(base(), student="Bob", settings=late).key() == base().key()
    assert len(base().key()) == 64


def test_bytes_moved_from_one_part_to_the_next_make_another_key():
    one = replace(base(), teacher=b"ab", submission=b"c")
    assert one.key() != replace(base(), teacher=b"a", submission=b"bc").key()


def test_the_version_names_the_sources():
    version.cache_clear()
    first = version()
    version.cache_clear()
    assert version() == first
    assert first.startswith("0.")
    assert len(first.partition("(")[2]) == 17


def test_a_job_survives_json():
    rule = Rule("best", datetime.fromisoformat("2026-10-01T23:59+02:00"), 0.5)
    settings = Settings(Limits(cell=3, memory=2**30), "plain", "image", True, rule)
    for hidden in (None, b"", b"\xff\x00"):
        one = Job("Zoë", "01-neurons", b"\x00\xff", b"{}", hidden, settings)
        assert Job.from_json(json.loads(json.dumps(one.to_json()))) == one


# Progress ---------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def result_of(does: str) -> Result:
    return fakes.grade(job("a", does))


def test_elsewhere_than_on_a_terminal_there_is_a_line_at_the_start_and_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("advlab.course.grading.progress.time.monotonic", lambda: now[0])
    shown = Progress(30, out=(out := io.StringIO()))
    assert out.getvalue() == "graded 0 of 30\n"
    for n in range(30):
        now[0] += 1
        shown.add(result_of("full" if n % 2 else "limit"))
        shown.tick()
    shown.close()
    said = out.getvalue().splitlines()
    assert said[1] == "graded 11 of 30: 5 in full, 6 at a limit"
    assert said[-1] == "graded 30 of 30: 15 in full, 15 at a limit"
    assert len(said) == 4


def test_on_a_terminal_there_is_a_bar_from_the_start():
    shown = Progress(3, out=(out := Terminal()))
    assert "graded 0 of 3" in out.getvalue()
    shown.add(Result("", BROKEN, "no notebook"))
    shown.add(Result("01-neurons", FAILED, "the grader"))
    shown.add(result_of("half"))
    shown.close()
    assert "graded 3 of 3" in out.getvalue()
    assert "1 in part, 1 broken, 1 not graded" in out.getvalue()


def test_progress_may_be_silent():
    shown = Progress(3, show=False, out=(out := Terminal()))
    shown.add(result_of("half"))
    shown.close()
    assert out.getvalue() == ""


def test_a_run_shows_from_the_start_and_counts_what_was_there(tmp_path, capsys):
    jobs = [job("a", "full"), job("b", "half")]
    run(jobs[:1], tmp_path)
    run(jobs, tmp_path, progress=True)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "graded 0 of 2"
    assert said[-1] == "graded 2 of 2: 1 in full, 1 in part"
