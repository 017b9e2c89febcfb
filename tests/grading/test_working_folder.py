"""A teacher may stand in the folder with the submissions: nothing there is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import classroom

from advlab.course.grading.sandbox import choose

# A student's folder of each name would be a package of that name.
NAMES = ("advlab", "ctypes", "json", "matplotlib", "multiprocessing", "psutil", "torch")
SCRIPT = """import sys

from advlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""


def test_a_student_whose_name_is_a_modules(tmp_path):
    room = classroom.make(tmp_path, 2, seed=6, broken=0)
    marker = tmp_path / "imported"
    for name in NAMES:
        folder = room.submissions / name
        folder.mkdir()
        if name != "advlab":  # that one is a folder without any code
            (folder / "__init__.py").write_text(f"open({str(marker)!r}, 'a').write({name!r})")
        room.expected[name] = None
        room.nameless.add(name)
    # Like the installed command: a file in a folder of its own.
    script = tmp_path / "bin" / "advlab"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "grade", "."]
    command += ["--against", str(room.book), "--report", str(tmp_path / "grades")]
    # A cache of its own: what is made once is made here.
    environment = os.environ | {"ADVLAB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        command, cwd=room.submissions, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not marker.exists(), marker.read_text()
    found = classroom.read_gradebook(tmp_path / "grades" / "gradebook.csv")
    assert found == room.gradebook(choose().name)
