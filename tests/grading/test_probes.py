"""The probe halves as source: they stand alone, do the same, and hold nothing that judges."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from advlab.course import probe, watch
from advlab.course.exercise import all_exercises, find
from advlab.course.grading.hidden import load
from advlab.course.grading.probes import probe_source
from advlab.course.notebooks import find_notebooks, read, tasks

BOOK = Path(__file__).parents[2] / "book"
EXERCISES = all_exercises()
# Modules that the kernel has; of advlab.course only what the stub below offers.
STANDARD = {"math", "random", "types", "contextlib", "statistics", "operator", "itertools"}


def names(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    found = {n.id for n in nodes if isinstance(n, ast.Name)}
    found |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    return found | {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def alone(source: str, monkeypatch) -> SimpleNamespace:
    """The probe, run where advlab.course has nothing but watch."""
    stub = ModuleType("advlab.course")
    stub.watch = watch
    space = {"__name__": "sliced"}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "advlab.course", stub)
        exec(compile(source, "<probe>", "exec"), space)
    return space["probe"]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_a_slice_holds_nothing_that_judges(exercise):
    source = probe_source(exercise.probe)
    found = names(source)
    assert not found & {"EXERCISES", "Exercise", "fail", "close", "matches", "untouched"}
    assert not [name for name in found if name.startswith(("verdict", "judge"))]
    for node in ast.walk(ast.parse(source)):
        assert not isinstance(node, ast.ImportFrom) or node.level == 0
        if isinstance(node, ast.ImportFrom):
            if node.module == "advlab.course":
                assert [alias.name for alias in node.names] == ["watch"]
            assert not f"{node.module}.".startswith("advlab.course.e")
            assert node.module.partition(".")[0] in STANDARD | {"torch", "advlab"}
        if isinstance(node, ast.Import):
            assert {a.name.partition(".")[0] for a in node.names} <= STANDARD | {"torch"}
    assert '"""' not in source


@pytest.mark.parametrize("path", find_notebooks(BOOK), ids=lambda p: p.stem)
def test_a_slice_brings_back_the_same_record(path, monkeypatch):
    notebook = read(path)
    space: dict = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", []):
            nodes = ast.parse(cell.source).body
            lines = [ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
            exec("\n".join(lines), space)
    for task in tasks(notebook, path.name):
        exec(compile(task.answer.source, "<answer>", "exec"), space)
        exercise = find(task.id)
        given = tuple(space[name] for name in exercise.answers)
        sliced = SimpleNamespace(
            id=exercise.id, probe=alone(probe_source(exercise.probe), monkeypatch)
        )
        for seed in (0, 2**31 - 2) if task.id != "15.3" else (5,):
            assert probe(sliced, given, seed) == probe(exercise, given, seed), task.id


def test_no_expected_answer_is_at_hand():
    """What was at hand once: the sets of 19.2 stood in the table that its probe went through."""
    assert "CHOSEN" not in names(probe_source(find("19.2").probe))
    assert "weighted_sum" not in names(probe_source(find("1.4").probe))
    for id, reference in (
        ("4.2", "gradient"),
        ("5.2", "ascent"),
        ("9.4", "bill"),
        ("12.3", "tail"),
    ):
        assert reference not in names(probe_source(find(id).probe))


# A teacher's own file -----------------------------------------------------------------------------

TEACHERS = '''
"""Hidden checks."""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.course import close, fail, watch
from advlab.course.exercises.chapter04 import problem
from advlab.course.exercises import chapter05
from advlab.course import judging

SIZES = (1, 2)
TABLE = {}
TABLE["eps"] = 0.1


@dataclass
class Case:
    """One case."""

    size: int
    eps: float = TABLE["eps"]


def close_to(a, b):
    close(a, b, "x")


def cases(draw: torch.Generator) -> list[Case]:
    return [Case(n) for n in SIZES]


def good(fgsm, seed):
    """Ours."""
    close = math.sqrt(4)  # a local of that name is nothing to refuse
    model, x, y = problem(seed)
    other, *_ = chapter05.problem(seed)
    with watch(x=x) as changes:
        found = [fgsm(model, x[: case.size], y[: case.size], case.eps) for case in cases(None)]
    return {"found": found, "two": close, "double": str(other[1].weight.dtype), "changes": changes}


def judges(fgsm, seed):
    return helper(fgsm)


def helper(fgsm):
    fail("no")


def judges_through_a_module(fgsm, seed):
    return judging.close(1, 2, "x")


def judges_inside(fgsm, seed):
    from advlab.course.judging import close

    return close(fgsm, fgsm, "x")


def imports_a_chapter_inside(fgsm, seed):
    from advlab.course.exercises.chapter04 import problem

    return {"x": problem(seed)[1]}


def verdict_of(results, seed):
    return "fine"


def asks_the_verdict(fgsm, seed):
    return verdict_of(fgsm, seed)


def takes_a_whole_file(fgsm, seed):
    return vars(chapter05)


nameless = lambda fgsm, seed: {}


def outer():
    def nested(fgsm, seed):
        return {}

    return nested


inside = outer()
'''


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "hidden.py"
    path.write_text(TEACHERS)
    spec = importlib.util.spec_from_file_location("hidden_of_a_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_teacher_s_own_file(teachers, monkeypatch):
    source = probe_source(teachers.good)
    assert not names(source) & {"close_to", "fail", "judging", "Tensor", "gradient", "helper"}
    found = alone(source, monkeypatch)(lambda model, x, y, eps: x + eps, 3)
    assert torch.equal(found["found"][1], teachers.problem(3)[1][:2] + 0.1)
    assert found | {"found": 0} == {
        "found": 0, "two": 2.0, "double": "torch.float64", "changes": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("judges", "the probe judges reaches fail"),
        ("judges_through_a_module", "the probe judges_through_a_module reaches judging"),
        ("judges_inside", "the probe judges_inside reaches close"),
        ("imports_a_chapter_inside", "import it at the top of the file"),
        ("asks_the_verdict", "the probe asks_the_verdict reaches verdict_of"),
        ("takes_a_whole_file", "chapter05 as a whole"),
        ("nameless", "is a lambda"),
        ("inside", "is nested"),
    ],
)
def test_what_must_not_enter_the_kernel_is_refused(teachers, name, says):
    with pytest.raises(ValueError, match=says):
        probe_source(getattr(teachers, name))


def test_a_file_with_annotations_put_off_and_a_dataclass_is_loaded():
    source = """
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from advlab.course.grading import Hidden


@dataclass
class Case:
    eps: float
    unit: ClassVar[str] = "a gray level"


def probe(fgsm, seed):
    return {"cases": len(fields(Case))}


def verdict(results, seed):
    @dataclass
    class Wanted:
        cases: int

    return str(Wanted(1))


HIDDEN = (Hidden("4.2", "Sizes", probe, verdict),)
"""
    (found,) = load(source.encode())
    assert found.probe(None, 0) == {"cases": 1}
    assert found.verdict({}, 0).endswith("Wanted(cases=1)")


def test_what_has_no_source_is_refused(teachers):
    space: dict = {}
    exec("def made(fgsm, seed): return {}", space)
    with pytest.raises(ValueError, match="its source is not in a file"):
        probe_source(space["made"])
    with pytest.raises(ValueError, match="wrapped"):
        probe_source(functools.wraps(teachers.good)(lambda fgsm, seed: {}))
    for other in (len, teachers.Case(1), None):
        with pytest.raises(ValueError, match="a probe is a function, found"):
            probe_source(other)
