"""The students' notebooks: what goes, what stays, what is refused."""

from __future__ import annotations

import argparse
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from advlab.course.cli import add_commands
from advlab.course.notebooks import NotebookError, read, strip, tasks
from advlab.course.plain import Plain
from advlab.course.release import release

BIB = """
@article{one2015, author = {Goodfellow, Ian}, title = {A}, year = {2015}}
@article{two2017, author = {Carlini, Nicholas and Wagner, David}, title = {B}, year = {2017}}
@article{many2014, author = {Sz\\'egedy, C. and van der Berg, A. and Z, B.}, title={C}, year={2014}}
@misc{undated, author = {van der Berg, Anna}, title = {D}}
"""
ANSWER = """def fgsm(model, x, y, eps):
    # what is given stays
    ### BEGIN SOLUTION
    secret = 1
    return secret
    ### END SOLUTION
"""


def answer(id="4.2", source=ANSWER, **metadata):
    metadata = {"tags": ["exercise"], "advlab": {"exercise": id, "points": 1}} | metadata
    return new_code_cell(source, id=f"a{id.replace('.', '-')}", metadata=metadata)


def checked(id="4.2", source=None, **metadata):
    metadata = {"tags": ["check"], "advlab": {"exercise": id}} | metadata
    source = f'check("{id}", fgsm)' if source is None else source
    return new_code_cell(source, id=f"c{id.replace('.', '-')}", metadata=metadata)


def chapter(folder, *cells, name="04-fgsm.ipynb"):
    folder.mkdir(exist_ok=True)
    (folder / "references.bib").write_text(BIB, encoding="utf-8")
    path = folder / name
    notebook = new_notebook(cells=list(cells or (answer(), checked())))
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


@pytest.fixture
def book(tmp_path):
    return tmp_path / "book"


@pytest.fixture
def workshop(tmp_path):
    return tmp_path / "workshop"


def test_solutions_and_outputs_go_and_the_rest_stays(book, workshop):
    shown = new_code_cell("1 + 1", id="shown", metadata={"tags": ["hide-input"], "execution": {}})
    shown.outputs, shown.execution_count = [new_output("stream", text="2")], 3
    path = chapter(book, new_markdown_cell("# T", id="t"), shown, answer(), checked())
    notebook = read(path)
    notebook.metadata["widgets"] = {"state": {}}
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path.write_text(nbformat.writes(notebook))

    assert release(book, workshop) == ([workshop / path.name], 1)
    out = read(workshop / path.name)
    assert [cell.id for cell in out.cells] == ["t", "shown", "a4-2", "c4-2"]
    assert out.cells[1].outputs == []
    assert out.cells[1].execution_count is None
    assert out.cells[1].metadata == {"tags": ["hide-input"]}
    assert out.cells[2].source == (
        "def fgsm(model, x, y, eps):\n    # what is given stays\n"
        '    raise NotImplementedError("exercise 4.2")\n'
    )
    assert out.cells[3].source == 'check("4.2", fgsm)'
    assert out.cells[2].metadata == notebook.cells[2].metadata
    assert "widgets" not in out.metadata
    assert out.metadata.kernelspec == notebook.metadata.kernelspec
    assert "secret" not in (workshop / path.name).read_text()


def test_a_released_notebook_raises_where_the_solution_was(book, workshop):
    chapter(book)
    release(book, workshop)
    namespace = {}
    exec(read(workshop / "04-fgsm.ipynb").cells[0].source, namespace)
    with pytest.raises(NotImplementedError, match=r"^exercise 4\.2$"):
        namespace["fgsm"](None, None, None, 0.1)


def test_several_solutions_in_one_cell():
    source = f"a = 1\n{B}\nx\n{E}\nif a:\n\t{B}\n\ty\n\t{E}"
    stripped = 'raise NotImplementedError("exercise 4.2")'
    assert strip(source, "4.2", "") == f"a = 1\n{stripped}\nif a:\n\t{stripped}"


def test_the_same_chapters_give_the_same_bytes(book, workshop, tmp_path):
    chapter(book)
    release(book, workshop)
    release(book / "04-fgsm.ipynb", tmp_path / "again")
    first = (workshop / "04-fgsm.ipynb").read_bytes()
    assert first == (tmp_path / "again" / "04-fgsm.ipynb").read_bytes()
    release(book, workshop)
    assert first == (workshop / "04-fgsm.ipynb").read_bytes()


B, E = "### BEGIN SOLUTION", "### END SOLUTION"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([answer(source="def f(): pass"), checked()], "BEGIN SOLUTION' is missing"),
        ([answer(source=f"{B}\n1"), checked()], "END SOLUTION' is missing"),
        ([answer(source=f"1\n{E}"), checked()], "other marker is due"),
        ([answer(source=f"{B}\n{B}\n{E}"), checked()], "other marker is due"),
        ([answer(source=f"{B}\n{E}\n{E}"), checked()], "other marker is due"),
        ([answer(source=f"{B}\n{E}\n# END SOLUTION"), checked()], "expected '### BEGIN SOLUTION'"),
        ([answer()], "no check cell right after it"),
        ([answer(), new_markdown_cell("between", id="m"), checked()], "no check cell right after"),
        ([checked()], "no answer cell right before it"),
        ([answer(), checked(), checked("4.3")], "no answer cell right before it"),
        ([answer("4.1"), checked("4.2")], "check of another exercise"),
        ([answer(), checked(source='check("4.1", fgsm)')], r'does not call check\("4.2"'),
        ([answer(), checked(source='# check("4.2", fgsm)')], r'does not call check\("4.2"'),
        ([answer(), checked(source="(\"check('4.2')\")")], r'does not call check\("4.2"'),
        ([answer(), checked(source='check("4.2", fgsm')], "check cell of 4.2 is no Python"),
        ([answer("9.77"), checked("9.77")], "no exercise '9.77'"),
        ([answer(advlab={}), checked()], "expected a code cell with the metadata"),
        ([answer(advlab={"exercise": "4.2", "points": 0}), checked()], "points"),
        ([answer(advlab={"exercise": "4.2", "points": float("nan")}), checked()], "points"),
        ([answer(advlab={"exercise": "4.2", "points": float("inf")}), checked()], "points"),
        ([new_code_cell(ANSWER, id="x")], "no tag 'exercise'"),
        ([new_markdown_cell("{cite:t}`nobody`", id="x")], "no entry 'nobody'"),
        ([new_markdown_cell(":::{note}\nopen", id="x")], "not closed"),
    ],
)
def test_a_chapter_that_breaks_a_rule_is_refused_and_nothing_is_written(
    book, workshop, cells, message
):
    chapter(book, new_markdown_cell("fine", id="f"), name="03-fine.ipynb")
    chapter(book, *cells)
    with pytest.raises(NotebookError, match=message):
        release(book, workshop)
    assert not workshop.exists()


def test_what_a_check_is_given_is_read_from_its_cell(book):
    path = chapter(
        book, answer(), checked(source='%time check("4.2", fgsm)\ncheck("4.2", f(a), 2)')
    )
    (task,) = tasks(read(path), path.name)
    assert task.arguments == ("f(a)", "2")
    path = chapter(book, answer(), checked(source="check('4.2')"))
    assert tasks(read(path), path.name)[0].arguments == ()


def test_an_exercise_that_stands_twice(book, workshop):
    again = [answer(), checked()]
    for cell in again:
        cell.id += "-again"
    path = chapter(book, answer(), checked(), *again)
    with pytest.raises(NotebookError, match=r"4\.2 stands 2 times"):
        release(book, workshop)
    path.unlink()
    chapter(book, name="a.ipynb")
    chapter(book, name="b.ipynb")
    with pytest.raises(NotebookError, match=r"stands in a\.ipynb and in b\.ipynb"):
        release(book, workshop)


def test_the_chapters_are_never_overwritten(book, tmp_path):
    path = chapter(book)
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(book)
    for to in (book, tmp_path, book / ".." / "book", tmp_path / "link"):
        for source in (book, path):
            with pytest.raises(NotebookError, match="holds the chapters themselves"):
                release(source, to, force=True)
    with pytest.raises(NotebookError, match="found a file"):
        release(book, path)
    assert path.read_bytes() == before


def test_a_notebook_that_somebody_worked_in_needs_force(book, workshop):
    path = chapter(book)
    release(book, workshop)
    out = workshop / path.name

    notebook = read(out)  # a run alone, without an edit, is no work
    notebook.cells[0].execution_count = 5
    out.write_text(nbformat.writes(notebook))
    release(book, workshop)

    notebook.cells[0].source += "\n# mine"
    out.write_text(nbformat.writes(notebook))
    before = out.read_bytes()
    with pytest.raises(NotebookError, match="--force"):
        release(book, workshop)
    assert out.read_bytes() == before
    release(book, workshop, force=True)
    assert "# mine" not in out.read_text()

    out.write_text("not a notebook")
    with pytest.raises(NotebookError, match="--force"):
        release(book, workshop)


def test_a_chapter_that_was_edited_since_is_released_again(book, workshop):
    chapter(book)
    release(book, workshop)
    chapter(book, new_markdown_cell("new", id="n"), answer(), checked())
    release(book, workshop)
    assert len(read(workshop / "04-fgsm.ipynb").cells) == 3


def test_sources_that_are_no_notebooks(tmp_path):
    with pytest.raises(NotebookError, match="expected a notebook, or a folder"):
        release(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "x.ipynb").write_text('{"cells": 3}')
    with pytest.raises(NotebookError, match=r"x\.ipynb: not a notebook"):
        release(tmp_path / "book", tmp_path / "out")


def test_cells_without_ids_get_the_same_ones_each_time(book):
    path = chapter(book)
    raw = json.loads(path.read_text())
    for cell in raw["cells"]:
        del cell["id"]
    path.write_text(json.dumps(raw | {"nbformat_minor": 4}))
    ids = [cell.id for cell in read(path).cells]
    assert len(set(ids)) == 2
    assert ids == [cell.id for cell in read(path).cells]
    path.write_text(json.dumps(raw | {"nbformat": 3}))
    with pytest.raises(NotebookError, match="format 3, expected 4"):
        read(path)
    for cell in raw["cells"]:
        cell["id"] = "same"
    path.write_text(json.dumps(raw))
    with pytest.raises(NotebookError, match="the same id 'same'"):
        read(path)


def test_the_command(book, workshop, capsys):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["release", str(book), "--to", str(workshop)])
    with pytest.raises(NotebookError, match="expected a notebook"):
        args.run(args)
    chapter(book)
    assert args.run(args) == 0
    assert capsys.readouterr().out == f"1 notebook with 1 exercise in {workshop}\n"


# Plain Markdown ----------------------------------------------------------------------------------


@pytest.fixture
def plain(book):
    other = chapter(book, new_markdown_cell("# Being evil\n\nText.", id="t"))
    (book / "setup.md").write_text("# Set-up\n")
    return Plain(other.parent)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("as {cite:t}`one2015` says", "as Goodfellow (2015) says"),
        ("{cite:t}`two2017` and", "Carlini and Wagner (2017) and"),
        ("known {cite:p}`many2014, one2015`.", "known (Szégedy et al., 2014; Goodfellow, 2015)."),
        ("{cite}`undated`", "(van der Berg, n.d.)"),
        ("{cite:author}`one2015`, {cite:year}`one2015`", "Goodfellow, 2015"),
        ("a {term}`logit`, two {term}`logits <logit>`", "a logit, two logits"),
        ("see {ref}`the part on ε <sec-eps>`", "see the part on ε"),
        ("see {numref}`fig-eps-curve`", "see the figure “eps curve”"),
        ("see {numref}`Figure %s <fig-x>`", "see Figure"),
        ("see {doc}`04-fgsm`", "see [Being evil](04-fgsm.ipynb)"),
        ("see {doc}`chapter 4 <04-fgsm>`", "see [chapter 4](04-fgsm.ipynb)"),
        ("see {doc}`setup`", "see Set-up"),
        ("{class}`~advlab.attacks.FGSM` {py:func}`advlab.f`", "`FGSM` `advlab.f`"),
        ("by {eq}`eq-fgsm`", "by the equation above"),
        ("{term}`two\nlines`", "two\nlines"),
        ("`{cite:t}` and ``{term}`x` `` stay", "`{cite:t}` and ``{term}`x` `` stay"),
        ("```python\n{cite:t}`x`\n:::{note}\n```", "```python\n{cite:t}`x`\n:::{note}\n```"),
        ("(sec-eps)=\n## ε\n% hidden\ntext", "## ε\ntext"),
        ("$$\nx\n$$ (eq-x)", "$$\nx\n$$"),
        ("$$x$$ (eq-x)", "$$x$$"),
        (":::{note}\nMind {term}`x`.\n\nTwo.\n:::", "> **Note**\n>\n> Mind x.\n>\n> Two."),
        (":::{admonition} What if?\n:class: tip\nText\n:::", "> **What if?**\n>\n> Text"),
        ("```{warning}\nText\n```", "> **Warning**\n>\n> Text"),
        (
            "::::{admonition} Out\n:::{note}\nin\n:::\n::::",
            "> **Out**\n>\n> > **Note**\n> >\n> > in",
        ),
        (
            ":::{dropdown} Answer 1\n:open:\n**B.** It is.\n:::",
            "<details>\n<summary>Answer 1</summary>\n\n**B.** It is.\n\n</details>",
        ),
        (
            ":::{admonition} Answer\n:class: dropdown\nB\n:::",
            "<details>\n<summary>Answer</summary>\n\nB\n\n</details>",
        ),
        ("```{code-block} bash\nmake\n```", "```bash\nmake\n```"),
        ("```{math}\n:label: eq-x\nx\n```", "$$\nx\n$$"),
        (":::{figure} a.png\n:alt: A cat\nCaption\n:::", "![A cat](a.png)\n\nCaption"),
        ("1. item\n   :::{note}\n   deep\n   :::", "1. item\n   > **Note**\n   >\n   > deep"),
        ("before\n\n```{bibliography}\n```\nafter", "before\n\nafter"),
        (
            "plain $x_1$ `code` [link](a.md)\n\n| a | b |",
            "plain $x_1$ `code` [link](a.md)\n\n| a | b |",
        ),
    ],
)
def test_myst_becomes_plain_markdown(plain, source, expected):
    assert plain(source) == expected
    assert plain(expected) == expected
