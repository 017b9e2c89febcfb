"""Whatever bytes are handed in, they are read or refused with a reason, in a bounded time."""

from __future__ import annotations

import contextlib
import gc
import json
import time

import pytest
from handed_in import BOTH, FGSM, read, text, written
from hypothesis import given, settings
from hypothesis import strategies as st

from advlab.course.grading import cells as module
from advlab.course.grading.cells import MOST_CELLS, NotAnswers, cells


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"not a notebook", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"nbformat": 4, "cells": ' + b"[" * 200_000, "nested too deeply"),
        (b"[]", "without a notebook's format number"),
        (b'{"nbformat": true, "cells": []}', "without a notebook's format number"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3, expected 4: open it in Jupyter"),
        (b'{"nbformat": 5, "cells": []}', "format 5, expected 4"),
        (b'{"nbformat": 4}', "expected a list of cells"),
        (b'{"nbformat": 4, "cells": {}}', "expected a list of cells"),
        (b'{"nbformat": 4, "cells": [3]}', "cell 1 has no type"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "cell 1: expected its source"),
        (
            b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["a", 1]}]}',
            "cell 1: expected its source",
        ),
        (b'{"nbformat": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_notebook(content, says):
    with pytest.raises(NotAnswers, match=says) as refused:
        cells(content)
    if says == "not JSON":
        said = "cut off or damaged; open yours in Jupyter, save it, and hand it in"
        assert said in str(refused.value)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("content", [text(written()), b"{"])
def test_garbage_is_not_looked_for_while_json_is_read(monkeypatch, content, on):
    """20 MB of ``[[]],`` hold millions of lists, and each search looks at all of them."""
    seen, loads, before = [], json.loads, gc.isenabled()
    monkeypatch.setattr(
        module.json, "loads", lambda data: seen.append(gc.isenabled()) or loads(data)
    )
    try:
        (gc.enable if on else gc.disable)()
        with contextlib.suppress(NotAnswers):
            cells(content)
        assert (seen, gc.isenabled()) == ([False], on)
    finally:
        (gc.enable if before else gc.disable)()


def test_a_byte_order_mark_does_no_harm():
    assert read(b"\xef\xbb\xbf" + text(written())).sources == BOTH
    for source in ("\ufeffx = 1\n", ["\ufeff", "x = 1\n"]):  # before the code of one cell
        cell = {"cell_type": "code", "source": source}
        (found,) = cells(json.dumps({"nbformat": 4, "cells": [cell]}).encode())
        assert found.source == "x = 1\n"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
sources = st.one_of(
    anything,
    st.sampled_from([FGSM, "def fgsm", 'check("4.2", fgsm)', "# NBVAL_SKIP", "\ud800", "\0", ""]),
    st.lists(st.text(st.characters(), max_size=9), max_size=3),
)
marks = st.one_of(anything, st.fixed_dictionaries({"exercise": st.sampled_from(["4.1", "4.2"])}))
cell = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown"]) | anything, "source": sources},
    optional={
        "id": st.sampled_from(["a4-2", "c4-2", "setup"]) | anything,
        "metadata": st.one_of(
            anything,
            st.fixed_dictionaries(
                {}, optional={"advlab": marks, "tags": anything | st.just(["check"])}
            ),
        ),
    },
)
notebooks = st.fixed_dictionaries(
    {"nbformat": st.just(4) | anything, "cells": st.lists(cell, max_size=5) | anything}
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(notebooks, anything))
def test_whatever_the_json_it_is_refused_or_each_exercise_has_its_place(raw):
    try:
        found = read(json.dumps(raw).encode())
    except NotAnswers:
        return
    places = [*found.sources, *found.untouched, *found.missing, *found.refused]
    assert sorted(places) == ["4.1", "4.2"]
    for own in found.sources.values():
        for source in own:
            source.encode("utf-8")
    assert all(isinstance(note, str) for note in found.notes)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_the_bytes_they_are_refused(content):
    with pytest.raises(NotAnswers):
        cells(content)


def test_many_cells_take_no_long_time():
    raw = json.loads(text(written()))
    for n in range(2_000):
        for source in ('check("4.2", fgsm)', f"y = {n}"):
            raw["cells"].append({"cell_type": "code", "source": source, "metadata": {}})
    content = json.dumps(raw).encode()
    start = time.process_time()
    assert read(content).sources == BOTH
    assert time.process_time() - start < 5  # less than a second; in the square it would be minutes


def with_cells(count: int, id: str) -> bytes:
    raw = json.loads(text(written()))
    for cell in raw["cells"]:
        cell["metadata"] = {}
    extra = {"cell_type": "code", "source": "y = 1", "metadata": {}, "id": id}
    raw["cells"] += [extra] * (count - len(raw["cells"]))
    return json.dumps(raw).encode()


def test_more_cells_than_a_notebook_has_are_not_read():
    assert MOST_CELLS == 5_000
    assert read(with_cells(MOST_CELLS, "x")).sources == BOTH
    with pytest.raises(NotAnswers) as refused:
        cells(with_cells(MOST_CELLS + 1, "x"))
    assert str(refused.value) == (
        "a notebook of 5,001 cells, and at most 5,000 are read: delete those that are no part of "
        "it, and hand it in again"
    )


def test_the_time_grows_as_the_cells_do(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 10**6)
    content = with_cells(40_000, "a4-2")
    start = time.process_time()
    found = read(content)
    assert time.process_time() - start < 4  # 8 s and more where each is compared with each
    assert "at most" in found.refused["4.2"]
