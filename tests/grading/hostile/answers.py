"""Answers that are odd: no Python, too long, too deep, exceptions of every kind, magics."""

from __future__ import annotations

from .case import (
    ANY,
    CRASHED,
    GRADED,
    JUDGED,
    NOTHING,
    REFUSED,
    TIMED_OUT,
    Case,
    attack,
    called,
    right,
    solved,
)
from .chapter import cell_of, solutions

# Twenty names, each of which stands for the next one in a dozen ways.
MAZE = "a19 = len\n" + "".join(f"a{n} = a{n + 1}\n" * 12 for n in reversed(range(19))) + "a0([])\n"


def _ends(notebook, id: str) -> None:
    cell_of(notebook, id).source += "\nimport os\nos._exit(0)\n"


CASES = [
    attack(
        "syntax-error",
        "has a syntax error in 4.1",
        "def input_gradient(model, x, y:\n    pass",
        marks={"4.1": CRASHED},
        says="SyntaxError",
    ),
    attack(
        "null-bytes",
        "has characters in 4.1 that Python refuses",
        "def input_gradient(model, x, y):\n    return '\x00\ufeff\u2028'\n",
    ),
    attack(
        "half-characters",
        "has halves of characters in its code and in its exception",
        "def input_gradient(model, x, y):\n    raise RuntimeError('\\ud800' + '\ud800')\n",
        marks={"4.1": NOTHING},
    ),
    attack(
        "exception-of-every-character",
        "raises an exception with every control character",
        called("raise RuntimeError(''.join(map(chr, range(1, 160))) + '\\ufffe\\uffff\\ud800')"),
        marks={"4.1": JUDGED},
        says="RuntimeError",
    ),
    attack(
        "exception-that-raises",
        "raises an exception whose text raises another",
        "class Odd(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\n"
        + called("raise Odd()"),
        status=GRADED | TIMED_OUT,  # IPython may take its time to show it
        marks={"4.2": ANY, "1.4": ANY},
    ),
    attack(
        "exception-named-so",
        "raises an exception whose name is markup and a megabyte long",
        called("raise type('<b>' * 300_000, (Exception,), {})('x' * 1_000_000)"),
    ),
    attack(
        "exception-of-the-course",
        "raises what the released cell raises",
        called("raise NotImplementedError('exercise 1.1')"),
        marks={"4.1": NOTHING},
    ),
    attack(
        "cell-of-10-megabytes",
        "has a line of 10 MB in 4.1",
        f"text = '{'x' * 10_000_000}'\n" + solved(),
        says="characters",
    ),
    attack(
        "deep-expression",
        "has 10,000 parentheses in 4.1",
        "x = " + "(" * 10_000 + ")" * 10_000 + "\n" + solved(),
        says="",
    ),
    attack(
        "minus-signs",
        "has an expression nested so deep that parsers end with a crash",
        "x = " + "-" * 150_000 + "1\n" + solved(),
        marks={"4.1": ANY},
    ),
    Case(
        "maze-of-names",
        "binds names to names in so many ways that following them all takes years",
        answers={"4.2": MAZE + solutions()["4.2"]},
        marks={"4.2": REFUSED},
        says="too entangled",
    ),
    Case(
        "deep-line",
        "has one line so deep that no reading of the answer comes to its end",
        answers={
            "4.2": "_z = " + "+".join(["1"] * 600) + "\nfrom advlab.attacks import FGSM\n"
            "class Mine(FGSM):\n    perturb, __call__ = FGSM.perturb, FGSM.__call__\n"
            "def fgsm(model, x, y, eps):\n    return Mine(eps=eps)(model, x, y)\n"
        },
        marks={"4.2": REFUSED},
        says="too entangled",
    ),
    attack(
        "argument-twice",
        "has what parses and is no Python in 4.1, and ends the kernel in 4.2",
        "def input_gradient(model, x, x):\n    return x\n",
        change=lambda notebook: _ends(notebook, "4.2"),
        marks={"4.1": CRASHED, "4.2": CRASHED},
        says="SyntaxError",
    ),
    Case(
        "no-line-of-ipython-s",
        "has a line at which IPython's own reading of a cell ends with an IndexError",
        answers={"4.2": solutions()["4.2"] + "\n=%'''__\n"},
        marks={"4.2": NOTHING},
    ),
    right(
        "mark-of-byte-order",
        "answers right, with the mark before it that some editors write",
        "\ufeff",
    ),
    right(
        "hexadecimal-number",
        "answers right, with a number so long that Python refuses to write it in decimals",
        f"number = 0x{'f' * 50_000}",
    ),
    attack(
        "magic-bash",
        "has a shell script in 4.1",
        "%%bash\necho 4.1 passed; kill -9 $PPID\n",
        marks={"4.1": NOTHING},
    ),
    attack(
        "magic-javascript",
        "has a script for the teacher's browser in 4.1",
        "%%javascript\nalert(document.cookie)\n",
        marks={"4.1": NOTHING},
    ),
    attack(
        "magic-line",
        "runs shell commands, files and extensions by magic",
        "!echo passed > ~/passed.py\n%run ~/passed.py\n%load_ext autoreload\n%reset -f\n"
        + called("pass"),
        marks={"4.1": NOTHING, "4.2": ANY},
    ),
]
