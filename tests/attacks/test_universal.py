"""UAP: the paper's algorithm by hand on a linear model, and unseen digits fooled."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import pytest
import torch
from torch import nn

from advlab import data, threat
from advlab.attacks import UAP, GradientWarning, UAPInterrupted
from advlab.backend import BATCH_SIZE, generator
from advlab.evaluation import fooling_rate
from advlab.models import load_model, predict

from .conftest import BinaryLinear, images, small_cnn

both_methods = pytest.mark.parametrize("method", ["deepfool", "sgd"])
both_norms = pytest.mark.parametrize("norm", ["Linf", "L2"])


@pytest.fixture(scope="module")
def digits():
    """The network, images to learn from, and images to judge on."""
    found = data.load("mnist5k")
    return load_model("mnist-cnn"), found.train[0][:1000], found.test[0][:500]


def test_most_unseen_digits_are_fooled_by_one_perturbation(digits):
    model, x, unseen = digits
    v = UAP(eps=0.3, method="sgd", epochs=8, fooling=0.9)(model, x)
    assert v.shape == (1, 1, 28, 28)
    assert v.abs().max() <= 0.3 + 1e-6
    assert fooling_rate(model, unseen, v) >= 0.7
    # Noise of the same size, and v with its pixels shuffled, do nearly nothing.
    source = generator(0)
    noise = 0.3 * (torch.rand(v.shape, generator=source) - 0.5).sign()
    shuffled = v.flatten()[torch.randperm(v.numel(), generator=source)].view_as(v)
    assert fooling_rate(model, unseen, noise) < 0.1
    assert fooling_rate(model, unseen, shuffled) < 0.2


def test_the_paper_s_algorithm_fools_many_unseen_digits(digits):
    model, x, unseen = digits
    v = UAP(eps=0.3, epochs=2, batch_size=100)(model, x[:300])
    assert v.abs().max() <= 0.3 + 1e-6
    assert fooling_rate(model, unseen, v) >= 0.4


@both_methods
def test_l2(method, digits):
    model, x, unseen = digits
    v = UAP(eps=4.0, norm="L2", method=method, epochs=2, batch_size=16)(model, x[:200])
    assert threat.size(v, "L2").item() == pytest.approx(4.0, rel=1e-4)
    noise = torch.randn(v.shape, generator=generator(0))
    noise = 4 * threat.step(noise, "L2")
    assert fooling_rate(model, unseen, v) > fooling_rate(model, unseen, noise) + 0.1


def linear(n=12):
    """A linear model, images far from the box, and the model's scores and answers for them."""
    model, x = BinaryLinear((1, 3, 4)), 0.5 + 0.05 * images(n, size=(3, 4))
    with torch.no_grad():
        model.b -= model(x)[:, 1].median()
        score = model(x)[:, 1]
    return model, x, score, model.w.detach()


@both_norms
def test_an_image_at_a_time_it_is_algorithm_1(norm):
    """On a linear model DeepFool's step is −1.02 f w / ‖w‖² (but for the box)."""
    model, x, score, w = linear()
    eps = 0.01 if norm == "Linf" else 0.03
    v = torch.zeros_like(x[:1])
    order = torch.randperm(len(x), generator=generator(3))
    for i in order:
        moved = score[i] + (v * w).sum()
        if (moved > 0) == (score[i] > 0):
            v = threat.project(v - 1.02 * moved * w / w.square().sum(), eps, norm)
    attack = UAP(eps=eps, norm=norm, epochs=1, batch_size=1, fooling=1, seed=3)
    torch.testing.assert_close(attack(model, x), v, rtol=1e-6, atol=1e-9)
    assert v.any()


def test_a_batch_adds_up_its_steps():
    model, x, score, w = linear()
    step = UAP().deepfool_step(model, x, (score > 0).long(), torch.zeros_like(x[:1]))
    torch.testing.assert_close(step[0], -1.02 * score.sum() * w / w.square().sum())
    # Images that are fooled have no part in it.
    v = -(score.abs().median() * 1.5 * w / w.square().sum())[None]
    moved = score + (v * w).sum()
    stands = (moved > 0) == (score > 0)
    assert 0 < stands.sum() < len(x)
    step = UAP().deepfool_step(model, x, (score > 0).long(), v)
    torch.testing.assert_close(step[0], -1.02 * moved[stands].sum() * w / w.square().sum())


def test_a_step_starts_from_the_image_as_the_model_is_given_it():
    """Three pixels, score x₁ − x₂ + x₃ − 1.8: v pushes the first out of the box, and the second."""

    class Score(nn.Module):
        def forward(self, x):
            score = (x.flatten(1) * torch.tensor([1.0, -1, 1], dtype=x.dtype)).sum(1) - 1.8
            return torch.stack([0 * score, score], 1)

    def row(*pixels):
        return torch.tensor(pixels, dtype=torch.float64).view(1, 1, 1, 3)

    # clip(x + v) is (1, 0, 0.6): the score is −0.2, and the third pixel alone can raise it.
    # x + v has the score 0.2: nothing would be left to do.
    answers = torch.zeros(1, dtype=torch.int64)
    step = UAP().deepfool_step(Score(), row(1, 0.1, 0.5), answers, row(0.2, -0.3, 0.1))
    torch.testing.assert_close(step, row(0, 0, 1.02 * 0.2), rtol=0, atol=1e-9)


@both_methods
def test_a_batch_of_any_size_is_looked_at_in_parts(method, monkeypatch):
    shown, model = [], small_cnn()
    model.register_forward_pre_hook(lambda _, inputs: shown.append(len(inputs[0])))
    attack = UAP(eps=0.2, method=method, epochs=2, batch_size=40, fooling=1)
    whole = attack(model, images(40))
    assert max(shown) == 40
    shown.clear()
    monkeypatch.setitem(BATCH_SIZE, "cpu", 8)
    torch.testing.assert_close(attack(model, images(40)), whole, rtol=0, atol=1e-9)
    assert max(shown) == 8


@both_methods
def test_what_fools_enough_is_not_changed(method):
    model, x = small_cnn(), images(40)
    attack = UAP(eps=0.2, method=method, epochs=3, batch_size=8, fooling=1)
    v = attack(model, x)
    rate = fooling_rate(model, x, v)
    assert 0 < rate < 1
    assert torch.equal(dataclasses.replace(attack, fooling=rate)(model, x, start=v), v)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradientWarning)
        assert not dataclasses.replace(attack, fooling=0)(model, x).any()


def test_an_sgd_step_is_the_gradient_of_the_clipped_loss_in_v():
    model = small_cnn(classes=4)
    x, v = images(20), 0.2 * (images(1, seed=5) - 0.5)
    answers = predict(model, x)
    with torch.no_grad():
        losses = nn.functional.cross_entropy(model((x + v).clamp(0, 1)), answers, reduction="none")
    beta = losses.median().item()  # half of the images count
    leaf = v.clone().requires_grad_(True)
    outputs = model((x + leaf).clamp(0, 1))
    loss = nn.functional.cross_entropy(outputs, answers, reduction="none").clamp_max(beta).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    step = UAP(method="sgd", alpha=0.5, beta=beta).sgd_step(model, x, answers, v)
    torch.testing.assert_close(step, 0.5 * gradient.sign())
    step = UAP(method="sgd", alpha=0.5, beta=beta, norm="L2").sgd_step(model, x, answers, v)
    torch.testing.assert_close(step, 0.5 * gradient / gradient.norm())
    unclipped = UAP(method="sgd", alpha=0.5, beta=1e9, norm="L2").sgd_step(model, x, answers, v)
    assert (unclipped - step).abs().max() > 1e-3


@both_methods
def test_stops_when_enough_are_fooled_and_returns_the_best(method):
    model, x = small_cnn(), images(40)
    attack = UAP(eps=0.2, method=method, epochs=6, batch_size=8, fooling=1)
    rates = []
    for epochs in range(1, 7):
        v = dataclasses.replace(attack, epochs=epochs)(model, x)
        rates.append(fooling_rate(model, x, v))
    assert rates == sorted(rates)  # never worse for going on
    assert rates[-1] > 0.1
    enough = dataclasses.replace(attack, fooling=rates[0])(model, x)
    assert torch.equal(enough, dataclasses.replace(attack, epochs=1)(model, x))


@both_methods
@both_norms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inside_the_ball_and_the_model_left_alone(method, norm, dtype):
    model, x = small_cnn(3, (5, 8), 10, dtype).train(), images(12, 3, (5, 8), dtype)
    before = copy.deepcopy(model.state_dict())
    given, state = x.clone(), torch.get_rng_state()
    attack = UAP(eps=0.1, norm=norm, method=method, epochs=2, batch_size=5)
    v = attack(model, x)
    assert v.shape == (1, 3, 5, 8)
    assert v.dtype == dtype
    assert not v.requires_grad
    assert threat.size(v, norm).item() <= 0.1 * (1 + 1e-5)
    assert v.any()
    assert torch.equal(x, given)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(attack(model, x), v)
    assert not torch.equal(dataclasses.replace(attack, seed=1)(model, x), v)
    assert not dataclasses.replace(attack, eps=0)(model, x).any()


class Stopping(nn.Module):
    """Ctrl-C after some calls."""

    def __init__(self, model, calls):
        super().__init__()
        self.model, self.calls = model, calls

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return self.model(x)


@both_methods
def test_an_interrupt_keeps_what_was_learned(method):
    model, x = small_cnn(), images(40)
    attack = UAP(eps=0.2, method=method, epochs=3, batch_size=8, fooling=1)
    with pytest.raises(UAPInterrupted, match=r"in \.v") as caught:
        attack(Stopping(model, 12), x)
    v = caught.value.v
    assert v.any()
    assert v.abs().max() <= 0.2 + 1e-9
    with pytest.raises(UAPInterrupted) as caught:
        attack(Stopping(model, 0), x, start=v)
    torch.testing.assert_close(caught.value.v, v)
    more = attack(model, x, start=v)
    assert fooling_rate(model, x, more) >= fooling_rate(model, x, v)


def test_progress_only_when_asked(capfd):
    model, x = small_cnn(), images(10)
    attack = UAP(method="sgd", epochs=2, fooling=1)
    expected = attack(model, x)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(attack(model, x, progress=True), expected)
    shown = capfd.readouterr().err
    assert "20/20 images" in shown
    assert "fooling=" in shown


def test_a_model_without_a_gradient(cnn):
    class Rounded(nn.Module):
        def forward(self, x):
            return cnn(x.round())

    for method in ("deepfool", "sgd"):
        with pytest.warns(GradientWarning, match="nothing was learned"):
            v = UAP(eps=0.1, method=method, epochs=1)(Rounded(), 0.2 * images(4))
        assert not v.any()


def test_bad_input_is_refused(cnn, x):
    for change, message in [
        ({"method": "fgsm"}, "method: expected 'deepfool' or 'sgd', found 'fgsm'"),
        ({"norm": "L1"}, "norm: found 'L1', expected Linf or L2"),
        ({"fooling": 1.2}, "fooling: expected a finite number, at least 0, at most 1"),
        ({"epochs": 0}, "epochs: expected a whole number from 1"),
        ({"batch_size": 0}, "batch_size: expected a whole number from 1"),
        ({"beta": 0}, "beta: expected a finite number"),
        ({"alpha": -1}, "alpha: expected a finite number"),
        ({"eps": None}, "eps: expected a finite number"),
    ]:
        with pytest.raises(ValueError, match=message):
            UAP(**change)
    with pytest.raises(ValueError, match="at least one image to learn from"):
        UAP()(cnn, x[:0])
    with pytest.raises(ValueError, match=r"start: expected \(1, 1, 6, 7\) as an image, found"):
        UAP()(cnn, x, start=x[:2])
    with pytest.raises(ValueError, match="start: expected finite values, found NaN or infinity"):
        UAP()(cnn, x, start=x[:1] * torch.nan)
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]"):
        UAP()(cnn, x * 3)
    with pytest.raises(ValueError, match=r"v: expected \(1, 1, 6, 7\) as an image, found"):
        fooling_rate(cnn, x, x)
    with pytest.raises(ValueError, match="at least one image"):
        fooling_rate(cnn, x[:0], x[:1])


def test_the_fooling_rate_counts_changed_answers():
    model, x, score, w = linear()
    v = -(0.5 * score.max() * w / w.square().sum())[None]
    changed = ((score - 0.5 * score.max() > 0) != (score > 0)).double().mean().item()
    assert 0 < changed < 1
    assert fooling_rate(model, x, v) == pytest.approx(changed)
    assert fooling_rate(model, x, torch.zeros_like(v)) == 0
