"""Numbers over numbers: accuracy against ε, training, the loss along a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from torch import Tensor, nn

from .. import threat
from ..models.contract import check_device, check_images, check_labels, check_logits, frozen
from . import look
from .look import ADVERSARIAL, CYCLE, LINES, MARKERS, REFERENCE, WIDTH, styled

_UNITS = {
    "Linf": "L∞, pixel values 0 to 1",
    "L2": "L2, pixel values 0 to 1",
    "L1": "L1, pixel values 0 to 1",
    "L0": "L0, pixels",
}


@styled
def epsilon_curve(
    accuracies: Mapping[str, Sequence[float] | Tensor],
    epsilons: Sequence[float] | Tensor,
    *,
    norm: str = "Linf",
    chance: float | None = None,
    colors: Mapping[str, str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """Accuracy against the size of the perturbation, a curve for each attack or model.

    :param accuracies: label → accuracies in [0, 1], one for each ε. At most seven curves.
    :param epsilons: ≥ 0, rising.
    :param norm: in which ε is measured.
    :param chance: the accuracy of a guess, such as 1/K: a gray line.
    :param colors: label → color, where the order's own does not fit.
    :raises ValueError: lengths, ranges or order that do not fit.
    """
    norm = threat.parse_norm(norm)
    eps = check_numbers("epsilons", epsilons)
    if not len(eps) or eps.min() < 0 or (np.diff(eps) <= 0).any():
        raise ValueError(f"epsilons: expected numbers ≥ 0 that rise, found {eps.tolist()}")
    curves = _check_curves("accuracies", accuracies, len(eps))
    for label, values in curves.items():
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                f"accuracies: expected {label!r} in [0, 1], found "
                f"{values.min():.4g} to {values.max():.4g}"
            )
    own = ax is None
    figure, ax = look.canvas(ax, 4.2)
    if chance is not None:
        ax.axhline(100 * chance, color=REFERENCE, lw=1.4, ls=(0, (2, 2)), zorder=1)
        ax.text(
            eps[0], 100 * chance + 1.2, f"chance, {look.fraction(chance)}",
            color=REFERENCE, ha="left", va="bottom", fontsize=11,
        )  # fmt: skip
    _draw_curves(ax, eps, {k: 100 * v for k, v in curves.items()}, colors)
    ax.set_ylim(-2, 102)
    ax.set_yticks(range(0, 101, 20))
    ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.grid(axis="y")
    ax.set_xlabel(f"size of the perturbation ε ({_UNITS[norm]})")
    ax.set_ylabel("accuracy")
    legend_above(ax, len(curves), title)
    return figure if own else ax


@styled
def training_curve(
    history: Mapping[str, Sequence[float]], *, title: str | None = None
) -> AnyFigure:
    """What training wrote down, epoch by epoch: losses on top, accuracies below.

    :param history: name → a number an epoch. Names with "loss" and names with "accuracy" are
        drawn (accuracies in [0, 1]); others, such as seconds or learning rates, are not.
    :raises ValueError: nothing to draw, or lengths or ranges that do not fit.
    """
    losses = {k: v for k, v in history.items() if "loss" in k}
    accuracies = {k: v for k, v in history.items() if "accuracy" in k}
    panels = [(n, c) for n, c in (("loss", losses), ("accuracy", accuracies)) if c]
    if not panels:
        raise ValueError(
            "history: expected a name with 'loss' or 'accuracy' in it, "
            f"found {', '.join(map(repr, history)) or 'nothing'}"
        )
    figure = look.Figure(figsize=(WIDTH, 0.6 + 2.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True).ravel()
    for row, (ax, (name, curves)) in enumerate(zip(axes, panels, strict=True)):
        length = len(next(iter(curves.values())))
        curves = _check_curves("history", curves, length)
        epochs = np.arange(1, length + 1)
        if name == "accuracy":
            if any(v.min() < 0 or v.max() > 1 for v in curves.values()):
                raise ValueError("history: expected accuracies from 0 to 1, not percent")
            curves = {k: 100 * v for k, v in curves.items()}
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}%"))  # 94.5%, 95%
        named = {k.replace("_", " "): v for k, v in curves.items()}
        _draw_curves(ax, epochs, named, _history_colors(named))
        ax.grid(axis="y")
        ax.set_ylabel("loss (nats)" if name == "loss" else "accuracy")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(ax, len(curves), title if row == 0 else None)
    axes[-1].set_xlabel("epoch")
    return figure


@styled
def loss_along(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    directions: Mapping[str, Tensor] | None = None,
    *,
    radius: float = 0.3,
    steps: int = 61,
    seed: int = 0,
    title: str | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """The cross-entropy J(clip(x + t d), y) over t, for each direction d.

    The image is clipped to [0, 1], as an attack's is.

    :param x: (1, C, H, W), one image in [0, 1].
    :param y: (1,) int64, its class.
    :param directions: label → (1, C, H, W); by default the sign of the gradient
        ∇ₓ J(x, y) and random signs, both of L∞ norm 1, so that t is ε.
    :param radius: t runs from 0 to it.
    :param steps: points on each curve.
    :param seed: of the random signs.
    :raises ValueError: shapes or ranges that do not fit.
    """
    check_images(x)
    check_labels(y, x)
    check_device(model, x)
    if len(x) != 1:
        raise ValueError(f"x: expected one image, (1, C, H, W), found {tuple(x.shape)}")
    if radius <= 0 or steps < 2:
        raise ValueError(
            f"expected a radius above 0 and 2 steps or more, found {radius} and {steps}"
        )
    check_logits(look.answers(model, x), x, y)
    if directions is None:
        noise = threat.noise(x, seed, "uniform")
        directions = {
            "along the sign of the gradient": _gradient(model, x, y).sign(),
            "along random signs": torch.where(noise < 0.5, -1.0, 1.0).to(x.dtype),
        }
        colors = dict(zip(directions, (ADVERSARIAL, REFERENCE), strict=True))
    else:
        colors = None
    t = torch.linspace(0, radius, steps, dtype=x.dtype, device=x.device)
    losses = {}
    for label, direction in directions.items():
        if direction.shape != x.shape:
            raise ValueError(
                f"directions: expected {label!r} of the shape of x, {tuple(x.shape)}, "
                f"found {tuple(direction.shape)}"
            )
        line = (x + t.view(-1, 1, 1, 1) * direction).clamp(0, 1)
        logits = look.answers(model, line)
        losses[label] = (
            F.cross_entropy(logits, y.cpu().expand(steps), reduction="none").double().numpy()
        )
    own = ax is None
    figure, ax = look.canvas(ax, 4.0)
    _draw_curves(ax, t.cpu().double().numpy(), losses, colors, marked=False)
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    ax.grid(axis="y")
    ax.set_xlabel("distance t along the direction (pixel values 0 to 1)")
    ax.set_ylabel("loss (nats)")
    legend_above(ax, len(losses), title)
    return figure if own else ax


def _history_colors(names: Mapping[str, object]) -> dict[str, str]:
    """Orange is for what was measured on adversarial images, and for nothing else."""
    others = iter([c for c in CYCLE if c != ADVERSARIAL] + [REFERENCE])
    attacked = ("adv", "robust")
    return {n: ADVERSARIAL if any(a in n for a in attacked) else next(others) for n in names}


def check_numbers(name: str, values: Sequence[float] | Tensor) -> np.ndarray:
    numbers = torch.as_tensor(values, dtype=torch.float64).detach().cpu().numpy()
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: expected finite numbers, found NaN or infinity")
    return numbers


def _check_curves(name: str, curves: Mapping[str, Sequence[float]], length: int) -> dict:
    if not 1 <= len(curves) <= len(CYCLE):
        raise ValueError(f"{name}: expected 1 to {len(CYCLE)} curves, found {len(curves)}")
    checked = {label: check_numbers(f"{name}[{label!r}]", v) for label, v in curves.items()}
    for label, values in checked.items():
        if values.shape != (length,) or not length:
            raise ValueError(
                f"{name}: expected {max(length, 1)} numbers for {label!r}, found {values.shape}"
            )
    return checked


def _draw_curves(ax: Axes, x: np.ndarray, curves: dict, colors, *, marked: bool = True) -> None:
    for i, (label, values) in enumerate(curves.items()):
        ax.plot(
            x, values, label=label, color=(colors or {}).get(label, CYCLE[i]), ls=LINES[i],
            marker=MARKERS[i] if marked else None, mec="white", mew=0.8, clip_on=False, zorder=3,
        )  # fmt: skip


def legend_above(ax: Axes, count: int, title: str | None) -> None:
    """Above the axes, under the title: it never covers a curve."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(count, 2), handlelength=3.2,
        borderaxespad=0.2, title=title, title_fontsize=12, alignment="left",
    )  # fmt: skip


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with frozen(model), torch.enable_grad():
        x = x.detach().requires_grad_(True)
        loss = F.cross_entropy(model(x), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]
