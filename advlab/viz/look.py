"""One visual language: what every figure and widget of the package looks like.

Blue is natural, orange is adversarial, gray is reference. A perturbation lies on a diverging
scale from purple (darker) over white (unchanged) to brown (brighter), symmetric about zero.
Colors are those of Okabe and Ito (2008), which color-blind readers tell apart; no figure relies
on color alone.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as _Figure
from torch import Tensor

from ..data.files import write_atomically
from ..models.contract import predict_anywhere

NATURAL = "#0072B2"
ADVERSARIAL = "#D55E00"
REFERENCE = "#6B6B6B"
INK = "#1A1A1A"

# In the order in which a figure takes them; each color comes with its own marker and line.
CYCLE = (NATURAL, ADVERSARIAL, "#009E73", "#A6558A", INK, "#2A8FC7", "#8A6D00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))

PERTURBATION = LinearSegmentedColormap.from_list(
    "perturbation", ["#4A1E80", "#9488BE", "#FFFFFF", "#DDA04F", "#8C4A0B"], N=255
)
# A fraction that an attack reached: the darker, the more, in gray print too.
SUCCESS = LinearSegmentedColormap.from_list(
    "success", ["#FFFFFF", "#F6C9A5", ADVERSARIAL, "#5E1F00"], N=255
)

WIDTH = 6.4  # inches: at the width of a phone, 12 points are still read without a zoom
DPI = 140

_RC = {
    "figure.dpi": DPI,
    "savefig.dpi": "figure",
    "figure.facecolor": "white",
    "savefig.facecolor": "auto",
    "axes.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": REFERENCE,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 2.2,
    "lines.markersize": 6.5,
    "legend.frameon": False,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
}


def style():
    """A context: ``with viz.style():`` gives a chapter's own plots the look of the package."""
    return mpl.rc_context(_RC)


def use_style() -> None:
    """Give all later plots of this session the look of the package (changes ``rcParams``)."""
    mpl.rcParams.update(_RC)


def styled(function: Callable) -> Callable:
    """Draws in the package's style and leaves the user's ``rcParams`` as they are."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with style():
            return function(*args, **kwargs)

    return wrapper


class Figure(_Figure):
    """A matplotlib figure that pyplot does not know of: shown once, and freed when dropped.

    It is drawn in the package's style whenever that happens, and a notebook shows it as a PNG.
    """

    def draw(self, renderer) -> None:
        with style():
            # Ticks change with the size that the layout finds, and the layout with the ticks: it
            # takes two rounds (the second is in draw). Then it stays, or things would move by a
            # pixel from one drawing to the next.
            if layout := self.get_layout_engine():
                layout.execute(self)
            super().draw(renderer)
            self.set_layout_engine("none")

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: _Figure, dpi: float | None = None) -> bytes:
    """The figure as an opaque PNG, the same bytes each time; by default with its own dpi."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(
            buffer,
            format="png",
            transparent=False,
            dpi=dpi or "figure",
            metadata={"Software": None},
        )
    return buffer.getvalue()


def save(figure: _Figure, path: str | Path) -> Path:
    """Write the figure as an opaque PNG, the same bytes each time, all or nothing.

    :raises ValueError: the name does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path: expected a name that ends in .png, found {str(path)!r}")
    write_atomically(path, png(figure))
    return path


def canvas(ax: Axes | None, height: float, width: float = WIDTH) -> tuple[_Figure, Axes]:
    """The axes to draw on: the caller's, or those of a new figure of that size in inches."""
    if ax is not None:
        return ax.figure, ax
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def frame(ax: Axes) -> None:
    """No ticks, and a thin gray border: a white image has an edge too."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(visible=True, color="#C8C8C8", linewidth=0.8)


def ink_on(color: Sequence[float]) -> str:
    """Dark or white, whichever is read on that color. (R, G, B), or with A, from 0 to 1."""
    red, green, blue = color[:3]
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def fraction(value: float) -> str:
    """0.973 as ``97%``; near 0 and 1 with the digit that keeps it from looking exact."""
    rounded = f"{100 * value:.0f}"
    exact = abs(100 * value - round(100 * value)) < 1e-6
    return f"{rounded}%" if exact or rounded not in ("0", "100") else _near(value)


def _near(value: float) -> str:
    return "<1%" if value < 0.5 else ">99%"


def number(value: float, digits: int = 3) -> str:
    """A number with a real minus sign and no more digits than needed: −1.5, 0.1, 312."""
    return f"{value:.{digits}g}".replace("-", "−")


def class_name(index: int, classes: Sequence[str] | None) -> str:
    """The name of a class, or its number where there are no names.

    :raises ValueError: there are names, and too few of them.
    """
    if classes is None:
        return str(int(index))
    if not 0 <= index < len(classes):
        raise ValueError(f"classes: expected a name for class {int(index)}, found {len(classes)}")
    return str(classes[int(index)])


def answers(model: torch.nn.Module, x: Tensor) -> Tensor:
    """The model's logits in evaluation mode, without gradients, on the CPU. (N, K)."""
    return predict_anywhere(model, x).cpu()
