"""A step in front of a model: its answer is its own, its gradient is what was asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from advlab.attacks import EOT, FGSM, PGD, GradientWarning
from advlab.models import BPDA, LogisticRegression, Preprocessing


class Halves(Preprocessing):
    """Rounded to 0, 1/2 and 1; its stand-in squares."""

    def process(self, x):
        return (2 * x).round() / 2

    def substitute(self, x):
        return x**2


@pytest.fixture
def x():
    return torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backward", ["own", "identity", "substitute", torch.sin])
def test_the_answer_does_not_depend_on_how_it_is_differentiated(x, backward):
    assert torch.equal(Halves(backward)(x.requires_grad_()), (2 * x).round() / 2)


@pytest.mark.parametrize(
    ("backward", "slope"),
    [
        ("own", lambda x: 0 * x),
        ("identity", torch.ones_like),
        ("substitute", lambda x: 2 * x),
        (torch.sin, torch.cos),
    ],
)
def test_the_gradient_is_what_was_asked_for(x, backward, slope):
    (gradient,) = torch.autograd.grad(Halves(backward)(x.requires_grad_()).sum(), x)
    torch.testing.assert_close(gradient, slope(x.detach()))


def test_any_function_can_be_a_step(x):
    step = BPDA(torch.floor)
    out = step(x.requires_grad_())
    assert torch.equal(out, torch.zeros_like(x))
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.ones_like(x))


def test_a_stand_in_of_another_shape_is_refused(x):
    step = BPDA(lambda x: x.repeat(1, 3, 1, 1))
    with torch.no_grad():
        assert step(x).shape == (4, 3, 5, 5)
    with pytest.raises(ValueError, match=r"BPDA: .*gives shape \(4, 1, 5, 5\).*\(4, 3, 5, 5\)"):
        step(x)


@pytest.mark.parametrize("make", [lambda b: Halves(b), lambda b: PGD(backward=b)])
def test_another_name_is_refused(make):
    with pytest.raises(ValueError, match="backward: found 'bpda', expected 'own', 'identity'"):
        make("bpda")


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: EOT(attack=a, samples=2)])
def test_one_argument_makes_an_attack_see_through_a_step(x, wrap):
    """On a linear model behind a step, FGSM's direction is known: W_other − W_y, times slope."""
    torch.manual_seed(0)
    linear = LogisticRegression(classes=2, size=5)
    step = Halves()
    model = nn.Sequential(step, linear)
    y = linear(step(x)).argmax(1).detach()
    with pytest.warns(GradientWarning):
        assert torch.equal(wrap(FGSM(eps=0.1))(model, x, y), x)
    weight = linear.linear.weight.detach()
    up = (weight[1 - y] - weight[y]).sign().view_as(x)
    x_adv = wrap(FGSM(eps=0.1, backward="identity"))(model, x, y)
    torch.testing.assert_close(x_adv, (x + 0.1 * up).clamp(0, 1))
    assert step.backward == "own", "the model is left as it was found"


def test_an_attack_that_fails_leaves_the_step_as_it_was(x):
    step = Halves()
    model = nn.Sequential(step, nn.Softmax(1))
    with pytest.raises(ValueError, match="model"):
        FGSM(backward="identity")(model, x, torch.zeros(4, dtype=torch.int64))
    assert step.backward == "own"


def test_a_network_may_stand_in_and_is_no_part_of_the_model(x):
    blur = nn.Conv2d(1, 1, 3, padding=1)
    step = Halves()
    model = nn.Sequential(step, LogisticRegression(classes=2, size=5))
    names, y = list(model.state_dict()), model(x).argmax(1)
    assert not torch.equal(FGSM(eps=0.1, backward=blur)(model, x, y), x)
    assert step.backward == "own"
    step.backward = blur
    assert list(model.state_dict()) == names
    assert copy.deepcopy(step).backward is not blur
    step.backward = "identity"
    assert torch.equal(step(x), Halves()(x))


@pytest.mark.parametrize("backward", ["bpda", None])
def test_a_name_that_there_is_not_cannot_be_set(backward):
    step = Halves("identity")
    with pytest.raises(ValueError, match=f"backward: found {backward!r}, expected 'own'"):
        step.backward = backward
    assert step.backward == "identity"


def test_a_step_inside_of_a_step_is_differentiated_as_asked_too(x):
    inner = Halves()
    outer = BPDA(nn.Sequential(inner, nn.ReLU()), backward="own")
    model = nn.Sequential(outer, LogisticRegression(classes=2, size=5))
    y = model(x).argmax(1)
    seen = []
    inner.register_forward_hook(lambda step, *_: seen.append((step.backward, outer.backward)))
    FGSM(eps=0.1, backward="identity")(model, x, y)
    assert set(seen) == {("identity", "identity")}
    assert (inner.backward, outer.backward) == ("own", "own")


def test_an_attack_inside_of_an_attack_puts_back_what_it_found(x):
    """Another way to differentiate for each, one asked while the other runs."""
    step = Halves()
    model = nn.Sequential(step, LogisticRegression(classes=2, size=5))
    y, seen = model(x).argmax(1), []

    def asking(x):
        if len(seen) < 3:
            seen.append(step.backward)
            FGSM(eps=0.1, backward="substitute")(model, x, y)
            seen.append(step.backward)
        return x

    FGSM(eps=0.1, backward=asking)(model, x, y)
    assert seen
    assert all(how is asking for how in seen)
    assert step.backward == "own"


def test_an_exact_stand_in_is_run_alone(x):
    class Shaken(Preprocessing):
        exact = True

        def process(self, x):
            return self.substitute(x).detach() + 0 * x

        def substitute(self, x):
            return x * torch.rand(())

    inputs = x.clone().requires_grad_()
    out = Shaken("substitute")(inputs)
    (gradient,) = torch.autograd.grad(out.sum(), inputs)
    torch.testing.assert_close(gradient * x, out)
