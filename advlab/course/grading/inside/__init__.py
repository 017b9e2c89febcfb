"""``advlab.course`` as a graded kernel sees it: the first half of each check, and no second.

This folder takes the place of ``advlab/course`` in the copy of the package that a student's code
runs with. It holds nothing that would be worth finding: whatever is done to it in the kernel, the
grader only ever sees results, and judges those elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .guarding import guard
from .probing import probe, watch
from .records import MIME, encode

__all__ = ["check", "emit", "probe", "watch"]


def check(id: str, *answers: Any, seed: int | None = None) -> None:
    """A student's own call of a check: the grader's comes after, and judges elsewhere."""
    print(f"{id}: judged once the notebook has run")


def emit(
    id: str, seed: int, source: str, answers: Callable[[], tuple], forbids: tuple[str, ...] = ()
) -> None:
    """Call the answers on inputs made from the seed, and show the raw results as one record.

    :param id: of the exercise, ``"4.2"``.
    :param seed: of the inputs.
    :param source: of a module that defines ``probe(answer, …, seed)``.
    :param answers: gives the objects asked for; called here, so that a missing name is a result.
    :param forbids: what the answers may not call.
    """
    from IPython.display import display

    display({MIME: _record(id, seed, source, answers, forbids)}, raw=True)


def _record(id: str, seed: int, source: str, answers: Callable, forbids: tuple[str, ...]) -> str:
    try:
        given = answers()
    except NameError as error:
        return encode({"exercise": id, "error": {"type": "undefined", "message": str(error)}})
    space: dict[str, Any] = {"__name__": f"probe of {id}"}
    exec(compile(source, f"<probe of {id}>", "exec"), space)
    with guard(forbids):
        return probe(SimpleNamespace(id=id, probe=space["probe"]), given, seed)
