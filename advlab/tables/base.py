"""A table of a paper, made again here: cells that are computed one by one, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm

from .. import backend
from ..data.files import write_atomically
from ..provenance import provenance

Cell = Callable[[], dict]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What ``advlab reproduce NAME`` makes.

    :param name: one word or several with hyphens; the file is ``NAME.json``.
    :param source: the paper or slides whose numbers it stands beside.
    :param what: one sentence, for the list of tables.
    :param settings: plain data that decide on the numbers (network, data, images, ε, seed, ...):
        cells that were made with other settings are made again.
    :param cells: ``cells(settings, device)`` gives, for each cell's name, the function that
        computes it: plain data, as JSON can hold.
    :param show: the table in Markdown, from the cells that there are.
    """

    name: str
    source: str
    what: str
    settings: Mapping
    cells: Callable[[Mapping, torch.device], dict[str, Cell]]
    show: Callable[[Mapping[str, dict]], str]


def reproduce(
    table: Table, folder: Path, *, device: str | None = None, fresh: bool = False,
    progress: bool = True,
) -> dict:  # fmt: skip
    """Make the cells that are missing, each written when it is done, and return the record.

    Stopped by Ctrl-C or a fault, it goes on at the next call with the cell it was at.

    :param folder: where ``NAME.json`` is.
    :param device: by default where :func:`advlab.backend.device` says.
    :param fresh: make all cells anew.
    :raises ValueError: the file is there and is no record of this table.
    """
    where = backend.device(device)
    path = folder / f"{table.name}.json"
    settings = json.loads(json.dumps(dict(table.settings)))
    cells = {} if fresh or not path.exists() else read_cells(path, table.name, settings)
    wanted = table.cells(table.settings, where)
    cells = {name: cells[name] for name in wanted if name in cells}
    with tqdm(total=len(wanted), initial=len(cells), desc=table.name, disable=not progress) as bar:
        for name, compute in wanted.items():
            if name in cells:
                continue
            bar.set_postfix_str(name)
            with backend.Stopwatch() as watch:
                values = compute()
            cells[name] = {
                "values": values,
                "seconds": round(watch.seconds, 1),
                "made": provenance(where),
            }
            record = {
                "table": table.name,
                "source": table.source,
                "command": f"advlab reproduce {table.name}",
                "settings": settings,
                "cells": {name: cells[name] for name in wanted if name in cells},
            }
            write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
            bar.update()
    return json.loads(path.read_text(encoding="utf-8"))


def read_cells(path: Path, name: str, settings: Mapping) -> dict[str, dict]:
    """The cells that were made with these settings.

    :raises ValueError: the file is damaged, or holds something else; it is left as it is.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["settings"] == settings
        if record["table"] != name or not isinstance(record["cells"], dict):
            raise KeyError(name)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the record of the table {name!r}, found something else or a "
            "damaged file; move it away, or pass --fresh to write it anew"
        ) from error
    return record["cells"] if same else {}


def markdown(rows: list[list[str]]) -> str:
    """A table in Markdown: the rows, the first of them the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
