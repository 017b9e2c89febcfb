"""Tables of fractions as maps: a number in each cell, on the color that it stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from ..evaluation.transfer import TransferMatrix
from . import look
from .look import INK, NATURAL, SUCCESS, WIDTH, styled

EMPTY = "#DADADA"  # no number: nothing was counted


@styled
def heatmap(
    values: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    row_label: str | None = None,
    column_label: str | None = None,
    framed: Tensor | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """Fractions as a map: white for 0, through orange to a dark brown for 1.

    Every cell says its number in percent, so that nothing rests on color alone.

    :param values: (R, C), from 0 to 1; NaN where there is no number.
    :param rows: R names, from the top.
    :param columns: C names.
    :param row_label: what the rows are.
    :param column_label: what the columns are.
    :param framed: (R, C) bool: cells with a thick blue frame.
    :param title: over the map.
    :raises ValueError: another shape or range, or names that do not fit.
    """
    table = torch.as_tensor(values).detach().cpu().double().numpy()
    if table.shape != (len(rows), len(columns)) or not table.size:
        raise ValueError(
            f"values: expected shape {(len(rows), len(columns))}, a row and a column for each "
            f"name, found {table.shape}"
        )
    if np.nanmin(table, initial=0) < 0 or np.nanmax(table, initial=1) > 1:
        raise ValueError("values: expected fractions from 0 to 1 (not percent)")
    marks = np.zeros(table.shape, bool)
    if framed is not None:
        marks = torch.as_tensor(framed).cpu().bool().numpy()
        if marks.shape != table.shape:
            raise ValueError(f"framed: expected shape {table.shape}, found {marks.shape}")
    own = ax is None
    height = 0.9 + 0.5 * len(rows) + 0.3 * bool(title)
    figure, ax = look.canvas(ax, height, min(WIDTH, 2.2 + 0.95 * len(columns)))
    colors = SUCCESS.with_extremes(bad=EMPTY)
    picture = ax.imshow(np.ma.masked_invalid(table), cmap=colors, vmin=0, vmax=1, aspect="auto")
    shades = picture.to_rgba(np.ma.masked_invalid(table))
    for (row, column), value in np.ndenumerate(table):
        text = "–" if np.isnan(value) else look.fraction(value)
        ax.text(column, row, text, ha="center", va="center", color=look.ink_on(shades[row, column]))
    ax.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2)
    ax.set_axisbelow(False)
    for row, column in np.argwhere(marks):
        frame = Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, zorder=3)
        frame.set(edgecolor=NATURAL, linewidth=2.6, joinstyle="miter")
        # White on both sides of the blue parts it from any color of the cell.
        frame.set_path_effects([withStroke(linewidth=5.2, foreground="white")])
        ax.add_patch(frame)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(which="both", length=0, labelcolor=INK)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.spines[:].set_visible(False)
    if max(map(len, columns)) * len(columns) > 52:  # they would run into one another
        ax.tick_params(axis="x", labelrotation=30)
        for label in ax.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
    ax.set_xlabel(column_label or "")
    ax.set_ylabel(row_label or "")
    if title:
        ax.set_title(title, loc="left")
    return figure if own else ax


@styled
def transfer(
    matrix: TransferMatrix, *, title: str | None = None, ax: Axes | None = None
) -> AnyFigure | Axes:
    """A :class:`~advlab.evaluation.TransferMatrix`: sources as rows, targets as columns.

    Cells where the attacker saw the target, as the source or a member of it, have a blue frame:
    there is no transfer in them.

    :param title: by default the attack and the number of images.
    """
    counted = "that fool the source" if matrix.matched else f"n = {matrix.n}"
    return heatmap(
        matrix.rates,
        matrix.sources,
        matrix.targets,
        row_label="made on (source)",
        column_label="shown to (target)",
        framed=matrix.white_box,
        title=title or f"{matrix.attack}, {counted}",
        ax=ax,
    )
