"""The gradebook's files."""

from __future__ import annotations

from pathlib import Path

from .columns import canvas, moodle
from .gradebook import Gradebook
from .roster import Roster
from .store import write


def write_gradebook(
    gradebook: Gradebook, folder: str | Path, roster: Roster | None = None
) -> list[Path]:
    """``gradebook.csv`` and ``.json``, ``canvas.csv`` and ``moodle.csv``, each whole or not at all.

    :param roster: the class, for the columns that say who is who.
    :raises OSError: the folder cannot be written.
    """
    files = {
        # With a byte order mark: without one, Excel reads names in the machine's old code page.
        "gradebook.csv": "\ufeff" + gradebook.to_csv(),
        "gradebook.json": gradebook.to_json(),
        # Without: a learning platform would take it for a part of the first column's name.
        "canvas.csv": canvas(gradebook, roster),
        "moodle.csv": moodle(gradebook, roster),
    }
    for name, text in files.items():
        write(Path(folder) / name, text.encode("utf-8", "replace"))
    return [Path(folder) / name for name in files]
