"""``advlab sanity``: a model of the zoo, or one of the user's own."""

import sys

import pytest

from advlab.cli import main

OWN = """
import torch
from torch import nn
from advlab.models import BPDA, load_model


def broken():
    raise RuntimeError("no weights")


def colored():
    return nn.Conv2d(3, 4, 3)


made = load_model("mnist-logistic", "cpu")


def rounded():
    step = BPDA(lambda x: x.round(), backward="own")
    return nn.Sequential(step, load_model("mnist-logistic", "cpu"))
"""
QUICK = ["--device", "cpu", "--images", "30"]


def test_a_sound_model_ends_with_0(capsys):
    assert main(["sanity", "mnist-logistic", "--eps", "0.1", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "30 images" not in said  # those that it has right
    assert "ε = 0.1 in Linf" in said
    assert "Nothing suspicious was found" in said


def test_a_model_of_ones_own_that_hides_its_gradient_ends_with_1(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_network.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["sanity", "my_network:rounded", "--norm", "L2", "--eps", "1", *QUICK]) == 1
    said = capsys.readouterr().out
    assert "SUSPICIOUS" in said
    assert "zero gradient: The logits do not move" in said
    # A module that is there already is not called, and a crash does not end with 1.
    assert main(["sanity", "my_network:made", "--eps", "0.1", *QUICK]) == 0
    capsys.readouterr()
    for name, message in {
        "broken": "'my_network:broken' cannot be loaded: RuntimeError: no weights",
        "colored": "'my_network:colored' fails on images of shape (1, 1, 28, 28) from mnist5k",
    }.items():
        assert main(["sanity", f"my_network:{name}", *QUICK]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist-nothing", "found 'mnist-nothing'"),
        ("no_such_module:network", "cannot be loaded"),
        ("math:network", "cannot be loaded"),
        ("math:pi", "is float, not a torch.nn.Module"),
        ("os:getcwd", "not a torch.nn.Module"),
    ],
)
def test_what_is_no_model_is_said(name, message, capsys):
    assert main(["sanity", name, *QUICK]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--images", "-5"], "images: expected at least 1, found -5"),
        (["--eps", "0"], "eps: expected"),
        (["--norm", "L1"], "norm: found 'L1'"),
        (["--device", "cuda:99"], "'cuda:99' is not available"),
    ],
)
def test_bad_settings_are_said(setting, message, capsys):
    assert main(["sanity", "mnist-logistic", *QUICK, *setting]) == 2
    assert message in capsys.readouterr().err
