"""Answers that bring a reader down: nested deeply, no Python to IPython either, lazy modules."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import ModuleType

import pytest
import torch

from advlab.course.exercise import find
from advlab.course.forbidding import ENTANGLED, called
from advlab.course.ipython import Entangled, parse

FGSM = ("advlab.attacks.FGSM",)
SETUP = "import torch\nfrom advlab import attacks\n"
KEPT = """
from advlab.attacks import FGSM
class Mine(FGSM):
    perturb, __call__ = FGSM.perturb, FGSM.__call__
def fgsm(model, x, y, eps):
    return Mine(eps=eps)(model, x, y)
"""
DEEP = {
    "a sum": "_z = " + "+".join(["1"] * 600) + "\n",
    "calls of calls": "_z = f" + "()" * 600 + "\n",
    "minus signs": "_z = " + "-" * 150_000 + "1\n",
    "a text": f"eval('{'-' * 150_000}1')\n",
    "a lambda of lambdas": "_z = " + "lambda: " * 600 + "1\n",
}


@pytest.mark.parametrize("deep", DEEP.values(), ids=DEEP)
def test_one_deep_line_does_not_switch_the_reading_off(deep):
    assert called(deep + KEPT, FGSM, context=[SETUP]) == ENTANGLED
    right = "def fgsm(m, x, y, eps): return x.sign()"
    assert called(right, FGSM, context=[SETUP, deep]) is None
    assert called(KEPT, FGSM, context=[SETUP, deep]) == FGSM[0]


@pytest.mark.parametrize("odd", ["=", "def f(", "%%bash\nls", "\0", "x = %%time"])
def test_a_cell_that_is_no_python_does_not_switch_the_reading_of_the_others_off(odd):
    assert called([odd, KEPT], FGSM, context=[SETUP]) == FGSM[0]
    assert called([KEPT, odd], FGSM, context=[SETUP]) == FGSM[0]
    helper = "def helper(m, x): return attacks.FGSM()(m, x)"
    assert called([odd, helper, "f = helper"], FGSM, context=[SETUP]) == FGSM[0]
    assert called([odd, "def f(m, x): return x"], FGSM, context=[SETUP]) is None


@pytest.mark.parametrize(
    "line", ["=%'''__", "x = 1\n=%'''__\n", "?'''", "%%", "!'''\n%", "x = 0xz\n%a", "\\\n%a\\"]
)
def test_a_line_that_is_neither_python_nor_ipython_s_is_a_syntax_error(line):
    with suppress(SyntaxError):
        parse(line)
    assert called(line, FGSM, context=[SETUP, line]) is None


@pytest.mark.parametrize(
    "long",
    [
        "a" * 90_000 + " - ?",
        "x = (\n" + "a" * 90_000 + "\n - ?",
        "a.b" * 30_000 + " - ?",
        "%%a?\n" + "%a\n" * 40_000,
        "\u2003%%a\n" + "%a\n" * 40_000,
    ],
    ids=["a name", "a name before", "attributes", "help on a magic", "an odd space"],
)
def test_what_ipython_would_read_for_minutes_is_not_read(long):
    start = time.process_time()
    with pytest.raises(Entangled):
        parse(long)
    assert called(long, FGSM, context=[SETUP, long]) == ENTANGLED
    assert time.process_time() - start < 2


def test_ipython_s_own_errors_are_syntax_errors():
    with pytest.raises(SyntaxError, match="IPython cannot read it: IndexError"):
        parse("=%'''__")
    with pytest.raises(Entangled):
        parse("%a\n" * 501)


class Trap(ModuleType):
    """A module that must not be asked for more than what it holds."""

    def __getattr__(self, name):
        # What the import system itself looks for is not there.
        raise AttributeError(name) if name.startswith("__") else RuntimeError(f"asked for {name}")

    def __dir__(self):
        raise RuntimeError("asked for all")


class Meta(type):
    def __getattr__(cls, name):
        raise RuntimeError(f"asked for {name}")


class Holder(metaclass=Meta):
    @property
    def __doc__(self):
        raise RuntimeError("asked for its text")

    class Descriptor:
        def __get__(self, *_):
            raise RuntimeError("asked for a descriptor")

    computed = Descriptor()

    @staticmethod
    def inner():
        """Is followed."""


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("import trap\ntrap.other.more()", None),
        ("from trap import other\nother()", None),
        ("from trap import *\nother()", None),
        ("import trap\ngetattr(trap, 'ot' + 'her')()", None),
        ("import trap\ntrap.Holder.other()", None),
        ("import trap\ntrap.Holder.computed()", None),
        ("from trap import *\nthing()", "trap.thing"),
        ("import trap\ntrap.thing()", "trap.thing"),
        ("import trap\ntrap.Holder.inner()", "trap.Holder.inner"),
    ],
)
def test_no_code_runs_on_an_answer_s_word(answer, found, monkeypatch):
    trap = Trap("trap")
    trap.Holder, trap.thing = Holder, lambda: None
    monkeypatch.setitem(sys.modules, "trap", trap)
    assert called(answer, ("trap.thing", "trap.Holder.inner")) == found


def test_lazy_modules_of_torch_are_not_loaded():
    assert called("def f(z): return torch.classes.foo.bar", find("3.1").forbids, [SETUP]) is None
    assert "foo" not in vars(torch.classes)
