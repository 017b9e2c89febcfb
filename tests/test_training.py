"""``fit``: the same seed gives the same weights, also across an interruption."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlab import backend
from advlab.training import CrossEntropy, Shift, fit


def network(dropout: float = 0.5) -> nn.Module:
    """With dropout and batch normalization: the two layers that remember or draw something."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Dropout(dropout), nn.Linear(256, 3),
    )  # fmt: skip


@pytest.fixture
def data(device):
    """90 images of 8 x 8 in three classes: the bright third tells the class."""
    random = backend.generator(5)
    y = torch.arange(90) % 3
    x = 0.3 * torch.rand(90, 1, 8, 8, generator=random)
    for k in range(3):
        x[y == k, :, :, 2 * k : 2 * k + 3] += 0.5
    return x.to(device), y.to(device)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def same(one, two) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def run(data, model=None, **settings):
    model = (model or network()).to(data[0].device)
    chosen = {"epochs": 4, "batch_size": 20, "augment": Shift(pixels=1), "progress": False}
    history = fit(model, data, **{**chosen, **settings})
    return model, history


def test_fit_learns(data):
    model, history = run(data, epochs=15, lr=1e-2, validation=data)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert history.accuracy[-1] > 0.95
    assert len(history.loss) == len(history.accuracy) == len(history.seconds) == 15
    assert not any(module.training for module in model.modules())


def test_one_step_of_sgd_is_the_equation(data):
    x, y = data
    model = network(dropout=0.0).to(x.device)
    model[1] = nn.Identity()
    model = model.to(x.device)
    before = [p.detach().clone() for p in model.parameters()]
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    fit(
        model, data, epochs=1, batch_size=90, lr=0.1, optimizer="sgd", schedule="constant",
        progress=False,
    )  # fmt: skip
    for p, old, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * gradient, atol=1e-6, rtol=1e-5)


def test_cosine_schedule_reaches_the_papers_values(data, monkeypatch):
    seen = []
    real = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, *a: (seen.append(self.param_groups[0]["lr"]), real(self, *a)),
    )
    run(data, epochs=2, batch_size=45, lr=0.1, optimizer="sgd")
    assert seen == pytest.approx([0.1 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)])


def test_same_seed_same_weights_and_another_seed_others(data):
    first, again, other = (weights(run(data, seed=seed)[0]) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


def test_the_global_random_state_neither_matters_nor_moves(data):
    first = weights(run(data)[0])
    model = network()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    run(data, model)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, weights(model))
    if data[0].is_cuda:
        state = torch.cuda.get_rng_state()
        run(data)
        assert torch.equal(torch.cuda.get_rng_state(), state)


class StopAfter:
    """An objective that is interrupted, as by Ctrl+C, in the middle of an epoch."""

    def __init__(self, calls: int):
        self.calls = calls

    def __call__(self, model, x, y):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return F.cross_entropy(model(x), y)

    def __repr__(self):
        return repr(CrossEntropy())  # the run that goes on is the same run


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_interrupted_and_resumed_equals_uninterrupted(data, tmp_path, optimizer):
    path = tmp_path / "run.safetensors"
    whole, whole_history = run(data, optimizer=optimizer, validation=data)
    with pytest.raises(KeyboardInterrupt):
        run(data, optimizer=optimizer, validation=data, checkpoint=path, objective=StopAfter(12))
    resumed, history = run(data, optimizer=optimizer, validation=data, checkpoint=path)
    assert same(weights(whole), weights(resumed))
    assert history.loss == whole_history.loss
    assert history.accuracy == whole_history.accuracy
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    path = tmp_path / "run.safetensors"
    first, _ = run(data, checkpoint=path)
    again, history = run(data, checkpoint=path, objective=StopAfter(0))
    assert same(weights(first), weights(again))
    assert len(history.loss) == 4


@dataclass(frozen=True)
class Ramp:
    """An objective that notes the progress that it is asked for, and what is then called."""

    seen: list
    share: float = 0.0

    def at(self, progress):
        return replace(self, share=progress)

    def __call__(self, model, x, y):
        self.seen.append(self.share)
        return F.cross_entropy(model(x), y)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_an_objective_that_changes_is_asked_for_each_step(data, schedule):
    seen = []
    run(data, epochs=2, batch_size=45, objective=Ramp(seen), schedule=schedule)
    assert seen == [0, 0.25, 0.5, 0.75]


def test_channels_last_changes_the_rounding_alone(data):
    layouts = set()

    def objective(model, x, y):
        layouts.update(t.is_contiguous() for t in (x, model[0].weight))
        return F.cross_entropy(model(x), y)

    x, y = data
    color, losses = (x.repeat(1, 3, 1, 1), y), []
    for channels_last in (False, True):
        model = network()
        model[0] = nn.Conv2d(3, 4, 3, padding=1)
        layouts.clear()
        settings = {"objective": objective, "augment": None, "channels_last": channels_last}
        _, history = run(color, model, **settings)
        assert layouts == {not channels_last}
        assert model[0].weight.is_contiguous()
        losses.append(history.loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_compiled_model_learns_the_same_and_is_given_back(data, monkeypatch):
    # Traced and run as it stands: a compiler takes seconds, and is not on every machine.
    compiled, real = [], torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f: (compiled.append(f), real(f, backend="eager"))[1]
    )
    kinds = set()

    def objective(model, x, y):
        kinds.add(type(model))
        return F.cross_entropy(model(x), y)

    model, history = run(data, network(dropout=0.0), objective=objective, compile=True)
    _, plain = run(data, network(dropout=0.0))
    assert history.loss == pytest.approx(plain.loss, rel=1e-4)
    assert compiled[-1] == model.forward
    assert kinds == {nn.Sequential}
    assert "forward" not in vars(model)


def test_without_a_compiler_compile_is_refused(data, monkeypatch):
    def broken(function):
        def call(*_):
            raise RuntimeError("Failed to find C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    model = network()
    before = weights(model)
    with pytest.raises(ValueError, match=r"compile: .*Failed to find C\+\+ compiler"):
        run(data, model, compile=True)
    assert same(before, weights(model))


def test_bfloat16_trains_on_cuda_and_is_refused_elsewhere(data):
    kinds = set()

    def objective(model, x, y):
        logits = model(x)
        kinds.add(logits.dtype)
        return F.cross_entropy(logits, y)

    settings = {"epochs": 15, "lr": 1e-2, "validation": data}
    if data[0].is_cuda:
        model, history = run(data, objective=objective, precision="bfloat16", **settings)
        assert kinds == {torch.bfloat16}
        assert history.accuracy[-1] > 0.95
        assert all(p.dtype == torch.float32 for p in model.parameters())
        return
    with pytest.raises(ValueError, match="precision: 'bfloat16' needs a CUDA device"):
        run(data, objective=objective, precision="bfloat16", **settings)
    assert not kinds


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"channels_last": True}, "channels_last is False there and True here"),
        ({"lr": 0.5}, "lr is 0.001 there and 0.5 here"),
        ({"seed": 4}, "seed"),
        ({"epochs": 9}, "epochs"),
        ({"objective": CrossEntropy(label_smoothing=0.1)}, "objective"),
        ({"augment": None}, "augment"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(data, tmp_path, change, named):
    path = tmp_path / "run.safetensors"
    run(data, checkpoint=path)
    with pytest.raises(ValueError, match=f"another run: {named}") as error:
        run(data, checkpoint=path, **change)
    assert str(path) in str(error.value)


def test_a_checkpoint_of_another_shape_or_of_other_data_is_refused(data, tmp_path):
    path = tmp_path / "run.safetensors"
    run(data, checkpoint=path)
    with pytest.raises(ValueError, match="another run: model"):
        run(data, nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), checkpoint=path)
    with pytest.raises(ValueError, match="another run: data"):
        run((data[0].flip(0), data[1]), checkpoint=path)


@pytest.mark.parametrize("keep", [0, 7, 300, -1])
def test_a_truncated_checkpoint_is_refused(data, tmp_path, keep):
    path = tmp_path / "run.safetensors"
    run(data, checkpoint=path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged") as error:
        run(data, checkpoint=path)
    assert str(path) in str(error.value)


def test_a_nan_loss_stops_before_the_step(data):
    seen = []

    def objective(model, x, y):
        loss = F.cross_entropy(model(x), y)
        seen.append(weights(model))
        return loss * float("nan") if len(seen) == 8 else loss

    model = network(dropout=0.0).to(data[0].device)
    with pytest.raises(FloatingPointError, match=r"nan at epoch 2, step 3.*smaller lr"):
        run(data, model, objective=objective)
    assert len(seen) == 8
    assert same(seen[-1], weights(model))


def test_label_smoothing_is_the_formula(small_model, small_images):
    x, y = small_images
    log_p = small_model(x).log_softmax(1)
    q = torch.full_like(log_p, 0.2 / 5)
    q[torch.arange(len(y)), y] += 0.8
    expected = -(q * log_p).sum(1).mean()
    found = CrossEntropy(label_smoothing=0.2)(small_model, x, y)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy(label_smoothing=1.0)


def test_shift_moves_each_image_as_a_whole(device):
    x = torch.zeros(64, 2, 7, 7, device=device)
    x[:, :, 3, 3] = 1
    moved = Shift(pixels=2)(x, backend.generator(0))
    assert moved.shape == x.shape
    assert (moved.sum((2, 3)) == 1).all()
    places = moved[:, 0].flatten(1).argmax(1)
    assert torch.equal(places, moved[:, 1].flatten(1).argmax(1))
    rows, columns = places // 7, places % 7
    assert set(rows.tolist()) == set(columns.tolist()) == {1, 2, 3, 4, 5}
    assert torch.equal(Shift(pixels=0)(x, backend.generator(0)), x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"epochs": 0}, "epochs"), ({"lr": -1.0}, "lr"), ({"lr": math.nan}, "lr"),
     ({"optimizer": "adma"}, "adam, adamw, sgd"), ({"schedule": "step"}, "cosine, constant"),
     ({"batch_size": 0}, "batch_size"), ({"seed": -1}, "seed"),
     ({"precision": "half"}, "'float32' or 'bfloat16'")],
)  # fmt: skip
def test_bad_settings_are_refused(data, settings, message):
    with pytest.raises(ValueError, match=message):
        run(data, **settings)


def test_bad_data_and_models_are_refused(data):
    x, y = data
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        run((x * 255, y))
    with pytest.raises(ValueError, match="below 3"):
        run((x, y + 1))
    with pytest.raises(ValueError, match="expected at least one image"):
        run((x[:0], y[:0]))
    with pytest.raises(ValueError, match="drop the last softmax"):
        run(data, nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softmax(1)))
    with pytest.raises(ValueError, match="expected parameters"):
        run(data, network().requires_grad_(False))
    with pytest.raises(ValueError, match="expected a scalar"):
        run(data, objective=lambda model, x, y: F.cross_entropy(model(x), y, reduction="none"))


def test_a_model_with_a_forward_of_its_own_keeps_it(data, monkeypatch):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: real(f, backend="eager"))
    model = network(dropout=0.0)
    own = model.forward
    model.forward = lambda x: own(x)
    mine = model.forward
    run(data, model, compile=True, epochs=1)
    assert vars(model)["forward"] is mine
