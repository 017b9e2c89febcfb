"""Bars: how sure a model is of each class, and how often it is right under each attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from . import look
from .curves import check_numbers, legend_above
from .look import ADVERSARIAL, NATURAL, styled


@styled
def confidence_bars(
    probabilities: Tensor,
    classes: Sequence[str] | None = None,
    y: int | None = None,
    *,
    adversarial: Tensor | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """How sure a model is of each class: a bar a class.

    Alone, the answer's bar is blue if it is right (or y is unknown), orange if it is wrong, and
    the others are gray. With ``adversarial``, natural bars are blue and adversarial ones orange.

    :param probabilities: (K,) from 0 to 1, of sum 1.
    :param classes: K names.
    :param y: the true class; it is marked.
    :param adversarial: (K,), the same for the adversarial image.
    :raises ValueError: other shapes, or no probabilities.
    """
    p = _check_probabilities("probabilities", probabilities)
    k = len(p)
    if classes is not None and len(classes) != k:
        raise ValueError(f"classes: expected {k} names, found {len(classes)}")
    if y is not None and not 0 <= y < k:
        raise ValueError(f"y: expected a class from 0 to {k - 1}, found {y}")
    groups = [("natural", p, [_bar_color(i, p, y) for i in range(k)])]
    if adversarial is not None:
        q = _check_probabilities("adversarial", adversarial)
        if len(q) != k:
            raise ValueError(f"adversarial: expected {k} probabilities, found {len(q)}")
        groups = [("natural", p, [NATURAL] * k), ("adversarial", q, [ADVERSARIAL] * k)]
    own = ax is None
    figure, ax = look.canvas(ax, 0.8 + k * (0.3 if adversarial is None else 0.46))
    thickness = 0.74 / len(groups)
    for g, (label, values, colors) in enumerate(groups):
        place = np.arange(k) + (g - (len(groups) - 1) / 2) * thickness
        hatch = "///" if g else None
        ax.barh(
            place, 100 * values, thickness, color=colors, label=label, hatch=hatch, ec="white", lw=0
        )
        for at, value in zip(place, values, strict=True):
            if value >= 0.005:
                ax.text(100 * value + 1, at, look.fraction(value), va="center", fontsize=11)
    names = [look.class_name(i, classes) for i in range(k)]
    ax.set_yticks(range(k), [f"{n} (true)" if i == y else n for i, n in enumerate(names)])
    if y is not None:
        ax.get_yticklabels()[y].set_fontweight("bold")
    ax.invert_yaxis()
    ax.set_xlim(0, 112)
    ax.set_xticks(range(0, 101, 20))
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.set_xlabel("confidence")
    ax.set_ylabel("class")
    if adversarial is not None:
        legend_above(ax, 2, title)
    elif title:
        ax.set_title(title, loc="left")
    return figure if own else ax


@styled
def accuracy_bars(
    accuracies: Mapping[str, float], *, title: str | None = None, ax: Axes | None = None
) -> AnyFigure | Axes:
    """Accuracy under each attack: a bar an attack, the first (no attack) in blue.

    :param accuracies: label → accuracy from 0 to 1, in the order drawn, the natural images first.
    :raises ValueError: nothing to draw, or an accuracy outside [0, 1].
    """
    values = check_numbers("accuracies", list(accuracies.values()))
    if not len(values) or values.min() < 0 or values.max() > 1:
        raise ValueError(f"accuracies: expected numbers from 0 to 1, found {dict(accuracies)}")
    own = ax is None
    figure, ax = look.canvas(ax, 0.9 + 0.45 * len(values))
    places = np.arange(len(values))
    colors = [NATURAL] + [ADVERSARIAL] * (len(values) - 1)
    ax.barh(places, 100 * values, 0.7, color=colors)
    for place, value in zip(places, values, strict=True):
        ax.text(100 * value + 1, place, f"{value:.1%}", va="center", fontsize=11)
    ax.set_yticks(places, list(accuracies))
    ax.invert_yaxis()
    ax.set_xlim(0, 115)
    ax.set_xticks(range(0, 101, 20))
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.set_xlabel("accuracy")
    if title:
        ax.set_title(title, loc="left")
    return figure if own else ax


def _bar_color(i: int, p: np.ndarray, y: int | None) -> str:
    if i != p.argmax():
        return "#A8A8A8"
    return NATURAL if y is None or i == y else ADVERSARIAL


def _check_probabilities(name: str, values: Tensor) -> np.ndarray:
    p = check_numbers(name, values)
    if p.ndim != 1 or not len(p):
        raise ValueError(f"{name}: expected shape (K,), found {p.shape}")
    if p.min() < 0 or abs(p.sum() - 1) > 1e-3:
        raise ValueError(
            f"{name}: expected numbers from 0 to 1 of sum 1, found {p.min():.4g} to "
            f"{p.max():.4g} of sum {p.sum():.4g}; logits go through softmax first"
        )
    return p
