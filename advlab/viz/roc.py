"""Detectors: what a threshold on a score costs and catches, and what becomes of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from ..evaluation.roc import Roc, roc_curve
from . import look
from .curves import check_numbers, legend_above
from .look import ADVERSARIAL, CYCLE, INK, LINES, NATURAL, REFERENCE, WIDTH, styled
from .widgets import frames

BINS = 24
TAIL = 0.01  # of either kind of scores, at each end, that is drawn in the outermost bars


@styled
def roc(
    curves: Mapping[str, Roc], *, title: str | None = None, ax: Axes | None = None
) -> AnyFigure | Axes:
    """ROC curves: adversarial images caught against natural ones that raise a false alarm.

    :param curves: name → :func:`advlab.evaluation.roc_curve`; at most seven. The legend says the
        area under each.
    :raises ValueError: no curve, or too many.
    """
    if not 1 <= len(curves) <= len(CYCLE):
        raise ValueError(f"curves: expected 1 to {len(CYCLE)} curves, found {len(curves)}")
    own = ax is None
    figure, ax = look.canvas(ax, 4.0)
    _roc_axes(ax)
    for i, (name, curve) in enumerate(curves.items()):
        ax.plot(
            100 * curve.false_positive_rate, 100 * curve.true_positive_rate, color=CYCLE[i],
            ls=LINES[i], label=f"{name}\n{curve.auc:.1%}", clip_on=False, zorder=3,
        )  # fmt: skip
    ax.legend(
        loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=2.8, alignment="left",
        title="area under the curve", labelspacing=0.8,
    )  # fmt: skip
    if title:
        ax.set_title(title, loc="left")
    return figure if own else ax


@styled
def threshold_figure(
    natural: Tensor, adversarial: Tensor, threshold: float, *, title: str | None = None
) -> AnyFigure:
    """One threshold, in two pictures: the scores that lie above it, and its point on the ROC curve.

    At the left, how the scores of natural and of adversarial images are spread: what lies right of
    the line is rejected. The outermost bars also hold the 1% that lie beyond. At the right, the
    two fractions rejected.

    :param natural: (n,), scores of the images that should raise no alarm.
    :param adversarial: (m,), scores of those that should.
    :param threshold: τ; a score above it raises the alarm.
    :raises ValueError: scores that are not finite, or none.
    """
    scores = _check_scores(natural, adversarial)
    curve = roc_curve(natural, adversarial)
    alarms, caught = (float((s > threshold).mean()) for s in scores)
    low, high = _range(scores)
    figure = look.Figure(figsize=(WIDTH, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.12, 1))
    edges = np.linspace(low, high, BINS + 1)
    kinds = (("natural", NATURAL, ""), ("adversarial", ADVERSARIAL, "///"))
    for values, (name, color, hatch) in zip(scores, kinds, strict=True):
        counts, _ = np.histogram(values.clip(low, high), edges)
        left.stairs(
            100 * counts / len(values), edges, fill=True, color=color, alpha=0.45, hatch=hatch,
            label=name,
        )  # fmt: skip
        left.stairs(100 * counts / len(values), edges, color=color, lw=1.4)
    margin = 0.04 * (high - low)
    left.set_xlim(low - margin, high + margin)
    left.axvline(np.clip(threshold, low - margin / 2, high + margin / 2), color=INK, lw=1.8)
    left.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    left.xaxis.set_major_locator(MaxNLocator(4))  # numbers may be long: −6000
    left.set_xlabel("score")
    left.set_ylabel("images")
    legend_above(left, 1, title)
    _roc_axes(right)
    right.plot(
        100 * curve.false_positive_rate, 100 * curve.true_positive_rate, color=REFERENCE, zorder=3
    )
    right.plot(
        [100 * alarms], [100 * caught], "o", color=INK, ms=10, mec="white", clip_on=False, zorder=4
    )
    return figure


def threshold_frames(
    natural: Tensor, adversarial: Tensor, *, steps: int = 15, title: str | None = None
) -> widgets.VBox:
    """:func:`advlab.viz.threshold_figure` with a threshold that the reader moves.

    It works on a page without a kernel, by mouse, touch and keyboard. The thresholds stand at equal
    steps along the ROC curve, from all images rejected to none; the one shown first rejects about
    5% of the natural images.

    :param natural: (n,), scores of the images that should raise no alarm.
    :param adversarial: (m,), scores of those that should.
    :param steps: thresholds, at least 2. Fewer stand where many scores are equal.
    :raises ValueError: scores that are not finite, all the same, or none, or fewer steps.
    """
    scores = _check_scores(natural, adversarial)
    if steps < 2:
        raise ValueError(f"steps: expected at least 2, found {steps}")
    thresholds = _along_the_curve(scores, steps)
    if len(thresholds) < 2:
        raise ValueError("scores: expected at least two different ones, found one")
    rates = [[float((s > t).mean()) for s in scores] for t in thresholds]
    labels, alts = [], []
    for threshold, (alarms, caught) in zip(thresholds, rates, strict=True):
        found = f"{look.fraction(alarms)} false alarms, {look.fraction(caught)} caught"
        at = f"τ = {look.number(threshold, 4)}"  # 4: −7070 rather than −7.07e+03
        labels.append(f"{at}: {found}")
        alts.append(
            f"Two histograms of scores with a line at the threshold {at}: "
            f"{look.fraction(alarms)} of {len(scores[0])} natural images (blue) and "
            f"{look.fraction(caught)} of {len(scores[1])} adversarial ones (orange) lie above it. "
            "Beside them the ROC curve, with a point at these two numbers."
        )
    return frames(
        [threshold_figure(natural, adversarial, t, title=title) for t in thresholds],
        labels,
        "threshold τ",
        min(range(len(rates)), key=lambda i: abs(rates[i][0] - 0.05)),
        alts=alts,
    )


@styled
def outcome_bars(
    outcomes: Mapping[str, Sequence[float]], *, title: str | None = None, ax: Axes | None = None
) -> AnyFigure | Axes:
    """What a model that may reject made of the images: a bar an attack, in three parts.

    :param outcomes: label → the fractions right, rejected, and wrong and undetected, of sum 1.
    :raises ValueError: nothing to draw, or fractions that do not add up to 1.
    """
    parts = check_numbers("outcomes", [list(fractions) for fractions in outcomes.values()])
    if parts.ndim != 2 or parts.shape[1] != 3 or parts.min() < 0:
        raise ValueError(f"outcomes: expected three fractions a row, found {dict(outcomes)}")
    if np.abs(parts.sum(1) - 1).max() > 1e-6:
        raise ValueError(f"outcomes: expected fractions of sum 1, found {dict(outcomes)}")
    own = ax is None
    figure, ax = look.canvas(ax, 1.5 + 0.45 * len(parts))
    kinds = (
        ("right", NATURAL, "", "white"),
        ("rejected", "#C9C9C9", "", INK),
        ("wrong and undetected", ADVERSARIAL, "", "white"),
    )
    start = np.zeros(len(parts))
    places = np.arange(len(parts))
    for values, (name, color, hatch, ink) in zip(parts.T, kinds, strict=True):
        ax.barh(places, 100 * values, 0.7, left=100 * start, color=color, hatch=hatch, label=name)
        for place, begin, value in zip(places, start, values, strict=True):
            if value >= 0.06:  # a number has room
                ax.text(
                    100 * (begin + value / 2), place, look.fraction(value), color=ink,
                    ha="center", va="center", fontsize=11,
                )  # fmt: skip
        start = start + values
    ax.set_yticks(places, list(outcomes))
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.set_xlabel("images")
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2, title=title,
        alignment="left", handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip
    return figure if own else ax


def _roc_axes(ax: Axes) -> None:
    ax.plot([0, 100], [0, 100], color=REFERENCE, lw=1.4, ls=(0, (2, 2)), zorder=1)
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.set_xticks(range(0, 101, 25))
    ax.set_yticks(range(0, 101, 25))
    ax.set_aspect("equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(decimals=0))
    ax.grid()
    ax.set_xlabel("false alarms")
    ax.set_ylabel("caught")


def _check_scores(natural: Tensor, adversarial: Tensor) -> tuple[np.ndarray, np.ndarray]:
    checked = []
    for name, values in (("natural", natural), ("adversarial", adversarial)):
        scores = check_numbers(name, values)
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"{name}: expected scores (n,), found shape {scores.shape}")
        checked.append(scores)
    return checked[0], checked[1]


def _range(scores: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """From the lowest to the highest score, without the few in the tails."""
    low = min(np.quantile(s, TAIL) for s in scores)
    high = max(np.quantile(s, 1 - TAIL) for s in scores)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _along_the_curve(scores: tuple[np.ndarray, np.ndarray], steps: int) -> list[float]:
    """Thresholds, rising, where the rates rejected fall by equal parts: from (1, 1) to (0, 0)."""
    every = np.unique(np.concatenate(scores))
    # Half way between neighbors, so that a rounded label still says what is above.
    between = (every[1:] + every[:-1]) / 2
    step = between[-1:] - between[:1] if len(between) else np.ones(1)
    pad = max(float(step[0]) / BINS, 1e-6)
    candidates = np.concatenate(([every[0] - pad], between, [every[-1] + pad]))
    rejected = sum((s[None] > candidates[:, None]).mean(1) for s in scores)  # from 2 down to 0
    wanted = np.linspace(2, 0, steps)
    chosen = sorted({int(np.abs(rejected - w).argmin()) for w in wanted})
    return [float(candidates[i]) for i in chosen] if len(every) > 1 else [float(every[0])]
