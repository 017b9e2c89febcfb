"""The notebook that is run: what of a student's gets into it, and what is skipped."""

from __future__ import annotations

import ast

import light
import pytest

from advlab.course.grading.grafting import SKIP, Chapter, graft
from advlab.course.grading.hidden import load
from advlab.course.notebooks import NotebookError, parse
from advlab.course.records import MIME


@pytest.fixture(scope="module")
def chapter():
    return Chapter(light.NAME, light.solved())


def roles(notebook):
    return [
        (c.metadata["advlab"]["role"], c.metadata["advlab"]["exercise"]) for c in notebook.cells
    ]


def test_a_chapter_knows_its_checks(chapter):
    assert [(c.key, c.points, c.arguments) for c in chapter.checks] == [
        ("4.1", 2, ("input_gradient",)),
        ("4.2", 1, ("fgsm",)),
        ("4.3", 1, ("targeted_fgsm",)),
        ("4.4", 2, ("accuracy_curve",)),
    ]
    assert sum(check.points for check in chapter.checks) == 6
    assert chapter.title == "Four exercises"
    assert 'NotImplementedError("exercise 4.2")' in chapter.released["4.2"]


def test_only_the_sources_of_answers_come_from_the_student(chapter):
    answers = {"4.1": ("a = 1", "b = 2"), "4.2": ("c = 3",)}
    notebook = graft(chapter, answers, {"4.1": 11, "4.2": 12})
    found = [c.source for c in notebook.cells if c.metadata["advlab"]["role"] == "answer"]
    assert found[:3] == ["a = 1", "b = 2", "c = 3"]
    assert found[3:] == [chapter.released["4.3"], chapter.released["4.4"]]
    assert roles(notebook)[:5] == [
        ("given", ""),
        ("forget", "4.1"),
        ("answer", "4.1"),
        ("answer", "4.1"),
        ("check", "4.1"),
    ]
    assert notebook.cells[1].source == "globals().pop('input_gradient', None)"
    # Checks without a seed are not there; nor is anything that was stored.
    assert [id for role, id in roles(notebook) if role == "check"] == ["4.1", "4.2"]
    assert not any(c.outputs or c.metadata.get("tags") == ["exercise"] for c in notebook.cells)


def test_a_check_carries_its_seed_and_its_probe_and_no_verdict(chapter):
    notebook = graft(chapter, {}, {"4.2": 123456789})
    (source,) = [c.source for c in notebook.cells if c.metadata["advlab"]["role"] == "check"]
    call = ast.parse(source).body[-1].value
    assert [ast.literal_eval(a) for a in (*call.args[:2], call.args[4])] == [
        "4.2",
        123456789,
        chapter.checks[1].exercise.forbids,
    ]
    assert "def probe_fgsm" in call.args[2].value
    for word in ("verdict", "def gradient", "def step", "fail(", "EXERCISES"):
        assert word not in source


def test_cells_that_nothing_needs_are_skipped():
    notebook = light.solved()
    extra = [
        light.v4.new_code_cell("steps = 3"),
        light.v4.new_code_cell("shown = [print(n) for n in range(10**9)]"),
        light.v4.new_code_cell("used = [steps] * 2"),
    ]
    always = light.v4.new_code_cell("print('always')", metadata={"advlab": {"run": True}})
    notebook.cells[2:2] = [*extra, always]
    chapter = Chapter(light.NAME, notebook)
    answers = {"4.1": ("def input_gradient(model, x, y):\n    return used",)}

    def skipped(**options):
        found = graft(chapter, answers, {"4.1": 1}, **options)
        return [c.source for c in found.cells if SKIP in c.metadata.get("tags", [])]

    assert skipped() == ["shown = [print(n) for n in range(10**9)]"]
    assert skipped(whole=True) == []


HIDDEN = """
from advlab.course import number
from advlab.course.grading import Hidden

def probe(fgsm, seed):
    return {"n": fgsm(seed)}

def verdict(results, seed):
    return f"{number(results, 'n')}"

def probe_gradient(input_gradient, seed):
    return {"n": input_gradient(seed)}

HIDDEN = [
    Hidden("4.2", "Numbers", probe, verdict, points=2),
    Hidden("4.1", "More", probe_gradient, verdict),
]
"""


def test_hidden_checks_run_after_every_answer():
    hidden = load(HIDDEN.encode())
    chapter = Chapter(light.NAME, light.solved(), hidden)
    assert [c.key for c in chapter.checks][:4] == ["4.1", "4.1 hidden 1", "4.2", "4.2 hidden 1"]
    # What an exercise forbids its hidden checks forbid too.
    own, hidden = (c.exercise.forbids for c in chapter.checks[2:4])
    assert own
    assert set(own) <= set(hidden)
    assert sum(check.points for check in chapter.checks) == 9
    keys = [check.key for check in chapter.checks]
    notebook = graft(chapter, {}, {key: n for n, key in enumerate(keys)})
    last = [c.metadata["advlab"].get("check") for c in notebook.cells][-2:]
    assert last == ["4.1 hidden 1", "4.2 hidden 1"]
    assert "number" not in notebook.cells[-1].source


def test_a_hidden_check_of_no_exercise_of_the_chapter_is_not_its():
    text = HIDDEN.replace('"4.2"', '"5.2"').replace('"4.1"', '"5.1"')
    found = Chapter(light.NAME, light.solved(), load(text.encode())).checks
    assert sum(check.points for check in found) == 6


def test_a_probe_asks_for_what_the_exercise_defines():
    text = HIDDEN.replace("probe(fgsm, seed)", "probe(attack, seed)").replace("fgsm(", "attack(")
    with pytest.raises(NotebookError) as found:
        Chapter(light.NAME, light.solved(), load(text.encode()))
    assert str(found.value) == (
        "probe(attack, seed) of the hidden check 'Numbers': exercise 4.2 defines fgsm: name the "
        "parameter so"
    )


def test_what_we_say_of_a_file_of_hidden_checks_has_no_name_of_an_exception():
    text = HIDDEN.replace("points=2", "points=0")
    with pytest.raises(NotebookError, match=r"^mine\.py: 4\.2: points: expected a number above 0"):
        load(text.encode(), "mine.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected HIDDEN"),
        ("HIDDEN = 3", "found int"),
        ("HIDDEN = (3,)", "found tuple"),
        ("1 / 0", "ZeroDivisionError"),
        ("def x(:", "SyntaxError"),
        (HIDDEN.replace("points=2", "points=-1"), "points: expected a number above 0"),
        (HIDDEN.replace("points=2", "points=float('inf')"), "points: expected a number above 0"),
        (HIDDEN.replace("points=2", "points=float('nan')"), "points: expected a number above 0"),
        (HIDDEN.replace('{"n": fgsm(seed)}', "{'n': number({}, 'n')}"), "number"),
        (HIDDEN.replace("probe_gradient, verdict)", "lambda a, seed: {}, verdict)"), "lambda"),
    ],
)
def test_a_file_of_hidden_checks_that_is_wrong(text, said):
    with pytest.raises(NotebookError, match=r"mine\.py") as found:
        load(text.encode(), "mine.py")
    assert said in str(found.value)


def rename(notebook):
    for cell in notebook.cells[2:4]:
        cell.metadata["advlab"]["exercise"] = "98.1"
        cell.source = cell.source.replace("4.1", "98.1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda nb: nb.cells[3].update(source='check("4.2", f)'), "does not call check"),
        (lambda nb: nb.cells[2].metadata["advlab"].update(points=0), "points"),
        (
            rename,
            "no exercise '98.1'",
        ),
    ],
)
def test_a_teachers_notebook_that_breaks_the_rules(change, said):
    notebook = light.solved()
    change(notebook)
    with pytest.raises(NotebookError, match=light.NAME) as found:
        Chapter(light.NAME, notebook)
    assert said in str(found.value)


def test_the_record_has_one_type():
    assert MIME == "application/vnd.advlab.record+json"


def test_the_graft_is_a_notebook(chapter):
    notebook = graft(chapter, {}, {"4.1": 1})
    parse(light.dump(notebook), "grafted")
