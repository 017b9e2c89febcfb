"""Adversarial training: closed forms on a logistic model, hand-written loops, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm
from torch import nn

from advlab import backend, threat
from advlab.attacks import FGSM
from advlab.defenses import (
    TRADES,
    EnsembleTraining,
    FastTraining,
    FGSMMix,
    GaussianAugmentation,
    KurakinMix,
    PGDTraining,
)
from advlab.models import BPDA, load_model
from advlab.training import CrossEntropy, fit


def two_classes(w: torch.Tensor, b: float = 0.1) -> nn.Module:
    """Logits (0, wᵀx + b): binary logistic regression as a model of two classes."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(len(w), 2)).to(w.dtype)
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.zeros_like(w), w]))
        model[1].bias.copy_(torch.tensor([0, b]))
    return model


@pytest.fixture
def logistic():
    """The model, images far from the box's faces, labels, and y(wᵀx + b) for y = ±1."""
    random = backend.generator(4)
    w = torch.randn(64, generator=random, dtype=torch.float64)
    x = 0.4 + 0.2 * torch.rand(10, 1, 8, 8, generator=random, dtype=torch.float64)
    y = torch.arange(10) % 2
    margin = (2 * y - 1) * (x.flatten(1) @ w + 0.1)
    return two_classes(w), x, y, margin, w


def network() -> nn.Module:
    """With dropout and batch normalization, in training mode."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(256, 5),
    )  # fmt: skip


def source(seed: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))


def objectives(eps: float = 0.1, **common) -> list:
    return [
        FGSMMix(eps=eps, **common),
        FGSMMix(eps=eps, alpha=0.0, label="least-likely", **common),
        KurakinMix(eps=eps, lam=1.0, **common),
        KurakinMix(eps=eps, lam=1.0, k=20, random_eps=True, label="true", **common),
        PGDTraining(eps=eps, steps=3, **common),
        PGDTraining(eps=eps, steps=3, norm="L2", **common),
        FastTraining(eps=eps, **common),
        TRADES(eps=eps, steps=3, **common),
        TRADES(eps=eps, steps=3, norm="L2", **common),
        EnsembleTraining(sources={"linear": source(), "other": source(9)}, eps=eps, **common),
    ]


ALL = pytest.mark.parametrize("objective", objectives(), ids=str)

# Closed forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_fgsm_mix_on_logistic_regression_is_goodfellows_softplus(logistic, alpha):
    """Section 5: ζ(ε‖w‖₁ − y(wᵀx + b)), beside ζ(−y(wᵀx + b)) on the images themselves."""
    model, x, y, margin, w = logistic
    natural, worst = F.softplus(-margin), F.softplus(0.1 * w.norm(1) - margin)
    wanted = (alpha * natural + (1 - alpha) * worst).mean()
    torch.testing.assert_close(FGSMMix(eps=0.1, alpha=alpha)(model, x, y), wanted)


@pytest.mark.parametrize(("norm", "dual", "eps"), [("Linf", 1, 0.1), ("L2", 2, 0.3)])
def test_pgd_on_logistic_regression_finds_the_worst_image(logistic, norm, dual, eps):
    model, x, y, margin, w = logistic
    found = PGDTraining(eps=eps, alpha=eps / 4, steps=30, norm=norm)(model, x, y)
    worst = F.softplus(eps * w.norm(dual) - margin).mean()
    torch.testing.assert_close(found, worst, atol=0, rtol=1e-5 if norm == "L2" else 1e-9)


def test_fast_training_reaches_the_corner_with_a_step_of_two_eps_and_not_with_its_own(logistic):
    model, x, y, margin, w = logistic
    worst = F.softplus(0.1 * w.norm(1) - margin).mean()
    torch.testing.assert_close(FastTraining(eps=0.1, alpha=0.2)(model, x, y), worst)
    # From a uniform start, a step of 1.25 ε leaves 3/8 short of ε by 3/8 on average: no corner.
    delta = FastTraining(eps=0.1).adversarial(model, x, y) - x
    expected = 0.1 * (1 - 0.375**2)
    aligned = (delta.flatten(1) * (1 - 2 * y[:, None]) * w.sign()).mean()
    assert aligned.item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("k", "lam"), [(0, 0.3), (3, 0.3), (5, 2.0), (10, 0.7), (4, 0.0)])
def test_kurakins_loss_is_the_papers_equation(logistic, k, lam):
    model, x, y, margin, w = logistic
    worst, natural = F.softplus(0.1 * w.norm(1) - margin)[:k], F.softplus(-margin)[k:]
    wanted = (natural.sum() + lam * worst.sum()) / ((10 - k) + lam * k)
    found = KurakinMix(eps=0.1, k=k, lam=lam, label="true")(model, x, y)
    torch.testing.assert_close(found, wanted)


def test_kurakin_makes_half_of_a_batch_adversarial_and_a_small_batch_whole(logistic):
    model, x, y, *_ = logistic
    half, five = KurakinMix(eps=0.1), KurakinMix(eps=0.1, k=5)
    torch.testing.assert_close(half(model, x, y), five(model, x, y))
    odd = KurakinMix(eps=0.1, k=4)(model, x[:9], y[:9])
    torch.testing.assert_close(half(model, x[:9], y[:9]), odd)
    whole = KurakinMix(eps=0.1, k=99)(model, x, y)
    torch.testing.assert_close(whole, KurakinMix(eps=0.1, k=10)(model, x, y))
    assert KurakinMix(eps=0.1, k=10, lam=0.0)(model, x, y) == 0


@pytest.mark.parametrize("label", ["predicted", "least-likely"])
def test_the_other_labels_follow_the_models_answer_and_do_not_tell_the_true_one(logistic, label):
    """Of two classes: both lower the class that the model names, whatever the true one is."""
    model, x, y, margin, w = logistic
    assert (margin < 0).any()
    assert (margin > 0).any()
    moved = margin - margin.sign() * 0.1 * w.norm(1)
    found = FGSMMix(eps=0.1, alpha=0.0, label=label)
    torch.testing.assert_close(found(model, x, y), F.softplus(-moved).mean())
    x_adv = found.adversarial(model, x, y)
    assert torch.equal(x_adv, found.adversarial(model, x, 1 - y))
    telling = FGSMMix(eps=0.1)
    assert not torch.equal(telling.adversarial(model, x, y), telling.adversarial(model, x, 1 - y))


def test_least_likely_of_many_classes_is_a_step_toward_it(small_model, small_images):
    x, y = small_images
    target = small_model(x).argmin(1)
    wanted = FGSM(eps=0.1, targeted=True)(small_model, x, target)
    assert torch.equal(
        FGSMMix(eps=0.1, label="least-likely").adversarial(small_model, x, y), wanted
    )


def test_random_eps_has_the_papers_distribution(device):
    """|n|, n ~ N(0, (ε/2)²), cut off at ε: one number for each image, and all its pixels."""
    x, eps = torch.full((2000, 1, 2, 2), 0.5, device=device), 0.2
    y = torch.zeros(2000, dtype=torch.int64, device=device)
    model = two_classes(torch.tensor([1.0, -1, 2, 3])).to(device)
    delta = (KurakinMix(eps=eps, random_eps=True).adversarial(model, x, y) - x).abs().flatten(1)
    torch.testing.assert_close(delta.amin(1), delta.amax(1))
    size = delta[:, 0].cpu()
    assert size.max() <= eps + 1e-6
    assert kstest(size / (eps / 2), truncnorm(0, 2).cdf).pvalue > 0.01


# Hand-written loops -------------------------------------------------------------------------------


def by_hand(model, x, y, eps, alpha, steps, start):
    x_adv = start
    for _ in range(steps):
        x_adv = x_adv.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
        x_adv = x_adv.detach() + alpha * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    return x_adv


def same_gradients(model, one, two):
    parameters = list(model.parameters())
    for a, b in zip(torch.autograd.grad(one, parameters), torch.autograd.grad(two, parameters)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("objective", "alpha", "steps"),
    [
        (PGDTraining(eps=0.1, steps=4, alpha=0.03), 0.03, 4),
        (PGDTraining(eps=0.1, steps=5), 0.05, 5),
        (FastTraining(eps=0.1), 0.125, 1),
    ],
    ids=str,
)
def test_a_random_start_and_steps_equal_the_hand_written_loop(
    small_model, small_images, objective, alpha, steps
):
    x, y = small_images
    torch.manual_seed(1)
    loss = objective(small_model, x, y)
    torch.manual_seed(1)
    start = (x + torch.empty_like(x).uniform_(-0.1, 0.1)).clamp(0, 1)
    x_adv = by_hand(small_model, x, y, 0.1, alpha, steps, start)
    wanted = F.cross_entropy(small_model(x_adv), y)
    torch.testing.assert_close(loss, wanted)
    assert wanted > F.cross_entropy(small_model(x), y)
    same_gradients(small_model, loss, wanted)


def test_fgsm_mix_equals_fgsm_and_any_objective_outside(small_model, small_images):
    x, y = small_images
    x_adv = FGSM(eps=0.1)(small_model, x, y)
    smooth = CrossEntropy(label_smoothing=0.2)
    loss = FGSMMix(eps=0.1, alpha=0.3, objective=smooth)(small_model, x, y)
    wanted = 0.3 * smooth(small_model, x, y) + 0.7 * smooth(small_model, x_adv, y)
    torch.testing.assert_close(loss, wanted)
    same_gradients(small_model, loss, wanted)


# The inner images ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    eps=st.floats(0, 2),
    alpha=st.none() | st.floats(0, 3),
    steps=st.integers(1, 4),
    norm=st.sampled_from(["Linf", "L2"]),
    seed=st.integers(0, 2**31),
)
def test_the_images_stay_inside_the_ball_and_the_box(eps, alpha, steps, norm, seed):
    torch.manual_seed(seed)
    model, x = network(), torch.rand(4, 1, 8, 8)
    y = torch.arange(4)
    walk = {"eps": eps, "alpha": alpha, "steps": steps, "norm": norm}
    made = [(PGDTraining(**walk), norm), (TRADES(**walk), norm)]
    made += [(FastTraining(eps=eps, alpha=alpha), "Linf"), (FGSMMix(eps=eps), "Linf")]
    made += [(KurakinMix(eps=eps, random_eps=True), "Linf")]
    for objective, norm in made:
        x_adv = objective.adversarial(model, x, y)
        assert not x_adv.requires_grad
        assert x_adv.shape == x.shape
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
        assert (threat.size(x_adv - x, norm) <= eps * (1 + 1e-5) + 1e-6).all()


def test_pgds_images_have_a_higher_loss_than_fgsms():
    from advlab.data import load

    x, y = (tensor[:60] for tensor in load("mnist5k", device="cpu").test)
    model = load_model("mnist-cnn", "cpu")

    def loss(objective):
        return F.cross_entropy(model(objective.adversarial(model, x, y)), y, reduction="none")

    with torch.no_grad():
        natural = F.cross_entropy(model(x), y)
    one, many = loss(FGSMMix(eps=0.1)), loss(PGDTraining(eps=0.1, steps=10))
    assert natural < one.mean() < many.mean()
    assert (many > one).double().mean() > 0.9


# What is kept, and what gets gradients ------------------------------------------------------------


@ALL
def test_gradients_reach_the_parameters_and_nothing_else(objective, small_model, small_images):
    x, y = small_images
    small_model.train()
    small_model[0].bias.requires_grad_(False)
    if isinstance(objective, EnsembleTraining):
        for network in objective.sources.values():
            network.to(x.device)
    loss = objective(small_model, x, y)
    assert loss.ndim == 0
    assert all(p.grad is None for p in small_model.parameters())
    loss.backward()
    assert x.grad is None
    assert not x.requires_grad
    for name, p in small_model.named_parameters():
        assert p.requires_grad == (name != "0.bias")
        assert (p.grad is not None) == (name != "0.bias")
    if isinstance(objective, EnsembleTraining):
        for network in objective.sources.values():
            assert all(p.grad is None and p.requires_grad for p in network.parameters())


@ALL
def test_the_attack_moves_no_statistics_and_keeps_the_modes(objective, device):
    model = network().to(device)
    model[4].eval()  # one layer in another mode than the rest
    modes = [module.training for module in model.modules()]
    before = {name: t.clone() for name, t in model.state_dict().items()}
    x, y = torch.rand(6, 1, 8, 8, device=device), torch.arange(6, device=device) % 5
    objective.adversarial(model, x, y)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    objective(model, x, y)
    assert [module.training for module in model.modules()] == modes
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


@pytest.mark.parametrize("objective", objectives(eps=0.0), ids=str)
def test_without_a_budget_it_is_the_plain_loss(objective, small_model, small_images):
    x, y = small_images
    small_model.cpu()
    x, y = x.cpu(), y.cpu()
    loss = objective(small_model, x, y)
    torch.testing.assert_close(loss, F.cross_entropy(small_model(x), y))


@ALL
def test_maps_of_labels_are_taken_too(objective):
    torch.manual_seed(2)
    model, x = nn.Conv2d(1, 5, 3, padding=1), torch.rand(4, 1, 8, 8)
    y = torch.randint(5, (4, 8, 8))
    if isinstance(objective, EnsembleTraining):
        objective = EnsembleTraining(sources={"map": nn.Conv2d(1, 5, 1)})
    plain = F.cross_entropy(model(x), y)
    loss = objective(model, x, y)
    assert loss.isfinite()
    assert (loss - plain).abs() > 1e-5
    torch.testing.assert_close(replace(objective, eps=0.0)(model, x, y), plain)


# A model with a step in front ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [FGSMMix, PGDTraining, FastTraining, TRADES, KurakinMix], ids=lambda kind: kind.__name__
)
def test_a_squeezed_model_is_attacked_through_the_steps_backward(kind, small_model, small_images):
    """Rounding has the gradient 0: the plain inner attack goes nowhere, and training is in vain."""
    x, y = (tensor.cpu() for tensor in small_images)
    model = nn.Sequential(BPDA(lambda x: (7 * x).round() / 7, backward="own"), small_model.cpu())

    def loss(**how):
        torch.manual_seed(0)
        objective = kind(eps=0.2, **how)
        return F.cross_entropy(model(objective.adversarial(model, x, y)), y)

    plain = F.cross_entropy(model(x), y)
    assert loss(backward="substitute") > max(plain, loss()) + 0.03
    assert model[0].backward == "own"
    model[0].backward = "identity"  # or the layer's own setting
    assert loss() == loss(backward="substitute")


# Training -----------------------------------------------------------------------------------------


def brittle(n: int = 400):
    """One pixel tells the class 95 times of 100, by a lot; the other 63 always do, by a little."""
    random = backend.generator(6)
    y = torch.arange(n) % 2
    sign = (2 * y - 1).view(-1, 1, 1, 1)
    board = torch.arange(8) + torch.arange(8)[:, None]
    x = 0.5 + 0.05 * sign * (-1.0) ** board + 0.02 * torch.randn(n, 1, 8, 8, generator=random)
    right = torch.where(torch.rand(n, generator=random) < 0.95, 1, -1)
    x[:, 0, 0, 0] = 0.5 + 0.3 * sign.flatten() * right
    return x, y


def trained(objective, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    fit(model, brittle(), objective=objective, epochs=12, lr=0.02, progress=False)
    return model


def under_fgsm(model) -> float:
    x, y = brittle()
    return (model(FGSM(eps=0.1)(model, x, y)).argmax(1) == y).double().mean().item()


def test_a_model_trained_plainly_falls_where_each_objective_stands():
    """On a linear model FGSM is the worst case, so a defense that does nothing fails this test."""
    plain = trained(None)
    assert under_fgsm(plain) < 0.1
    walk = {"eps": 0.1, "steps": 4}
    robust = [
        FGSMMix(eps=0.1, alpha=0.2),
        KurakinMix(eps=0.1, k=56, lam=4.0, label="true"),
        PGDTraining(**walk),
        FastTraining(eps=0.1),
        TRADES(**walk),
    ]
    for objective in robust:
        assert under_fgsm(trained(objective)) > 0.85, objective


@dataclass
class StopAfter:
    """An objective that is interrupted, as by Ctrl+C, in the middle of an epoch."""

    objective: object
    calls: int

    def at(self, progress):
        return StopAfter.Now(self, self.objective.at(progress))

    @dataclass
    class Now:
        owner: StopAfter
        objective: object

        def __call__(self, model, x, y):
            self.owner.calls -= 1
            if self.owner.calls < 0:
                raise KeyboardInterrupt
            return self.objective(model, x, y)

    def __repr__(self):
        return repr(self.objective)  # the run that goes on is the same run


@pytest.mark.parametrize("objective", objectives(ramp=0.7), ids=str)
def test_interrupted_and_resumed_equals_uninterrupted(objective, tmp_path):
    x, y = torch.rand(30, 1, 8, 8, generator=backend.generator(2)), torch.arange(30) % 5
    path = tmp_path / "run.safetensors"

    def run(objective, **how):
        model = network()
        fit(model, (x, y), objective=objective, epochs=3, batch_size=12, progress=False, **how)
        return list(model.state_dict().values())

    whole = run(objective)
    with pytest.raises(KeyboardInterrupt):
        run(StopAfter(objective, 4), checkpoint=path)
    resumed = run(objective, checkpoint=path)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    with pytest.raises(ValueError, match="another run: objective is"):
        run(replace(objective, eps=0.05), checkpoint=path)


def test_eps_rises_in_a_straight_line_and_then_stays():
    objective = PGDTraining(eps=0.3, ramp=0.5, objective=CrossEntropy(label_smoothing=0.1))
    assert [objective.at(t).eps for t in (0, 0.25)] == [0, 0.15]
    assert objective.at(0.25).objective == objective.objective
    assert objective.at(0.5) is objective
    assert PGDTraining().at(0.0) == PGDTraining()
    outer = GaussianAugmentation(objective=objective)
    assert outer.at(0.25).objective.eps == 0.15
    assert FGSMMix(eps=0.2, objective=objective).at(0.25).objective.eps == 0.15


def test_it_composes_with_gaussian_augmentation(small_model, small_images):
    x, y = small_images
    inner = FGSMMix(eps=0.1)
    loss = GaussianAugmentation(sigma=0.0, objective=inner)(small_model, x, y)
    torch.testing.assert_close(loss, inner(small_model, x, y))


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bad", "told"),
    [
        (FGSMMix, {"eps": -0.1}, "eps: expected a finite number, at least 0, found -0.1"),
        (FGSMMix, {"eps": float("nan")}, "eps: .* found nan"),
        (FGSMMix, {"alpha": 1.5}, "alpha: .* at most 1, found 1.5"),
        (FGSMMix, {"label": "ll"}, "label: found 'll', expected one of true, predicted, least"),
        (FGSMMix, {"ramp": 2}, "ramp: .* at most 1, found 2"),
        (FGSMMix, {"backward": "none"}, "backward: found 'none'"),
        (KurakinMix, {"k": -1}, "k: expected a whole number from 0, found -1"),
        (KurakinMix, {"k": 0.5}, "k: expected a whole number from 0, found 0.5"),
        (KurakinMix, {"lam": -1}, "lam: expected a finite number, at least 0, found -1"),
        (KurakinMix, {"label": ""}, "label: found ''"),
        (PGDTraining, {"steps": 0}, "steps: expected a whole number from 1, found 0"),
        (PGDTraining, {"alpha": -1}, "alpha: .* found -1"),
        (PGDTraining, {"norm": "L1"}, "norm: found 'L1', expected 'Linf' or 'L2'"),
        (PGDTraining, {"norm": "L7"}, "norm: found 'L7'"),
        (FastTraining, {"alpha": "1.25"}, "alpha: .* found '1.25'"),
        (TRADES, {"beta": -1}, "beta: .* at least 0, found -1"),
        (TRADES, {"steps": 1.5}, "steps: .* found 1.5"),
    ],
)
def test_bad_hyper_parameters_are_refused(kind, bad, told):
    with pytest.raises(ValueError, match=told):
        kind(**bad)


def test_a_norm_is_known_by_any_of_its_names():
    assert PGDTraining(norm="linf") == PGDTraining()
    assert TRADES(norm=2).norm == "L2"
