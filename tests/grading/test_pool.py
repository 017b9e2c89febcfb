"""The pool of processes: what dies in one costs no other, and a run goes on where it was."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from multiprocessing import forkserver
from pathlib import Path

import fakes
import psutil
import pytest
from fakes import job

from advlab.course.grading import pool
from advlab.course.grading.answers import Answers
from advlab.course.grading.jobs import Job, version
from advlab.course.grading.progress import Progress
from advlab.course.grading.results import BROKEN, FAILED, GRADED, TIMED_OUT, Result
from advlab.course.grading.sandbox.tree import Tree
from advlab.course.grading.settings import Limits, Rule, Settings
from advlab.course.grading.slots import Slots
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
    does = ["full", "raise money", "half", "exit 3", "killed", "limit", "zero", "killed 40"]
    jobs = [job(what) for what in does]
    found = run(jobs, tmp_path)
    assert [r.status for r in found] == [
        *(GRADED, FAILED, GRADED, FAILED, FAILED, TIMED_OUT, GRADED, FAILED)
    ]
    assert [r.earned for r in found] == [1, 0, 0.5, 0, 0, 0, 0, 0]
    assert "RuntimeError: no such thing as money (fakes.py, line" in found[1].reason
    assert "ended with status 3" in found[3].reason
    assert "killed by SIGKILL, as the system does where memory runs out" in found[4].reason
    assert "killed by signal 40" in found[7].reason
    assert all(r.chapter == "99-fake" for r in found)


def test_one_that_hangs_is_ended_with_all_below_it(tmp_path, monkeypatch):
    monkeypatch.setattr("advlab.course.grading.settings.START", 0.0)
    jobs = [job(f"hang {tmp_path / 'there'}", seconds=4), job("full", seconds=60)]
    start = time.monotonic()
    hung, other = run(jobs, tmp_path / "store")
    assert 4 <= time.monotonic() - start < 30
    assert hung.status == FAILED
    assert "took longer than 4 s" in hung.reason
    assert other.status == GRADED
    assert (tmp_path / "there").exists()
    assert not sleepers()


def test_a_daemon_that_is_left_behind_is_ended(tmp_path):
    (result,) = run([job(f"daemon {tmp_path / 'there'}")], tmp_path / "store")
    assert result.status == GRADED
    assert (tmp_path / "there").exists()
    assert until(lambda: not sleepers(), 5)


def test_a_grader_that_cannot_be_imported_fails_each_job(tmp_path):
    for missing in ("no_such_module", "fakes:no_such_function"):
        (result,) = run([job("full")], tmp_path, grade=missing)
        assert result.status == FAILED
        assert missing.rpartition(":")[2] in result.reason


class Broken:
    """A context of multiprocessing in which each of these fails the first time."""

    def __init__(self, context, *names):
        self.context, self.broken = context, list(names)

    def __getattr__(self, name):
        return self.fail if name in self.broken else getattr(self.context, name)

    def fail(self, *args, **options):
        self.broken.pop(0)
        raise OSError("no more of them")


@pytest.mark.parametrize("what", ["Pipe", "Process"])
def test_a_process_that_cannot_be_started_takes_no_place_with_it(tmp_path, monkeypatch, what):
    start = pool.start_server
    monkeypatch.setattr(pool, "start_server", lambda grade: Broken(start(grade), what))
    jobs = [job(what) for what in ("full", "half", "zero")]
    found = run(jobs, tmp_path, workers=1)
    assert [r.status for r in found] == [FAILED, GRADED, GRADED]
    assert "no process could be started: no more of them" in found[0].reason


def test_a_slot_that_cannot_be_made_takes_no_place_with_it(tmp_path, monkeypatch):
    made = []

    def make():
        made.append(1)
        raise OSError("no space left")

    monkeypatch.setattr("advlab.course.grading.slots.make_slot", make)
    with Slots(1, warm=True) as places:
        found = run([job("full"), job("half")], tmp_path, workers=1, places=places)
    assert len(made) == 2
    assert all("no process could be started: no space left" in r.reason for r in found)


def test_what_a_killed_grader_left_is_removed(tmp_path):
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    left = Path(tempfile.gettempdir(), f"advlab-{dead.pid}-left")
    (left / "r" / "s").mkdir(parents=True)
    run([job("full")], tmp_path)
    assert not left.exists()


def test_what_starts_the_others_does_not_import_what_grades():
    code = (
        "import sys, advlab.course.grading.pool as p; print({'pytest', 'nbval'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_workers_are_as_many_as_asked_for(tmp_path):
    for bad in (0, -1, True):
        with pytest.raises(ValueError, match="workers: expected at least 1"):
            run([], tmp_path, workers=bad)
    log = tmp_path / "log"
    jobs = [job(f"sleep 1.{n}", log=log) for n in range(6)]
    seen = 0
    for _ in pool.on_this_machine({one.key(): one for one in jobs}, 3, fakes.GRADE):
        seen = max(seen, len(children_of_the_server()))
    assert seen == 3
    assert len(lines(log)) == 6


def children_of_the_server() -> list[psutil.Process]:
    """Processes that grade: below the server that forks."""
    server = psutil.Process(forkserver._forkserver._forkserver_pid)
    return [one for one in server.children() if alive(one)]


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
    jobs = [job(what, log=log) for what in does]
    first = run(jobs, tmp_path / "store")
    assert len(lines(log)) == 3
    again = run([*jobs, job("zero", log=log)], tmp_path / "store")
    assert again[:2] == first[:2]
    assert sorted(line.split()[0] for line in lines(log)[3:]) == ["raise", "zero"]
    run(jobs, tmp_path / "store", again=True)
    assert len(lines(log)) == 5 + 3


def test_the_same_notebook_is_graded_once(tmp_path):
    log = tmp_path / "log"
    found = run([job("half", log=log) for _ in range(5)], tmp_path / "store")
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
    jobs, store = [job("half", log=log)], tmp_path / "store"
    first = run(jobs, store)
    (file,) = store.iterdir()
    file.write_text(damage(file.read_text()), encoding="latin-1")
    assert run(jobs, store) == first
    assert len(lines(log)) == 2


def test_a_result_under_another_name_is_graded_again(tmp_path):
    log, store = tmp_path / "log", tmp_path / "store"
    half, full = job("half", log=log), job("full", log=log)
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
    class_ = [fakes.job(what, seconds=600, log=folder / "log") for what in does]
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
    jobs = [job(f"sleep 0.{n}", seconds=600, log=tmp_path / "log") for n in range(1, 9)]
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
        run([job(f"hang {there}"), job("sleep 1")], tmp_path / "store")
    assert not sleepers()
    assert not children_of_the_server()
    assert len(stored(tmp_path)) == 1


def test_everything_below_a_process_is_ended():
    code = "import subprocess, sys, time\n"
    code += f"subprocess.Popen([sys.executable, '-c', {fakes.SLEEPER!r}])\ntime.sleep(600)"
    top = subprocess.Popen([sys.executable, "-c", code])
    assert until(lambda: sleepers())
    assert Tree(top.pid).kill()
    assert top.wait(5) == -signal.SIGKILL
    assert not sleepers()
    assert Tree(top.pid).kill()  # there is none any more


# Keys -------------------------------------------------------------------------------------------


def base() -> Job:
    answers = Answers({"1.1": ("def f(x):", "return x")}, frozenset({"1.2"}), frozenset({"1.4"}))
    return Job("01-neurons", b"teacher", answers, None, Settings(sandbox="bubblewrap"))


@pytest.mark.parametrize(
    "change",
    [
        {"chapter": "02-gradient-descent"},
        {"teacher": b"teacher "},
        {"answers": Answers()},
        {"answers": replace(base().answers, sources={"1.1": ("def f(x):\nreturn x",)})},
        {"answers": replace(base().answers, refused={"1.2": "too long"})},
        {"answers": replace(base().answers, untouched=frozenset(), missing=frozenset({"1.2"}))},
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


def test_a_key_does_not_depend_on_the_rule():
    late = Settings(sandbox="bubblewrap", rule=Rule("best", datetime(2026, 10, 1), 0.5))
    assert replace(base(), settings=late).key() == base().key()
    assert len(base().key()) == 64


def test_bytes_moved_from_one_part_to_the_next_make_another_key():
    one = replace(base(), teacher=b"ab", hidden=b"c")
    assert one.key() != replace(base(), teacher=b"a", hidden=b"bc").key()


def test_the_version_names_the_sources():
    version.cache_clear()
    first = version()
    version.cache_clear()
    assert version() == first
    assert first.startswith("0.")
    assert len(first.partition("(")[2]) == 17


def test_a_job_survives_json():
    settings = Settings(Limits(cell=3, memory=2**30), "plain", "image", True)
    answers = replace(base().answers, refused={"2.1": "too long"})
    for hidden in (None, b"", b"\xff\x00"):
        one = Job("01-neurons", b"\x00\xff", answers, hidden, settings)
        assert Job.from_json(json.loads(json.dumps(one.to_json()))) == one


# Progress ---------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def result_of(does: str) -> Result:
    return fakes.grade(job(does))


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
    jobs = [job("full"), job("half")]
    run(jobs[:1], tmp_path)
    run(jobs, tmp_path, progress=True)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "graded 1 of 2: 1 in full"
    assert said[-1] == "graded 2 of 2: 1 in full, 1 in part"
