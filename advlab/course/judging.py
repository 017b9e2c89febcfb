"""The second half of a check: judge a record, trusting nothing in it.

Helpers read the results and end the verdict at the first thing that is wrong, with one sentence
and a hint. They are written for a student who reads the sentence and has not read this file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import Wrong, explain, fail, first_line
from .exercise import Exercise
from .records import Other, Recorded, RecordError, decode


@dataclass(frozen=True)
class Verdict:
    """Passed, with what was shown; or not, with what is wrong and a hint (which may be empty)."""

    exercise: str
    passed: bool
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.exercise} {'passed' if self.passed else 'not yet'}: {self.message}"
        return f"{text}\nHint: {self.hint}" if self.hint else text


def judge(exercise: Exercise, record: str, seed: int) -> Verdict:
    """The verdict on a record that :func:`~advlab.course.probe` wrote with this seed."""
    try:
        return Verdict(exercise.id, True, _judge(exercise, record, seed))
    except Wrong as wrong:
        return Verdict(exercise.id, False, wrong.message, wrong.hint)
    except Exception as error:
        # A record that no verdict foresaw never passes, and never stops a grader.
        message = f"the results could not be judged ({type(error).__name__}: {first_line(error)})"
        return Verdict(exercise.id, False, message)


def _judge(exercise: Exercise, record: str, seed: int) -> str:
    try:
        content = decode(record)
    except RecordError as error:
        fail(f"the results are unreadable: {error}")
    if not isinstance(content, dict) or content.get("exercise") != exercise.id:
        fail("the results are those of another exercise")
    if set(content) == {"exercise", "error"}:
        explain(exercise, content["error"])
    if set(content) != {"exercise", "results"} or not isinstance(content["results"], dict):
        fail("the check brought back no results")
    shown = exercise.verdict(content["results"], seed)
    if not isinstance(shown, str):
        raise TypeError("the verdict returned no sentence")
    return shown


# What a student's function gave back ------------------------------------------------------------


def get(results: dict[str, Any], name: str) -> Any:
    """The entry of this name; a name that is not there ends the verdict."""
    if not isinstance(results, dict) or name not in results:
        fail(f"{name} is missing from the results")
    return results[name]


def describe(value: Any) -> str:
    """What was found, for a sentence: ``a tensor of shape (2, 3)``, ``a numpy.ndarray``."""
    if isinstance(value, Recorded):
        return f"a tensor of shape {tuple(value.value.shape)}"
    if isinstance(value, Other):
        return value.type if value.type.startswith(("a ", "an ")) else f"a {value.type}"
    if value is None:
        return "None"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"


def _no_return(found: Any) -> str:
    return _NO_RETURN if found is None else ""


_NO_RETURN = "Does your function end with return?"


def tensor(
    results: dict[str, Any],
    name: str,
    like: Tensor | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    dtype: torch.dtype | None = None,
    detached: bool = True,
) -> Tensor:
    """The tensor of this name, finite, of the shape and dtype expected, and on the CPU.

    :param like: expect the shape and the dtype of this tensor.
    :param shape: expect this one; without it, any will do.
    :param dtype: expect this one; without it, any will do.
    :param detached: refuse a tensor that still requires a gradient.
    """
    found = get(results, name)
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], Recorded):
        hint = "torch.autograd.grad returns a tuple: one gradient for each tensor asked about."
        fail(f"{name} is a tuple or list with a tensor in it, expected the tensor itself", hint)
    if not isinstance(found, Recorded):
        hint = _NO_RETURN if found is None else "Stay with torch tensors from input to output."
        fail(f"{name} is {describe(found)}, expected a torch tensor", hint)
    value = found.value
    same_shape(value, tuple(like.shape) if like is not None else shape, name)
    dtype = like.dtype if like is not None else dtype
    if dtype is not None and value.dtype != dtype:
        fail(f"{name} is of {value.dtype}, expected {dtype}", "Keep the dtype of the input.")
    if found.device != "cpu":
        fail(f"{name} is on {found.device}, and the input was on cpu", "Stay where the input is.")
    if detached and found.requires_grad:
        fail(
            f"{name} still requires a gradient, so it keeps the whole computation in memory",
            "A result is plain numbers: cut it from the graph before returning it.",
        )
    if value.is_floating_point() and not value.isfinite().all():
        fail(f"{name} holds {value[_first(~value.isfinite())]} at {_at(_first(~value.isfinite()))}")
    return value


def number(results: dict[str, Any], name: str) -> float:
    """The finite number of this name: a Python number, or a tensor with a single entry."""
    return _number(get(results, name), name)


def numbers(
    results: dict[str, Any], name: str, count: int | None = None, hint: str = ""
) -> list[float]:
    """The finite numbers of this name: a list of them, or a tensor with one dimension.

    :param count: how many.
    :param hint: where there are more or fewer, or an entry is no number.
    """
    found = get(results, name)
    if isinstance(found, Recorded) and found.value.ndim == 1:
        found = found.value.tolist()
    if not isinstance(found, list):
        fail(
            f"{name} is {describe(found)}, expected a list of numbers",
            _NO_RETURN if found is None else hint,
        )
    if count is not None and len(found) != count:
        entries = "1 entry" if len(found) == 1 else f"{len(found)} entries"
        fail(f"{name} has {entries}, expected {count}", hint)
    return [_number(value, f"{name}[{i}]", hint) for i, value in enumerate(found)]


def _number(found: Any, name: str, hint: str = "") -> float:
    if isinstance(found, Recorded) and found.value.numel() == 1:
        found = found.value.item()
    if isinstance(found, bool) or not isinstance(found, int | float):
        fail(f"{name} is {describe(found)}, expected a number", hint or _no_return(found))
    if not math.isfinite(found):
        fail(f"{name} is {found}, expected a finite number")
    return float(found)


def text(results: dict[str, Any], name: str) -> str:
    """The string of this name."""
    found = get(results, name)
    if not isinstance(found, str):
        fail(f"{name} is {describe(found)}, expected a string")
    return found


# The usual judgments ----------------------------------------------------------------------------


def same_shape(found: Tensor, shape: tuple[int, ...] | None, name: str) -> None:
    """Fail where the shape is another one; None expects nothing."""
    if shape is not None and tuple(found.shape) != tuple(shape):
        fail(f"{name} has shape {tuple(found.shape)}, expected {tuple(shape)}")


def matches(found: Any, expected: Any, atol: float = 1e-5, rtol: float = 1e-4) -> bool:
    """Whether all entries agree: \\|found − expected\\| ≤ atol + rtol · \\|expected\\|."""
    found, expected = _double(found), _double(expected)
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=rtol, atol=atol)


def rather(found: Any, wrong: Any, expected: Any, atol: float = 1e-5, rtol: float = 1e-4) -> bool:
    """Whether it matches what a mistake gives, and is nearer to that than to what is expected.

    On some inputs a mistake hardly shows: then a right answer matches both.
    """
    if not matches(found, wrong, atol, rtol):
        return False
    away, off = (_double(found) - _double(value) for value in (expected, wrong))
    return bool(off.norm() < away.norm())


def close(
    found: Any, expected: Any, name: str, hint: str = "", *, atol: float = 1e-5, rtol: float = 1e-4
) -> None:
    """Fail at the first entry that differs, saying which and by how much.

    :param found: a tensor, a number or a list of numbers.
    :param expected: of the same shape.
    """
    found, expected = _double(found), _double(expected)
    same_shape(found, tuple(expected.shape), name)
    wrong = ~torch.isclose(found, expected, rtol=rtol, atol=atol)
    if not wrong.any():
        return
    at = _first(wrong)
    difference = (found[at] - expected[at]).item()
    entry = name + (_at(at) if at else "")
    share = f" ({int(wrong.sum())} of {wrong.numel()} entries differ)" if wrong.numel() > 1 else ""
    side = "above" if difference > 0 else "below"
    fail(
        f"{entry} is {found[at].item():.4g}, {abs(difference):.2g} {side} what it should be{share}",
        hint,
    )


def untouched(results: dict[str, Any], allow: tuple[str, ...] = ()) -> None:
    """Fail where ``results["changes"]``, filled by :func:`~advlab.course.watch`, is not empty.

    :param allow: changes that are no fault here, such as ``("model", "x.requires_grad")``.
    """
    changes = get(results, "changes")
    if not isinstance(changes, list) or not all(isinstance(c, str) for c in changes):
        fail("the list of changes is unreadable")
    for change in changes:
        if change not in allow:
            name, _, part = change.partition(".")
            message, hint = _CHANGES.get(part, _CHANGES[""])
            fail(message.format(name), hint.format(name))


_CHANGES = {
    "": ("your code changed {} itself", "Work on a copy, and leave the caller's {} as it was."),
    "requires_grad": (
        "your code left {} with another requires_grad than it had",
        "Asking for a gradient needs no change of the caller's {}: work on a copy of a tensor, and "
        "let a model be.",
    ),
    "grad": (
        "your code left gradients in the parameters of {} (their .grad)",
        "backward() fills .grad of every parameter; torch.autograd.grad returns only what you ask.",
    ),
    "training": ("your code switched {} between train() and eval()", "Leave the mode as it was."),
}


def _double(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().to(torch.float64)


def _first(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero()[0].tolist())


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"
