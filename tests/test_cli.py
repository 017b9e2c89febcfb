"""The command ``advlab``: what it prints, and how it fails."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from advlab import __version__
from advlab.cli import main
from advlab.models import zoo


@pytest.fixture
def copy(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    shutil.copytree(zoo.WEIGHTS, folder)
    monkeypatch.setattr(zoo, "WEIGHTS", folder)
    return folder


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"advlab {__version__}\n"


def test_help_names_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    for command in ("zoo", "data", "release", "execute"):
        assert f"\n    {command} " in out


def test_zoo_list_shows_the_cards(capsys):
    assert main(["zoo", "list"]) == 0
    out = capsys.readouterr().out
    for name in zoo.RECIPES:
        card = zoo.read_card(name)
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert f"{card.parameters:,}" in line
        assert f"{card.accuracy:.2%} of {card.tested_on:,}" in line


def test_zoo_verify_one_and_all(capsys, copy, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path / "nothing"))
    assert main(["zoo", "verify", "mnist-logistic"]) == 0
    assert "hash right; 90.70%" in capsys.readouterr().out
    (copy / "mnist-mlp.safetensors").write_bytes(b"no weights")
    assert main(["zoo", "verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(zoo.RECIPES)
    assert ["FAILED" in line for line in lines].count(True) == 1


def test_zoo_train_writes_weights_and_card(capsys, copy):
    (copy / "mnist-logistic.json").unlink()
    assert main(["zoo", "list"]) == 0
    assert "not trained yet" in capsys.readouterr().out
    assert main(["zoo", "train", "mnist-logistic", "--device", "cpu"]) == 0
    assert "mnist-logistic: 90." in capsys.readouterr().out
    assert main(["zoo", "verify", "mnist-logistic"]) == 0


def test_data_says_where_it_looks(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    (tmp_path / "gtsrb").mkdir()
    assert main(["data"]) == 0
    there = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert there["gtsrb"] == there["mnist5k"] == "yes"
    assert there["mnist"] == there["cifar10"] == "no"
    main(["data"])
    assert str(tmp_path / "MNIST") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["zoo", "verify", "nope"], "found 'nope', expected one of mnist-cnn"),
        (["zoo", "train", "nope"], "found 'nope', expected one of mnist-cnn"),
        (["zoo", "train", "mnist-mlp", "--device", "tpu"], "tpu"),
    ],
)
def test_errors_are_one_line_and_exit_2(capsys, argv, message):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("advlab: error: ")
    assert message in line


def test_a_missing_file_of_weights_is_an_error_too(capsys, copy):
    (copy / "mnist-mlp.safetensors").unlink()
    assert main(["zoo", "verify", "mnist-mlp"]) == 2
    assert "mnist-mlp.safetensors" in capsys.readouterr().err


def test_the_installed_command_runs_and_imports_no_notebook_code_for_the_zoo():
    code = (
        "import sys; from advlab.cli import main; main(['data']); print('nbformat' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
