"""What an answer may not call: the package's own version of what its exercise asks for.

The source of the answer is read, not run. A name is followed to the object that it stands for:
through imports under other names, attributes, aliases, ``getattr`` and ``import_module`` with a
constant, and text given to ``eval``. So ``advlab.attacks.FGSM``, ``from advlab.attacks.fgsm import
FGSM as F`` and ``getattr(attacks, "FG" + "SM")`` are one, and a function of the student's own named
FGSM is none. What no reading finds, :func:`~advlab.course.guarding.guard` may.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FunctionType
from typing import Any

from .ipython import Entangled, parse
from .meanings import MOST_STEPS, Forbids, Scope, last_name

MAX_DEPTH = 6  # helpers of helpers, text in text
ENTANGLED = "too entangled"  # in place of a name
_READS_TEXT = ("eval", "exec", "compile", "run_cell", "run_line_magic", "run_cell_magic")


def called(
    source: str | Sequence[str],
    forbids: Sequence[str],
    context: Sequence[str] = (),
    namespace: Mapping[str, Any] | None = None,
) -> str | None:
    """The first of the names that the answer uses, or None. What does not parse uses none.

    :data:`ENTANGLED` where that cannot be told: not in a reasonable time, or not at all because it
    is nested too deeply.

    :param source: the answer, or its cells: of these one may be no Python, and the others run.
    :param forbids: dotted names, ``"advlab.attacks.FGSM"``.
    :param context: sources that ran before it: the chapter's own cells, and earlier answers.
    :param namespace: objects that its names stand for, where the answer is there to be called.
    """
    cells = [source] if isinstance(source, str) else source
    return _called(cells, forbids, context, namespace or {}, set()) if forbids else None


def _called(cells, forbids, context, namespace, seen: set[Any]) -> str | None:
    outer = Scope(None, forbids=Forbids(forbids))
    outer.values.update({name: [value] for name, value in namespace.items()})
    scope = Scope(outer)
    outer.forbids.left = math.inf  # for what is not the answer's
    try:
        for text in context:
            with suppress(Entangled, RecursionError):  # an earlier answer's own affair
                outer.learn(_parse(text))
        outer.forbids.left = MOST_STEPS
        scope.learn(body := [statement for cell in cells for statement in _parse(cell)])
        return _Reader(scope, seen).read(body)
    except (Entangled, RecursionError):
        return ENTANGLED


def _parse(source: str) -> list[ast.stmt]:
    """The statements, also where some lines are for IPython; none of what is no Python.

    :raises Entangled: it may be Python, and is nested too deeply to be read.
    """
    try:
        return parse(source).body
    except (RecursionError, MemoryError) as error:
        raise Entangled from error
    except (SyntaxError, ValueError, ImportError):
        return []


def refusal(id: str, title: str, found: str) -> tuple[str, str]:
    """The sentence and the hint for an answer that calls ``found``."""
    if found == ENTANGLED:
        return (
            f"the answer to {id} cannot be read: too entangled",
            "Its names stand for names that stand for names, or it is nested very deeply. Write it "
            "in fewer and shorter steps.",
        )
    name = title[:1].lower() + title[1:] if title[1:2].islower() else title
    return (
        f"{id} ({name}) asks you to write this yourself: the answer calls {found}",
        "Call it after the check, to compare. In the answer, use what it is made of.",
    )


def called_by(function: Any, forbids: Sequence[str]) -> str | None:
    """As :func:`called`, of a function that is there; one without a source uses none."""
    return _called_by(function, forbids, set()) if forbids else None


def _called_by(function: Any, forbids: Sequence[str], seen: set[Any]) -> str | None:
    if not isinstance(function, FunctionType) or function.__code__ in seen:
        return None
    seen.add(function.__code__)
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    return _called([source], forbids, (), function.__globals__, seen)


class _Reader:
    """Reads statements in a scope and stops at the first use of what is forbidden."""

    def __init__(self, scope: Scope, seen: set[Any], depth: int = 0):
        self.scope, self.seen, self.depth = scope, seen, depth
        self.forbids = scope.forbids

    def read(self, nodes: Sequence[ast.AST | None]) -> str | None:
        for node in nodes:
            if node is not None and (found := self.visit(node)) is not None:
                return found
        return None

    def visit(self, node: ast.AST) -> str | None:
        self.forbids.spend()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return self.visit_function(node)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            inner = Scope(self.scope)
            for part in node.generators:
                inner.learn_target(part.target, None)
            return self.inside(inner).read([*node.generators, *_results(node)])
        if isinstance(node, ast.AnnAssign):  # an annotation is no call
            return self.read([node.value])
        if isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            found = self.used(node)
            if found is not None:
                return found
        return self.read(list(ast.iter_child_nodes(node)))

    def visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        inner, given = Scope(self.scope), node.args
        positional = [*given.posonlyargs, *given.args]
        defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
        pairs = [*zip(positional, defaults), *zip(given.kwonlyargs, given.kw_defaults)]
        for arg, default in (*pairs, (given.vararg, None), (given.kwarg, None)):
            if arg is not None:
                # A default is an expression of the scope around the function.
                values = self.scope.meanings(default) if default is not None else []
                inner.values.setdefault(arg.arg, []).extend(values)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        inner.learn(body)
        around = [*getattr(node, "decorator_list", ()), *given.defaults, *given.kw_defaults]
        return self.read(around) or self.inside(inner).read(body)

    def inside(self, scope: Scope, deeper: int = 0) -> _Reader:
        return _Reader(scope, self.seen, self.depth + deeper)

    def used(self, node: ast.expr) -> str | None:
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            return None
        for value in self.scope.meanings(node):
            self.forbids.spend()
            if (found := self.forbids.named(value)) is not None:
                return found
            if (found := self.of_helper(value)) is not None:
                return found
        if isinstance(node, ast.Call):
            return self.of_text(node) or self.of_method(node)
        return None

    def of_method(self, node: ast.Call) -> str | None:
        """``z.softmax(1)``, where ``torch.Tensor.softmax`` is forbidden and z is nothing known."""
        func = node.func
        if not isinstance(func, ast.Attribute) or func.attr not in self.forbids.methods:
            return None
        known = any(value is not None for value in self.scope.meanings(func.value))
        return None if known else self.forbids.methods[func.attr]

    def of_text(self, node: ast.Call) -> str | None:
        """``eval("attacks.FGSM")(…)``: the text is read as well."""
        name = last_name(node.func)
        if name not in _READS_TEXT or not node.args or self.depth > MAX_DEPTH:
            return None
        text = self.scope.constant(node.args[-1 if name.startswith("run_") else 0])
        if not isinstance(text, str):
            return None
        self.forbids.spend(len(text))  # once more for each time that it is read
        body = _parse(textwrap.dedent(text))
        self.scope.learn(body)
        return self.inside(self.scope, 1).read(body)

    def of_helper(self, value: Any) -> str | None:
        """A function of an earlier cell: what that uses, the answer uses."""
        if self.depth > MAX_DEPTH:
            return None
        if isinstance(value, FunctionType):
            return (
                None
                if self.of_a_package(value)
                else _called_by(value, self.forbids.dotted, self.seen)
            )
        if not isinstance(value, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return None
        if value in self.seen:
            return None
        self.seen.add(value)
        return self.inside(self.scope, 1).visit(value)

    def of_a_package(self, function: FunctionType) -> bool:
        module = sys.modules.get(function.__module__)
        return function.__module__ != "__main__" and module is not None


def _results(node: ast.expr) -> list[ast.expr]:
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
