"""What was kept, copied or loaded once more before the check is refused while it is called."""

from __future__ import annotations

import functools
import importlib.util
import sys
from types import FunctionType, ModuleType

import pytest
import torch

from advlab import attacks
from advlab.attacks import fgsm as file
from advlab.course.guarding import Forbidden, guard

FGSM = ("advlab.attacks.FGSM",)


class Kept(attacks.FGSM):
    """Has its methods from before the guard."""

    perturb = attacks.FGSM.perturb
    __call__ = attacks.FGSM.__call__


def copied(function: FunctionType) -> FunctionType:
    return FunctionType(function.__code__, function.__globals__, "mine", function.__defaults__)


def loaded_again() -> ModuleType:
    spec = importlib.util.spec_from_file_location("advlab.attacks.mine", file.__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def run_again() -> dict:
    space = {"__name__": "advlab.attacks.fgsm", "__package__": "advlab.attacks"}
    with open(file.__file__, encoding="utf-8") as source:
        exec(source.read(), space)
    return space


class Copied(attacks.FGSM):
    perturb = copied(attacks.FGSM.perturb)
    __call__ = attacks.FGSM.__call__


def batch():
    draw = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
    return model, torch.rand(4, 1, 4, 4, generator=draw), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    "attack",
    [Kept, Copied, loaded_again().FGSM, run_again()["FGSM"]],
    ids=["kept", "copied", "loaded again", "run again"],
)
def test_what_was_taken_before_the_check_is_refused_in_it(attack):
    model, x, y = batch()
    before = attack(eps=0.1)(model, x, y)
    with guard(FGSM), pytest.raises(Forbidden, match=r"advlab\.attacks\.FGSM"):
        attack(eps=0.1)(model, x, y)
    assert torch.equal(attack(eps=0.1)(model, x, y), before)


def test_other_attacks_keep_what_they_inherit():
    model, x, y = batch()
    with guard(FGSM):
        assert attacks.PGD(eps=0.1, steps=1)(model, x, y).shape == x.shape


# A small package with everything that a function may have ----------------------------------------


def wrapped(function):
    @functools.wraps(function)
    def around(*args, **kwargs):
        return function(*args, **kwargs)

    return around


class Base:
    def perturb(self, x=1, *, by=2):
        return x + by


class Inner(Base):
    def perturb(self, x=1, *, by=2):  # with a cell: super's
        return super().perturb(x, by=by)


class Untouched(Base):
    pass


class Inherits(Base):
    pass


def plain(x, y=1, *more, by=2, **rest):
    return x + y + by


@wrapped
def one(x):
    return x


@wrapped
def two(x):
    return x


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("small")
    vars(module).update(Inner=Inner, Inherits=Inherits, plain=plain, one=one, two=two)
    monkeypatch.setitem(sys.modules, "small", module)


def test_code_fits_whatever_defaults_and_cells_there_are(package):
    kept, function = Inner.perturb, plain
    for _ in range(2):
        with guard(("small.Inner", "small.plain")):
            for call in (
                lambda: kept(Inner()),
                lambda: kept(Inner(), 3, by=4),
                lambda: function(1),
                lambda: function(1, 2, 3, by=4, c=5),
            ):
                with pytest.raises(Forbidden, match="small"):
                    call()
        assert kept(Inner()) == 3
        assert kept(Inner(), 3, by=4) == 7
        assert function(1) == 4


def test_a_method_is_forbidden_and_not_its_base(package):
    kept = Inherits.perturb
    with guard(("small.Inherits", "small.Inherits.perturb")):
        assert Untouched().perturb() == 3
        assert kept(Untouched()) == 3
        with pytest.raises(Forbidden):
            Inherits().perturb()
    assert Inherits().perturb() == 3
    assert "perturb" not in vars(Inherits)


def test_a_wrapper_s_code_is_that_of_many(package):
    bare = one.__wrapped__
    with guard(("small.one",)):
        assert two(1) == 1
        for function in (one, bare):
            with pytest.raises(Forbidden, match=r"small\.one"):
                function(1)
    assert one(1) == bare(1) == 1
