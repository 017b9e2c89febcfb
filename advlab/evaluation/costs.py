"""What a defense costs, beside an undefended model on the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..backend import Stopwatch, own_random_state
from ..checks import check_count
from ..models.contract import predict_logits
from ..training import CrossEntropy, Objective


def prediction_costs(
    models: Mapping[str, nn.Module], x: Tensor, *, repeats: int = 5
) -> dict[str, float]:
    """How many times as long each model takes for these images as the first.

    The models take turns, and the fastest turn of each counts: what else the machine does meanwhile
    can only slow it.

    :param models: name → model; the first is what the others are measured against.
    :param x: (N, C, H, W) in [0, 1], at least one image.
    :param repeats: turns, at least 1; one more, to warm up, is not counted.
    :returns: name → seconds / seconds of the first.
    """
    check_count("repeats", repeats, 1)

    def turn(model: nn.Module) -> Callable[[], object]:
        return lambda: predict_logits(model, x)

    return _ratios({name: turn(model) for name, model in models.items()}, repeats, x.device)


def training_costs(
    trained: Mapping[str, tuple[nn.Module, Objective | None]],
    data: tuple[Tensor, Tensor],
    *,
    batch_size: int = 64,
    steps: int = 10,
) -> dict[str, float]:
    """How many times as long a step of training takes as with the first: forward, backward, Adam.

    Seconds on a card are those of the machine that trained; a ratio measured in turns is not. The
    fastest step of each counts. The networks' weights change.

    :param trained: name → (network, objective), None for the cross-entropy; the first is what the
        others are measured against.
    :param data: (x, y), of which each step takes the first ``batch_size``.
    :param steps: counted, at least 1; one more, to warm up, is not.
    :returns: name → seconds a step / seconds a step of the first.
    """
    check_count("steps", steps, 1)
    x, y = (t[:batch_size] for t in data)

    def turn(model: nn.Module, objective: Objective | None) -> Callable[[], object]:
        at = getattr(objective, "at", None)
        loss_of = at(0.5) if at else objective or CrossEntropy()
        optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-3)

        def step() -> None:
            model.train()
            loss = loss_of(model, x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    return _ratios({name: turn(*how) for name, how in trained.items()}, steps, x.device)


def _ratios(
    turns: Mapping[str, Callable[[], object]], repeats: int, where: torch.device
) -> dict[str, float]:
    if not turns:
        raise ValueError("expected at least one model, found none")
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    with own_random_state(where):
        for _ in range(repeats + 1):
            for name, run in turns.items():
                with Stopwatch() as watch:
                    run()
                seconds[name].append(watch.seconds)
    fastest = {name: min(times[1:]) for name, times in seconds.items()}
    first = next(iter(fastest.values()))
    return {name: value / first for name, value in fastest.items()}
