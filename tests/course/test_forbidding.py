"""What an answer may not call: by reading its source, and while it is called."""

from __future__ import annotations

import importlib
import linecache
import runpy
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from advlab import attacks, evaluation
from advlab.course import CheckFailed, check, judge, probe
from advlab.course.exercise import Exercise, all_exercises, chapters, find
from advlab.course.forbidding import ENTANGLED, called, called_by, refusal
from advlab.course.guarding import Forbidden, guard, locate
from advlab.course.notebooks import find_notebooks, read, tasks

BOOK = Path(__file__).parents[2] / "book"
FGSM = ("advlab.attacks.FGSM",)
SOFTMAX = find("3.1").forbids
SETUP = "import torch\nimport torch.nn.functional as F\nfrom advlab import attacks\nimport advlab\n"

REFUSED = {
    "plainly": "def fgsm(m, x, y, eps):\n    return attacks.FGSM(eps=eps)(m, x, y)",
    "whole name": "def fgsm(m, x, y, eps):\n    return advlab.attacks.fgsm.FGSM(eps=eps)(m, x, y)",
    "its own module": "from advlab.attacks.fgsm import FGSM\nf = FGSM(eps=0.1)",
    "another name": "from advlab.attacks import FGSM as a\ndef f(m, x): return a()(m, x)",
    "a module's alias": "import advlab.attacks as a\ndef f(m, x): return a.FGSM(eps=1)(m, x)",
    "an assigned alias": "tools = attacks\na = tools.FGSM\ndef f(m, x): return a()(m, x)",
    "inside the function": "def f(m, x):\n    from advlab.attacks import FGSM as G\n    G()",
    "getattr": "def f(m, x): return getattr(attacks, 'FGSM')()(m, x)",
    "getattr of pieces": "def f(m, x): return getattr(attacks, 'FG' + 'SM')()(m, x)",
    "getattr of a named text": "n = f'{\"FG\"}SM'\ndef f(x): return getattr(attacks, n)()",
    "import_module": "import importlib\n"
    "def f(m, x): return importlib.import_module('advlab.attacks').FGSM()(m, x)",
    "__import__": "def f(m, x): return __import__('advlab').attacks.FGSM()(m, x)",
    "eval": "def f(m, x): return eval('attacks.FGSM(eps=0.1)')(m, x)",
    "exec": "exec('from advlab.attacks import FGSM as G')\ndef f(m, x): return G()(m, x)",
    "__dict__": "def f(m, x): return attacks.__dict__['FGSM']()(m, x)",
    "vars": "def f(m, x): return vars(attacks)['FGSM']()(m, x)",
    "globals": "from advlab.attacks import FGSM\ndef f(m, x): return globals()['FGSM']()(m, x)",
    "sys.modules": "import sys\ndef f(m, x): return sys.modules['advlab.attacks'].FGSM()(m, x)",
    "a default": "def f(m, x, attack=attacks.FGSM): return attack()(m, x)",
    "a default module": "def f(m, x, a=attacks): return a.FGSM()(m, x)",
    "a helper": "def help_me(m, x): return attacks.FGSM()(m, x)\ndef f(m, x): return help_me(m, x)",
    "a subclass": "class Mine(attacks.FGSM): pass\ndef f(m, x): return Mine()(m, x)",
    "partial": "from functools import partial\nf = partial(attacks.FGSM, eps=0.1)",
    "a lambda": "f = lambda m, x: attacks.FGSM()(m, x)",
    "everything imported": "from advlab.attacks import *\ndef f(m, x): return FGSM()(m, x)",
    "two at once": "a, b = attacks, torch\ndef f(m, x): return a.FGSM()(m, x)",
    "either": "def f(m, x): return (attacks.FGSM if m else attacks.PGD)()(m, x)",
    "a magic line": "%time attacks.FGSM(eps=0.1)",
    "a magic cell": "%%time\nf = attacks.FGSM(eps=0.1)",
    "beside a magic line": "%matplotlib inline\nf = attacks.FGSM(eps=0.1)",
}

INNOCENT = {
    "a comment": "# attacks.FGSM does this in one line\ndef f(x): return x",
    "a docstring": 'def f(x):\n    """As advlab.attacks.FGSM, eval("FGSM()")."""\n    return x',
    "a text": "def f(x):\n    print('attacks.FGSM')\n    return x",
    "its own class": "class FGSM:\n    pass\ndef f(x): return FGSM()",
    "its own function": "def FGSM(x): return x.sign()\ndef f(x): return FGSM(x)",
    "its own module": "class attacks:\n    FGSM = None\ndef f(x): return attacks.FGSM",
    "a parameter": "def f(x, attacks): return attacks.FGSM(x)",
    "another attack": "def f(m, x, y): return attacks.PGD(eps=0.1)(m, x, y)",
    "an unused import": "from advlab.attacks import FGSM\ndef f(x): return x",
    "an annotation": "def f(x, attack: attacks.FGSM = None) -> attacks.FGSM: return x",
    "a loop's name": "def f(many): return [FGSM for FGSM in many]",
    "a local": "def f(x):\n    FGSM = x.sign\n    return FGSM()",
    "broken": "def f(x: return attacks.FGSM",
    "too deep": "(" * 5000 + ")" * 5000,
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
def test_however_it_is_called_it_is_found(answer):
    assert called(answer, FGSM, context=[SETUP]) == "advlab.attacks.FGSM"


@pytest.mark.parametrize("answer", INNOCENT.values(), ids=INNOCENT)
def test_an_answer_that_does_not_call_it_is_left_alone(answer):
    assert called(answer, FGSM, context=[SETUP]) is None


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("def f(m, x, y): return attacks.AdaptiveFGSM(eps=0.1)(m, x, y)", "advlab.attacks.FGSM"),
        ("mine = attacks.AdaptiveBIM\nf = mine(eps=0.1, alpha=1, steps=1)", "advlab.attacks.BIM"),
        (
            "from advlab.defenses.inner import ascend as a\ndef f(m, x): return a(m, x, steps=1)",
            "advlab.defenses.inner.ascend",
        ),
        (
            "import advlab.defenses\ndef f(m): return advlab.defenses.inner.ascend(m)",
            "advlab.defenses.inner.ascend",
        ),
    ],
)
@pytest.mark.parametrize("id", ["4.2", "4.3"])
def test_the_same_step_under_another_name(answer, name, id):
    assert called(answer, find(id).forbids, context=[SETUP]) == name


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("5.2", "def f(m, x): return attacks.AdaptivePGD(eps=0.1)(m, x)"),
        ("5.3", "from advlab.attacks.best import Best\ndef f(m, x): return Best(x)"),
        ("6.2", "from advlab import goals\ndef f(z, y): return goals.Targeted().margin(z, y)"),
        ("13.2", "f = attacks.MIFGSM(eps=0.1, mu=0)"),
    ],
)
def test_other_ways_that_the_package_has(id, answer):
    assert called(answer, find(id).forbids, context=[SETUP])


MAZE = "a19 = len\n" + "".join(f"a{n} = a{n + 1}\n" * 12 for n in range(19)) + "a0([])\n"
TANGLED = {
    "a maze of names": MAZE,
    "names for each other": "a = b\nb = a\n" * 15_000 + "a()\n" * 5_000,
    "text that is read again": f"n = '{'x,' * 50_000}'\n" + "eval(n)\n" * 10_000,
    "text that doubles": f"a0 = '{'x' * 99_000}'\n"
    + "".join(f"a{n + 1} = a{n} + a{n}\n" for n in range(9))
    + "eval(a9)\n",
    "calls of calls": ("x" + ".a()" * 80 + "\n") * 600,
    "magics": "%a\n" * 501,
    "many magics": "%a\n" * 60_000,
}


@pytest.mark.parametrize("answer", TANGLED.values(), ids=TANGLED)
def test_what_is_too_entangled_is_refused_in_a_reasonable_time(answer):
    start = time.process_time()
    assert called(answer, find("4.2").forbids, context=[SETUP]) == ENTANGLED
    assert time.process_time() - start < 5
    message, hint = refusal("4.2", "FGSM", ENTANGLED)
    assert message == "the answer to 4.2 cannot be read: too entangled"
    assert hint


LONG = {
    "statements": "a\n" * 60_000,
    "minus signs": "x = " + "-" * 150_000 + "1",
    "an expression named often": "x = [" + "a," * 45_000 + "1]\n" + "x\n" * 20_000,
    "a magic cell": "%%time\n" + "a = b % 2\n" * 9_000,
}


@pytest.mark.parametrize("answer", LONG.values(), ids=LONG)
def test_what_is_long_is_read_in_a_reasonable_time(answer):
    start = time.process_time()
    called(answer, find("4.2").forbids, context=[SETUP, answer])
    assert time.process_time() - start < 8


def test_an_entangled_answer_costs_no_other():
    right = "def f(m, x): return x.sign()"
    assert called(right, FGSM, context=[SETUP, *TANGLED.values(), *LONG.values()]) is None
    wrong = "def f(m, x): return attacks.FGSM()(m, x)"
    assert called(wrong, FGSM, context=[SETUP, *TANGLED.values()]) == FGSM[0]


def test_an_earlier_cell_counts():
    earlier = "def helper(m, x): return attacks.FGSM()(m, x)\nready = attacks.FGSM(eps=0.1)"
    for answer in ("def f(m, x): return helper(m, x)", "def f(m, x): return ready(m, x)"):
        assert called(answer, FGSM, context=[SETUP, earlier]) == FGSM[0]
        assert called(answer, FGSM, context=[SETUP]) is None
    mine = "def helper(m, x): return x\nready = helper\ndef f(m, x): return ready(m, helper)"
    assert called(mine, FGSM, context=[SETUP, earlier]) is None


@pytest.mark.parametrize(
    "answer",
    [
        "def softmax(z): return torch.softmax(z, 1)",
        "def softmax(z): return F.softmax(z, dim=1)",
        "def softmax(z): return z.softmax(1)",
        "def softmax(z): return z.log_softmax(1).exp()",
        "def softmax(z): return torch.nn.Softmax(1)(z)",
        "from torch import softmax as s\ndef softmax(z): return s(z, 1)",
        "def softmax(z): return torch.Tensor.softmax(z, 1)",
    ],
)
def test_the_softmax_of_torch_is_none_of_the_student_s(answer):
    assert called(answer, SOFTMAX, context=[SETUP])
    for harmless in ("def softmax(z): return z.exp() / z.exp().sum(1, True)", "softmax = 3"):
        assert called(harmless, SOFTMAX, context=[SETUP]) is None


def test_a_name_that_is_not_installed_is_followed_all_the_same():
    wanted = ("nowhere.metrics.score",)
    assert called("from nowhere.metrics import score as s\nx = s(1)", wanted) == wanted[0]
    assert called("import nowhere\nx = nowhere.metrics.score(1)", wanted) == wanted[0]
    assert called("import nowhere\nx = nowhere.metrics.other(1)", wanted) is None


def test_nothing_is_imported_on_an_answer_s_word(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert called("import trap\ntrap.FGSM()", (*FGSM, "trap2.FGSM")) is None
    assert called("import advlab.attacks.trap\nadvlab.attacks.trap.FGSM()", FGSM) is None


def test_functions_that_call_each_other():
    space = {"attacks": attacks}
    code = "def g(x): return h(x)\ndef h(x): return g(x) if x else attacks.FGSM()\n"
    linecache.cache["<cells>"] = (len(code), None, code.splitlines(True), "<cells>")
    exec(compile(code, "<cells>", "exec"), space)
    assert called_by(space["g"], FGSM) == FGSM[0]
    assert called_by(space["g"], ("advlab.attacks.PGD",)) is None
    assert called_by(len, FGSM) is None


# While it is called ------------------------------------------------------------------------------


def sly(model, x, y):
    return getattr(attacks, bytes([70, 71, 83, 77]).decode())(eps=0.1)(model, x, y)


def test_the_guard_catches_what_no_reading_finds_and_puts_all_back():
    model, x, y, _ = _batch()
    before = sly(model, x, y)
    own = dict(vars(attacks.FGSM))
    with guard(FGSM):
        with pytest.raises(Forbidden, match=r"advlab\.attacks\.FGSM"):
            sly(model, x, y)
        assert attacks.PGD(eps=0.1, steps=1)(model, x, y).shape == x.shape
    assert dict(vars(attacks.FGSM)) == own
    assert torch.equal(sly(model, x, y), before)


def test_the_guard_reaches_every_name_of_a_function():
    held, code = evaluation.fooling_rate, evaluation.fooling_rate.__code__
    model, x, _, v = _batch()
    with guard(("advlab.evaluation.fooling_rate",)):
        for function in (held, evaluation.fooling.fooling_rate, evaluation.fooling_rate):
            with pytest.raises(Forbidden):
                function(model, x, v)
    assert held.__code__ is code
    assert 0 <= held(model, x, v) <= 1


def test_the_guard_holds_torch_s_functions_and_methods():
    z = torch.eye(3)
    before = torch.softmax, "softmax" in vars(torch.Tensor)
    with guard(SOFTMAX):
        for call in (
            lambda: torch.softmax(z, 1),
            lambda: F.softmax(z, 1),
            lambda: z.softmax(1),
            lambda: getattr(z, "soft" + "max")(1),
            lambda: torch.nn.Softmax(1)(z),
        ):
            with pytest.raises(Forbidden):
                call()
    assert before == (torch.softmax, "softmax" in vars(torch.Tensor))
    assert torch.softmax(z, 1).equal(z.softmax(1))


def test_the_guard_puts_all_back_after_an_exception():
    own = dict(vars(attacks.FGSM))
    with pytest.raises(KeyError), guard((*FGSM, "nowhere.at.all", *SOFTMAX)):
        raise KeyError("of the answer")
    assert dict(vars(attacks.FGSM)) == own
    assert torch.eye(2).softmax(1).shape == (2, 2)


def test_a_guarded_record_is_judged_in_the_refusal_s_words():
    exercise = find("4.2")

    def fgsm(model, x, y, eps):
        return getattr(attacks, "".join(["FG", "SM"]))(eps=eps)(model, x, y)

    with guard(exercise.forbids):
        record = probe(exercise, (fgsm,), 3)
    verdict = judge(exercise, record, 3)
    message, hint = refusal("4.2", exercise.title, "advlab.attacks.FGSM")
    assert not verdict.passed
    assert (verdict.message, verdict.hint) == (message, hint)
    assert "asks you to write this yourself: the answer calls advlab.attacks.FGSM" in message


def test_the_notebook_s_check_refuses_it():
    def fgsm(model, x, y, eps):
        return attacks.FGSM(eps=eps)(model, x, y)

    with pytest.raises(CheckFailed, match=r"yourself: the answer calls advlab\.attacks\.FGSM"):
        check("4.2", fgsm)

    def sneaky(model, x, y, eps):
        return getattr(attacks, "".join(["FG", "SM"]))(eps=eps)(model, x, y)

    with pytest.raises(CheckFailed, match=r"yourself: the answer calls advlab\.attacks\.FGSM"):
        check("4.2", sneaky)


# The course's own ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda e: e.id)
def test_each_forbidden_name_is_there(exercise):
    for dotted in exercise.forbids:
        if dotted.startswith(("advlab.", "torch.")):
            assert locate(dotted) is not None, dotted


@pytest.mark.parametrize("path", find_notebooks(BOOK), ids=lambda p: p.stem)
def test_no_solution_is_refused(path):
    notebook = read(path)
    setup, before = [], []
    for cell in notebook.cells:
        if cell.cell_type == "code" and not {"exercise", "check"} & set(
            cell.metadata.get("tags", [])
        ):
            setup.append(cell.source)
    for task in tasks(notebook, path.name):
        before.append(task.answer.source)
        forbids = find(task.id).forbids
        assert called(task.answer.source, forbids, context=setup + before[:-1]) is None, task.id


@pytest.mark.parametrize("chapter", chapters())
def test_no_right_answer_is_refused(chapter):
    path = Path(__file__).parent / "wrong_answers" / f"{chapter}.py"
    space = runpy.run_path(str(path))
    for id, answers in space.get("RIGHT", {}).items():
        for title, code in answers:
            context = [SETUP + space.get("PRELUDE", "")]
            assert called(code, find(id).forbids, context=context) is None, f"{id}: {title}"


def test_most_exercises_of_the_package_s_own_forbid_it():
    assert len([e for e in all_exercises() if e.forbids]) >= 55


def test_forbids_are_dotted_names():
    known = find("4.2")
    for wrong in ("advlab.attacks.FGSM", ("FGSM",), (3,)):
        with pytest.raises(ValueError, match="expected dotted names"):
            Exercise("4.2", "x", known.probe, known.verdict, forbids=wrong)


def test_the_guarding_half_needs_no_more_than_python():
    module = importlib.import_module("advlab.course.guarding")
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert "from ." not in source
    assert "import torch" not in source


def _batch():
    draw = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    x = torch.rand(4, 1, 4, 4, generator=draw)
    v = 0.3 * torch.rand(1, 1, 4, 4, generator=draw)
    return model, x, torch.tensor([0, 1, 2, 0]), v
