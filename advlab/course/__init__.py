"""Exercises and their checks, the student's notebooks, and running the chapters.

How an exercise is added, say 4.2 of chapter 4:

1. In the chapter: an answer cell, tag ``exercise``, metadata
   ``{"advlab": {"exercise": "4.2", "points": 1}}``, its solution between ``### BEGIN SOLUTION`` and
   ``### END SOLUTION``; right after it a check cell, tag ``check``, the same metadata, with
   ``check("4.2", fgsm)`` (``from advlab.course import check`` stands in the first code cell).
2. In ``advlab/course/exercises/chapter04.py``: an :class:`Exercise` in ``EXERCISES``, that is
   two functions that share nothing but the seed (the verdict also runs where the student's code
   never was, so it makes the inputs again and believes only what it can recompute):
   ``probe(fgsm, seed)`` calls the answer, :func:`watch` noting what it changed, and returns a
   dict of tensors, numbers, strings, lists and None; ``verdict(results, seed)`` reads it with
   :func:`tensor`, :func:`number`, :func:`numbers`, judges it with :func:`close`,
   :func:`untouched` and ``if …: fail(sentence, hint)``, and returns what was shown, in a sentence.
   ``forbids`` names what the answer may not call.
   A message says what is wrong, a hint where to look; neither holds a line of the solution.
3. In ``tests/course/wrong_answers/chapter04.py``: two or more wrong answers that a student would
   write, each with a piece of the sentence that it must meet; right answers written another way.
4. ``pytest tests/course`` then says that the published chapter passes, that a released one fails
   every check, that each wrong answer meets its sentence, and that no damaged record passes.
"""

from importlib import import_module

_STANDS_IN = {
    "checks": ("CheckFailed", "check"),
    "exercise": ("Exercise",),
    "judging": (
        *("Verdict", "close", "fail", "get", "judge", "matches", "number", "numbers", "rather"),
        *("same_shape", "tensor", "text", "untouched"),
    ),
    "probing": ("probe", "watch"),
}
__all__ = sorted(name for names in _STANDS_IN.values() for name in names)


def __getattr__(name: str):
    # Torch takes seconds to import; `advlab grade --help` has no need of it.
    for module, names in _STANDS_IN.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
