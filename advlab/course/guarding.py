"""While an answer is called: what it may not call raises, however the answer came by it.

The other half of :mod:`advlab.course.forbidding`, which reads the answer's source and gives the
clear refusal. This one catches what no reading finds, such as a name put together from pieces. It
runs beside the student's code, so it makes a trick laborious and none impossible.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

METHODS = ("__call__", "perturb", "forward")  # what using an attack or a layer calls


class Forbidden(RuntimeError):
    """An answer called what its exercise asks for; the message is the dotted name."""


@contextmanager
def guard(forbids: Sequence[str]) -> Iterator[None]:
    """Inside, calling one of these raises :class:`Forbidden`; afterwards all is as it was.

    :param forbids: dotted names of functions, methods and classes; one that is not installed, or
        not there, is passed over.
    """
    with ExitStack() as undo:
        for dotted in forbids:
            found = locate(dotted)
            if found is not None:
                _forbid(*found, dotted, undo)
        yield


def locate(dotted: str) -> tuple[Any, str, Any] | None:
    """Where a dotted name leads: the module or class that holds it, its name there, the object."""
    parts = dotted.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            holder = importlib.import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for name in parts[n:-1]:
            holder = getattr(holder, name, None)
        found = getattr(holder, parts[-1], None)
        return None if found is None else (holder, parts[-1], found)
    return None


def _forbid(holder: Any, name: str, found: Any, dotted: str, undo: ExitStack) -> None:
    if isinstance(found, type):
        for method in METHODS:
            if hasattr(found, method) and not (method == "__call__" and _only_type(found)):
                _replace(found, method, _refusing(dotted), undo)
    elif isinstance(holder, type):
        _replace(holder, name, _refusing(dotted), undo)
    elif isinstance(found, FunctionType):
        # Its code, and with that every name that anybody holds it by.
        before = found.__code__
        found.__code__ = _refusing(dotted, before.co_freevars).__code__
        undo.callback(setattr, found, "__code__", before)
    elif isinstance(found, BuiltinFunctionType) or callable(found):
        root = dotted.partition(".")[0]
        for module in _modules(root):
            for at in [n for n, value in vars(module).items() if value is found]:
                _replace(module, at, _refusing(dotted), undo)


def _only_type(found: type) -> bool:
    """Whether its instances are no callables: ``__call__`` is then that of the metaclass."""
    return not any("__call__" in vars(base) for base in found.__mro__)


def _modules(root: str) -> list[ModuleType]:
    found = [(n, m) for n, m in list(sys.modules.items()) if isinstance(m, ModuleType)]
    return [m for n, m in found if n == "__main__" or n.partition(".")[0] == root]


def _replace(holder: Any, name: str, value: Any, undo: ExitStack) -> None:
    own = name in vars(holder)
    before = vars(holder).get(name)
    setattr(holder, name, value)
    if own:
        undo.callback(setattr, holder, name, before)
    else:
        undo.callback(delattr, holder, name)


def _refusing(dotted: str, held: Sequence[str] = ()) -> Callable:
    """A function that raises, with as many variables from outside as the one that it replaces."""
    names = [f"held{n}" for n in range(len(held))]
    space: dict[str, Any] = {}
    exec(
        f"def outer({', '.join(names)}):\n"
        "    def refused(*args, **kwargs):\n"
        f"        raise __import__({__name__!r}, fromlist=['x']).Forbidden({dotted!r})\n"
        f"        return ({''.join(f'{name}, ' for name in names)})\n"
        "    return refused\n",
        space,
    )
    return space["outer"](*names)
