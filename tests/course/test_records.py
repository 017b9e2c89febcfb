"""What a record holds, and that whatever can be written can be read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from advlab.course.judging import judge
from advlab.course.probing import probe
from advlab.course.records import MAX_ITEMS, RecordError, decode, encode


@pytest.mark.parametrize(
    "results",
    [
        [[0] * 1000 for _ in range(60)],
        {str(n): n for n in range(60_000)},
        [torch.zeros(1)] * 60_000,
        {"k" * 201: 1},
        torch.zeros(1, 1, 1, 1, 1, 1, 1, 1, 1),
        torch.zeros(300_000, 0),
    ],
    ids=["lists", "dict", "tensors", "key", "dimensions", "empty"],
)
def test_what_could_not_be_read_is_not_written(results):
    with pytest.raises(RecordError):
        encode(results)


def test_as_much_as_can_be_read_is_written():
    fits = [0] * (MAX_ITEMS - 1)  # the list is one itself
    assert decode(encode(fits)) == fits
    with pytest.raises(RecordError, match=f"results of more than {MAX_ITEMS} items"):
        encode([*fits, 0])
    eight = torch.zeros(1, 1, 1, 1, 1, 1, 1, 2)
    found = decode(encode({"k" * 200: eight, "n": 2**63 - 1}))
    assert torch.equal(found["k" * 200].value, eight)
    assert found["n"] == 2**63 - 1


def test_the_student_reads_that_the_code_returned_too_much():
    exercise = SimpleNamespace(id="4.2", probe=lambda answer, seed: {"out": answer()})
    record = probe(exercise, (lambda: [[0] * 1000] * 60,), 1)
    message = judge(exercise, record, 1).message
    assert f"results of more than {MAX_ITEMS} items" in message
    assert "unreadable" not in message
