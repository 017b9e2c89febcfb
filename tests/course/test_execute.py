"""Running chapters: a second run changes nothing, and nothing of this machine is stored."""

from __future__ import annotations

import argparse
import io
import json
import struct
import zlib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from advlab.course.cli import _chosen, add_commands
from advlab.course.execute import execute, execute_all
from advlab.course.normalize import WIDGETS, normalize, unportable, without_comments
from advlab.course.notebooks import NotebookError, read

FIGURE = """
%matplotlib inline
import matplotlib.pyplot as plt
plt.plot([1, 2], [3, 1])
plt.show()
"""
WIDGET = """
import io
import ipywidgets as w
frames = []
for n in range(3):
    buffer = io.BytesIO()
    figure = plt.figure(figsize=(1, 1))
    figure.text(0.5, 0.5, str(n))
    figure.savefig(buffer, metadata={"Software": None})
    plt.close(figure)
    frames.append(w.Image(value=buffer.getvalue()))
stack, slider = w.Stack(frames, selected_index=0), w.IntSlider(max=2)
unused = w.IntSlider(description="not shown")
w.jslink((slider, "value"), (stack, "selected_index"))
w.VBox([slider, stack])
"""
TEXT = """
import sys, time
for n in range(3):
    print("line", n)
    sys.stdout.flush()
    time.sleep(0.02 * n)
{"answer": 42}
"""


def chapter(path: Path, *sources: str) -> Path:
    cells = [new_markdown_cell("# Title", id="title")]
    cells += [new_code_cell(source.strip(), id=f"cell-{n}") for n, source in enumerate(sources)]
    path.write_text(nbformat.writes(new_notebook(cells=cells)), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_second_run_changes_nothing(tmp_path):
    path = chapter(tmp_path / "01-a.ipynb", FIGURE, WIDGET, TEXT)
    run = execute(path)
    assert run.problems == []
    first = path.read_bytes()
    assert execute(path).problems == []
    assert path.read_bytes() == first

    notebook = read(path)
    assert [cell.id for cell in notebook.cells] == ["title", "cell-0", "cell-1", "cell-2"]
    assert notebook.metadata.kernelspec == {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    assert "version" not in notebook.metadata.language_info
    stream, value = notebook.cells[3].outputs
    assert stream.text == "line 0\nline 1\nline 2\n"
    assert value.data["text/plain"] == "{'answer': 42}"
    assert "image/png" in notebook.cells[1].outputs[0].data

    state = notebook.metadata.widgets[WIDGETS].state
    view = notebook.cells[2].outputs[0].data["application/vnd.jupyter.widget-view+json"]
    assert view.model_id == f"{1:032x}"
    assert state[view.model_id].model_name == "VBoxModel"
    names = [state[model].model_name for model in sorted(state)]
    assert names.count("ImageModel") == 3
    assert names.count("LinkModel") == 1
    assert names.count("IntSliderModel") == 1, "the slider that is not shown is left out"
    for link in (m for m in state.values() if m.model_name == "LinkModel"):
        for model, _ in (link.state.source, link.state.target):
            assert model.removeprefix("IPY_MODEL_") in state


def test_the_kernel_says_nothing_of_its_own(tmp_path, capfd):
    assert execute(chapter(tmp_path / "01-a.ipynb", "print(1)")).ok
    assert "[IPKernelApp]" not in capfd.readouterr().err


def test_check_writes_nothing_and_names_what_differs(tmp_path):
    path = chapter(tmp_path / "01-a.ipynb", "print(1)", "print(2)")
    assert execute(path).ok
    notebook = read(path)
    notebook.cells[2].outputs[0].text = "3\n"
    path.write_text(nbformat.writes(notebook))
    before = path.read_bytes()
    run = execute(path, check=True)
    assert run.problems == [r"cell 3 shows '2\n', and stored is '3\n'"]
    assert path.read_bytes() == before
    notebook.cells[2].metadata["tags"] = ["nbval-ignore-output"]
    path.write_text(nbformat.writes(notebook))
    assert execute(path, check=True).ok


def test_an_error_is_reported_and_the_file_is_kept(tmp_path):
    bad = chapter(tmp_path / "01-a.ipynb", "print(1)", "1 / 0")
    good = chapter(tmp_path / "02-b.ipynb", "import os\nprint(os.path.basename(os.getcwd()))")
    before = bad.read_bytes()
    out = io.StringIO()
    runs = execute_all([bad, good], check=False, timeout=60, out=out)
    assert [run.ok for run in runs] == [False, True]
    assert "ZeroDivisionError" in runs[0].problems[0]
    assert "ZeroDivisionError" in out.getvalue()
    assert bad.read_bytes() == before
    # The kernel starts in the folder of the notebook.
    assert read(good).cells[1].outputs[0].text == f"{tmp_path.name}\n"


def test_a_cell_that_takes_too_long_ends_the_run(tmp_path):
    path = chapter(tmp_path / "01-a.ipynb", "import time\ntime.sleep(60)")
    run = execute(path, timeout=1)
    assert not run.ok
    assert run.seconds < 30


def test_paths_of_this_machine_are_not_stored(tmp_path):
    path = chapter(tmp_path / "01-a.ipynb", "import os\nprint(os.path.abspath('x.txt'))")
    before = path.read_bytes()
    run = execute(path)
    assert len(run.problems) == 1
    assert "cell 2 shows what belongs to this machine" in run.problems[0]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        f"saved in {Path.home()}/data",
        "/x/lib/python3.11/site-packages/torch/nn.py:3: UserWarning",
        "<function f at 0x7f12ab>",
        "/tmp/ipykernel_123/99.py:1: UserWarning: deprecated",
    ],
)
def test_what_belongs_to_one_machine_is_found(text):
    notebook = new_notebook(cells=[new_code_cell("x")])
    for output in (
        new_output("stream", name="stderr", text=f"first\n{text}\n"),
        new_output("display_data", data={"text/html": f"<p>{text}</p>"}),
        new_output("error", ename="E", evalue="", traceback=[text]),
    ):
        notebook.cells[0].outputs = [output]
        assert len(unportable(notebook, [])) == 1
    notebook.cells[0].outputs = [new_output("stream", text="accuracy 97.7% at book/data\n")]
    assert unportable(notebook, []) == []


def test_comments_leave_a_png_and_the_picture_stays():
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13))
    tail = chunk(b"IDAT", b"pixels") + chunk(b"IEND", b"")
    noisy = head + chunk(b"tEXt", b"Software\0x") + chunk(b"tIME", bytes(7)) + tail
    assert without_comments(noisy) == head + tail
    assert without_comments(b"no picture") == b"no picture"


def test_normalizing_twice_is_normalizing_once():
    notebook = new_notebook(cells=[new_code_cell("x", id="x", metadata={"execution": {"a": "1"}})])
    notebook.cells[0].outputs = [
        new_output("stream", text="a"),
        new_output("stream", text="b"),
        new_output("stream", name="stderr", text="c"),
        new_output(
            "display_data",
            data={"application/vnd.jupyter.widget-view+json": {"model_id": "f" * 32}},
        ),
    ]
    model = {"model_module": "m", "model_module_version": "1", "model_name": "N", "state": {}}
    models = {"e" * 32: model, "f" * 32: model | {"state": {"child": f"IPY_MODEL_{'d' * 32}"}}}
    models["d" * 32] = model
    notebook.metadata["widgets"] = nbformat.from_dict({WIDGETS: {"state": models}})
    once = json.dumps(normalize(notebook))
    assert json.dumps(normalize(notebook)) == once
    assert [output.get("text") for output in notebook.cells[0].outputs] == ["ab", "c", None]
    state = notebook.metadata.widgets[WIDGETS].state
    assert set(state) == {f"{1:032x}", f"{2:032x}"}
    assert state[f"{1:032x}"].state.child == f"IPY_MODEL_{2:032x}"


def test_chapters_are_chosen_by_name_or_number(tmp_path):
    paths = [tmp_path / "04-fgsm.ipynb", tmp_path / "14-smooth.ipynb"]
    for name in ("4", "04", "04-fgsm", "04-fgsm.ipynb", "book/04-fgsm.ipynb"):
        assert _chosen(paths, [name]) == paths[:1]
    assert _chosen(paths, []) == paths
    with pytest.raises(NotebookError, match="no chapter '5'; there are: 04-fgsm, 14-smooth"):
        _chosen(paths, ["5"])


def test_the_command(tmp_path, capsys):
    chapter(tmp_path / "01-a.ipynb", "print(1)")
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(["execute", str(tmp_path), "1"])
    assert args.run(args) == 0
    assert "1 chapter run in" in capsys.readouterr().out
    args = parser.parse_args(["execute", str(tmp_path), "--check"])
    assert args.run(args) == 0
    args = parser.parse_args(["execute", str(tmp_path), "7"])
    with pytest.raises(NotebookError, match="no chapter '7'"):
        args.run(args)
