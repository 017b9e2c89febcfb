"""Tables: cells are made once, kept, and go on where they were stopped."""

from __future__ import annotations

import json

import pytest

from advlab.cli import main
from advlab.tables import TABLES, Table, reproduce


class Work:
    """Two cells that count their calls; the second can be made to fail."""

    def __init__(self):
        self.calls, self.broken = [], False

    def cells(self, settings, device):
        def first():
            self.calls.append("first")
            return {"rate": settings["eps"]}

        def second():
            self.calls.append("second")
            if self.broken:
                raise KeyboardInterrupt
            return {"rate": 0.5}

        return {"first": first, "second": second}

    def table(self, **settings):
        return Table(
            name="a-table", source="nobody", what="Two numbers.",
            settings={"eps": 0.25, **settings}, cells=self.cells,
            show=lambda cells: " ".join(f"{k}={v['rate']}" for k, v in cells.items()),
        )  # fmt: skip


def make(table, folder, **options):
    return reproduce(table, folder, device="cpu", progress=False, **options)


def test_each_cell_is_made_once(tmp_path):
    work = Work()
    record = make(work.table(), tmp_path)
    assert record["cells"]["first"]["values"] == {"rate": 0.25}
    assert record["command"] == "advlab reproduce a-table"
    assert make(work.table(), tmp_path) == record
    assert work.calls == ["first", "second"]


def test_it_goes_on_where_it_was_stopped(tmp_path):
    work = Work()
    work.broken = True
    with pytest.raises(KeyboardInterrupt):
        make(work.table(), tmp_path)
    assert list(json.loads((tmp_path / "a-table.json").read_text())["cells"]) == ["first"]
    work.broken = False
    assert list(make(work.table(), tmp_path)["cells"]) == ["first", "second"]
    assert work.calls == ["first", "second", "second"]


def test_other_settings_make_other_cells(tmp_path):
    work = Work()
    make(work.table(), tmp_path)
    record = make(work.table(eps=0.5), tmp_path)
    assert record["cells"]["first"]["values"] == {"rate": 0.5}
    assert record["settings"] == {"eps": 0.5}
    assert len(work.calls) == 4


def test_fresh_makes_all_anew(tmp_path):
    work = Work()
    make(work.table(), tmp_path)
    make(work.table(), tmp_path, fresh=True)
    assert len(work.calls) == 4


def test_a_cell_says_where_it_came_from(tmp_path):
    made = make(Work().table(), tmp_path)["cells"]["first"]["made"]
    assert made["device"] == "cpu"
    assert made["versions"]["torch"]
    assert made["processor"]
    assert made["date"]
    assert made["threads"] >= 1


@pytest.mark.parametrize(
    "content", ["", "not JSON", "[]", '{"table": "another", "settings": {}, "cells": {}}']
)
def test_another_file_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "a-table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="--fresh"):
        make(Work().table(), tmp_path)
    assert path.read_text() == content
    make(Work().table(), tmp_path, fresh=True)
    assert json.loads(path.read_text())["table"] == "a-table"


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TABLES, "a-table", Work().table())
    assert main(["reproduce"]) == 0
    assert "Two numbers." in capsys.readouterr().out
    assert main(["reproduce", "a-table", "--to", str(tmp_path), "--device", "cpu"]) == 0
    assert "first=0.25 second=0.5" in capsys.readouterr().out
    assert main(["reproduce", "no-table", "--to", str(tmp_path)]) == 2
    assert "a-table" in capsys.readouterr().err
