"""What holds for every attack that looks for the smallest perturbation."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.evaluation import evaluate
from advlab.goals import UNTARGETED, SourceTarget, Untargeted

from .conftest import MINIMUM_ATTACKS, Nothing, images, small_cnn

every_attack = pytest.mark.parametrize("attack", MINIMUM_ATTACKS, ids=str)


def aimed(attack, y, classes):
    """The labels to give: the true ones, or for an attack that only reaches, the next class."""
    return (y + 1) % classes if attack.aim.needs_targets else y


def judge(attack, model, x, y):
    with torch.no_grad():
        return attack.aim.reached(model(x), attack.aim.labels(y))


def test_there_are_some():
    assert len({type(attack) for attack in MINIMUM_ATTACKS}) >= 8


@every_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("channels", "size", "classes"),
    [(1, (6, 6), 2), (3, (5, 4), 10), (3, (4, 5), 1000)],
    ids=["gray, 2 classes", "RGB, not square", "1000 classes"],
)
def test_adversarial_or_as_it_was(attack, dtype, channels, size, classes, device):
    model = small_cnn(channels, size, classes, dtype).to(device)
    x = images(5, channels, size, dtype).to(device)
    with torch.no_grad():
        y = aimed(attack, model(x).argmax(1), classes)
    given = x.clone()
    x_adv = attack(model, x, y)
    assert torch.equal(x, given)
    assert x_adv.shape == x.shape
    assert x_adv.dtype == dtype
    assert x_adv.device == x.device
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    moved = (x_adv != x).flatten(1).any(1)
    assert (judge(attack, model, x_adv, y) | ~moved).all()  # a failed search gives x back
    assert moved.any()


@every_attack
def test_an_image_that_is_there_already_is_left_alone(attack, cnn, x, y):
    y = aimed(attack, y, 3)
    there = judge(attack, cnn, x, y)
    y = torch.where(there, y, (y + 1) % 3)
    there = judge(attack, cnn, x, y)
    assert there.any()
    assert torch.equal(attack(cnn, x, y)[there], x[there])


@every_attack
def test_same_answer_at_any_batch_size_in_any_order_and_alone(attack, cnn, x, y):
    x, y = x[:12], aimed(attack, y[:12], 3)
    together = attack(cnn, x, y)
    split = dataclasses.replace(attack, batch_size=5)(cnn, x, y)
    torch.testing.assert_close(split, together, rtol=0, atol=1e-7)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3)).to(x.device)
    torch.testing.assert_close(attack(cnn, x[order], y[order]), together[order], rtol=0, atol=1e-7)
    alone = attack(cnn, x[7:8], y[7:8])
    torch.testing.assert_close(alone, together[7:8], rtol=0, atol=1e-7)


@every_attack
def test_the_same_call_gives_the_same_bits_and_draws_nothing(attack, cnn, x, y):
    x, y = x[:6], aimed(attack, y[:6], 3)
    first = attack(cnn, x, y)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(attack(cnn, x, y), first)
    assert torch.equal(torch.get_rng_state(), state)


@every_attack
def test_pixels_at_the_edge_of_the_box_can_move(attack, device):
    """Images of zeros and ones alone, as a black and white drawing is."""
    model = small_cnn().to(device)
    x = images(8).round().to(device)
    with torch.no_grad():
        y = aimed(attack, model(x).argmax(1), 3)
    x_adv = attack(model, x, y)
    assert judge(attack, model, x_adv, y).double().mean() >= 0.7
    assert (x_adv != x).any()


@every_attack
def test_a_model_in_training_mode_is_attacked_as_it_answers_and_is_left_so(attack, x, y):
    model = small_cnn().to(x.device)
    y = aimed(attack, y[:6], 3)
    expected = attack(model, x[:6], y)
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = attack(model, x[:6], y)
    assert torch.equal(found, expected)
    assert [m.training for m in model] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@every_attack
def test_log_probabilities_are_logits_too(attack, cnn, x, y):
    model = nn.Sequential(cnn, nn.LogSoftmax(1))
    y = aimed(attack, y[:8], 3)
    x_adv = attack(model, x[:8], y)
    moved = (x_adv != x[:8]).flatten(1).any(1)
    assert moved.any()
    assert (judge(attack, model, x_adv, y) | ~moved).all()


@every_attack
def test_a_flat_model_is_no_crash(attack, x, y):
    """A gradient that is zero everywhere, a class that cannot be left: every search fails."""

    class Flat(nn.Module):
        def forward(self, x):
            fixed = torch.tensor([0.0, 5.0, 1.0], dtype=x.dtype, device=x.device)
            return 0 * x.flatten(1).sum(1, keepdim=True) + fixed

    y = torch.full_like(y[:3], 2 if attack.aim.needs_targets else 1)
    with pytest.warns() if _looks_at_gradients(attack) else nullcontext():
        out = attack(Flat(), x[:3], y)
    assert torch.equal(out, x[:3])


def _looks_at_gradients(attack):
    return not hasattr(attack, "queries")


@every_attack
def test_an_empty_batch_comes_back_empty(attack, cnn, x, y):
    assert attack(cnn, x[:0], y[:0]).shape == x[:0].shape


@every_attack
def test_smaller_than_random_points_that_fool(attack, cnn, x, y):
    """Among 200 random images of the box, scaled toward x as far as they fool: it beats the best.

    A search that returns its first hit does not.
    """
    if attack.aim.needs_targets:
        y = (y + 1) % 3
    x, y = x[:6], y[:6]
    x_adv = attack(cnn, x, y)
    fooled = judge(attack, cnn, x_adv, y)
    assert fooled.double().mean() > 0.7
    source = torch.Generator().manual_seed(5)
    for image, label, found in zip(x[fooled], y[fooled], x_adv[fooled], strict=True):
        ends = torch.rand(200, *image.shape, generator=source, dtype=image.dtype).to(x.device)
        best = torch.inf
        for t in torch.linspace(0.05, 1, 20):
            points = image + t.item() * (ends - image)
            hits = judge(attack, cnn, points, label.expand(200))
            if hits.any():
                best = threat.size(points - image, attack.norm)[hits].min().item()
                break
        assert threat.size((found - image)[None], attack.norm).item() <= best


@every_attack
def test_the_evaluator_agrees(attack, cnn, x, y):
    x, y = x[:8], y[:8]
    targets = aimed(attack, y, 3)
    report = evaluate(cnn, [attack], (x, y), targets=targets)
    (result,) = report.attacks
    x_adv = attack(cnn, x, targets)
    assert torch.equal(result.fooled, judge(attack, cnn, x_adv, targets) & result.attacked)
    assert not result.invalid.any()
    size = threat.size(x_adv - x, attack.norm)[result.fooled]
    torch.testing.assert_close(
        result.distortion[attack.norm][result.fooled], size.cpu().to(result.distortion[attack.norm])
    )


@every_attack
def test_goals(attack, cnn, x, y):
    """Each goal is reached, or refused with a reason."""
    kind = type(attack)
    settings = {
        f.name: getattr(attack, f.name)
        for f in dataclasses.fields(attack)
        if f.name not in ("goal", "targeted")
    }
    for goal in ("untargeted", "targeted", "confidence", SourceTarget(1, 2)):
        try:
            aimed_at = kind(goal=goal, **settings)
        except ValueError as error:
            assert "cannot have" in str(error)  # noqa: PT017 (either outcome is asked of all)
            continue
        labels = (y + 1) % 3 if aimed_at.aim.needs_targets else y
        x_adv = aimed_at(cnn, x[:10], labels[:10])
        applies = aimed_at.aim.applies(labels[:10])
        with torch.no_grad():
            reached = aimed_at.aim.reached(cnn(x_adv), aimed_at.aim.labels(labels[:10]))
        moved = (x_adv != x[:10]).flatten(1).any(1)
        assert not moved[~applies].any()
        assert (reached | ~moved)[applies].all()
        assert reached[applies].double().mean() > 0.5


def test_an_attack_that_does_nothing_reaches_no_goal(cnn, x, y):
    out = Nothing()(cnn, x, y)
    assert isinstance(Nothing().aim, Untargeted)
    with torch.no_grad():
        assert not UNTARGETED.reached(cnn(out), y).any()
