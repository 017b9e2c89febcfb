"""What the names in a piece of source stand for, found by reading it.

Imports under other names, attributes, aliases, ``getattr`` and ``import_module`` with a constant
are followed to modules, classes and functions that are loaded here; all else stands for nothing
known. Nothing of what is read is run or imported.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .guarding import locate
from .ipython import Entangled

# Of one reading, in looks at a node, a value or a character. The course's own answers take
# up to 600; names that stand for names in a dozen ways each would take more than years.
MOST_STEPS = 200_000


class Absent(str):
    """A dotted name that leads to nothing here: a package that is not installed."""


class Forbids:
    """Dotted names, and the objects that they lead to."""

    def __init__(self, dotted: Sequence[str]):
        self.dotted = tuple(dotted)
        there = [(name, *found) for name in dotted if (found := locate(name)) is not None]
        self.objects = [(name, found) for name, _, _, found in there]
        self.methods = {at: name for name, holder, at, _ in there if isinstance(holder, type)}
        self.roots = {name.partition(".")[0] for name in dotted}
        self.left: float = MOST_STEPS
        self.names: dict[ast.expr, frozenset[str]] = {}

    def spend(self, steps: int = 1) -> None:
        """:raises Entangled: there are none left."""
        self.left -= steps
        if self.left < 0:
            raise Entangled

    def named(self, value: Any) -> str | None:
        """Which of the names the value is: the object, a class made from it, or an instance."""
        if isinstance(value, Absent):
            return next((n for n in self.dotted if value == n), None)
        kind = value if isinstance(value, type) else type(value)
        for name, found in self.objects:
            if value is found or (isinstance(found, type) and issubclass(kind, found)):
                return name
        return None

    def mentions(self, node: ast.expr, name: str) -> bool:
        """Whether the name is in the expression: ``f = f or g`` says nothing about f by itself."""
        if node not in self.names:
            found = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
            self.spend(len(found))
            self.names[node] = frozenset(found)
        return name in self.names[node]

    def module(self, dotted: str) -> Any:
        """A module that is loaded, or its path. Nothing is imported on a student's word."""
        if dotted.partition(".")[0] not in self.roots:
            return None
        return sys.modules.get(dotted) or Absent(dotted)


class Scope:
    """What names stand for: objects that are known, functions of the student's, or nothing known.

    All that is ever bound to a name counts, in whatever order.
    """

    def __init__(self, parent: Scope | None, forbids: Forbids | None = None):
        self.parent = parent
        self.forbids: Forbids = forbids if forbids is not None else parent.forbids
        self.values: dict[str, list[Any]] = {}

    def bind(self, name: str, value: Any) -> None:
        self.forbids.spend()
        self.values.setdefault(name, []).append(value)

    def find(self, name: str) -> list[Any]:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return []

    def learn(self, body: list[ast.stmt]) -> None:
        """Note what these statements bind, without going into functions."""
        waiting: deque[ast.AST] = deque(body)
        while waiting:
            node = waiting.popleft()
            self.forbids.spend()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.bind(node.name, node)
                continue
            if isinstance(node, ast.Lambda):
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.learn_import(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self.learn_target(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self.learn_target(node.target, node.value)
            elif isinstance(node, ast.For | ast.AsyncFor):
                self.learn_target(node.target, None)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                self.learn_target(node.optional_vars, node.context_expr)
            waiting += ast.iter_child_nodes(node)

    def learn_target(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            self.bind(target.id, value)  # an expression: followed when it is asked for
        elif isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            same = len(values) == len(target.elts)
            for n, part in enumerate(target.elts):
                self.learn_target(part, values[n] if same else None)

    def learn_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                dotted = alias.name if alias.asname else alias.name.partition(".")[0]
                self.bind(alias.asname or dotted, self.forbids.module(dotted))
            elif alias.name == "*":
                module = self.forbids.module(node.module or "")
                space = vars(module) if isinstance(module, ModuleType) else {}
                for name in space.get("__all__", space):
                    self.bind(name, attribute(module, name))
            elif node.level == 0:
                module = self.forbids.module(node.module or "")
                self.bind(alias.asname or alias.name, attribute(module, alias.name))

    def meanings(self, node: ast.expr | None, depth: int = 0) -> list[Any]:
        """The objects that an expression may stand for; none where nothing is known."""
        if node is None or depth > 20:
            return []
        self.forbids.spend()
        if isinstance(node, ast.Name):
            found = []
            for value in self.find(node.id):
                self.forbids.spend()
                if not isinstance(value, ast.expr):
                    found.append(value)
                elif not self.forbids.mentions(value, node.id):
                    found += self.meanings(value, depth + 1)
            return found
        if isinstance(node, ast.Attribute):
            bases = self.meanings(node.value, depth + 1)
            if node.attr == "__dict__":
                return bases
            return [attribute(base, node.attr) for base in bases]
        if isinstance(node, ast.IfExp):
            return self.meanings(node.body, depth + 1) + self.meanings(node.orelse, depth + 1)
        if isinstance(node, ast.NamedExpr):
            return self.meanings(node.value, depth + 1)
        if isinstance(node, ast.Subscript):
            return self.entry(node, depth)
        if isinstance(node, ast.Call):
            return self.result(node, depth)
        return []

    def entry(self, node: ast.Subscript, depth: int) -> list[Any]:
        """``vars(attacks)["FGSM"]``, ``globals()["attacks"]``, ``sys.modules["advlab"]``."""
        key = self.constant(node.slice)
        if not isinstance(key, str):
            return []
        inner = node.value
        called = last_name(inner.func) if isinstance(inner, ast.Call) else ""
        if called in ("globals", "locals", "vars") and not inner.args:
            return self.meanings(ast.Name(key, ast.Load()), depth + 1)
        if last_name(inner) == "modules":
            return [self.forbids.module(key)]
        if called == "vars":
            inner = inner.args[0]
        elif not (isinstance(inner, ast.Attribute) and inner.attr == "__dict__"):
            return []
        return [attribute(base, key) for base in self.meanings(inner, depth + 1)]

    def result(self, node: ast.Call, depth: int) -> list[Any]:
        """``getattr(attacks, "FGSM")``, ``import_module("advlab.attacks")``."""
        name = last_name(node.func)
        given = [self.constant(arg) for arg in node.args]
        if name in ("getattr", "__getattribute__", "__getattr__") and given:
            inner = node.args[0] if len(given) > 1 else getattr(node.func, "value", None)
            key = given[1] if len(given) > 1 else given[0]
            if isinstance(key, str):
                return [attribute(base, key) for base in self.meanings(inner, depth + 1)]
        if name in ("import_module", "__import__") and given and isinstance(given[0], str):
            whole = name == "import_module" or len(node.args) > 3 or node.keywords
            return [self.forbids.module(given[0] if whole else given[0].partition(".")[0])]
        # What a forbidden class makes is as forbidden as the class.
        return [v for v in self.meanings(node.func, depth + 1) if self.forbids.named(v)]

    def constant(self, node: ast.expr, depth: int = 0) -> Any:
        """A string that is written out, perhaps in pieces; None where it is computed."""
        if depth > 20:
            return None
        self.forbids.spend()
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self.joined([node.left, node.right], depth)
        if isinstance(node, ast.JoinedStr):
            return self.joined(node.values, depth)
        if isinstance(node, ast.FormattedValue):
            return self.joined([node.value], depth)
        if isinstance(node, ast.Name):
            values = [v for v in self.find(node.id) if isinstance(v, ast.expr)]
            return self.constant(values[0], depth + 1) if len(values) == 1 else None
        return None

    def joined(self, pieces: list[ast.expr], depth: int) -> str | None:
        parts = [self.constant(part, depth + 1) for part in pieces]
        if not all(isinstance(part, str) for part in parts):
            return None
        self.forbids.spend(sum(map(len, parts)))  # twenty doublings of a long text fill a disk
        return "".join(parts)


def last_name(node: ast.expr) -> str:
    """``getattr`` of ``builtins.getattr``; empty where it is no name."""
    return getattr(node, "attr", getattr(node, "id", ""))


def attribute(value: Any, name: str) -> Any:
    """``value.name`` of a module or a class, as it stands there: no code runs to find it."""
    if isinstance(value, Absent):
        return Absent(f"{value}.{name}")
    if isinstance(value, ModuleType):
        # Not getattr: some modules import or build what they are asked for.
        found = vars(value).get(name)
        dotted = f"{value.__name__}.{name}"
        return found if found is not None else sys.modules.get(dotted, Absent(dotted))
    if isinstance(value, type):
        found = inspect.getattr_static(value, name, None)
        return found.__func__ if isinstance(found, staticmethod) else found
    return None
