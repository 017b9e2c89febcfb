"""The exercises that exist, chapter by chapter: solutions pass, wrong answers are told why."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import math
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from advlab.course import CheckFailed, judge, probe
from advlab.course.exercise import all_exercises, chapters, find
from advlab.course.notebooks import BEGIN, END, find_notebooks, read, tasks
from advlab.course.records import encode
from advlab.course.release import student_version

BOOK = Path(__file__).parents[2] / "book"
PATHS = [path for path in find_notebooks(BOOK) if tasks(read(path), path.name)]
EXERCISES = all_exercises()
PRELUDE = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def answers_file(chapter: str):
    path = Path(__file__).parent / "wrong_answers" / f"{chapter}.py"
    if not path.is_file():  # test_each_exercise_has_two_wrong_answers then says so
        return SimpleNamespace(WRONG={})
    spec = importlib.util.spec_from_file_location(f"wrong_{chapter}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILES = {chapter: answers_file(chapter) for chapter in chapters()}


def of(exercise):
    return FILES[f"chapter{int(exercise.id.split('.')[0]):02d}"]


def listed(kind: str) -> list:
    return [
        pytest.param(exercise, *answer[1:], id=f"{exercise.id}: {answer[0]}")
        for exercise in EXERCISES
        for answer in getattr(of(exercise), kind, {}).get(exercise.id, [])
    ]


def run(code: str, namespace: dict, name: str) -> None:
    exec(compile(code, name, "exec"), namespace)


def imports(notebook) -> str:
    """What a chapter imports: with it and the answers before it, an answer stands on its own."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", []):
            nodes = ast.parse(cell.source).body
            found += [ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(found)


def verdict_on(exercise, code: str, seed: int):
    namespace = {"__name__": "__main__"}
    run(PRELUDE + getattr(of(exercise), "PRELUDE", ""), namespace, "<prelude>")
    run(code, namespace, "<answer>")
    missing = [name for name in exercise.answers if name not in namespace]
    assert not missing, f"{exercise.id}: the answer defines no {missing}"
    answers = tuple(namespace[name] for name in exercise.answers)
    return judge(exercise, probe(exercise, answers, seed), seed)


def solved(path: Path) -> tuple[dict, list]:
    """The names that a published chapter's answers define, and its exercises."""
    notebook = read(path)
    namespace = {"__name__": "__main__"}
    run(imports(notebook), namespace, path.name)
    found = tasks(notebook, path.name)
    for task in found:
        run(task.answer.source, namespace, f"{path.name} {task.id}")
    return namespace, found


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_published_chapter_passes_all_its_checks(path, capsys):
    namespace, found = solved(path)
    for task in found:
        run(task.check.source, namespace, f"check {task.id}")
        assert capsys.readouterr().out.startswith(f"{task.id} passed: ")


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_solutions_pass_at_other_seeds(path):
    namespace, found = solved(path)
    for task in found:
        exercise = find(task.id)
        answers = tuple(namespace[name] for name in exercise.answers)
        for seed in range(1, 6):
            verdict = judge(exercise, probe(exercise, answers, seed), seed)
            assert verdict.passed, f"seed {seed}: {verdict}"


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_released_chapter_fails_every_check(path):
    notebook = student_version(read(path), path)
    namespace = {"__name__": "__main__"}
    run(imports(notebook), namespace, path.name)
    found = [c for c in notebook.cells if {"exercise", "check"} & set(c.metadata.get("tags", []))]
    assert len(found) == 2 * len(tasks(read(path), path.name)) > 0
    for cell in found:
        id = cell.metadata.advlab.exercise
        if "exercise" in cell.metadata.tags:
            # An answer that is no function stops right here.
            with suppress(NotImplementedError):
                run(cell.source, namespace, f"answer {id}")
        else:
            with pytest.raises((CheckFailed, NameError)) as failed:
                run(cell.source, namespace, f"check {id}")
            if failed.type is CheckFailed:
                assert f"exercise {id} is not filled in yet" in str(failed.value)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_no_message_holds_a_line_of_the_solution(path):
    for task in tasks(read(path), path.name):
        lines = {squeeze(line) for line in solution(task.answer.source)}
        module = importlib.import_module(find(task.id).verdict.__module__)
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        said = [value for value in constants if isinstance(value, str)]
        wrong = of(find(task.id)).WRONG.get(task.id, [])
        said += [str(verdict_on(find(task.id), code, 0)) for _, code, _ in wrong]
        for line in lines:
            # A line of the student's own, quoted where it raised, may be one of the solution's.
            hits = [s for s in said if line in squeeze(s) and "raised" not in s]
            assert not hits, f"{task.id}: {hits[0]!r} holds the solution's line {line!r}"


def solution(source: str) -> list[str]:
    lines, inside = [], False
    for line in source.splitlines():
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif inside and len(squeeze(line)) >= 15:
            lines.append(line)
    return lines


def squeeze(text: str) -> str:
    return "".join(text.split())


def test_each_exercise_stands_in_a_chapter_and_the_other_way_round():
    in_book = [task.id for path in PATHS for task in tasks(read(path), path.name)]
    assert sorted(in_book) == sorted(exercise.id for exercise in EXERCISES)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_each_exercise_has_two_wrong_answers(exercise):
    assert len(of(exercise).WRONG.get(exercise.id, [])) >= 2


@pytest.mark.parametrize(("exercise", "code", "fragment"), listed("WRONG"))
def test_a_wrong_answer_is_told_why(exercise, code, fragment):
    verdict = verdict_on(exercise, code, 0)
    assert not verdict.passed
    assert "could not be judged" not in verdict.message
    assert fragment in str(verdict)
    for seed in (1, 2):
        assert not verdict_on(exercise, code, seed).passed


# Numbers drawn without care would give a network that no ε fools, or no image that was wrong.
@pytest.mark.parametrize(
    ("id", "seeds"),
    [("4.4", (973142759, 1022422416, 346881873)), ("6.4", (1302192887, 174237248, 278674859))],
)
def test_a_wrong_answer_is_told_apart_where_the_numbers_drawn_are_unlucky(id, seeds):
    exercise = find(id)
    for name, code, _ in of(exercise).WRONG[id]:
        for seed in seeds:
            assert not verdict_on(exercise, code, seed).passed, f"{name}, seed {seed}"


@pytest.mark.parametrize(("exercise", "code"), listed("RIGHT"))
def test_a_right_answer_written_another_way_passes(exercise, code):
    for seed in range(4):
        verdict = verdict_on(exercise, code, seed)
        assert verdict.passed, str(verdict)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_no_damaged_record_passes(exercise):
    record = json.dumps({"exercise": exercise.id, "results": {}})
    hopeless = [None, "", "null", "[]", "{}", "NaN", "[" * 5000, record, record[:-1]]
    hopeless += [encode({"exercise": "99.1", "results": {}}), encode({"exercise": exercise.id})]
    for results in (None, [], "passed", True, math.nan, {"passed": True}, {"results": {}}):
        hopeless.append(encode({"exercise": exercise.id, "results": results}))
    for error in (None, [], {}, {"type": 3, "message": None, "line": "x"}):
        hopeless.append(encode({"exercise": exercise.id, "error": error}))
    for text in hopeless:
        verdict = judge(exercise, text, 0)
        assert not verdict.passed
        assert verdict.message
        assert "could not be judged" not in verdict.message


GARBAGE = [
    *(None, "text", math.nan, math.inf, object(), {"a": 1}, [[]], [None, "x"]),
    *(torch.full((2, 3), math.nan), torch.zeros(0), torch.zeros(7, 1, 2, dtype=torch.int64)),
    np.zeros(3),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_no_solved_record_with_one_entry_spoiled_passes(path):
    namespace, found = solved(path)
    for task in found:
        exercise = find(task.id)
        results = exercise.probe(*(namespace[name] for name in exercise.answers), 0)
        for place in list(places(results))[:40]:
            for garbage in GARBAGE:
                text = encode({"exercise": task.id, "results": spoiled(results, place, garbage)})
                verdict = judge(exercise, text, 0)
                where = f"{task.id}: {place} = {garbage!r}: {verdict}"
                assert not verdict.passed, where
                assert "could not be judged" not in verdict.message, where


def places(value, path=()):
    """The way to each entry of nested dicts and lists: ``("accuracies", 0)``."""
    if path:
        yield path
    if isinstance(value, dict | list | tuple):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            yield from places(entry, (*path, key))


def spoiled(value, path, garbage):
    if not path:
        return garbage
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = spoiled(value[path[0]], path[1:], garbage)
    return copy
