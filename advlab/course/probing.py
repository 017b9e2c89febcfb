"""The first half of a check: run the student's code and write down what came out.

Nothing here judges, and nothing here knows what is right.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .records import RecordError, encode

if TYPE_CHECKING:  # a graded kernel has this file and not that one
    from .exercise import Exercise


def probe(exercise: Exercise, answers: tuple, seed: int) -> str:
    """Call the answers and return the record, as text: the results, or the exception.

    torch's global random state is seeded for the call and put back after it.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            results = exercise.probe(*answers, seed)
        return encode({"exercise": exercise.id, "results": results})
    except RecordError as error:
        return encode({"exercise": exercise.id, "error": {"type": "size", "message": str(error)}})
    except (Exception, SystemExit) as error:
        return encode({"exercise": exercise.id, "error": _describe(error, answers)})


def _describe(error: BaseException, answers: tuple) -> dict[str, Any]:
    """The exception, and where in the student's own code it came up."""
    namespaces = [getattr(answer, "__globals__", None) for answer in answers]
    frame = None
    for found, line in traceback.walk_tb(error.__traceback__):
        mine = any(found.f_globals is space for space in namespaces)
        if mine or found.f_globals.get("__name__") == "__main__":
            frame = found, line
    described = {"type": type(error).__name__, "message": str(error)[:2000]}
    if frame is not None:
        code = frame[0].f_code
        described |= {
            "function": code.co_name,
            "line": frame[1],
            "code": linecache.getline(code.co_filename, frame[1], frame[0].f_globals).strip(),
        }
    return described


@contextmanager
def watch(**inputs: Tensor | nn.Module) -> Iterator[list[str]]:
    """Note which inputs the code inside changes.

    ``with watch(model=model, x=x) as changes: …`` fills the list afterwards with, for a tensor,
    ``"x"`` (its values) and ``"x.requires_grad"``; for a model ``"model"`` (parameters and
    buffers), ``"model.grad"``, ``"model.requires_grad"``, ``"model.training"``. Return it under
    the name ``"changes"``; :func:`~advlab.course.untouched` judges it.
    """
    changes: list[str] = []
    before = {name: _state(value) for name, value in inputs.items()}
    yield changes
    for name, value in inputs.items():
        after = _state(value)
        changes.extend(name + part for part in after if not _same(before[name][part], after[part]))


def _state(value: Tensor | nn.Module) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {"": value.detach().clone(), ".requires_grad": value.requires_grad}
    parameters = list(value.parameters())
    return {
        "": [t.detach().clone() for t in value.state_dict().values()],
        ".grad": [None if p.grad is None else p.grad.clone() for p in parameters],
        ".requires_grad": [p.requires_grad for p in parameters],
        ".training": [m.training for m in value.modules()],
    }


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return type(a) is type(b) and a == b
