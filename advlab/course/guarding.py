"""While an answer is called: what it may not call raises, however the answer came by it.

The other half of :mod:`advlab.course.forbidding`, which reads the answer's source and gives the
clear refusal. This one catches what no reading finds: a name put together from pieces, a method
kept since before the check, a file of the package loaded once more. It runs beside the student's
code, so it makes a trick laborious and none impossible.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FunctionType, ModuleType
from typing import Any

# What using an attack, a layer or a step in front of a network calls.
METHODS = ("__call__", "perturb", "forward", "process")


class Forbidden(RuntimeError):
    """An answer called what its exercise asks for; the message is the dotted name."""


@contextmanager
def guard(forbids: Sequence[str]) -> Iterator[None]:
    """Inside, calling one of these raises :class:`Forbidden`; afterwards all is as it was.

    :param forbids: dotted names of functions, methods and classes; one that is not installed, or
        not there, is passed over.
    """
    with ExitStack() as undo:
        functions: dict[FunctionType, str] = {}
        for dotted in forbids:
            found = locate(dotted)
            if found is not None:
                functions.update(dict.fromkeys(_functions(*found), dotted))
                _forbid(*found, dotted, undo)
        # The code itself, and with that every name that anybody holds it by.
        for function, dotted in (functions | _copies(functions)).items():
            undo.callback(setattr, function, "__code__", function.__code__)
            function.__code__ = _refusing(dotted, function.__code__.co_freevars).__code__
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


def _functions(holder: Any, name: str, found: Any) -> Iterator[FunctionType]:
    """Those in Python that are this one's own: none that a base has for its other classes too."""
    if isinstance(found, type):
        values = [vars(found).get(method) for method in METHODS]
    else:
        values = [vars(holder).get(name) if isinstance(holder, type) else found]
    for value in values:
        value = getattr(value, "__func__", value)  # of a static or class method
        while isinstance(value, FunctionType):
            yield value
            value = getattr(value, "__wrapped__", None)


def _copies(functions: dict[FunctionType, str]) -> dict[FunctionType, str]:
    """Others with the same code: made from it, or by running its file once more."""
    # What is defined inside a function, such as a decorator's, has the same code in many places.
    own = [f for f in functions if "<locals>" not in f.__code__.co_qualname]
    codes = {function.__code__: functions[function] for function in own}
    names = {code.co_name for code in codes}  # asked first: it takes less time
    held = gc.get_objects() if codes else []
    found = [f for f in held if type(f) is FunctionType and f.__code__.co_name in names]
    return {f: codes[f.__code__] for f in found if f.__code__ in codes}


def _forbid(holder: Any, name: str, found: Any, dotted: str, undo: ExitStack) -> None:
    if isinstance(found, type):
        for method in METHODS:
            if hasattr(found, method) and not (method == "__call__" and _only_type(found)):
                _replace(found, method, _refusing(dotted), undo)
    elif isinstance(holder, type):
        _replace(holder, name, _refusing(dotted), undo)
    elif callable(found) and not isinstance(found, FunctionType):
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
