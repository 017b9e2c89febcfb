"""The command ``advlab``: what it prints, and how it fails: one line, and an exit status."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes

import advlab
from advlab import backend
from advlab.cli import main
from advlab.data import NAMES
from advlab.models import zoo


@pytest.fixture(autouse=True)
def _device(monkeypatch):
    # 'zoo train' chooses a device for the process; put it back.
    monkeypatch.setattr(backend, "_chosen", backend._chosen)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A zoo of two models whose files can be damaged."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("mnist-logistic", "mnist-mlp"):
        for suffix in ("json", "safetensors"):
            shutil.copy(zoo.WEIGHTS / f"{name}.{suffix}", folder)
    monkeypatch.setattr(zoo, "WEIGHTS", folder)
    return folder


@pytest.fixture
def chapters(tmp_path):
    """A folder with one chapter of one exercise."""
    solution = "def f(x):\n    ### BEGIN SOLUTION\n    return secret\n    ### END SOLUTION"
    exercise = {"advlab": {"exercise": "4.2"}}
    cells = [
        new_markdown_cell("# FGSM", id="a"),
        new_code_cell(solution, id="b", metadata={"tags": ["exercise"], **exercise}),
        new_code_cell('check("4.2", f)', id="c", metadata={"tags": ["check"], **exercise}),
    ]
    folder = tmp_path / "chapters"
    folder.mkdir()
    (folder / "04-fgsm.ipynb").write_text(writes(new_notebook(cells=cells)))
    return folder


def error_of(argv, capsys) -> str:
    """Run a command that fails: status 2, nothing printed, one line on standard error."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("advlab: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("advlab: error: ")


# Help --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_help_names_every_command(argv, capsys):
    if argv:
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert end.value.code == 0
    else:
        assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"\n    {command} " in out for command in ("zoo", "data", "release", "execute"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["zoo"], ["list", "train", "verify"]),
        (["zoo", "list"], ["accuracy"]),
        (["zoo", "train"], ["NAME", "--device"]),
        (["zoo", "verify"], ["NAME", "Nothing is downloaded"]),
        (["data"], ["ADVLAB_DATA"]),
        (["release"], ["source", "--to FOLDER", "--force"]),
        (["execute"], ["source", "--check", "--timeout SECONDS"]),
    ],
)
def test_every_command_explains_itself(argv, said, capsys):
    with pytest.raises(SystemExit) as end:
        main([*argv, "--help"])
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith(f"usage: advlab {' '.join(argv)} ")
    assert all(word in out for word in said)


def test_zoo_alone_prints_its_help(capsys):
    assert main(["zoo"]) == 0
    assert capsys.readouterr().out.startswith("usage: advlab zoo ")


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"advlab {advlab.__version__}\n"
    assert importlib.metadata.version("advlab") == advlab.__version__


def test_the_installed_command_is_this_one():
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="advlab")
    assert command.load() is main


# zoo, data ---------------------------------------------------------------------------------------


def test_zoo_list_shows_every_model_with_its_size_and_accuracy(capsys):
    assert main(["zoo", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "name"
    assert [line.split()[0] for line in lines] == list(zoo.recipes())
    for line in lines:
        card = zoo.read_card(line.split()[0])
        assert line.split()[1:] == [
            card.model,
            f"{card.parameters:,}",
            card.data,
            f"{card.accuracy:.2%}",
            "of",
            f"{card.tested_on:,}",
        ]
    assert "mnist-cnn CNN 171,158 mnist5k 98.20% of 1,000" in [" ".join(s.split()) for s in lines]


def test_zoo_list_says_which_models_are_not_trained_yet(weights, capsys):
    assert main(["zoo", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["mnist-cnn"].endswith("not trained yet")
    assert lines["mnist-mlp"].endswith("94.70% of 1,000")


def test_zoo_verify_checks_one_model_or_all(weights, capsys):
    assert main(["zoo", "verify", "mnist-mlp"]) == 0
    line = "mnist-mlp: hash right; 94.70% of 1,000 test images, as on its card\n"
    assert capsys.readouterr().out == line
    assert main(["zoo", "verify"]) == 0
    first, second = capsys.readouterr().out.splitlines(keepends=True)
    assert first.startswith("mnist-logistic: hash right; ")
    assert second == line


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_zoo_verify_reports_a_bad_model_and_goes_on(damage, weights, capsys):
    path = weights / "mnist-logistic.safetensors"
    if damage == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    else:
        path.unlink()
    assert main(["zoo", "verify"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("mnist-logistic: FAILED: ")
    assert "mnist-logistic.safetensors" in first
    assert second.startswith("mnist-mlp: hash right; ")
    assert "mnist-logistic.safetensors" in error_of(["zoo", "verify", "mnist-logistic"], capsys)


def test_zoo_train_writes_weights_and_says_how_good_they_are(tmp_path, monkeypatch, capsys):
    recipe = zoo.Recipe(zoo.LogisticRegression, "mnist5k", lambda: {"epochs": 1, "lr": 3e-3})
    monkeypatch.setattr(zoo, "RECIPES", {"tiny": recipe})
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    assert main(["zoo", "train", "tiny", "--device", "cpu"]) == 0
    card = zoo.read_card("tiny")
    assert capsys.readouterr().out == (
        f"tiny: {card.accuracy:.2%} of 1,000 test images of mnist5k after 1 epochs in "
        f"{card.seconds:.0f} s; written to {tmp_path}\n"
    )


def test_data_lists_every_set_and_where_it_is_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    assert main(["data"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == ["name", *NAMES, "folder:PATH"]
    there = {name for name in NAMES if lines[name].endswith(" yes")}
    assert there == {"mnist5k", "scenes", "signs", "speech", "mnist"}
    assert all(lines[name].endswith(" no") for name in set(NAMES) - there)
    assert str(tmp_path / "cifar-10-batches-py") in lines["cifar10"]


# release, execute --------------------------------------------------------------------------------


def test_release_writes_the_students_notebooks(chapters, tmp_path, capsys):
    to = tmp_path / "workshop"
    assert main(["release", str(chapters), "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"1 notebook with 1 exercise in {to}\n"
    cells = json.loads((to / "04-fgsm.ipynb").read_text())["cells"]
    assert "".join(cells[1]["source"]) == (
        'def f(x):\n    raise NotImplementedError("exercise 4.2")'
    )


def test_release_overwrites_a_students_work_only_with_force(chapters, tmp_path, capsys):
    argv = ["release", str(chapters), "--to", str(tmp_path / "workshop")]
    assert main(argv) == 0
    path = tmp_path / "workshop" / "04-fgsm.ipynb"
    path.write_text(path.read_text().replace("NotImplementedError", "MyOwnWork"))
    capsys.readouterr()
    assert "changed since it was released" in error_of(argv, capsys)
    assert "MyOwnWork" in path.read_text()
    assert main([*argv, "--force"]) == 0
    assert "MyOwnWork" not in path.read_text()


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["zoo", "train", "nope"], "model: found 'nope', expected one of mnist-cnn, "),
        (["zoo", "verify", "nope"], "model: found 'nope', expected one of mnist-bits, "),
        (["zoo", "train", "mnist-mlp", "--device", "abacus"], "device: 'abacus' is not the name"),
        (["release", "nowhere", "--to", "there"], "nowhere: expected a notebook, or a folder"),
        (["execute", "nowhere"], "nowhere: expected a notebook, or a folder with notebooks"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert error_of(argv, capsys).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_execute_names_the_chapters_there_are(chapters, capsys):
    wanted = "no chapter '7'; there are: 04-fgsm\n"
    assert error_of(["execute", str(chapters), "7"], capsys) == wanted


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nope"], "advlab: error: argument COMMAND: invalid choice: 'nope'"),
        (["--nope"], "advlab: error: unrecognized arguments: --nope"),
        (["zoo", "nope"], "advlab zoo: error: argument ACTION: invalid choice: 'nope'"),
        (["zoo", "train"], "advlab zoo train: error: the following arguments are required: NAME"),
        (["zoo", "list", "more"], "advlab: error: unrecognized arguments: more"),
        (["release", "book"], "advlab release: error: the following arguments are required: --to"),
        (["execute"], "advlab execute: error: the following arguments are required: source"),
        (
            ["execute", "book", "--timeout", "soon"],
            "advlab execute: error: argument --timeout: invalid int value: 'soon'",
        ),
    ],
)
def test_bad_arguments_are_told_with_the_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: advlab")
    assert err.splitlines()[-1].startswith(message)


def test_a_process_ends_with_that_status_and_no_traceback():
    command = [sys.executable, "-m", "advlab.cli", "zoo", "verify", "nope"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("advlab: error: model: found 'nope'")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "advlab: interrupted\n"),
        (OSError("disk\n  full"), 2, "advlab: error: disk full\n"),
        (ValueError(), 2, "advlab: error: ValueError\n"),
        (FloatingPointError("loss is NaN"), 2, "advlab: error: loss is NaN\n"),
    ],
)
def test_how_what_stops_a_command_is_told(error, status, said, monkeypatch, capsys):
    def stop(name):
        raise error

    monkeypatch.setattr(zoo, "verify", stop)
    assert main(["zoo", "verify", "mnist-cnn"]) == status
    assert capsys.readouterr().err == said


def test_a_bug_is_not_dressed_up_as_an_error_of_the_user(monkeypatch):
    def bug(name):
        raise KeyError("inside")

    monkeypatch.setattr(zoo, "verify", bug)
    with pytest.raises(KeyError, match="inside"):
        main(["zoo", "verify", "mnist-cnn"])
