"""What holds for every attack, on every model, image and batch."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import EOT, FGSM, PGD, Noise

from .conftest import ATTACKS, GRADIENT_ATTACKS, Nothing, images, small_cnn

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=str)
every_gradient_attack = pytest.mark.parametrize("attack", GRADIENT_ATTACKS, ids=str)


def assert_inside(attack, x, x_adv):
    """In the ball and in the box, and a tensor like x."""
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert x_adv.device == x.device
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    slack = 1e-5 if x.dtype == torch.float32 else 1e-12
    # In float64, so that summing up does not round in the norm's place.
    length = threat.size(x_adv.double() - x.double(), attack.norm)
    assert (length <= attack.eps * (1 + slack) + slack).all()


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("channels", "size", "classes"),
    [(1, (8, 8), 2), (3, (6, 6), 10), (1, (5, 9), 3), (3, (9, 4), 1000)],
    ids=["gray, 2 classes", "RGB", "not square", "RGB, not square, 1000 classes"],
)
def test_inside_the_ball_and_the_box(attack, dtype, channels, size, classes, device):
    model = small_cnn(channels, size, classes, dtype).to(device)
    x = images(9, channels, size, dtype).to(device)
    y = torch.arange(9, device=device) % classes
    given = x.clone()
    x_adv = attack(model, x, y)
    assert_inside(attack, x, x_adv)
    assert torch.equal(x, given)  # the images given are not written to
    assert x_adv.data_ptr() != x.data_ptr()


@every_attack
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_images_at_the_edge_of_the_box_move_inward_only(attack, value, cnn, device):
    x = torch.full((4, 1, 6, 7), value, dtype=torch.float64, device=device)
    x_adv = attack(cnn, x, cnn(x).argmax(1))
    assert_inside(attack, x, x_adv)
    assert (x_adv != x).flatten(1).any(1).all()  # half of all directions are open


@every_attack
def test_a_budget_of_zero_leaves_the_images(attack, cnn, x, y):
    change = {"eps": 0.0} | ({"alpha": 0.0} if getattr(attack, "alpha", None) else {})
    assert torch.equal(attack.changed(**change)(cnn, x, y), x)


@every_attack
def test_same_answer_at_any_batch_size_in_any_order_and_alone(attack, cnn, x, y):
    together = attack(cnn, x, y)
    for size in (1, 7, 40):
        split = attack.changed(batch_size=size)(cnn, x, y)
        torch.testing.assert_close(split, together, rtol=0, atol=1e-9)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3)).to(x.device)
    torch.testing.assert_close(attack(cnn, x[order], y[order]), together[order], rtol=0, atol=1e-9)
    for i in (0, 17):
        alone = attack(cnn, x[i : i + 1], y[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-9)


@every_attack
def test_the_same_call_gives_the_same_bits(attack, cnn, x, y):
    first = attack(cnn, x, y)
    torch.manual_seed(99)
    assert torch.equal(attack(cnn, x, y), first)


@every_attack
def test_an_empty_batch_comes_back_empty(attack, cnn, x, y):
    out = attack(cnn, x[:0], y[:0])
    assert out.shape == x[:0].shape
    assert out.dtype == x.dtype


def test_an_empty_batch_is_not_shown_to_the_model(x, y):
    class Viewing(nn.Module):
        def forward(self, x):
            return x.reshape(len(x), -1)[:, :3]  # fails on no images, as many networks do

    assert FGSM()(Viewing(), x[:0], y[:0]).shape == x[:0].shape


def assert_does_harm(attack, model, x, y):
    """The loss rises on average, and far more than noise of the same size raises it."""

    def mean_loss(x):
        with torch.no_grad():
            return attack.aim.loss(model(x), y).mean().item()

    # In L1, noise of the same size: one ball's random point.
    noise = threat.random_in_ball(x, attack.eps, attack.norm, seed=9)
    clean, noisy = mean_loss(x), mean_loss((x + noise).clamp(0, 1))
    assert mean_loss(attack(model, x, y)) > clean + 3 * abs(noisy - clean) + 0.01


@every_gradient_attack
@pytest.mark.parametrize("targeted", [False, True])
def test_the_attack_does_harm(attack, targeted, cnn, x, y):
    attack = attack.changed(targeted=targeted)
    assert_does_harm(attack, cnn, x, (y + 1) % 3 if targeted else y)


def test_doing_nothing_and_noise_do_no_harm(cnn, x, y):
    for attack in (Nothing(), Noise(eps=0.1), Noise(eps=1.0, norm="L2")):
        with pytest.raises(AssertionError):
            assert_does_harm(attack, cnn, x, y)


@every_gradient_attack
def test_targeted_hits_the_class_wanted_more_often(attack, cnn, x, y):
    wanted = (y + 1) % 3
    attack = attack.changed(targeted=True)
    with torch.no_grad():
        assert (cnn(x).argmax(1) == wanted).sum() == 0
        assert (cnn(attack(cnn, x, wanted)).argmax(1) == wanted).double().mean() > 0.1


class Checked:
    """A model with submodules in different modes; all that an attack could leave changed."""

    def __init__(self, device):
        self.model = small_cnn().to(device)
        self.model.train()
        self.model[1].eval()
        self.model[4].eval()
        self.model[0].weight.requires_grad_(False)
        self.calls = []
        self.model[5].register_forward_hook(lambda *_: self.calls.append(1))
        self.model.register_forward_pre_hook(lambda *_: None)
        self.device = device

    def state(self):
        model = self.model
        values = {name: value.clone() for name, value in model.state_dict().items()}
        rng = [torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].copy())]  # noqa: NPY002
        if self.device.type == "cuda":
            rng.append(torch.cuda.get_rng_state())
        return {
            "modes": [module.training for module in model.modules()],
            "requires_grad": [p.requires_grad for p in model.parameters()],
            "grad": [p.grad for p in model.parameters()],
            "identity": [id(p) for p in model.parameters()],
            "hooks": [
                (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
                for m in model.modules()
            ],
            "strides": [p.stride() for p in model.parameters()],
            "python": random.getstate(),
            "grad_enabled": torch.is_grad_enabled(),
        }, [*values.values(), *rng]

    def assert_untouched(self, before):
        after = self.state()
        assert after[0] == before[0]
        assert all(torch.equal(a, b) for a, b in zip(after[1], before[1]))


@every_attack
def test_the_model_is_left_as_it_was_found(attack, device, x, y):
    found = Checked(device)
    before = found.state()
    attack(found.model, x, y)
    found.assert_untouched(before)
    assert found.calls or isinstance(attack, Noise)


@every_gradient_attack
def test_the_model_is_left_as_it_was_found_when_the_attack_fails_midway(attack, device, x, y):
    found = Checked(device)
    before = found.state()
    modes = []

    def fail(model, inputs, output):
        modes.append([m.training for m in found.model.modules()])
        raise KeyError("midway")

    handle = found.model[4].register_forward_hook(fail)
    with pytest.raises(KeyError, match="midway"):
        attack(found.model, x, y)
    handle.remove()
    found.assert_untouched(before)
    assert not any(any(each) for each in modes)  # attacked in evaluation mode


@every_gradient_attack
def test_works_where_gradients_are_off(attack, cnn, x, y):
    expected = attack(cnn, x, y)
    with torch.no_grad():
        assert torch.equal(attack(cnn, x, y), expected)
    assert torch.equal(attack(cnn, x.clone().requires_grad_(True), y), expected)


@every_gradient_attack
def test_log_softmax_outputs_are_attacked_like_logits(attack, cnn, x, y):
    expected = attack(cnn, x, y)
    found = attack(nn.Sequential(cnn, nn.LogSoftmax(1)), x, y)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@every_gradient_attack
def test_the_gradient_is_of_evaluation_mode(attack, cnn, x, y):
    expected = attack(cnn, x, y)
    assert torch.equal(attack(cnn.train(), x, y), expected)


class Answers(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


hidden = torch.ones(3, requires_grad=True)
BROKEN = {
    "probabilities": (lambda x: x.flatten(1)[:, :3].softmax(1), "found probabilities"),
    "tuple": (lambda x: (x.flatten(1), x), r"shape \(40, K\), found tuple"),
    "images": (lambda x: x, r"shape \(40, K\), found \(40, 1, 6, 7\)"),
    "one image short": (lambda x: x.flatten(1)[1:], r"shape \(40, K\), found \(39, 42\)"),
    "one class": (lambda x: x.flatten(1)[:, :1], "at least 2 classes"),
    "NaN": (lambda x: x.flatten(1) * float("nan"), "expected finite logits"),
    "infinity": (lambda x: x.flatten(1) / 0, "expected finite logits"),
    "detached": (lambda x: x.detach().flatten(1), "do not depend on x by any differentiable path"),
    "integers": (lambda x: x.flatten(1).long(), "floating-point logits"),
    "detached, with parameters of its own": (
        lambda x: x.detach().flatten(1)[:, :3] * hidden.to(x),
        "do not depend on x by any differentiable path",
    ),
    "NaN in the gradient": (
        lambda x: (x - x.detach()).abs().sqrt().flatten(1)[:, :3],
        "the gradient of the loss in x is NaN",
    ),
    "two classes for three": (lambda x: x.flatten(1)[:, :2] - 5, "class numbers below 2.*found 2"),
}


@every_gradient_attack
@pytest.mark.parametrize("kind", BROKEN)
def test_a_model_that_breaks_the_contract_is_refused(attack, kind, x, device):
    answer, message = BROKEN[kind]
    y = torch.arange(40, device=device) % 3
    with pytest.raises(ValueError, match=message):
        attack(Answers(answer), x, y)


@every_attack
def test_images_and_labels_that_break_the_contract_are_refused(attack, cnn, x, y):
    for bad_x, bad_y, message in [
        (x * 255, y, r"x: expected values in \[0, 1\]"),
        (x[0], y[:1], r"x: expected shape \(N, C, H, W\)"),
        ((x * 255).byte(), y, "x: expected floating point"),
        (x, y[1:], r"y: expected shape \(40,\), found \(39,\)"),
        (x, y.double(), "y: expected class numbers as torch.int64"),
        (x, y - 5, "y: expected class numbers from 0"),
        (x, y.to("meta"), "y: expected on"),
    ]:
        with pytest.raises(ValueError, match=message):
            attack(cnn, bad_x, bad_y)
    with pytest.raises(ValueError, match="model is on meta and x on"):
        attack(small_cnn().to("meta"), x, y)
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, found function"):
        attack(lambda x: x, x, y)


@every_gradient_attack
def test_a_label_that_the_model_does_not_have_is_refused(attack, cnn, x, y):
    with pytest.raises(ValueError, match=r"y: expected class numbers below 3, .* found 3"):
        attack(cnn, x, (y * 0 + 3))


def test_an_attack_that_runs_into_nan_says_so(device):
    """Finite at x, NaN in the gradient one step further: not to be handed on as an image."""

    class Cliff(nn.Module):
        def forward(self, x):
            flat = x.flatten(1)
            # Below 0.45 the square root has slope infinity, times 0: NaN.
            return flat - 0 * ((flat - 0.45) * (flat > 0.45)).sqrt()

    x = torch.full((2, 1, 1, 3), 0.5, device=device)
    y = torch.tensor([0, 1], device=device)
    with pytest.raises(ValueError, match="NaN"):
        PGD(eps=0.2, steps=4, random_start=False, best=False)(Cliff(), x, y)


class Saturated(nn.Module):
    """Dark images (mean below 0.5) have a gradient of exactly zero."""

    def forward(self, x):
        if len(x) > 4:
            raise torch.OutOfMemoryError("out of memory (simulated)")
        bright = (x.flatten(1).mean(1) - 0.5).relu()
        return torch.stack([bright, -bright, bright * 0], 1)


@every_gradient_attack
@pytest.mark.parametrize("batch_size", [1, 3, 40])
def test_zero_gradients_are_told_once_with_their_number(attack, batch_size, device):
    from advlab.attacks import GradientWarning

    x = torch.full((8, 1, 6, 7), 0.8, dtype=torch.float64, device=device)
    x[[1, 4, 6]] = 0.2
    y = torch.zeros(8, dtype=torch.int64, device=device)
    attack = attack.changed(batch_size=batch_size)
    with pytest.warns(GradientWarning, match="exactly zero for 3 of 8 images") as caught:
        attack(Saturated(), x, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the line of the caller


@every_gradient_attack
def test_no_warning_where_there_is_a_gradient(attack, cnn, x, y, recwarn):
    attack(cnn, x, y)
    assert not recwarn.list


@every_attack
def test_out_of_memory_splits_the_batch_and_changes_nothing(attack, cnn, x, y):
    def limited(model, inputs):
        if len(inputs[0]) > 6:
            raise torch.OutOfMemoryError("out of memory (simulated)")

    expected = attack(cnn, x, y)
    cnn.register_forward_pre_hook(limited)
    torch.testing.assert_close(attack(cnn, x, y), expected, rtol=0, atol=1e-9)


@every_attack
def test_nothing_is_printed_unless_asked(attack, cnn, x, y, capfd):
    expected = attack(cnn, x, y)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(attack(cnn, x, y, progress=True), expected)
    assert "40/40" in capfd.readouterr().err


def test_the_name_shows_what_differs_from_the_defaults():
    assert str(PGD(eps=0.1, steps=10)) == "PGD(eps=0.1, steps=10)"
    assert str(PGD()) == "PGD(eps=0.3)"
    assert str(FGSM(eps=2, norm="l2", targeted=True)) == "FGSM(targeted=True, eps=2, norm='L2')"


def test_an_attack_cannot_be_changed_and_compares_by_value():
    attack = PGD(eps=0.1)
    with pytest.raises(AttributeError):
        attack.eps = 0.2
    assert attack == PGD(eps=0.1)
    assert attack != PGD(eps=0.2)
    assert PGD(norm=2) == PGD(norm="L2")


@pytest.mark.parametrize("attack", sorted({type(a) for a in ATTACKS} - {EOT}, key=str))
@pytest.mark.parametrize("eps", [-0.1, float("nan"), float("inf"), "0.3", None])
def test_a_budget_that_is_no_finite_number_from_zero_is_refused(attack, eps):
    with pytest.raises(ValueError, match="eps: expected a finite number, at least 0, found"):
        attack(eps=eps)


def test_a_budget_of_another_number_type_becomes_a_plain_number():
    attack = PGD(eps=np.float32(0.5), alpha=Fraction(1, 4))
    assert type(attack.eps) is float
    assert type(attack.alpha) is float
    assert (attack.eps, attack.alpha) == (0.5, 0.25)
    with pytest.raises(ValueError, match="eps: expected a finite number"):
        FGSM(eps=1e39)


def test_works_inside_inference_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    expected = PGD(eps=0.1, steps=3)(model, x, y)
    with torch.inference_mode():
        found = PGD(eps=0.1, steps=3)(model, x.clone(), y.clone())
    assert torch.equal(found, expected)


def test_only_a_complaint_about_the_layout_is_tried_again():
    class Broken(nn.Module):
        calls = 0

        def forward(self, x):
            Broken.calls += 1
            raise RuntimeError("the weights are gone")

    with pytest.raises(RuntimeError, match="the weights are gone"):
        FGSM()(Broken(), torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    assert Broken.calls == 1


def test_half_precision_stays_inside_the_l1_ball():
    delta = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)).half()
    assert (threat.project(delta, 10.0, "L1").float().abs().flatten(1).sum(1) <= 10.1).all()


def test_a_huge_step_does_not_vanish():
    delta = torch.full((1, 1, 2, 2), 1e20)
    assert torch.allclose(threat.project(delta, 1.0, "L2"), torch.full((1, 1, 2, 2), 0.5))
