"""Folders and files that are no submission, or more than one."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import nbformat

from .case import ANY, BROKEN, GRADED, JUDGED, Case, called
from .chapter import NAME, handed_in, solutions

FILE = f"{NAME}.ipynb"
WRONG = {"4.1": called("pass")}


def holds(data: bytes | str):
    def write(folder: Path, world) -> None:
        text = data if isinstance(data, bytes) else data.encode()
        (folder / FILE).write_bytes(text)

    return write


def notebook_with(**fields):
    """Right answers, and these fields of the file in place of a notebook's."""
    found = json.loads(nbformat.writes(handed_in(solutions())))
    return holds(json.dumps(found | fields))


def nothing(folder: Path, world) -> None:
    (folder / "notes.txt").write_text("I could not do it.")


def empty(folder: Path, world) -> None:
    pass


def sparse(folder: Path, world) -> None:
    with open(folder / FILE, "wb") as file:
        file.write(b'{"cells": [')
        file.truncate(100 << 20)


def fifo(folder: Path, world) -> None:
    os.mkfifo(folder / FILE)


def a_folder(folder: Path, world) -> None:
    (folder / FILE).mkdir()
    (folder / FILE / FILE).mkdir()


def link_to_solution(folder: Path, world) -> None:
    (folder / FILE).symlink_to(world.book / FILE)


def link_to_other(folder: Path, world) -> None:
    (folder / FILE).symlink_to(Path("..") / "honest" / FILE)


def link_to_itself(folder: Path, world) -> None:
    (folder / FILE).symlink_to(FILE)


def linked_folder(folder: Path, world) -> None:
    (folder / "work").symlink_to(world.book, target_is_directory=True)


def link_to_zeros(folder: Path, world) -> None:
    (folder / FILE).symlink_to("/dev/zero")


def shipped(folder: Path, world) -> None:
    """Modules and settings that Python, pytest and IPython look for, each of which leaves a
    marker; 4.1 is wrong."""
    code = f"open({str(world.outside / 'shipped')!r}, 'a').write(__file__)\n"
    names = (
        "advlab",
        "conftest",
        "sitecustomize",
        "usercustomize",
        "torch",
        "nbval",
        "pytest",
        "ipykernel_launcher",
        "IPython",
        "tests",
        "ipython_config",
        "json",
        "random",
    )
    for name in names:
        (folder / f"{name}.py").write_text(code)
    (folder / "advlab" / "course").mkdir(parents=True)
    (folder / "advlab" / "__init__.py").write_text(code)
    (folder / "advlab" / "course" / "__init__.py").write_text(
        code + "def emit(*a, **k): print('passed')\ncheck = emit\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --nbval-skip-all -p conftest\n")
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-k nothing'\n")
    (folder / "evil.pth").write_text(f"import os; open({str(world.outside / 'pth')!r}, 'w')\n")
    (folder / "sanitize.cfg").write_text("[regex]\nregex: .*\nreplace: passed\n")


def zip_bomb(folder: Path, world) -> None:
    body = zlib.compress(b"0" * 10_000_000)
    (folder / f"{NAME}.zip").write_bytes(b"PK\x03\x04" + struct.pack("<I", len(body)) + body)


DEEP = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ' + "[" * 200_000


def broken(name: str, tries: str, files, says: str, **more) -> Case:
    """A folder with one thing in it, and the reason for which it cannot be graded."""
    return Case(name, tries, files=files, handed_in=False, status=BROKEN, says=says, **more)


CASES = [
    broken("no-notebook", "hands in a text and no notebook", nothing, "no notebook"),
    broken("empty-folder", "hands in nothing", empty, ""),
    broken(
        "corrupted-json",
        "hands in the first half of a notebook",
        holds(nbformat.writes(handed_in(solutions()))[:2000]),
        "not JSON",
    ),
    broken("empty-file", "hands in a file of no bytes", holds(b""), ""),
    broken("not-text", "hands in bytes that are no text", holds(bytes(range(256)) * 100), ""),
    broken("json-of-something-else", "hands in a list", holds("[1, 2, 3]"), "not a notebook"),
    broken("nested-200000-deep", "hands in JSON nested 200,000 deep", holds(DEEP), "too deep"),
    broken(
        "digits",
        "hands in JSON with a number of a million digits",
        holds('{"nbformat": ' + "4" * 1_000_000 + "}"),
        "",
    ),
    broken(
        "format-3",
        "hands in a notebook of format 3",
        holds('{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}'),
        "format 3",
    ),
    broken(
        "cells-of-another-form",
        "hands in cells that are numbers",
        notebook_with(cells=[1, None, {}]),
        "not a notebook",
    ),
    broken(
        "sources-of-another-form",
        "hands in cells whose source is a number",
        notebook_with(cells=[{"cell_type": "code", "source": 3, "metadata": []}]),
        "",
    ),
    broken(
        "no-answers",
        "hands in a notebook of another course",
        notebook_with(cells=[{"cell_type": "code", "source": "1 + 1", "metadata": {}}]),
        "",
    ),
    broken("100-megabytes", "hands in a file of 100 MB", sparse, "MB"),
    broken("pipe", "hands in a pipe that nobody writes to", fifo, ""),
    broken("folder-as-notebook", "hands in a folder by the name of a notebook", a_folder, ""),
    broken(
        "link-to-the-solution",
        "hands in a symbolic link to the teacher's notebook",
        link_to_solution,
        "link",
    ),
    broken(
        "link-to-another",
        "hands in a symbolic link to another student's notebook",
        link_to_other,
        "link",
    ),
    broken("link-to-itself", "hands in a symbolic link to itself", link_to_itself, "link"),
    broken(
        "link-to-the-book",
        "hands in a folder that is a link to the teacher's book",
        linked_folder,
        "",
    ),
    broken(
        "link-to-zeros", "hands in a symbolic link to a file without end", link_to_zeros, "link"
    ),
    broken("archive", "hands in an archive in place of a notebook", zip_bomb, ""),
    Case(
        "shipped-modules",
        "hands in advlab.py, conftest.py, sitecustomize.py and settings",
        answers=WRONG,
        files=shipped,
        marks={"4.1": JUDGED},
    ),
    Case(
        "metadata-of-another-form",
        "hands in a notebook whose metadata is a list",
        files=notebook_with(metadata=[1, 2]),
        handed_in=False,
        status=GRADED | BROKEN,
        marks=dict.fromkeys(("1.1", "4.1", "4.2", "1.4"), ANY),
    ),
    Case(
        "twice-the-chapter",
        "hands in the chapter twice, under two names, wrong and right",
        answers=WRONG,
        files=lambda folder, world: holds_copy(folder),
        marks={"4.1": ANY},
    ),
]


def holds_copy(folder: Path) -> None:
    (folder / f"{NAME}-final.ipynb").write_text(nbformat.writes(handed_in(solutions())))
