"""Which cells an answer needs: enough of them, and no more than it must be."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from advlab.course.grading.answers import Answers
from advlab.course.grading.marking import Marking
from advlab.course.grading.needs import LONGEST, needed
from advlab.course.ipython import parse
from advlab.course.notebooks import find_notebooks, read, tasks

BOOK = Path(__file__).parents[2] / "book"


@pytest.mark.parametrize("path", find_notebooks(BOOK), ids=lambda p: p.stem)
def test_with_the_cells_that_it_needs_a_solved_chapter_passes(path, capsys):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kinds = [{"exercise", "check"} & set(cell.metadata.get("tags", [])) for cell in code]
    cells = [None if kind else cell.source for cell, kind in zip(code, kinds, strict=True)]
    answers = {n: [cell.source] for n, cell in enumerate(code) if kinds[n]}
    found = needed(cells, answers)
    assert len(found) <= 6
    space = {"__name__": "__main__"}
    for n, cell in enumerate(code):
        if n in found or n in answers:
            exec(compile(parse(cell.source), f"cell {n + 1}", "exec"), space)
    assert capsys.readouterr().out.count(" passed: ") == len(tasks(notebook, path.name))


def cells_of(*sources: str, answer: str) -> set[int]:
    """Of these cells, those that an answer after all of them needs."""
    return needed([*sources, None], {len(sources): [answer]})


def test_names_are_followed_to_where_they_are_bound():
    cells = ("a = f(1)", "b = f(a)", "c = f(2)", "d = f(b)")
    assert cells_of(*cells, answer="def g(x): return b + x") == {0, 1}
    assert cells_of(*cells, answer="def g(b): return b") == set()
    assert cells_of(*cells, answer="def g(x): return d") == {0, 1, 3}
    assert cells_of("a = f(1)", "a = f(2)", answer="a") == {1}
    assert cells_of("a = f(1)", "a = g(a)", answer="a") == {0, 1}


@pytest.mark.parametrize(
    "second",
    [
        "a += f(1)",
        "if f(1):\n    a = 2",
        "for _ in f(1):\n    a = 2",
        "try:\n    a = f(1)\nexcept OSError:\n    pass",
        "a.b = f(1)",
        "a[0] = f(1)",
        "del a[0]",
        "a.eval()",
        "a.layers[0].reset(f(1))",
        "train(a)",
        "train(net=a)",
        "for p in a.parts():\n    p.zero_()",
    ],
)
def test_what_changes_a_name_runs_and_what_bound_it_before_too(second):
    assert cells_of("a = f(0)", second, "b = f(2)", answer="a") == {0, 1}


@pytest.mark.parametrize(
    "second",
    ["print(a)", "viz.show(a)", "plt.plot(a)\nplt.show()", "b = a.mean()", "f(a[0].abs())"],
)
def test_what_only_looks_at_a_name_does_not_run(second):
    setup = "import matplotlib.pyplot as plt\nfrom advlab import viz"
    assert cells_of(setup, "a = f(0)", second, answer="a") == {0, 1}


def test_imports_definitions_constants_and_seeds_always_run():
    simple = (
        "import torch\nfrom torch import nn",
        "def f(x): return x + later",
        "class A:\n    b = 1",
        "EPS = 8 / 255\nEPSILONS: list = [0, -0.1]\nNAMES = {'a': (1, 2)}",
        "torch.manual_seed(0)",
        "'a sentence'",
        "%matplotlib inline",
    )
    assert cells_of(*simple, "later = f(2)", answer="x = 1") == set(range(len(simple)))
    # What a function takes is needed where somebody calls the function.
    assert cells_of(*simple, "later = f(2)", answer="x = f") == set(range(len(simple) + 1))


def test_a_function_takes_its_names_where_it_is_called():
    cells = ["net = make()", "def f(x): return net(x)", "net = better()", None]
    assert needed(cells, {3: ["f(1)"]}) == {1, 2}
    assert needed([cells[0], cells[1], None, cells[2]], {2: ["f(1)"]}) == {0, 1}


def test_names_of_its_own_are_no_names_of_the_chapter():
    cells = ("x = f(1)", "y = f(2)")
    assert cells_of(*cells, answer="def g(x): return [y for y in x]") == set()
    assert cells_of(*cells, answer="x = 1\nprint(x)") == set()
    assert cells_of(*cells, answer="for x in range(3):\n    print(x)") == set()
    assert cells_of(*cells, answer="with open('a') as y:\n    y.read()") == set()
    assert cells_of(*cells, answer="def g():\n    global y\n    return y") == {1}


@pytest.mark.parametrize(
    "answer",
    [
        "from os.path import *",
        "exec('a')",
        "def f(): return eval('a')",
        "globals()['a']",
        "get_ipython().user_ns['a']",
        "%timeit a",
        "!ls",
        "import __main__",
    ],
)
def test_an_answer_that_may_reach_any_name_runs_every_cell(answer):
    assert cells_of("a = f(1)", "b = f(2)", answer=answer) == {0, 1}


def test_an_answer_that_does_not_parse_needs_the_names_that_it_shows():
    cells = ("a = f(1)", "b = f(2)", "c = f(3)")
    assert cells_of(*cells, answer="def g(x:\n    return a + # b") == {0, 1}
    assert cells_of(*cells, answer="b = = 'c'") == {1, 2}
    assert cells_of(*cells, answer="\0") == set()
    assert cells_of(*cells, answer="(" * 3000) == set()


@pytest.mark.parametrize(
    "answer",
    [
        "a" + " " * LONGEST,
        "x\n" * 100_000,
        "x = " + "-" * 150_000 + "1",
        "%a\n" * 501,
        "".join(f"b{n} = 1\n" for n in range(2_000)) + "if b: c\n" * 500,
    ],
)
def test_a_long_answer_takes_no_long_time(answer):
    cells = ("a = f(1)", "z = f(2)")
    start = time.process_time()
    found = cells_of(*cells, answer=answer)
    assert time.process_time() - start < 3
    assert found == ({0, 1} if len(answer) > LONGEST else {0} if "%a" in answer else set())


def test_cells_that_the_teacher_wants_run_with_what_they_need():
    cells = ["a = f(1)", "b = f(a)", "c = f(2)", None]
    assert needed(cells, {3: ["x = 1"]}, always=[1]) == {0, 1}


def test_answers_bind_names_too():
    cells = ["a = f(1)", None, "b = g(a)", None]
    assert needed(cells, {1: ["a = 2"], 3: ["b"]}) == {2}
    assert needed(cells, {1: ["a += 2"], 3: ["b"]}) == {0, 2}


def test_a_position_or_a_cell_that_is_none():
    with pytest.raises(ValueError, match="there are 1 cells, found the position 4"):
        needed(["a = 1"], {4: ["a"]})
    with pytest.raises(ValueError, match="is no Python"):
        needed(["a = = 1", None], {1: ["a"]})


ODD = {
    "no Python": "def f(x:",
    "a null": "\0",
    "minus signs": "x = " + "-" * 150_000 + "1",
    "magics": "%a\n" * 501,
    "no magic": "=%'''__",
    "an argument twice": "def f(a, a): return a",
    "nothing nonlocal": "nonlocal x",
    "a long sum": "x = " + "+".join(["1"] * 600),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_answer_that_is_no_python_does_not_end_the_grading_after_a_death(odd):
    """4.1 is judged; the kernel died in 4.2, which builds on 4.3."""
    ids = ("4.1", "4.3", "4.2")
    checks = [SimpleNamespace(exercise=SimpleNamespace(id=i), key=i, hidden=False) for i in ids]
    sources = {"4.1": (odd,), "4.3": ("def g(x): return x",), "4.2": ("def f(x): return g(x)",)}
    marking = Marking(SimpleNamespace(checks=checks), Answers(sources))
    marking.found = {"4.1": ("crashed", "", ""), "4.3": ("passed", "", "")}
    marking.suspects = {"4.2"}
    assert set(marking.given()) == {"4.2", "4.3"}
