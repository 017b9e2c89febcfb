"""The teaching guide: its minutes add up, what it names is there, and its example works."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from advlab.cli import _parser
from advlab.course import CheckFailed, check, judge, probe
from advlab.course.exercise import Exercise, find
from advlab.course.notebooks import find_notebooks, read, tasks

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
PAGE = (BOOK / "teaching.md").read_text(encoding="utf-8")


class Chapter:
    """What a chapter says of itself."""

    def __init__(self, path: Path):
        notebook = read(path)
        texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        text = "\n".join(texts)
        self.name, self.number = path.name, int(path.name[:2])
        self.titles = set(re.findall(r"^#{2,3} (.+)$", text, re.M))
        self.exercises = {
            task.id: task.answer.metadata.advlab for task in tasks(notebook, path.name)
        }
        self.points = sum(task["points"] for task in self.exercises.values())
        time = re.search(r"\*\*Time:\*\* (\d+) minutes to read.*?(\d+) minutes for the", text)
        self.read, self.write = int(time[1]), int(time[2])
        needs = re.search(r"\*\*You need:\*\*.*", text)[0]
        named = re.findall(r"chapter (\d+)|\]\((\d\d)-", needs)
        self.needs = sorted({int(a or b) for a, b in named})


CHAPTERS = {c.name: c for c in map(Chapter, find_notebooks(BOOK)) if c.exercises}
EXERCISES = {id for c in CHAPTERS.values() for id in c.exercises}


def section(title: str) -> str:
    """From a heading to the next of its rank."""
    rank = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.M)
    rest = PAGE[rank.end() :]
    end = re.search(rf"^#{{1,{len(rank[1])}}} ", without_code(rest), re.M)
    return rest[: end.start()] if end else rest


def without_code(text: str) -> str:
    """Code blocks with every letter a blank, so that places stay."""
    return re.sub(r"^```.*?^```$", lambda m: " " * len(m[0]), text, flags=re.M | re.S)


def tables(text: str) -> list[list[list[str]]]:
    """Each table as its rows, the head and the line below it left out."""
    found = []
    for is_row, lines in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if is_row:
            rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
            found.append(rows[2:])
    return found


def number(cell: str) -> int:
    return int(cell.strip("*"))


TIMES = tables(section("The chapters in minutes"))[0]
SCHEDULES = {
    f"{title} {i}": table
    for title in ("90 minutes", "One day", "Two days")
    for i, table in enumerate(tables(section(title)))
}
WEEKS, LESSON, WEIGHTS = tables(section("Fourteen weeks"))


def chapters_in(cell: str) -> list[Chapter]:
    found = re.findall(r"\[(\d+)[^\]]*\]\((\d\d-[^)]+)\)", cell)
    for label, name in found:
        assert int(label) == CHAPTERS[name].number
    return [CHAPTERS[name] for _, name in found]


def test_the_page_is_in_the_back_matter():
    assert "- file: book/teaching\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")


def test_the_schedules_are_all_there():
    assert len(SCHEDULES) == 4
    assert [number(table[-1][0]) for table in SCHEDULES.values()] == [90, 480, 480, 480]


@pytest.mark.parametrize("table", [*SCHEDULES.values(), LESSON, WEIGHTS])
def test_the_minutes_add_up_to_the_total(table):
    assert sum(number(row[0]) for row in table[:-1]) == number(table[-1][0])
    assert table[-1][0].startswith("**")


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_names_what_is_there(name):
    for minutes, pages, _ in SCHEDULES[name]:
        parts = re.findall(r"\[\d+\]\((\d\d-[^)]+)\)([^;\[]*)", pages)
        for file, tail in parts:
            titles = set(re.findall(r"\*([^*]+)\*", tail))
            assert titles <= CHAPTERS[file].titles | {"whole page"}
            if "whole page" in titles:
                assert number(minutes) == CHAPTERS[file].read
        ids = set(re.findall(r"\b\d+\.\d+\b", pages))
        assert ids <= EXERCISES
        for chapter in CHAPTERS.values():  # all exercises of a chapter: the time that it states
            if ids >= set(chapter.exercises):
                assert number(minutes) == chapter.write


def test_the_chapters_state_these_times():
    rows = {chapters_in(row[0])[0].name: row for row in TIMES[:-1]}
    assert list(rows) == list(CHAPTERS)
    for name, chapter in CHAPTERS.items():
        needs = ", ".join(map(str, chapter.needs)) or "–"
        assert rows[name][1:] == [f"{chapter.read} + {chapter.write}", needs]
    sums = [sum(getattr(c, of) for c in CHAPTERS.values()) for of in ("read", "write", "points")]
    assert TIMES[-1][1] == f"**{sums[0]} + {sums[1]}**"
    assert f"Together they are {round((sums[0] + sums[1]) / 60)} hours" in PAGE
    assert f"exercises, {sums[2]} points in all" in PAGE
    assert f"{len(CHAPTERS)} notebooks with {len(EXERCISES)} exercises" in PAGE


def test_fourteen_weeks_hold_every_chapter_once():
    assert len(WEEKS) == 15
    weeks = [(chapters_in(row[0]), row) for row in WEEKS[:-1]]
    assert [c for chapters, _ in weeks for c in chapters] == list(CHAPTERS.values())
    for week, (chapters, row) in enumerate(weeks, 1):
        assert row[0].startswith(f"{week}: ")
        assert number(row[1]) == sum(c.read + c.write for c in chapters)
        assert number(row[2]) == sum(c.points for c in chapters)
    for column in (1, 2):
        assert number(WEEKS[-1][column]) == sum(number(row[column]) for row in WEEKS[:-1])


def test_what_may_be_left_out_is_needed_by_nobody():
    text = re.search(r"No other chapter needs ([\d, or]+)\.", PAGE)[1]
    needed = {n for chapter in CHAPTERS.values() for n in chapter.needs}
    free = {c.number for c in CHAPTERS.values()} - needed
    assert {int(n) for n in re.findall(r"\d+", text)} == free
    out = re.search(r"in a shorter term: ([^.]+)\.", PAGE)[1]
    out = {int(n) for n in re.findall(r"\d+", out)}
    assert not any(set(c.needs) & out for c in CHAPTERS.values() if c.number not in out)


def test_every_link_resolves():
    text = without_code(PAGE)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (BOOK / target).is_file(), target
    labels = {
        label
        for path in BOOK.glob("*.md")
        for label in re.findall(r"^\(([\w-]+)\)=$", path.read_text(encoding="utf-8"), re.M)
    }
    for target in re.findall(r"\{ref\}`(?:[^`<]*<)?([\w-]+)>?`", text):
        assert target in labels, target
    for path in re.findall(r"`((?:tests|advlab|book)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


# Where students get stuck ------------------------------------------------------------------------


def stuck() -> list[tuple[str, str]]:
    text = section("Where students get stuck")
    lines = [line for line in text.splitlines() if line.startswith(": ")]
    found = [(re.match(r": \*\*(\d+\.\d+)\*\*", line)[1], line) for line in lines]
    return [(id, said) for id, line in found for said in re.findall(r'"([^"]+)"', line)]


@cache
def kept():
    """The module of the tests that keep wrong answers to every exercise."""
    spec = importlib.util.spec_from_file_location("courses", ROOT / "tests/course/test_book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_chapter_has_its_slips():
    chapters = {int(id.split(".")[0]) for id, _ in stuck()}
    assert chapters == {c.number for c in CHAPTERS.values()}
    listed = section("Where students get stuck")
    assert chapters_in(listed) == list(CHAPTERS.values())


@pytest.mark.parametrize(("id", "said"), stuck())
@pytest.mark.filterwarnings("ignore:the gradient is exactly zero")
def test_a_check_says_so(id, said):
    answers = kept().of(find(id)).WRONG[id]
    assert any(said in str(kept().verdict_on(find(id), code, 0)) for _, code, _ in answers)


# The exercise that is added on the page ----------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> tuple[str, Exercise, dict]:
    """The answer cell, the exercise, and its wrong answers, as they stand on the page."""
    text = section("Add an exercise, from end to end")
    answer, code, wrong = re.findall(r"```python\n(.*?)```", text, re.S)
    namespace = {"WRONG": {}}
    exec(code, namespace)
    exec(wrong, namespace)
    return answer, namespace["MOVE"], namespace["WRONG"]


def test_the_import_lines_to_leave_out_are_in_the_file_already():
    text = section("Add an exercise, from end to end")
    wanted = names_imported(re.findall(r"```python\n(.*?)```", text, re.S)[1])
    file = (ROOT / "advlab/course/exercises/chapter04.py").read_text(encoding="utf-8")
    assert "Leave out its three import lines" in text
    assert {"torch", "Exercise", "watch"} <= wanted <= names_imported(file)


def names_imported(code: str) -> set[str]:
    nodes = [n for n in ast.parse(code).body if isinstance(n, ast.Import | ast.ImportFrom)]
    return {alias.name for node in nodes for alias in node.names}


def test_the_cells_go_where_the_page_says():
    text = section("Add an exercise, from end to end")
    (heading,) = re.findall(r"`book/04-fgsm.ipynb`, above \*([^*]+)\*", text)
    assert heading in CHAPTERS["04-fgsm.ipynb"].titles


def test_both_guides_say_the_same_of_points():
    sentence = re.search(r"After a change of points, [^.]+\.", PAGE)[0]
    assert sentence in (BOOK / "grading.md").read_text(encoding="utf-8")


def verdict(exercise: Exercise, code: str, seed: int):
    namespace = {}
    exec(code, namespace)
    return judge(exercise, probe(exercise, (namespace["largest_move"],), seed), seed)


@pytest.mark.parametrize("seed", range(4))
def test_the_example_s_solution_passes_and_its_wrong_answers_do_not(example, seed):
    answer, exercise, wrong = example
    assert verdict(exercise, answer, seed).passed
    assert len(wrong[exercise.id]) == 2
    for _, code, said in wrong[exercise.id]:
        found = verdict(exercise, code, seed)
        assert not found.passed
        assert said in found.message


def test_the_page_shows_what_the_student_reads(example, monkeypatch):
    _, exercise, wrong = example
    shown = [" ".join(block.split()) for block in re.findall(r"```text\n(.*?)```", PAGE, re.S)]
    assert shown[0] == " ".join(str(verdict(exercise, wrong["4.5"][0][1], 0)).split())
    monkeypatch.setattr("advlab.course.checks.find", lambda id: exercise)
    with pytest.raises(CheckFailed) as failed:
        check("4.5", calls_the_package)
    assert shown[1] == " ".join(str(failed.value).split())


def calls_the_package(x, x_adv):
    from advlab import threat

    return threat.size(x_adv - x, "Linf")


# Commands ----------------------------------------------------------------------------------------


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(".venv/bin/advlab")]


def test_the_commands_are_of_this_package():
    assert len(commands()) >= 3
    for line in commands():
        words = shlex.split(line)[1:]
        assert hasattr(_parser().parse_args(words), "run")
