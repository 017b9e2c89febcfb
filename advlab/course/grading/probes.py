"""The probe half of an exercise as source that stands alone: all that enters the kernel.

The kernel that a student's code runs in knows no verdict, no reference and no exercise. A probe
arrives there as text: the function, and of its file only what the function reaches. What it
reaches in other files of exercises comes along, in a namespace of its own, so that two functions
of one name stay two. What the package has is imported.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType

from .bindings import binds, changes, loads

COURSE = "advlab.course"
EXERCISES = f"{COURSE}.exercises"
OFFERED = ("watch",)  # what a probe may take from advlab.course in the kernel


def probe_source(function: Callable) -> str:
    """The source of a module that binds ``probe``, and holds nothing that the probe does not reach.

    Docstrings, comments and annotations are left out.

    :param function: a function at the top level of a file, undecorated.
    :raises ValueError: it is another kind of object, its source is not to be had, or it reaches
        what judges (:func:`~advlab.course.fail`, a verdict, …), which must not enter the kernel.
    """
    _refuse_other_than_a_plain_function(function)
    return _probe_source(function)


@functools.cache
def _probe_source(function: FunctionType) -> str:
    where = f"the probe {function.__name__}"
    file = inspect.getsourcefile(function)
    if file is None or not Path(file).is_file():
        raise ValueError(f"{where}: its source is not in a file, expected a function of a module")
    slicer = _Slicer(where)
    module = slicer.module(Path(file), function.__globals__.get("__package__") or "")
    statement = module.binders.get(function.__name__, [None])[-1]
    first = min(
        (node.lineno for node in (statement, *getattr(statement, "decorator_list", ())) if node),
        default=0,
    )
    if not isinstance(statement, ast.FunctionDef) or first != function.__code__.co_firstlineno:
        raise ValueError(f"{where}: found no such function at the top level of {Path(file).name}")
    slicer.need(module, function.__name__)
    body = [*slicer.others(module), *slicer.sliced(module)]
    body += ast.parse(f"probe = {function.__name__}").body
    return ast.unparse(ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))) + "\n"


def _refuse_other_than_a_plain_function(function: object) -> None:
    if not isinstance(function, FunctionType):
        raise ValueError(f"a probe is a function, found {type(function).__name__}: {function!r}")
    name = function.__qualname__
    if function.__name__ == "<lambda>":
        raise ValueError(f"the probe {name} is a lambda; write it as a function with def")
    if hasattr(function, "__wrapped__"):
        raise ValueError(f"the probe {name} is wrapped by a decorator; take the decorator away")
    if "." in name:
        raise ValueError(f"the probe {name} is nested; write it at the top level of its file")


@dataclass(eq=False)
class _Module:
    """A file, its top-level statements, and those that are needed."""

    name: str  # of the namespace that it gets where another file reaches it
    package: str
    statements: list[ast.stmt]
    binders: dict[str, list[ast.stmt]] = field(default_factory=dict)
    changers: dict[str, list[ast.stmt]] = field(default_factory=dict)
    needed: set[int] = field(default_factory=set)  # positions of statements
    imported: dict[str, str] = field(default_factory=dict)  # lines of imports that are needed
    aliases: dict[str, str] = field(default_factory=dict)  # name: where it comes from

    def __post_init__(self):
        for statement in self.statements:
            for name in binds(statement):
                self.binders.setdefault(name, []).append(statement)
            for name in changes(statement):
                self.changers.setdefault(name, []).append(statement)


class _Slicer:
    """Collects what is reached, file by file."""

    def __init__(self, where: str):
        self.where = where
        self.files: dict[Path, _Module] = {}

    def module(self, file: Path, package: str) -> _Module:
        file = file.resolve()
        if file not in self.files:
            tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
            statements = [_Bare(package).visit(statement) for statement in tree.body]
            self.files[file] = _Module(f"_{file.stem}", package, statements)
        return self.files[file]

    def need(self, module: _Module, name: str) -> None:
        """Take along what binds the name in this file, and all that this reaches."""
        for statement in (*module.binders.get(name, ()), *module.changers.get(name, ())):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.need_import(module, statement, name)
            elif (at := module.statements.index(statement)) not in module.needed:
                module.needed.add(at)
                self.need_all(module, statement)

    def need_all(self, module: _Module, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):  # inside of a function
                self.refuse_what_judges(node, inside=True)
        for name in sorted(loads(statement)):
            if name in self.siblings(module):
                self.need_attributes(module, statement, name)
            elif name in module.binders:
                self.need(module, name)
            elif "*" in module.binders and not hasattr(builtins, name):
                raise ValueError(
                    f"{self.where} takes {name} from an import of everything (*); import it by name"
                )

    def need_import(self, module: _Module, statement: ast.stmt, name: str) -> None:
        alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name)
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            return
        self.refuse_what_judges(ast_import(statement, alias), name=name)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(EXERCISES):
            other = self.sibling(statement.module)
            module.aliases[name] = f"{other.name}.{alias.name}"
            self.need(other, self.known(other, alias.name))
        else:
            module.imported[name] = ast.unparse(ast_import(statement, alias))

    def need_attributes(self, module: _Module, statement: ast.stmt, name: str) -> None:
        """``chapter05.problem(seed)``: of that file, take ``problem`` along."""
        other = self.sibling(self.siblings(module)[name])
        module.aliases[name] = other.name
        nodes = [n for n in ast.walk(statement) if isinstance(n, ast.Attribute)]
        used = [n for n in nodes if isinstance(n.value, ast.Name) and n.value.id == name]
        count = sum(isinstance(n, ast.Name) and n.id == name for n in ast.walk(statement))
        if count != len(used):
            raise ValueError(f"{self.where} uses {name} as a whole; take single names from it")
        for node in used:
            self.need(other, self.known(other, node.attr))

    def known(self, other: _Module, name: str) -> str:
        if name not in other.binders:
            raise ValueError(f"{self.where} reaches {other.name[1:]}.{name}, which is not there")
        return name

    def siblings(self, module: _Module) -> dict[str, str]:
        """Other files of exercises that are imported whole: ``from . import chapter05``."""
        found = {}
        for statement in module.statements:
            if isinstance(statement, ast.ImportFrom) and statement.module == EXERCISES:
                for alias in statement.names:
                    found[alias.asname or alias.name] = f"{EXERCISES}.{alias.name}"
        return found

    def sibling(self, dotted: str) -> _Module:
        spec = importlib.util.find_spec(dotted)
        if spec is None or spec.origin is None:
            raise ValueError(f"{self.where} imports {dotted}, and there is no such module")
        return self.module(Path(spec.origin), dotted.rpartition(".")[0])

    def refuse_what_judges(self, statement: ast.stmt, name: str = "", inside: bool = False) -> None:
        """:raises ValueError: an import of what must not be in the kernel."""
        for alias in statement.names:
            exercises = False
            if isinstance(statement, ast.Import):
                refused = f"{alias.name}.".startswith(f"{COURSE}.")
            else:
                source = f"{statement.module}."
                offered = statement.module in (COURSE, f"{COURSE}.probing")
                offered = offered and alias.name in OFFERED
                exercises = source.startswith(f"{EXERCISES}.")
                taken = offered or (exercises and not inside)  # only there it can be followed
                refused = source.startswith(f"{COURSE}.") and not taken
                refused |= statement.module == "advlab" and alias.name == "course"
            if refused and inside and exercises:
                raise ValueError(
                    f"{self.where} imports {alias.name} inside a function "
                    f"({ast.unparse(statement)}); import it at the top of the file"
                )
            if refused:
                raise ValueError(
                    f"{self.where} reaches {name or alias.name} ({ast.unparse(statement)}), which "
                    "is for verdicts and stays out of the kernel; a probe only brings results back"
                )

    def sliced(self, module: _Module) -> list[ast.stmt]:
        """What is needed of a file, in its order."""
        _refuse_forbidden_names(self.where, module)
        lines = [*module.imported.values()]
        lines += [f"{name} = {source}" for name, source in module.aliases.items()]
        statements = [module.statements[at] for at in sorted(module.needed)]
        return [*ast.parse("\n".join(lines)).body, *statements]

    def others(self, main: _Module) -> list[ast.stmt]:
        """Each other file that is reached, as a namespace, those that others need first."""
        waiting = [m for m in self.files.values() if m is not main]
        done, found = set(), []
        while waiting:
            ready = [m for m in waiting if _reached(m) <= done]
            if not ready:
                raise ValueError(f"{self.where}: these files import each other in a circle")
            for module in ready:
                found += _namespace(module.name, self.sliced(module))
                done.add(module.name)
            waiting = [m for m in waiting if m not in ready]
        return ast.parse("from types import SimpleNamespace").body + found if found else []


def _reached(module: _Module) -> set[str]:
    return {source.partition(".")[0] for source in module.aliases.values()}


def _namespace(name: str, body: list[ast.stmt]) -> list[ast.stmt]:
    """A file's functions in a scope of their own."""
    build, bound = ast.parse(
        f"def {name}_file():\n    return SimpleNamespace(**locals())\n{name} = {name}_file()"
    ).body
    build.body = [*body, *build.body]
    return [build, bound]


def ast_import(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    """The import of this one name."""
    if isinstance(statement, ast.Import):
        return ast.Import(names=[alias])
    return ast.ImportFrom(module=statement.module, names=[alias], level=0)


def _refuse_forbidden_names(where: str, module: _Module) -> None:
    for at in module.needed:
        for name in binds(module.statements[at]):
            if name == "EXERCISES" or name.startswith("verdict"):
                raise ValueError(f"{where} reaches {name}, which stays out of the kernel")
        if any(isinstance(n, ast.Global) for n in ast.walk(module.statements[at])):
            raise ValueError(f"{where} reaches a global statement; return the value in its place")


class _Bare(ast.NodeTransformer):
    """Without docstrings and annotations, and with absolute imports."""

    def __init__(self, package: str):
        self.package = package

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns, node.body = None, _without_docstring(node.body)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        fields = {id(n): n.annotation for n in node.body if isinstance(n, ast.AnnAssign)}
        for field_ in node.body:  # a dataclass counts its fields by their annotations
            if id(field_) in fields:
                text = ast.unparse(field_.annotation)
                field_.annotation = ast.Constant(text)
        node.body = [n if id(n) in fields else self.visit(n) for n in node.body]
        node.body = _without_docstring(node.body)
        return node

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_ImportFrom(self, node):
        if node.level:
            dotted = "." * node.level + (node.module or "")
            node.module, node.level = importlib.util.resolve_name(dotted, self.package), 0
        return node


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    stands_alone = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if stands_alone and isinstance(first.value.value, str):
        return body[1:] or [ast.copy_location(ast.Pass(), first)]
    return body
