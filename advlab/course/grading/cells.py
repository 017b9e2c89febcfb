"""The cells of a notebook that somebody handed in, read without believing it."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .clean import one_line

# Of one notebook. The longest chapter has under 100; in the bytes that are read there is room for
# 400,000, and each is looked at once for every exercise.
MOST_CELLS = 5_000
_DAMAGED = "it is cut off or damaged; open yours in Jupyter, save it, and hand it in again"


class NotAnswers(ValueError):
    """Bytes that are no notebook of format 4: why, in a sentence for the student."""


@dataclass(eq=False)  # by identity: a copied cell is another cell
class Cell:
    """A cell of a student's notebook: what may be looked at."""

    kind: str
    id: str
    exercise: str  # its metadata's; empty where there is none
    tagged: bool  # as a check
    source: str

    @cached_property
    def bare(self) -> str:
        """The source without what an editor may add or take at the ends of lines."""
        return bare(self.source)


def bare(source: str) -> str:
    """A source without what an editor may add or take at the ends of lines."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def cells(notebook: bytes) -> list[Cell]:
    """The cells of a notebook, of which nothing is believed.

    :raises NotAnswers: not JSON, nested too deeply, another format, too many cells, or cells of
        another form.
    """
    try:
        with _no_collection():
            raw = json.loads(notebook)
    except RecursionError:
        raise NotAnswers("the notebook is JSON nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        raise NotAnswers(f"not a notebook: the file is not JSON ({error}): {_DAMAGED}") from None
    except (ValueError, MemoryError):  # no text, or a number of a million digits
        raise NotAnswers(
            f"not a notebook: the file is not JSON that can be read: {_DAMAGED}"
        ) from None
    version = raw.get("nbformat") if isinstance(raw, dict) else None
    if isinstance(version, bool) or not isinstance(version, int):
        raise NotAnswers("not a notebook: the file is JSON without a notebook's format number")
    if version != 4:
        raise NotAnswers(
            f"a notebook of format {one_line(version, 20)}, expected 4: open it in Jupyter, save "
            "it, and hand it in again"
        )
    found = raw.get("cells")
    if not isinstance(found, list):
        raise NotAnswers("not a notebook: expected a list of cells")
    if len(found) > MOST_CELLS:
        raise NotAnswers(
            f"a notebook of {len(found):,} cells, and at most {MOST_CELLS:,} are read: delete "
            "those that are no part of it, and hand it in again"
        )
    return [_cell(n, cell) for n, cell in enumerate(found, 1)]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python looks for garbage after every so many new lists, and at all that there are: for ten
    million of them that takes longer than to read them."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _cell(n: int, raw: Any) -> Cell:
    if not isinstance(raw, dict) or not isinstance(raw.get("cell_type"), str):
        raise NotAnswers(f"not a notebook: cell {n} has no type")
    source = raw.get("source")
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise NotAnswers(f"not a notebook: cell {n}: expected its source to be text")
    # A lone surrogate is no character: nothing that holds one can be written to a file again.
    source = "".join(lines).encode("utf-8", "replace").decode("utf-8")
    source = source.removeprefix("\ufeff")  # which some editors write before a text, and none shows
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    ours = metadata.get("advlab")
    exercise = ours.get("exercise") if isinstance(ours, dict) else None
    tags, id = metadata.get("tags"), raw.get("id")
    return Cell(
        kind=raw["cell_type"],
        id=id if isinstance(id, str) else "",
        exercise=exercise if isinstance(exercise, str) else "",
        tagged=isinstance(tags, list) and "check" in tags,
        source=source,
    )
