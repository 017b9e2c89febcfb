"""Images as tables of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from matplotlib.patches import Rectangle
from torch import Tensor

from . import look
from .look import ADVERSARIAL, PERTURBATION, WIDTH, styled


@styled
def pixel_table(
    tables: Mapping[str, Tensor],
    *,
    signed: Sequence[str] = (),
    between: Sequence[str] | None = None,
    highlight: Sequence[tuple[int, int]] = (),
    digits: int | Mapping[str, int] = 3,
) -> AnyFigure:
    """Patches of an image as tables: each pixel's number, printed on its own color.

    Pixel values stand on their gray; tables with negative numbers (gradients, signs,
    perturbations) on the diverging scale.

    :param tables: title → (H, W) tensor, all of one shape, at most 12 × 12. Pixels are in [0, 1].
    :param signed: titles to draw on the diverging scale though nothing in them is negative.
    :param between: what stands between neighbors, such as ``("+ 0.1 ×", "=")``.
    :param highlight: (row, column) of pixels to frame in orange, in every table.
    :param digits: behind the decimal point; title → digits gives each table its own. Tables of
        −1, 0 and 1 are printed as signs.
    :raises ValueError: another shape or range.
    """
    if not tables:
        raise ValueError("tables: expected at least one table, found none")
    values = {title: _check_table(title, table) for title, table in tables.items()}
    shapes = {v.shape for v in values.values()}
    if len(shapes) > 1:
        raise ValueError(f"tables: expected one shape, found {sorted(shapes)}")
    height, width = shapes.pop()
    for row, column in highlight:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f"highlight: expected pixels inside {height} × {width}, found {(row, column)}"
            )
    if between is not None and len(between) != len(values) - 1:
        raise ValueError(
            f"between: expected {len(values) - 1} texts for {len(values)} tables, "
            f"found {len(between)}"
        )
    places = digits if isinstance(digits, Mapping) else dict.fromkeys(values, digits)
    if missing := [title for title in values if title not in places]:
        raise ValueError(f"digits: expected a number for each table, found none for {missing}")
    texts = [*(between if between is not None else [""] * (len(values) - 1)), None]

    stacked = len(values) * width > 15  # numbers side by side would be too small to read
    room = 0.6 + 0.28 * max((len(t) for t in texts if t), default=0)  # between tables, in cells
    if stacked:
        cell = min(0.56, WIDTH / (width + 0.4))
        size = ((width + 0.4) * cell, len(values) * (height * cell + 0.42) + 0.3 * len(values))
    else:
        total = len(values) * width + (len(values) - 1) * room
        cell = min(0.62, WIDTH / (total + 0.4))
        size = ((total + 0.4) * cell, height * cell + 0.45)
    figure = look.Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.05, wspace=0, hspace=0.02)
    if stacked:
        grid = figure.add_gridspec(len(values), 1)
    else:
        ratios = [width, *([room, width] * (len(values) - 1))]
        grid = figure.add_gridspec(1, len(ratios), width_ratios=ratios)
    for i, (title, table) in enumerate(values.items()):
        ax = figure.add_subplot(grid[i, 0] if stacked else grid[0, 2 * i])
        ax.set_title(title, fontsize=12 if stacked or len(values) < 3 else 10.5)
        signed_table = title in signed or bool((table < 0).any())
        font = min(12.0, 72 * cell / (0.66 * (places[title] + 2.4)))
        _draw_table(ax, table, signed_table, places[title], font)
        for row, column in highlight:
            ax.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ADVERSARIAL, lw=3)
            )
        if texts[i] and stacked:
            ax.set_xlabel(texts[i], fontsize=14)
        elif texts[i]:
            gap = figure.add_subplot(grid[0, 2 * i + 1])
            gap.set_axis_off()
            gap.text(0.5, 0.5, texts[i], ha="center", va="center", fontsize=13)
    return figure


def _check_table(title: str, table: Tensor) -> np.ndarray:
    table = torch.as_tensor(table).detach().cpu()
    if table.ndim != 2 or not 1 <= max(table.shape) <= 12:
        raise ValueError(
            f"tables: expected {title!r} of shape (H, W), at most 12 × 12, "
            f"found {tuple(table.shape)}; cut a patch out of the image"
        )
    values = table.double().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"tables: expected finite numbers in {title!r}, found NaN or infinity")
    return values


def _draw_table(ax: Axes, table: np.ndarray, signed: bool, digits: int, font: float) -> None:
    if signed:
        limit = max(float(np.abs(table).max()), 1e-12)
        # Half the depth of the scale is enough for a table, and keeps its numbers readable.
        picture = ax.imshow(table, cmap=PERTURBATION, vmin=-2 * limit, vmax=2 * limit)
    else:
        picture = ax.imshow(table, cmap="gray", vmin=0, vmax=max(1.0, float(table.max())))
    colors = picture.to_rgba(table)
    signs = signed and np.isin(table, (-1, 0, 1)).all()
    for (row, column), value in np.ndenumerate(table):
        # Adding zero turns −0.0 into 0.0: no cell says −0.000.
        rounded = round(float(value), digits) + 0.0
        text = ("−1", "0", "+1")[int(value) + 1] if signs else f"{rounded:.{digits}f}"
        ax.text(
            column, row, text.replace("-", "−"), ha="center", va="center", fontsize=font,
            color=look.ink_on(colors[row, column]),
        )  # fmt: skip
    look.frame(ax)
    ax.set_xticks(np.arange(table.shape[1] + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(table.shape[0] + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white" if not signed else "#D0D0D0", linewidth=1)
    ax.tick_params(which="minor", length=0)
    ax.set_axisbelow(False)
