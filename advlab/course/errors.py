"""What a verdict ends with where something is wrong, and exceptions told in a sentence."""

from __future__ import annotations

from typing import Any, NoReturn

from .exercise import Exercise
from .forbidding import refusal


class Wrong(Exception):
    """What :func:`fail` raises; the judge makes a verdict of it."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message, self.hint = message, hint


def fail(message: str, hint: str = "") -> NoReturn:
    """End the verdict: one sentence on what is wrong, and where to look; never the solution."""
    raise Wrong(message, hint)


def explain(exercise: Exercise, error: Any) -> NoReturn:
    """An exception in the student's code, in a sentence."""
    error = error if isinstance(error, dict) else {}
    kind, message = str(error.get("type", "an exception")), first_line(error.get("message", ""))
    if kind == "undefined":
        fail(
            f"the answer does not define what the check asks for: {message}",
            "Is it spelled as in the exercise, and defined in the answer's own cell?",
        )
    if kind == "size":
        fail(f"your code returned too much: {message}")
    if kind == "Forbidden" and message in exercise.forbids:
        fail(*refusal(exercise.id, exercise.title, message))
    if kind == "NotImplementedError" and message.startswith("exercise "):
        builds = "" if message == f"exercise {exercise.id}" else f", and {exercise.id} builds on it"
        fail(f"{message} is not filled in yet{builds}")
    if kind == "TypeError" and message.endswith("' object is not callable") and "line" not in error:
        found = message.split("'")[1]
        fail(
            f"the check was given an object of type {found}, expected a function",
            "Give it the function itself: its name, with no parentheses after it.",
        )
    where = ""
    if isinstance(error.get("line"), int):
        code = f" ({first_line(error['code'])})" if error.get("code") else ""
        name = str(error.get("function"))
        cell = "" if name.startswith("<") else f" of the cell of {name}"
        where = f" at line {error['line']}{cell}{code}"
    hint = next((hint for part, hint in _SAID.items() if part in f"{kind}: {message}"), "")
    raised = f"your code raised {kind}{where}"
    fail(f"{raised}: {message}" if message else raised, hint)


# What Python and torch say when a student slips, and what to look for.
_SAID = {
    "KeyError": "The dictionary has no such key. Is it spelled just like this, capitals included?",
    "values to unpack": "How many there are may differ from case to case. A loop takes any number.",
    "does not require grad": "Torch follows only the tensors that ask for it, with "
    "requires_grad_(True), and only what is computed from them afterwards.",
    "only for scalar outputs": "A gradient is that of one number. Make one of the batch's losses.",
    "not have been used in the graph": "Is the tensor that you ask about the very one that went "
    "through the model, or a copy of it?",
    "can't multiply sequence by non-int": "Is one of the two a tuple? torch.autograd.grad returns "
    "one: one gradient for each tensor asked about.",
    "builtin_function_or_method": "A method is called with parentheses: .mean() and not .mean.",
    "leaf Variable that requires grad": "Torch would record this update as part of the "
    "computation. torch.no_grad() pauses the recording.",
    "must match the size of tensor": "Two tensors of different shapes meet here. Print both. "
    "(A sum or a largest value along dim drops that dimension, unless keepdim=True.)",
}


def first_line(text: Any) -> str:
    """The first line of a message, cut to what fits in a sentence."""
    first = (str(text).strip().splitlines() or [""])[0]
    return first if len(first) <= 200 else first[:197] + "..."
