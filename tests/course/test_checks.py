"""The machinery of checks: records, exceptions, what is noticed, how a failure looks."""

from __future__ import annotations

import base64
import json
import linecache
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from advlab.course import (
    CheckFailed,
    Exercise,
    check,
    close,
    fail,
    judge,
    number,
    numbers,
    probe,
    tensor,
    text,
    untouched,
    watch,
)
from advlab.course.exercise import find
from advlab.course.judging import Wrong
from advlab.course.records import MAX_ENTRIES, Other, Recorded, RecordError, decode, encode

# Records -----------------------------------------------------------------------------------------

DTYPES = [
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 3)])
def test_a_tensor_comes_back_bit_by_bit(dtype, shape, device):
    value = (torch.rand(shape) * 5 - 1).to(dtype).to(device)
    back = decode(encode({"t": value}))["t"]
    assert torch.equal(back.value, value.cpu())
    assert (back.value.dtype, back.device) == (dtype, str(value.device))
    assert back.requires_grad is False


def test_a_view_of_a_tensor_keeps_its_values_and_its_graph():
    value = torch.arange(12.0).view(3, 4).requires_grad_().t()[1:]
    back = decode(encode(value))
    assert torch.equal(back.value, value.detach())
    assert back.requires_grad is True


def test_plain_data_comes_back():
    value = {"a": [1, -2.5, "é", None, True, (1, 2)], "nested": {"x": [[]]}}
    assert decode(encode(value)) == {"a": [1, -2.5, "é", None, True, [1, 2]], "nested": {"x": [[]]}}
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode([math.inf, -math.inf])) == [math.inf, -math.inf]


def test_what_is_no_plain_data_is_named():
    assert decode(encode(np.zeros(3))) == Other("numpy.ndarray")
    assert decode(encode(nn.ReLU())).type.endswith("ReLU")
    assert decode(encode({1: 2})) == Other("dict")
    assert decode(encode(lambda: 0)) == Other("function")
    assert decode(encode({"$tensor": 3})) == Other("dict")
    assert decode(encode(2**70)) == Other("an integer beyond 64 bits")


def test_too_much_is_refused_when_it_is_written():
    deep = []
    for _ in range(50):
        deep = [deep]
    for value in (torch.zeros(MAX_ENTRIES + 1), [0] * 60_000, deep):
        with pytest.raises(RecordError):
            encode(value)


def _tensor(**changes):
    record = json.loads(encode(torch.zeros(2, 3)))
    return json.dumps(record | changes)


@pytest.mark.parametrize(
    "record",
    [
        *(None, 3, b"{}", "", "{", "NaN", "[Infinity]", "1e999", "9" * 30, "9" * 10_000),
        *('{"a": 1, "a": 2}', '{"$other": 3}', '{"$float": "1"}', '{"$x": 1}', "[" * 100_000),
        *("[" * 20 + "]" * 20, json.dumps(["x"] * 60_000), json.dumps("x" * 20_000)),
        *(
            _tensor(shape=[2, 4]),
            _tensor(shape=[2, -3]),
            _tensor(shape="23"),
            _tensor(shape=[2.0, 3]),
        ),
        *(_tensor(shape=[10**6, 10**6]), _tensor(shape=[1] * 9), _tensor(dtype="object")),
        *(_tensor(dtype=None), _tensor(device=3), _tensor(requires_grad=1), _tensor(more=1)),
        *(_tensor(**{"$tensor": "!!"}), _tensor(**{"$tensor": 3}), _tensor(**{"$tensor": "AAAA"})),
        _tensor(shape=[True, 3], **{"$tensor": base64.b64encode(bytes(12)).decode()}),
    ],
    ids=lambda r: repr(r)[:40],
)
def test_the_reader_refuses(record):
    with pytest.raises(RecordError):
        decode(record)


# Exceptions in the student's code ----------------------------------------------------------------


def _probe_double(double, seed):
    return {"twice": double(torch.tensor([1.0, float(seed)]))}


def _verdict_double(results, seed):
    close(tensor(results, "twice"), [2.0, 2.0 * seed], "twice", "Add it to itself.")
    return "it doubles"


DOUBLE = Exercise("99.1", "Doubling", _probe_double, _verdict_double)


def student(code: str):
    """A function as it is defined in a notebook: by a cell whose lines can be looked up."""
    lines = code.strip().splitlines(keepends=True)
    linecache.cache["<cell 7>"] = (len(code), None, lines, "<cell 7>")
    namespace = {"__name__": "__main__", "torch": torch}
    exec(compile(code.strip(), "<cell 7>", "exec"), namespace)
    return namespace["double"]


def told(answer, seed=3):
    verdict = judge(DOUBLE, probe(DOUBLE, (answer,), seed), seed)
    return verdict


def test_a_right_answer_passes():
    verdict = told(lambda x: 2 * x)
    assert str(verdict) == "99.1 passed: it doubles"


def test_a_record_of_another_seed_fails():
    assert not judge(DOUBLE, probe(DOUBLE, (lambda x: 2 * x,), 3), 4).passed


def test_an_exception_is_named_with_its_line_in_the_students_code():
    answer = student("def double(x):\n    helper = x + x\n    return torch.stack(helper, 9)\n")
    message = told(answer).message
    assert "TypeError at line 3 of the cell of double (return torch.stack(helper, 9))" in message


def test_an_exception_in_a_helper_of_the_students_is_found_there():
    code = "def help(x):\n    return x / undefined\n\ndef double(x):\n    return help(x)\n"
    assert "NameError at line 2 of the cell of help" in told(student(code)).message


def test_an_answer_that_is_not_filled_in():
    def double(x):
        raise NotImplementedError("exercise 99.1")

    assert told(double).message == "exercise 99.1 is not filled in yet"

    def double_by_another(x):
        raise NotImplementedError("exercise 98.2")

    message = told(double_by_another).message
    assert message == "exercise 98.2 is not filled in yet, and 99.1 builds on it"


def test_leaving_python_is_a_failed_check():
    assert "SystemExit" in told(lambda x: sys.exit(0)).message


def test_too_large_a_result_is_a_failed_check():
    assert "too much" in told(lambda x: torch.zeros(10**6)).message


def test_an_interrupt_goes_through():
    def double(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        told(double)


def test_what_is_no_function_is_a_failed_check():
    assert "type int, expected a function" in told(3).message


def test_a_verdict_that_breaks_never_passes():
    broken = Exercise("99.2", "Broken", lambda a, seed: {}, lambda results, seed: 1 / 0)
    silent = Exercise("99.3", "Silent", lambda a, seed: {}, lambda results, seed: None)
    for exercise in (broken, silent):
        verdict = judge(exercise, probe(exercise, (0,), 0), 0)
        assert not verdict.passed
        assert "could not be judged" in verdict.message


def test_the_check_leaves_the_random_state_and_is_repeatable():
    drawn = []
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for _ in range(2):
        told(lambda x: drawn.append(torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert torch.equal(torch.get_rng_state(), before)


# What is noticed ---------------------------------------------------------------------------------


def test_watch_notes_each_kind_of_change(small_model, device):
    x = torch.zeros(2, 1, 8, 8, device=device)
    with watch(model=small_model, x=x) as changes:
        small_model(x).sum()
    assert changes == []
    with watch(model=small_model, x=x) as changes:
        x.add_(1)
        x.requires_grad_()
    assert changes == ["x", "x.requires_grad"]
    with watch(model=small_model) as changes:
        small_model(x).sum().backward()
    assert changes == ["model.grad"]
    with watch(model=small_model) as changes:
        small_model(x).sum().backward()  # accumulates onto gradients that were there
    assert changes == ["model.grad"]
    with watch(model=small_model) as changes, torch.no_grad():
        small_model.train()
        small_model[0].weight.mul_(2)
        small_model[0].bias.requires_grad_(False)
    assert changes == ["model", "model.requires_grad", "model.training"]


def wrong(function, *args, **kwargs) -> str:
    with pytest.raises(Wrong) as found:
        function(*args, **kwargs)
    return found.value.message


def test_untouched():
    untouched({"changes": []})
    untouched({"changes": ["model"]}, allow=("model",))
    assert "changed x itself" in wrong(untouched, {"changes": ["x"]})
    assert ".grad" in wrong(untouched, {"changes": ["model.grad"]}, allow=("model",))
    for results in ({}, {"changes": None}, {"changes": [3]}, None):
        wrong(untouched, results)


def test_tensor_says_what_is_wrong_with_it():
    x = torch.zeros(2, 3)
    results = {
        "none": None,
        "array": Other("numpy.ndarray"),
        "list": [1.0],
        "shape": Recorded(torch.zeros(3, 2)),
        "dtype": Recorded(x.double()),
        "place": Recorded(x, "cuda:0"),
        "graph": Recorded(x, "cpu", True),
        "nan": Recorded(torch.tensor([[0, 0, 0], [0, math.nan, 0]])),
        "right": Recorded(x),
    }
    expected = {
        "none": "none is None, expected a torch tensor",
        "array": "array is a numpy.ndarray, expected a torch tensor",
        "list": "list is a list of 1, expected a torch tensor",
        "shape": "shape has shape (3, 2), expected (2, 3)",
        "dtype": "dtype is of torch.float64, expected torch.float32",
        "place": "place is on cuda:0",
        "graph": "graph still requires a gradient",
        "nan": "nan holds nan at [1, 1]",
        "missing": "missing is missing from the results",
    }
    for name, message in expected.items():
        assert message in wrong(tensor, results, name, x)
    assert torch.equal(tensor(results, "right", x), x)
    assert tensor(results, "graph", x, detached=False).shape == (2, 3)


def test_numbers_and_texts():
    results = {
        "n": 3,
        "t": Recorded(torch.tensor([1.0, 2.0])),
        "s": "word",
        "b": True,
        "x": math.inf,
    }
    assert number(results, "n") == 3.0
    assert numbers(results, "t", 2) == [1.0, 2.0]
    assert text(results, "s") == "word"
    assert "expected a number" in wrong(number, results, "b")
    assert "finite" in wrong(number, results, "x")
    assert "2 entries, expected 3" in wrong(numbers, results, "t", 3)
    assert "list of numbers" in wrong(numbers, results, "s")
    assert "l[1] is a str" in wrong(numbers, {"l": [1, "2"]}, "l")
    assert "expected a string" in wrong(text, results, "n")


def test_close_names_the_first_entry_that_differs():
    found, expected = torch.zeros(2, 3), torch.zeros(2, 3)
    close(found, expected, "x")
    found[1, 0], found[1, 2] = 0.5, -1
    message = wrong(close, found, expected, "x")
    assert message == "x[1, 0] is 0.5, 0.5 above what it should be (2 of 6 entries differ)"
    assert wrong(close, 1.0, 1.25, "loss") == "loss is 1, 0.25 below what it should be"
    assert "shape" in wrong(close, [1.0], [1.0, 2.0], "x")


# The exercise, and check() -----------------------------------------------------------------------


@pytest.mark.parametrize("id", ["4", "4.", "04.1", "4.1.1", "a.b", "4.0"])
def test_an_id_is_chapter_and_number(id):
    with pytest.raises(ValueError, match=r"chapter\.number"):
        Exercise(id, "", _probe_double, _verdict_double)


def test_the_halves_have_their_parameters():
    with pytest.raises(ValueError, match="probe"):
        Exercise("99.1", "", lambda answer: {}, _verdict_double)
    with pytest.raises(ValueError, match="verdict"):
        Exercise("99.1", "", _probe_double, lambda results: "")


def test_unknown_ids_name_those_that_exist():
    with pytest.raises(KeyError, match=r"4\.1, 4\.2, 4\.3, 4\.4"):
        find("4.9")
    for id in ("77.1", "x", "", "4"):
        with pytest.raises(KeyError):
            find(id)


def test_check_wants_as_many_objects_as_the_exercise():
    with pytest.raises(TypeError, match=r'check\("4.2", fgsm\), found 0'):
        check("4.2")


def test_check_prints_or_raises(capsys):
    def fgsm(model, x, y, eps):
        x = x.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(x), y)
        return (x + eps * torch.autograd.grad(loss, x)[0].sign()).clamp(0, 1).detach()

    check("4.2", fgsm)
    assert capsys.readouterr().out.startswith("4.2 passed: each pixel moves up the loss")
    check("4.2", fgsm, seed=11)
    with pytest.raises(CheckFailed, match="not yet: the images come back as they were\nHint: "):
        check("4.2", lambda model, x, y, eps: x)


def test_a_failed_check_shows_no_stack_in_ipython():
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_cell('from advlab.course import check')\n"
        "result = shell.run_cell('check(\"4.2\", lambda model, x, y, eps: x)')\n"
        "assert not result.success\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown = (done.stdout + done.stderr).strip().splitlines()
    assert shown[0].startswith("4.2 not yet: the images come back as they were")
    assert shown[1].startswith("Hint: ")
    assert len(shown) == 2


def test_fail_carries_its_hint():
    hinted = Exercise("99.4", "", lambda a, seed: {}, lambda results, seed: fail("no", "look"))
    verdict = judge(hinted, probe(hinted, (0,), 0), 0)
    assert (verdict.message, verdict.hint) == ("no", "look")
    assert str(verdict) == "99.4 not yet: no\nHint: look"
