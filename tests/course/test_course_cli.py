"""What the commands of the course import before one of them runs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [[], ["release"], ["execute"], ["grade"]], ids=str)
def test_help_imports_nothing_slow(command):
    code = (
        "import sys\n"
        "from advlab.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']!r})\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "slow = {'torch', 'numpy', 'nbformat', 'nbclient', 'IPython', 'pytest'}\n"
        "found = slow & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: advlab")


def test_the_names_of_the_course_are_there_when_they_are_asked_for():
    from advlab import course

    assert {name: getattr(course, name).__name__ for name in course.__all__} == {
        name: name for name in course.__all__
    }
    assert set(course.__all__) <= set(dir(course))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = course.nothing
