"""The names that a piece of Python takes from outside, binds, and changes, without running it."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Collection, Iterator

_DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


_COMPREHENSIONS = ("listcomp", "setcomp", "dictcomp", "genexpr")


def loads(code: ast.stmt | ast.Module) -> set[str]:
    """The names that a top-level piece of code takes from its namespace, its functions' too.

    A local variable of the same name is none. Builtins are among them.
    """
    return at_once(code) | when_called(code)


def at_once(code: ast.stmt | ast.Module) -> set[str]:
    """Those that it takes when it runs."""
    nodes = [n.target for n in _outside_of_functions(code) if isinstance(n, ast.AugAssign)]
    added = {node.id for node in nodes if isinstance(node, ast.Name)}
    return added | set(_taken(_table(code), called=False))


def when_called(code: ast.stmt | ast.Module) -> set[str]:
    """Those that functions defined in it take when somebody calls them."""
    return set(_taken(_table(code), called=True))


def _table(code: ast.stmt | ast.Module) -> symtable.SymbolTable:
    body = code.body if isinstance(code, ast.Module) else [code]
    text = ast.unparse(ast.Module(body=list(body), type_ignores=[]))
    return symtable.symtable(text, "<names>", "exec")


def _taken(table: symtable.SymbolTable, called: bool, inside: bool = False) -> Iterator[str]:
    function = table.get_type() == "function" and table.get_name() not in _COMPREHENSIONS
    inside = inside or function
    if inside == called:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                yield symbol.get_name()
    for child in table.get_children():
        yield from _taken(child, called, inside)


def binds(code: ast.stmt | ast.Module) -> set[str]:
    """The names that it binds in its namespace: assignments, definitions, imports, loops, …"""
    found = set()
    for node in _outside_of_functions(code):
        if isinstance(node, _DEFINITION):
            found.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping):
            found.add(node.rest)
    for node in ast.walk(code):
        if isinstance(node, ast.Global):
            found.update(node.names)
    return found - {None}


def changes(code: ast.stmt | ast.Module, drawing: Collection[str] = ()) -> set[str]:
    """The names whose objects it may change in place.

    By an assignment to an attribute or an entry (``x.a = 1``, ``x[0] += 1``, ``del x[0]``), by an
    augmented assignment (``x += 1``), or by a call that stands alone: of the object's own method
    (``net.eval()``), or of a function that is given it (``fit(net, digits)``). Seeds are left out:
    the numbers that are drawn after one depend on all that was drawn, and on no object.

    :param drawing: modules whose functions only show what they are given, such as ``plt``.
    """
    found = set()
    for node in _outside_of_functions(code):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= _roots(node)
        elif isinstance(node, ast.AugAssign):
            found |= _roots(node.target)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found |= _touched(node.value, drawing)
    # A loop over parts of an object changes the object where it changes a part.
    for node in _outside_of_functions(code):
        if isinstance(node, ast.For | ast.AsyncFor) and found & _named(node.target):
            called = {n.func for n in ast.walk(node.iter) if isinstance(n, ast.Call)}
            found |= {n.id for n in ast.walk(node.iter) if isinstance(n, ast.Name)} - {
                n.id for n in called if isinstance(n, ast.Name)
            }
    return found


def is_seed(statement: ast.stmt) -> bool:
    """``torch.manual_seed(0)``, ``random.seed(0)``."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    func = call.func if isinstance(call, ast.Call) else None
    return isinstance(func, ast.Attribute) and func.attr in ("manual_seed", "seed")


def _touched(call: ast.Call, drawing: Collection[str]) -> set[str]:
    own = _roots(call.func)
    if is_seed(ast.Expr(call)) or own & {*drawing, "print", "display"}:
        return set()
    found = own if isinstance(call.func, ast.Attribute) else set()
    for given in (*call.args, *(keyword.value for keyword in call.keywords)):
        given = given.value if isinstance(given, ast.Starred) else given
        if not any(isinstance(node, ast.Call) for node in ast.walk(given)):
            found |= _roots(given)
    return found.difference(drawing)


def _roots(node: ast.expr) -> set[str]:
    """``net`` of ``net.layers[0].weight.data.copy_``: where the chain starts."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _named(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _outside_of_functions(code: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run when the code runs, and that share its scope."""
    waiting = [code]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _FUNCTION | ast.ClassDef):
            # Decorators and defaults run here; a walrus in them binds here.
            inner = [*getattr(node, "decorator_list", ()), *getattr(node, "bases", ())]
            if isinstance(node, _FUNCTION):
                inner += [d for d in (*node.args.defaults, *node.args.kw_defaults) if d]
            waiting += inner
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            # Its loop variables are its own; a walrus inside binds outside.
            waiting += [n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
        else:
            waiting += ast.iter_child_nodes(node)
