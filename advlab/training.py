"""``fit``: train any model, with any objective, to the same weights every time.

An objective is what training lowers: a callable ``objective(model, x, y)`` that gives a scalar.
A defense at training time is another objective, and nothing else here changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from . import backend
from .checkpoint import describe, read_checkpoint, write_checkpoint
from .data import Dataset
from .models.contract import (
    accuracy,
    channels_last_copy,
    check_images,
    check_labels,
    check_logits,
    device_of,
    predict_logits,
)
from .models.segmentation import check_map_logits, check_maps, pixel_accuracy, predict_map_logits

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]
OPTIMIZERS = {
    "adam": lambda parameters, lr, decay: torch.optim.Adam(parameters, lr, weight_decay=decay),
    "adamw": lambda parameters, lr, decay: torch.optim.AdamW(parameters, lr, weight_decay=decay),
    "sgd": lambda parameters, lr, decay: torch.optim.SGD(
        parameters, lr, momentum=0.9, weight_decay=decay
    ),
}
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The mean over the batch of −Σₖ qₖ log softmax(f(x))ₖ.

    Without smoothing q is 1 for the true class and 0 elsewhere, so that the loss of an image is
    −log softmax(f(x))[y]. With smoothing s, q = (1 − s) · one-hot(y) + s / K.

    :param label_smoothing: s, from 0 up to, but not including, 1.
    :raises ValueError: a smoothing outside that range.
    """

    label_smoothing: float = 0.0

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing: expected 0 <= s < 1, found {self.label_smoothing}")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class Shift:
    """An augmentation: every image moves by up to ``pixels`` in each direction, at random.

    What comes in at the border is 0 (black).

    :param pixels: at least 0.
    """

    pixels: int = 2

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        padded = F.pad(x, [self.pixels] * 4)
        # The corner of each image's window in its padded frame.
        top, left = torch.randint(0, 2 * self.pixels + 1, (2, n), generator=random).to(x.device)
        rows = top[:, None] + torch.arange(height, device=x.device)
        columns = left[:, None] + torch.arange(width, device=x.device)
        image = torch.arange(n, device=x.device)[:, None, None]
        return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@dataclass
class History:
    """What ``fit`` saw, a number an epoch.

    :param loss: the objective's mean over the epoch's images.
    :param accuracy: on the validation images, between 0 and 1; empty without validation.
    :param seconds: of training, without the validation.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def fit(
    model: nn.Module,
    data: Dataset | tuple[Tensor, Tensor],
    *,
    objective: Objective | None = None,
    augment: Augmentation | None = None,
    epochs: int,
    batch_size: int = 64,
    lr: float = 1e-3,
    optimizer: str = "adam",
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    validation: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    device: str | torch.device | None = None,
    channels_last: bool = False,
    precision: str = "float32",
    compile: bool = False,
) -> History:
    """Train a model in place, and leave it in evaluation mode.

    The seed decides on the order of the images, on the augmentation and on what the model itself
    draws (dropout): the same seed gives the same weights on the same device. The model's initial
    weights are the caller's. The global random state is left as it was found.

    The last three settings make training on a GPU faster, and change its rounding: with them the
    weights are not those of the plain run. ``compile`` also changes what the model's layers draw.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K); where the labels are maps of
        classes (N, H, W), to logits (N, K, H, W).
    :param data: a :class:`~advlab.data.Dataset`, of which the training split is used, or (x, y).
    :param objective: ``objective(model, x, y)``, a scalar; by default :class:`CrossEntropy`. One
        that changes while it trains has a method ``at(progress)``, which gives the objective for
        that share of the steps, from 0 up to 1.
    :param augment: ``augment(x, generator)``, images of the same shape, in [0, 1].
    :param epochs: passes over the data.
    :param batch_size: images a step; the last step of an epoch takes what is left.
    :param lr: the optimizer's step size.
    :param optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (momentum 0.9).
    :param schedule: ``"cosine"``: at step t of T the step size is lr (1 + cos(πt/T)) / 2; or
        ``"constant"``.
    :param weight_decay: as the optimizer understands it.
    :param validation: (x, y), whose accuracy is measured after every epoch.
    :param seed: at least 0.
    :param checkpoint: a file that is written after every epoch. Where it is there, training goes
        on from it, to the same weights as if it had never stopped.
    :param progress: show a bar.
    :param device: where to train; the model is moved there. By default where the model is.
    :param channels_last: images and filters lie in memory with their channels side by side, which
        tensor cores read faster.
    :param precision: ``"float32"``, or on CUDA ``"bfloat16"``: the forward pass, by autocast. The
        weights, their gradients and the optimizer stay in float32.
    :param compile: the model's computation is compiled, by ``torch.compile``. The first steps take
        long; on a CPU the course's CNN is slower with it than without.
    :returns: losses, accuracies and times.
    :raises ValueError: images, labels or settings that cannot be trained with, bfloat16 where the
        device is not CUDA, ``compile`` where there is no compiler, or a checkpoint that is damaged
        or of another run.
    :raises FloatingPointError: the loss is NaN or infinite. The weights are those before the step.
    """
    objective = objective or CrossEntropy()
    split = data.train if isinstance(data, Dataset) else data
    where = torch.device(device) if device else device_of(model) or torch.device("cpu")
    model.to(where)
    x, y = (tensor.to(where) for tensor in split)
    _check(model, x, y, epochs, batch_size, lr, optimizer, schedule, seed)
    with backend.precision(precision, where):
        pass  # raises where it cannot be
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("model: expected parameters that require gradients, found none")
    steps = OPTIMIZERS[optimizer](trainable, lr, weight_decay)
    at = getattr(objective, "at", lambda progress: objective)
    history, done = History(), 0
    settings = describe(
        model, (x, y), objective=objective, augment=augment, epochs=epochs, batch_size=batch_size,
        lr=lr, optimizer=optimizer, schedule=schedule, weight_decay=weight_decay, seed=seed,
        channels_last=channels_last, precision=precision, compile=compile,
    ) if checkpoint else {}  # fmt: skip
    if checkpoint and Path(checkpoint).exists():
        done, record = read_checkpoint(checkpoint, model, steps, settings)
        history = History(**record)

    per_epoch = math.ceil(len(x) / batch_size)
    with (
        backend.own_random_state(where),
        _arranged(model, where, channels_last, compile),
        tqdm(total=epochs * per_epoch, initial=done * per_epoch, disable=not progress) as bar,
    ):
        for epoch in range(done, epochs):
            start = time.perf_counter()
            # An epoch's random numbers depend on the seed and the epoch alone: a resumed run
            # draws what an uninterrupted one draws.
            order_seed, augment_seed, model_seed = _seeds(seed, epoch)
            order = torch.randperm(len(x), generator=backend.generator(order_seed)).to(where)
            random = backend.generator(augment_seed)
            backend.seed_device(where, model_seed)
            model.train()
            total = 0.0
            for step, rows in enumerate(order.split(batch_size)):
                t = (epoch * per_epoch + step) / (epochs * per_epoch)
                if schedule == "cosine":
                    for group in steps.param_groups:
                        group["lr"] = lr * (1 + math.cos(math.pi * t)) / 2
                batch = x[rows] if augment is None else augment(x[rows], random)
                if channels_last:
                    batch = channels_last_copy(batch)
                with backend.precision(precision, where):
                    loss = _scalar(at(t)(model, batch, y[rows]))
                steps.zero_grad()
                loss.backward()
                # A GPU is waited for here, when all of the step but its end is on its way.
                value = _finite(loss, epoch, step, lr)
                steps.step()
                total += value * len(rows)
                bar.update()
            history.loss.append(total / len(x))
            history.seconds.append(time.perf_counter() - start)
            model.eval()
            shown = {"epoch": epoch + 1, "loss": f"{history.loss[-1]:.4f}"}
            if validation is not None:
                held_out = (tensor.to(where) for tensor in validation)
                measure = pixel_accuracy if y.ndim == 3 else accuracy
                history.accuracy.append(measure(model, *held_out))
                shown["accuracy"] = f"{history.accuracy[-1]:.2%}"
            bar.set_postfix(shown)
            if checkpoint:
                write_checkpoint(checkpoint, model, steps, settings, epoch + 1, vars(history))
    model.eval()
    return history


def _check(model, x, y, epochs, batch_size, lr, optimizer, schedule, seed) -> None:
    check_images(x)
    of_pixels = isinstance(y, Tensor) and y.ndim == 3
    (check_maps if of_pixels else check_labels)(y, x)
    if not len(x):
        raise ValueError("data: expected at least one image, found none")
    numbers = {"epochs": (epochs, 1), "batch_size": (batch_size, 1), "seed": (seed, 0)}
    for name, (value, least) in numbers.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: expected a whole number, at least {least}, found {value!r}")
    if not (0 < lr < math.inf):
        raise ValueError(f"lr: expected a finite number above 0, found {lr!r}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer: found {optimizer!r}, expected one of {', '.join(OPTIMIZERS)}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: found {schedule!r}, expected one of {', '.join(SCHEDULES)}")
    if of_pixels:
        check_map_logits(predict_map_logits(model, x[:1]), x[:1], y)
    else:
        check_logits(predict_logits(model, x[:1]), x[:1], y)


@contextmanager
def _arranged(model, where, channels_last: bool, compile: bool) -> Iterator[None]:
    """Inside, the model's filters lie in memory, and its calls are compiled, as asked."""
    own = vars(model).get("forward")  # of a model that carries one of its own
    if compile:
        backend.check_compiler(where)
    try:
        if channels_last:
            model.to(memory_format=torch.channels_last)
        if compile:  # in place: objectives see the same model, of its type and with its layers
            model.forward = torch.compile(model.forward)
        yield
    finally:
        if compile:
            vars(model).pop("forward", None)
            if own is not None:
                model.forward = own
        if channels_last:
            model.to(memory_format=torch.contiguous_format)


def _scalar(loss) -> Tensor:
    if not isinstance(loss, Tensor) or loss.ndim:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"objective: expected a scalar tensor, found {found}")
    return loss


def _finite(loss: Tensor, epoch: int, step: int, lr: float) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at epoch {epoch + 1}, step {step + 1}; the weights are those "
            f"before this step. Try a smaller lr (now {lr:g}), or look for a division by zero or "
            "a log of zero in the objective"
        )
    return value


def _seeds(seed: int, epoch: int) -> list[int]:
    return np.random.SeedSequence((seed, epoch)).generate_state(3).tolist()
