"""An exercise: what is asked of the answer, and how it is judged."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter, in two halves that share nothing but the seed.

    :param id: ``"4.2"``: chapter 4, exercise 2.
    :param title: what it is about, a few words.
    :param probe: ``probe(answer, seed)``, or ``probe(first, second, seed)`` where the check is
        given two objects: calls the student's code on inputs made from the seed and returns the
        raw results, a dict of tensors, numbers, strings, lists and None. It judges nothing.
    :param verdict: ``verdict(results, seed)``: makes the inputs again, calls
        :func:`~advlab.course.fail` where the results are wrong, and returns the sentence that says
        what was shown.
    :raises ValueError: an id of another form, or halves with other parameters.
    """

    id: str
    title: str
    probe: Callable[..., dict[str, Any]]
    verdict: Callable[[dict[str, Any], int], str]
    forbids: tuple[str, ...] = ()

    def __post_init__(self):
        if not re.fullmatch(r"[1-9]\d?\.[1-9]\d?", self.id):
            raise ValueError(f"id: found {self.id!r}, expected 'chapter.number', such as '4.2'")
        if len(names := list(inspect.signature(self.probe).parameters)) < 2 or names[-1] != "seed":
            raise ValueError(f"{self.id}: expected probe(answer, seed), found probe{tuple(names)}")
        if len(names := list(inspect.signature(self.verdict).parameters)) != 2:
            raise ValueError(f"{self.id}: expected verdict(results, seed), found {tuple(names)}")
        if isinstance(self.forbids, str) or not all("." in str(name) for name in self.forbids):
            raise ValueError(f"{self.id}: forbids: expected dotted names, found {self.forbids!r}")

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the objects that the check is given: ``("fgsm",)``."""
        return tuple(inspect.signature(self.probe).parameters)[:-1]


def find(id: str) -> Exercise:
    """The exercise of this id.

    :raises KeyError: there is none; the message lists the chapter's exercises.
    """
    chapter, _, _ = str(id).partition(".")
    name = f"chapter{int(chapter):02d}" if chapter.isdecimal() else None
    known = {e.id: e for e in _exercises(name)} if name in chapters() else {}
    if id not in known:
        there = ", ".join(known) or "none"
        raise KeyError(f"no exercise {id!r}; exercises of chapter {chapter!r}: {there}")
    return known[id]


def chapters() -> list[str]:
    """The names of the files in ``advlab/course/exercises``: ``["chapter01", …]``."""
    from . import exercises

    names = (module.name for module in pkgutil.iter_modules(exercises.__path__))
    return sorted(name for name in names if re.fullmatch(r"chapter\d\d", name))


def all_exercises() -> list[Exercise]:
    """Every exercise of the course, in order."""
    return [exercise for name in chapters() for exercise in _exercises(name)]


def _exercises(name: str) -> tuple[Exercise, ...]:
    found = importlib.import_module(f"{__package__}.exercises.{name}").EXERCISES
    ids = [e.id for e in found]
    if len(set(ids)) < len(ids) or any(int(i.split(".")[0]) != int(name[-2:]) for i in ids):
        raise ValueError(f"{name}.EXERCISES: expected different ids of this chapter, found {ids}")
    return tuple(found)
