"""Which cells of a chapter must run so that the answers and their checks work.

Grading a chapter by running all of it would train its networks and draw its figures again for each
student. An answer needs little of that: what its names are bound to, and what these cells need.
Where it cannot be known what an answer needs, every cell runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..ipython import parse
from .bindings import at_once, binds, changes, is_seed, when_called

# With one of these an answer reaches any name without saying it.
_ANY_NAME = {"exec", "eval", "globals", "locals", "vars", "get_ipython", "__main__", "__import__"}
LONGEST = 20_000  # characters of an answer that is looked into
_SIMPLE = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def needed(
    cells: Sequence[str | None],
    answers: Mapping[int, Sequence[str]],
    always: Collection[int] = (),
) -> set[int]:
    """The positions of the cells that must run.

    Cells that only import, define functions and classes, or set seeds or name constants always
    run. Another one runs if it binds a name that an answer or a needed cell takes, or changes the
    object of one in place (``net.eval()``, ``table["a"] = 1``).

    :param cells: the sources of all code cells in order, None where an answer or a check stands.
    :param answers: for these positions, pieces of source that run there: the student's code, and
        the expressions that the check is given.
    :param always: cells that run whatever the answers take.
    :raises ValueError: a position that is not there, or a cell that is no Python.
    """
    if wrong := [at for at in (*answers, *always) if not 0 <= at < len(cells)]:
        raise ValueError(f"there are {len(cells)} cells, found the position {wrong[0]}")
    trees = [None if source is None else _tree(source) for source in cells]
    drawing = _drawing(filter(None, trees))
    facts = [_Facts() if tree is None else _Facts.of(tree, drawing) for tree in trees]
    for at, sources in answers.items():
        facts[at] = _Facts.of_answer(sources)
    own = {n for n, source in enumerate(cells) if source is not None}
    if any(facts[at].any_name for at in answers):
        return own
    search = _Search(facts)
    for at in answers:
        search.run(at)
    for at in own:
        if facts[at].simple or at in always:
            search.run(at)
    return search.found & own


def readable(source: str) -> str:
    """An answer as a cell for :func:`needed`; empty where what it binds is not to be found out."""
    try:
        _Facts.of(parse(source))
    except Exception:  # no Python, or nested too deeply: on an answer alone, no notebook may end
        return ""
    return source


@dataclass
class _Facts:
    """What a piece of code takes, binds and changes."""

    takes: set[str] = field(default_factory=set)
    takes_when_called: set[str] = field(default_factory=set)
    binds: set[str] = field(default_factory=set)
    surely: set[str] = field(default_factory=set)  # of these, bound whatever happens
    changes: set[str] = field(default_factory=set)
    simple: bool = False
    any_name: bool = False

    @classmethod
    def of(cls, tree: ast.Module, drawing: Collection[str] = ()) -> _Facts:
        found = cls(simple=all(map(_simple, tree.body)))
        found.takes = _flow(tree.body, found.surely)
        found.takes_when_called = when_called(tree)
        found.binds, found.changes = binds(tree), changes(tree, drawing)
        return found

    @classmethod
    def of_answer(cls, sources: Sequence[str]) -> _Facts:
        """Of a student's code, and in the same cell of nothing that the student can rely on."""
        total = cls(any_name=sum(map(len, sources)) > LONGEST)
        for source in () if total.any_name else sources:
            try:
                found = cls.of(parse(source))
                names = found.takes | found.takes_when_called | found.binds
            except Exception:  # as above: any word in it
                names = set(re.findall(r"[^\W\d]\w*", source))
                found = cls(takes=names)
            total.any_name |= bool(_ANY_NAME & names or "*" in found.binds)
            total.takes |= found.takes | found.takes_when_called
            total.takes_when_called |= found.takes_when_called
            total.binds |= found.binds
            total.surely |= found.surely
            total.changes |= found.changes
        return total


class _Search:
    """Follows names back to the cells that they come from."""

    def __init__(self, facts: list[_Facts]):
        self.facts, self.found, self.asked = facts, set(), set()
        self.waiting: list[tuple[str, int]] = []

    def run(self, at: int) -> None:
        """This piece runs: so must all that it needs."""
        if at not in self.found:
            self.found.add(at)
            self.waiting += [(name, at) for name in self.facts[at].takes]
        while self.waiting:
            self.ask(*self.waiting.pop())

    def ask(self, name: str, before: int) -> None:
        """Find what this name is when the piece at ``before`` runs."""
        if (name, before) in self.asked:
            return
        self.asked.add((name, before))
        for at in reversed(range(before)):
            facts = self.facts[at]
            if name in facts.binds or name in facts.changes:
                if at not in self.found:
                    self.found.add(at)
                    self.waiting += [(taken, at) for taken in facts.takes]
                # Its functions look their names up when they are called, which is here.
                self.waiting += [(taken, before) for taken in facts.takes_when_called]
            if name in facts.surely:
                return


def _flow(statements: list[ast.stmt], bound: set[str]) -> set[str]:
    """What the statements take from before them; ``bound`` grows by what they surely bind."""
    taken = set()
    for statement in statements:
        if isinstance(statement, ast.For | ast.AsyncFor):
            taken |= at_once(ast.Expr(statement.iter)) - bound
            inner = bound | _stored(statement.target)
            taken |= _flow(statement.body, inner) | _flow(statement.orelse, set(bound))
        elif isinstance(statement, ast.With | ast.AsyncWith):
            for item in statement.items:
                taken |= at_once(ast.Expr(item.context_expr)) - bound
                bound |= _stored(item.optional_vars) if item.optional_vars else set()
            taken |= _flow(statement.body, bound)
        elif isinstance(statement, ast.If | ast.While):
            taken |= at_once(ast.Expr(statement.test)) - bound
            branches = [set(bound), set(bound)]
            taken |= _flow(statement.body, branches[0]) | _flow(statement.orelse, branches[1])
            bound |= branches[0] & branches[1] if isinstance(statement, ast.If) else set()
        else:
            taken |= at_once(statement) - bound
            if not isinstance(statement, ast.Try | ast.Match | ast.AugAssign | ast.Delete):
                bound |= binds(statement)
    return taken


def _stored(target: ast.expr) -> set[str]:
    nodes = [n for n in ast.walk(target) if isinstance(n, ast.Name)]
    return {n.id for n in nodes if isinstance(n.ctx, ast.Store)}


def _drawing(trees: Iterable[ast.Module]) -> set[str]:
    """The names under which the chapter imports what only draws: matplotlib and ``advlab.viz``."""
    found = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None)
                for alias in node.names:
                    dotted = f"{module}.{alias.name}" if module else alias.name
                    if f"{dotted}.".startswith(("matplotlib.", "advlab.viz.")):
                        found.add(alias.asname or alias.name.partition(".")[0])
    return found


def _tree(source: str) -> ast.Module:
    try:
        return parse(source)
    except SyntaxError as error:
        raise ValueError(
            f"a code cell of the chapter is no Python: {error}: {source[:80]!r}"
        ) from error


def _simple(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return statement.value is None or _constant(statement.value)
    if isinstance(statement, ast.Expr):
        magic = _is_magic(statement.value) or is_seed(statement)
        return isinstance(statement.value, ast.Constant) or magic
    return isinstance(statement, _SIMPLE)


def _is_magic(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node).startswith("get_ipython().")


def _constant(node: ast.expr) -> bool:
    """Numbers, strings, and what is built of them: ``0.3``, ``8 / 255``, ``[0, 0.1]``."""
    if isinstance(node, ast.Dict):
        return None not in node.keys and all(map(_constant, (*node.keys, *node.values)))
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_constant, node.elts))
    if isinstance(node, ast.UnaryOp):
        return _constant(node.operand)
    if isinstance(node, ast.BinOp):
        return _constant(node.left) and _constant(node.right)
    return isinstance(node, ast.Constant)
