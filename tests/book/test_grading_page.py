"""The grading guide says what the command does: its options, words, limits and messages."""

from __future__ import annotations

import argparse
import ast
import csv
import json
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from advlab import course
from advlab.course import judge, probe
from advlab.course.grading import (
    cells,
    cli,
    folders,
    hidden,
    pages,
    progress,
    reading,
    results,
    submissions,
    times,
)
from advlab.course.grading import (
    site as sites,
)
from advlab.course.grading.sandbox import ENGINES, LEVELS
from advlab.course.grading.settings import Limits
from advlab.course.notebooks import read, tasks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/grading.md").read_text(encoding="utf-8")
# Of the other commands on the page: advlab release, and Dask's.
OTHERS = {
    "--write",
    "--assignment",
    "--to",
    "--force",
    "--host",
    "--port",
    "--nworkers",
    "--nthreads",
}
WORDS = {v for k, v in vars(results).items() if k.isupper() and isinstance(v, str)}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser()
    subparsers = top.add_subparsers()
    cli.add_grade(subparsers)
    return subparsers.choices["grade"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.M | re.S)


def table(header: str) -> list[list[str]]:
    """The rows of all tables whose first column is called so."""
    found = re.findall(rf"^\| {header} \|.*\n\|[-|:]+\|\n((?:\|.*\n)+)", PAGE, re.M)
    assert found, header
    return [[c.strip() for c in line.split("|")[1:-1]] for t in found for line in t.splitlines()]


def test_the_options_on_the_page_are_those_of_the_command():
    said = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) - OTHERS
    known = {option for action in parser()._actions for option in action.option_strings}
    assert said == {option for option in known if option.startswith("--")} - {"--help"}


def test_each_command_on_the_page_is_understood():
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith("advlab grade ")]
    assert len(commands) >= 5
    for command in commands:
        cli._settings(parser().parse_args(shlex.split(command)[2:]))


def test_each_word_for_what_happened_is_explained_once():
    said = [row[0] for row in table("Word")]
    assert sorted(said) == sorted(WORDS)


def test_each_sandbox_level_has_its_row():
    said = [name for row in table("Level") for name in re.findall(r"`(\w+)`", row[0])]
    assert said == [*LEVELS, *ENGINES]


def test_the_limits_on_the_page_are_those_of_the_grader():
    names = {cli._flag(name): name for name in vars(Limits())}
    said, stopped = {}, set()
    for limit, default, word in table("Limit"):
        seconds = re.fullmatch(r"(\d+) s", default)
        said[names[limit.split("`")[1]]] = float(seconds[1]) if seconds else cli._size(default)
        stopped.add(word)
    assert said == vars(Limits())
    assert stopped == set(results.LIMITS)


def test_the_limits_of_reading_are_those_of_the_grader():
    said = dict(table("Of"))
    assert said["a file"] == f"{reading.LARGEST // 10**6} MB"
    assert said["a notebook"] == f"{cells.MOST_CELLS:,} cells"
    folder = f"{folders.MOST_FILES:,} files, {folders.MOST_OPENED} of them notebooks"
    assert said["a student's folder"] == folder
    size = f"{submissions.MOST_BYTES // 10**6} MB, those changed last"
    assert said["all notebooks of a student"] == size
    most = submissions.MOST_GRADED
    last = f"the {most} handed in last; with `--due`, {most} in time and {most} late"
    assert said["a student and chapter"] == last
    assert len(said) == 5


def test_a_teacher_reads_first_what_is_needed_tonight():
    titles = re.findall(r"^## (.+)$", PAGE, re.M)
    assert titles[0] == "Release, collect, grade, hand out"
    assert titles[-3:] == [
        "How a verdict is taken",
        "Kernels from a warm process",
        "What was tried against it",
    ]


def test_one_command_repeats_all_options():
    commands = re.findall(r"^advlab grade (.*?[^\\])$", "".join(blocks("bash")), re.M | re.S)
    wanted = {"--against", "--report", "--due", "--late", "--hidden", "--roster"}
    assert any(wanted <= set(shlex.split(one.replace("\\\n", " "))) for one in commands)


def test_what_a_check_may_use_is_listed():
    rows = [row[0] for name in ("For the verdict", "For the probe") for row in table(name)]
    said = [re.match(r"`(\w+)\(", row)[1] for row in rows]
    others = {"CheckFailed", "Exercise", "Verdict", "check", "judge", "probe"}
    assert sorted(said) == sorted(set(course.__all__) - others)


def test_the_output_on_the_page_has_the_words_of_the_command():
    (shown,) = [block for block in blocks("text") if block.startswith("sandbox ")]
    labels = re.findall(r"^(\S+(?: \S+)*)  +\S", shown, re.M)
    assert len(labels) == 10
    known = {text for text in sentences().splitlines() for text in (text, text.strip())}
    assert [one for one in labels[:8] if one not in known] == []
    counted = set(re.findall(r"\d (in \w+|at a limit|without points)", shown))
    assert counted <= set(progress._KINDS)
    for kind in progress._KINDS[:4]:
        assert f"*{kind}*" in PAGE.lower()


def test_the_table_of_times_is_read(tmp_path):
    (text,) = [block for block in blocks("text") if block.startswith("student,file,")]
    (tmp_path / "times.csv").write_text(text, encoding="utf-8")
    found = times.Times(tmp_path / "times.csv").found
    assert ("cleo", "04-fgsm.ipynb") in found
    assert len(found) == len(text.splitlines()) - 1


def test_the_lines_for_a_mail_merge_write_who_gets_which_file(tmp_path, monkeypatch):
    (source,) = [block for block in blocks("python") if "mail.csv" in block]
    students = ["ada", "Ada Lovelace", "Code, Cleo"]
    book = {"students": [{"student": name} for name in students]}
    (tmp_path / "grades").mkdir()
    (tmp_path / "grades/gradebook.json").write_text(json.dumps(book), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(source, {})
    with open("mail.csv", encoding="utf-8", newline="") as file:
        assert dict(csv.reader(file)) == pages.file_names(students)


def test_the_libraries_that_are_named_are_hidden():
    named = PAGE.split("**Import another library**")[1].split("\n")[0].lower()
    for library in ("foolbox", "torchattacks", "art", "cleverhans", "autoattack"):
        assert re.search(rf"\b{library}\b", named)
        assert library in sites.LIBRARIES


def test_the_summary_has_the_section_that_is_named():
    template = ROOT / "advlab/course/grading/templates/summary.html"
    (title,) = re.findall(r"the section \*([^*]+)\* of `index.html`", PAGE)
    assert f">{title}</h2>" in template.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def check():
    (source,) = [block for block in blocks("python") if "HIDDEN" in block]
    (found,) = hidden.load(source.encode())
    return found


@pytest.fixture(scope="module")
def solution() -> str:
    path = ROOT / "book/04-fgsm.ipynb"
    found = {task.id: task.answer.source for task in tasks(read(path), path.name)}
    return f"{found['4.1']}\n\n{found['4.2']}"


def verdict(check, answers: str, seed: int):
    space = {"torch": torch, "F": F}
    exec(answers, space)
    return judge(check, probe(check, (space["fgsm"],), seed), seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_hidden_check_passes_the_solution_and_finds_what_it_says(check, solution, seed):
    assert verdict(check, solution, seed).passed
    fixed = solution.replace("eps *", "0.1 *")
    assert fixed != solution
    assert not verdict(check, fixed, seed).passed
    assert check.title in PAGE.split("saw no more than")[1][:60]


def test_the_kernel_knows_as_little_as_the_page_says():
    inside = {path.name for path in (sites.site().folder / "advlab/course").glob("*.py")}
    assert inside == {"__init__.py", "probing.py", "records.py", "guarding.py"}


def sentences() -> str:
    """The texts in the sources of the course, pieces of formatted ones each by itself."""
    found = []
    for path in sorted((ROOT / "advlab").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_each_message_that_is_explained_can_come():
    trouble = PAGE.split("## When something goes wrong")[1].split("\n## ")[0]
    terms = re.findall(r"^(`.*)\n: ", trouble, re.M)
    messages = [text for term in terms for text in re.findall(r"`([^`]+)`", term)]
    assert len(messages) >= 20
    known = sentences()
    assert [text for text in messages if text not in known] == []


def test_the_figure_is_there_and_well_formed():
    (name,) = re.findall(r"\{figure\} (\S+)", PAGE)
    top = ElementTree.parse(ROOT / "book" / name).getroot()
    width, height = map(float, top.get("viewBox").split()[2:])
    texts = top.findall(".//{*}text")
    assert len(texts) > 10
    assert all(float(t.get("x")) < width and float(t.get("y")) < height for t in texts)


def test_nothing_on_the_page_is_too_wide_for_a_phone():
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", PAGE, flags=re.S))
    assert max(len(max(re.split(r"[ ]", code), key=len)) for code in inline) <= 42
    lines = [line for text in blocks(r"(?:text|bash|python|json)") for line in text.splitlines()]
    assert max(map(len, lines)) <= 72
