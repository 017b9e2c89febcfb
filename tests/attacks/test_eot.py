"""Expectation over transformation: what it climbs, and that it survives a camera."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab import data
from advlab.attacks import APGD, BIM, CWL2, EOT, FGSM, JSMA, PGD, AutoAttack, DeepFool, Square
from advlab.attacks.attacked import AttackedModel
from advlab.attacks.base import GradientWarning
from advlab.attacks.eot import ExpectedModel
from advlab.evaluation import accuracy_curve, destruction_rate
from advlab.goals import TARGETED, UNTARGETED, SourceTarget
from advlab.models import load_model, predict
from advlab.transforms import Blur, Camera, Chain, Contrast, Pose, SensorNoise, Transformation
from advlab.transforms.base import between

from .conftest import BinaryLinear

SHAKY = Chain(Contrast(factor=(0.5, 1.0)), SensorNoise(read=0.1), Blur(sigma=(0, 1)))


@dataclass(frozen=True, kw_only=True)
class Gain(Transformation):
    """t(x) = a x, a uniform."""

    low: float = 0.2
    high: float = 1.0

    def apply(self, x, draw):
        return between(draw, x, self.low, self.high) * x


def in_front(model, x, transformation, samples, seed=0):
    plain = AttackedModel(model, x, UNTARGETED)
    return ExpectedModel(plain, x, transformation, samples, seed)


def test_the_gradient_is_the_expected_gradient():
    """A linear model and a random gain: E[∇ₓ log(1 + exp(−a w·x − b))] is an integral over a."""
    model = BinaryLinear((1, 3, 4))
    x = torch.rand(5, 1, 3, 4, dtype=torch.float64)
    y = torch.ones(5, dtype=torch.int64)
    gradient, loss, logits = in_front(model, x, Gain(), 4000).gradient(x, y)
    gains = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 * 0.8 + 0.2
    w, b = model.w.detach(), model.b.detach()
    scores = (x * w).flatten(1).sum(1, keepdim=True) * gains + b  # (5, 2000)
    expected = -((1 - scores.sigmoid()) * gains).mean(1).view(5, 1, 1, 1) * w
    assert torch.allclose(gradient, expected, atol=0.015 * expected.abs().max().item())
    right = nn.functional.softplus(-scores).mean(1)
    assert torch.allclose(loss, right, atol=0.02)
    assert torch.allclose(logits.softmax(1)[:, 1], scores.sigmoid().mean(1), atol=0.01)
    # What a single look without the gain would say is something else.
    plain = AttackedModel(model, x, UNTARGETED).gradient(x, y)[0]
    assert not torch.allclose(gradient, plain, atol=0.1 * plain.abs().max().item())


def test_a_look_is_the_mean_over_single_draws(cnn, x, y):
    single = in_front(cnn, x, SHAKY, 1, seed=3)
    draws = [single.jacobian(x) for _ in range(4)]
    logits, rows = in_front(cnn, x, SHAKY, 4, seed=3).jacobian(x)
    expected = torch.stack([z.softmax(1) for z, _ in draws]).mean(0)
    assert torch.allclose(logits, expected.log(), atol=1e-12)
    assert torch.allclose(rows, torch.stack([r for _, r in draws]).mean(0), atol=1e-12)
    whole = in_front(cnn, x, SHAKY, 4, seed=3)
    assert torch.allclose(whole.part(x[:3]).logits(x[:3]), logits[:3], atol=1e-12)


def test_a_gradient_that_is_zero_is_told(cnn, x, y):
    flat = EOT(attack=FGSM(eps=0.1), transformation=Gain(low=0.0, high=0.0), samples=2)
    with torch.no_grad():
        y = cnn(0 * x).argmax(1)
    with pytest.warns(GradientWarning, match="exactly zero for 40 of 40"):
        flat(cnn, x, y)


@pytest.mark.parametrize("targeted", [False, True])
def test_the_mean_probability(targeted):
    """The same model and gain: what is climbed is 1 − E[p], or E[p] where the class is wanted."""
    model = BinaryLinear((1, 3, 4))
    x = torch.rand(5, 1, 3, 4, dtype=torch.float64)
    y = torch.ones(5, dtype=torch.int64)
    plain = AttackedModel(model, x, TARGETED if targeted else UNTARGETED)
    look = ExpectedModel(plain, x, Gain(), 4000, 0, "probability")
    gradient, loss, logits = look.gradient(x, y)
    gains = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 * 0.8 + 0.2
    w, b = model.w.detach(), model.b.detach()
    p = ((x * w).flatten(1).sum(1, keepdim=True) * gains + b).sigmoid()
    sign = 1 if targeted else -1
    expected = sign * (p * (1 - p) * gains).mean(1).view(5, 1, 1, 1) * w
    assert torch.allclose(gradient, expected, atol=0.015 * expected.abs().max().item())
    assert torch.allclose(loss, sign * p.mean(1) + (0 if targeted else 1), atol=0.01)
    assert torch.allclose(logits.softmax(1)[:, 1], p.mean(1), atol=0.01)
    part = look.part(x[:2]).gradient(x[:2], y[:2])[1]
    assert torch.allclose(part, loss[:2], atol=1e-12)


@pytest.mark.parametrize(("goal", "bias"), [(UNTARGETED, 30.0), (TARGETED, -30.0)])
def test_the_probability_has_a_gradient_where_it_is_rounded_to_0_or_1(goal, bias):
    model = BinaryLinear((1, 3, 4)).float()
    model.b.data.fill_(bias)
    x, y = torch.full((2, 1, 3, 4), 0.5), torch.ones(2, dtype=torch.int64)
    look = ExpectedModel(AttackedModel(model, x, goal), x, Gain(), 4, 0, "probability")
    gradient, loss, _ = look.gradient(x, y, first=True)
    assert loss.abs().max() < 1e-9
    side = 1 if goal == TARGETED else -1
    assert torch.equal(gradient.sign(), side * model.w.detach().sign().expand(2, -1, -1, -1))
    assert not look.stuck.any()


def test_an_attack_with_a_loss_of_its_own_keeps_it(cnn, x, y):
    margin = EOT(attack=APGD(eps=0.1, steps=5, loss="margin"), transformation=SHAKY, samples=3)
    plain = EOT(attack=PGD(eps=0.1, steps=5), transformation=SHAKY, samples=3)
    for attack, same in ((margin, True), (plain, False)):
        other = attack.changed(average="probability")
        assert torch.equal(attack(cnn, x, y), other(cnn, x, y)) == same


@pytest.mark.parametrize(
    "attack",
    [FGSM(eps=0.1), PGD(eps=0.1, steps=5), APGD(eps=0.1, steps=5, loss="margin"),
     BIM(eps=0.1, variant="a"), DeepFool(), CWL2(steps=20), JSMA(),
     PGD(eps=0.1, steps=5, targeted=True, early_stop=True)],
    ids=str,
)  # fmt: skip
def test_through_nothing_it_is_the_attack_itself(attack, cnn, x, y):
    y = (y + 1) % 3 if attack.targeted else y
    expected = attack(cnn, x, y)
    assert not torch.equal(expected, x)
    for transformation in (None, Blur()):
        found = EOT(attack=attack, transformation=transformation, samples=1)(cnn, x, y)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "attack",
    [PGD(eps=0.1, steps=3, restarts=3, early_stop=True), BIM(eps=0.1, variant="a"), DeepFool(),
     JSMA(gamma=0.9), Square(eps=0.1, queries=30), AutoAttack(eps=0.1, steps=5, queries=30),
     EOT(attack=FGSM(eps=0.1), transformation=Gain(), samples=2)],
    ids=str,
)  # fmt: skip
def test_an_image_does_not_depend_on_the_others(attack, cnn, x, y):
    attack = EOT(attack=attack, transformation=SHAKY, samples=3)
    together = attack(cnn, x[:12], y[:12])
    assert torch.allclose(attack(cnn, x[3:8], y[3:8]), together[3:8], atol=1e-12)
    small = attack.changed(batch_size=5)(cnn, x[:12].flip(0), y[:12].flip(0)).flip(0)
    assert torch.allclose(small, together, atol=1e-12)


@pytest.mark.parametrize("samples", [3, 40])
def test_a_look_does_not_depend_on_how_many_copies_go_at_once(samples, cnn, x, y):
    looks = []
    for room in (1, 7, 100, 4000):
        model = in_front(cnn, x, SHAKY, samples)
        model._room = room
        looks.append((*model.gradient(x, y, first=room == 7), model.logits(x)))
    for look in looks[1:]:
        for found, expected in zip(look, looks[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_memory_that_holds_few_copies_is_enough(cnn, x, y):
    attack = EOT(attack=PGD(eps=0.1, steps=3), transformation=SHAKY, samples=20)
    expected = attack(cnn, x[:2], y[:2])

    def limited(model, inputs):
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("out of memory (simulated)")

    cnn.register_forward_pre_hook(limited)
    torch.testing.assert_close(attack(cnn, x[:2], y[:2]), expected, rtol=0, atol=1e-9)


def test_each_step_has_draws_of_its_own_and_the_seed_counts(cnn, x, y):
    model = in_front(cnn, x, SHAKY, 3)
    first, second = model.gradient(x, y)[0], model.gradient(x, y)[0]
    assert not torch.allclose(first, second, rtol=1e-3)
    other = in_front(cnn, x, SHAKY, 3, seed=1).gradient(x, y)[0]
    assert not torch.allclose(first, other, rtol=1e-3)
    assert torch.equal(first, in_front(cnn, x, SHAKY, 3).gradient(x, y)[0])


def test_a_random_model_is_averaged_without_a_transformation(x, y):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += len(x)
            scores = x.flatten(1)[:, :3]
            return scores * (1 + torch.randn(len(x), 1, dtype=x.dtype, device=x.device))

    model = Noisy()
    EOT(attack=FGSM(eps=0.1), samples=30)(model, x[:4], y[:4])
    assert model.calls == 4 * 30


def test_goals_are_those_of_the_wrapped_attack(cnn, x, y):
    wanted = (y + 1) % 3
    plain = PGD(eps=0.3, steps=10, targeted=True)
    attack = EOT(attack=plain, transformation=Gain(low=0.9), samples=3)
    assert attack.targeted
    assert attack.aim == plain.aim
    found = attack(cnn, x, wanted)
    assert (cnn(found).argmax(1) == wanted).double().mean() > 0.5
    pair = EOT(attack=PGD(eps=0.1, steps=3, goal=SourceTarget(1, 2)), samples=2)
    out = pair(cnn, x, y)
    moved = (out != x).flatten(1).any(1)
    assert torch.equal(moved, y == 1)


def test_what_it_does_not_have_is_changed_in_the_wrapped_attack(cnn, x, y):
    attack = EOT(attack=PGD(eps=0.1), transformation=SHAKY, samples=2, batch_size=9)
    assert attack.eps == 0.1
    assert attack.norm == "Linf"
    assert attack.changed(eps=0.2, steps=3, samples=4) == EOT(
        attack=PGD(eps=0.2, steps=3), transformation=SHAKY, samples=4, batch_size=9
    )
    aimed = attack.changed(targeted=True)
    assert aimed.attack == PGD(eps=0.1, targeted=True)
    assert aimed.changed(targeted=False) == attack
    assert str(attack).startswith("EOT(PGD(eps=0.1), Chain(Contrast(")
    assert str(attack).endswith("samples=2)")
    flat = attack.changed(average="probability").changed(eps=0.2)
    assert flat.average == "probability"
    assert str(flat).endswith("samples=2, average='probability')")
    curve = accuracy_curve(cnn, attack.changed(steps=4), (x, y), [0.0, 0.3])
    assert curve[0] == 1
    assert curve[1] < 0.9
    with pytest.raises(AttributeError, match="no attribute 'queries'"):
        _ = attack.queries
    with pytest.raises(TypeError, match="decay"):
        attack.changed(decay=1.0)


def test_wrong_use():
    with pytest.raises(TypeError, match=r"attack: expected an attack such as PGD\(\), found type"):
        EOT(attack=PGD)
    with pytest.raises(TypeError, match=r"transformation: expected one of advlab.transforms"):
        EOT(attack=PGD(), transformation=lambda x: x)
    with pytest.raises(ValueError, match="samples: expected a whole number from 1, found 0"):
        EOT(attack=PGD(), samples=0)
    with pytest.raises(ValueError, match="average: found 'mean', expected 'loss' or 'probability'"):
        EOT(attack=PGD(), average="mean")
    for goal in ({"goal": "confidence"}, {"targeted": True}):
        with pytest.raises(ValueError, match="goal: give it to the wrapped attack"):
            EOT(attack=PGD(), **goal)


def test_it_survives_the_camera_better_than_the_plain_attack():
    model = load_model("mnist-cnn", "cpu")
    x, y = data.load("mnist5k").to("cpu").test
    right = predict(model, x) == y
    x, y = x[right][:60], y[right][:60]
    plain = PGD(eps=0.15, steps=10)
    expected = EOT(attack=plain, transformation=Camera(), samples=6)
    seen = [
        destruction_rate(model, x, y, attack(model, x, y), Camera(), draws=5, seed=7)
        for attack in (plain, expected)
    ]
    assert seen[0].accuracy_after > 0.9  # the camera alone harms little
    right_after = [s.adversarial_accuracy_after for s in seen]
    assert right_after[1] < right_after[0] - 0.06
    assert seen[1].rate < 0.7 * seen[0].rate


def test_the_probability_looks_where_the_model_is_still_right():
    """The mean cross-entropy grows where the model is fooled already: it wins little by turns."""
    model = load_model("mnist-cnn", "cpu")
    x, y = data.load("mnist5k").to("cpu").test
    right = predict(model, x) == y
    x, y = x[right][:40], y[right][:40]
    turned, plain = Pose(turn=30), PGD(eps=0.15, steps=10)
    expected = EOT(attack=plain, transformation=turned, samples=10)
    after = [
        destruction_rate(model, x, y, attack(model, x, y), turned, draws=10, seed=100)
        for attack in (plain, expected, expected.changed(average="probability"))
    ]
    right_after = [a.adversarial_accuracy_after for a in after]
    assert right_after[2] < min(right_after[:2]) - 0.08
