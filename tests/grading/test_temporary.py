"""Temporary folders of the grader: removed whatever is in them, and after a grader was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from advlab.course.grading import temporary


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder for temporary folders."""
    tmp_path.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def nest(folder: Path, count: int) -> None:
    """Folders with short names, one in the other: no path is too long."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(count):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_folder_is_removed_however_deep_it_is(place):
    with temporary.folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        nest(folder, 1500)
    assert os.listdir(place) == []


def test_a_folder_is_removed_where_no_process_can_be_started(place, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError("not now")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with temporary.folder() as folder:
        (folder / "file").touch()
    assert os.listdir(place) == []


def test_a_folder_is_removed_when_something_raises(place):
    with pytest.raises(ValueError, match="no"), temporary.folder():
        raise ValueError("no")
    assert os.listdir(place) == []


def test_folders_that_are_closed_to_their_owner_are_removed():
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        pid = os.fork()
        if pid == 0:  # root may do what its owner may not
            status = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                tempfile.tempdir = place
                with temporary.folder() as folder:
                    (folder / "closed").mkdir()
                    (folder / "closed" / "file").touch()
                    (folder / "closed").chmod(0)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.listdir(place) == []


def test_what_a_killed_grader_left_is_swept_and_nothing_else(place):
    code = "import os\nfrom advlab.course.grading import temporary\n"
    code += "print(temporary.make(), flush=True)\nos.kill(os.getpid(), 9)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(place)},
        capture_output=True,
        text=True,
    )
    left = Path(done.stdout.strip())
    nest(left, 1500)
    gone = left.name.split("-")[1]
    mine = temporary.make()
    kept = [mine.name, f"advlab-{gone}", f"other-{gone}-x", "advlab-12345678"]
    for name in kept[1:]:
        (place / name).mkdir()
    (place / f"advlab-{gone}-file").touch()
    (place / f"advlab-{gone}-link").symlink_to(mine)
    kept += [f"advlab-{gone}-file", f"advlab-{gone}-link"]
    if os.getuid() == 0:
        theirs = place / f"advlab-{gone}-theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
        kept.append(theirs.name)
    assert left.is_dir()
    temporary.sweep()
    assert sorted(os.listdir(place)) == sorted(kept)


def test_sweeping_where_there_is_nothing(place, monkeypatch):
    temporary.sweep()
    monkeypatch.setattr(tempfile, "tempdir", str(place / "absent"))
    temporary.sweep()
