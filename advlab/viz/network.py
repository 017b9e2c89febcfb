"""Drawings of small networks: circles, arrows, and the numbers on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from matplotlib.patches import Circle
from torch import Tensor

from . import look
from .look import INK, NATURAL, REFERENCE, styled

_RADIUS = 0.3
_MAX_NEURONS = 8


@styled
def network(
    layers: Sequence[int],
    weights: Sequence[Tensor | Sequence] | None = None,
    biases: Sequence[Tensor | Sequence] | None = None,
    *,
    names: Sequence[Sequence[str]] | None = None,
    values: Sequence[Sequence[float] | Tensor] | None = None,
    activation: str | None = None,
    titles: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """A network of neurons, drawn from left to right: inputs, hidden layers, outputs.

    Arrows of negative weights are dashed; a bias stands below its neuron.

    :param layers: neurons a layer, inputs first: ``(2, 2, 1)`` for the XOR network; 1 to 8 each.
    :param weights: a matrix between each two layers, (outputs, inputs) as ``nn.Linear`` has them;
        numbers, or texts such as ``"w1"``.
    :param biases: a vector for each layer but the first, numbers or texts.
    :param names: a text in each circle; by default x₁ …, h₁ …, y.
    :param values: numbers to write above the neurons, a list a layer: one pass through the network.
    :param activation: its name, such as ``"step"``, written under the neurons that have one.
    :param titles: a text above each layer; by default inputs, hidden, output.
    :raises ValueError: sizes that do not fit.
    """
    layers = tuple(int(n) for n in layers)
    if len(layers) < 2 or not all(1 <= n <= _MAX_NEURONS for n in layers):
        raise ValueError(
            f"layers: expected two or more layers of 1 to {_MAX_NEURONS} neurons, found {layers}"
        )
    weights = _texts("weights", weights, [(m, n) for n, m in pairwise(layers)])
    biases = _texts("biases", biases, [(n,) for n in layers[1:]])
    values = _texts("values", values, [(n,) for n in layers])
    names = _texts("names", names, [(n,) for n in layers]) or _default_names(layers)
    if titles is not None and len(titles) != len(layers):
        raise ValueError(f"titles: expected {len(layers)}, one a layer, found {len(titles)}")

    tall, notes = max(layers), (biases is not None) + (activation is not None)
    row = (1.15 if weights is not None else 0.95) + 0.2 * notes
    column = 2.1 if len(layers) < 4 else 1.7
    place = [
        [(i * column, (n - 1) / 2 * row - j * row) for j in range(n)] for i, n in enumerate(layers)
    ]
    top = (tall - 1) / 2 * row + _RADIUS + (0.4 if values else 0.15)
    # A deep layer's notes hang below its lowest neuron; those of the last stand at its right.
    hanging = 0.2 * notes if len(layers) > 2 and max(layers[1:-1]) == tall else 0
    xlim = (-0.6, place[-1][0][0] + (1.35 if notes else 0.6))
    ylim = (-(tall - 1) / 2 * row - _RADIUS - 0.1 - hanging, top + 0.3)
    own = ax is None
    # A unit of the drawing is an inch, so letters keep their size beside the circles.
    figure, ax = look.canvas(ax, ylim[1] - ylim[0] + 0.1, xlim[1] - xlim[0] + 0.1)
    for i in range(len(layers) - 1):
        for k, target in enumerate(place[i + 1]):
            for j, source in enumerate(place[i]):
                _arrow(ax, source, target, weights[i][k][j] if weights else None)
    for i, layer in enumerate(place):
        for j, (px, py) in enumerate(layer):
            ax.add_patch(
                Circle(
                    (px, py), _RADIUS, fc="#EFEFEF" if i == 0 else "#D6E8F5",
                    ec=REFERENCE if i == 0 else NATURAL, lw=1.8, zorder=3,
                )
            )  # fmt: skip
            ax.text(px, py, names[i][j], ha="center", va="center_baseline", fontsize=13, zorder=4)
            notes_here = [_bias(biases[i - 1][j])] if i and biases else []
            notes_here += [activation] if i and activation else []
            if notes_here and i == len(layers) - 1:
                _note(ax, px + _RADIUS + 0.08, py, "\n".join(notes_here), ha="left")
            elif notes_here:
                _note(ax, px, py - _RADIUS - 0.05, "\n".join(notes_here), va="top")
            if values:
                _note(ax, px, py + _RADIUS + 0.05, values[i][j], va="bottom", fontweight="bold")
    for i, text in enumerate(titles if titles is not None else _default_titles(layers)):
        ax.text(i * column, top, text, ha="center", va="bottom", color=REFERENCE, fontsize=12)
    ax.set_xlim(*xlim)
    ax.set_ylim(*ylim)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return figure if own else ax


def _arrow(ax: Axes, source: tuple, target: tuple, weight: str | None) -> None:
    (x0, y0), (x1, y1) = source, target
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    gap = _RADIUS + 0.03
    ax.annotate(
        "", (x1 - ux * gap, y1 - uy * gap), (x0 + ux * gap, y0 + uy * gap),
        arrowprops={
            "arrowstyle": "-|>", "color": INK, "lw": 1.4, "shrinkA": 0, "shrinkB": 0,
            "ls": "--" if weight is not None and weight.startswith("−") else "-",
        }, zorder=1,
    )  # fmt: skip
    if weight is not None:
        # Nearer to the source: arrows into one neuron meet at its end, and cross in the middle.
        at = 0.36
        ax.text(
            x0 + at * (x1 - x0), y0 + at * (y1 - y0), weight, ha="center", va="center", fontsize=11,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}, zorder=2,
        )  # fmt: skip


def _note(ax: Axes, x: float, y: float, text: str, **how: str) -> None:
    ax.text(
        x, y, text, **{"ha": "center", "va": "center"} | how, fontsize=11, linespacing=1.15,
        zorder=4, bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85},
    )  # fmt: skip


def _bias(text: str) -> str:
    """A number needs its letter; a letter stands for itself."""
    return f"b = {text}" if text.lstrip("−").replace(".", "", 1)[:1].isdigit() else text


def _texts(name: str, given, shapes: list[tuple]):
    """Numbers or texts, as nested lists of texts of the shapes expected; None stays None."""
    if given is None:
        return None
    lists = [part.tolist() if isinstance(part, Tensor) else list(part) for part in given]
    found = [_shape(part) for part in lists]
    if found != shapes:
        raise ValueError(f"{name}: expected shapes {shapes}, found {found}")
    return [_text(part) for part in lists]


def _shape(part) -> tuple | None:
    """() for a number or text, (n,), (m, n), or None for rows of different length."""
    if isinstance(part, (str, int, float)):
        return ()
    inner = {_shape(p) for p in part}
    return (len(part), *inner.pop()) if len(inner) == 1 and None not in inner else None


def _text(part):
    if isinstance(part, str):
        return part
    if isinstance(part, (int, float)):
        return look.number(part)
    return [_text(p) for p in part]


def _default_names(layers: Sequence[int]) -> list[list[str]]:
    def letters(letter: str, n: int) -> list[str]:
        return [f"${letter}$"] if n == 1 else [f"${letter}_{{{j + 1}}}$" for j in range(n)]

    # With several hidden layers one letter would name two neurons: their circles stay empty.
    middle = [letters("h", n) if len(layers) == 3 else [""] * n for n in layers[1:-1]]
    return [letters("x", layers[0]), *middle, letters("y", layers[-1])]


def _default_titles(layers: Sequence[int]) -> list[str]:
    first = "input" if layers[0] == 1 else "inputs"
    last = "output" if layers[-1] == 1 else "outputs"
    return [first, *["hidden"] * (len(layers) - 2), last]
