"""Pictures of images and of perturbations."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as AnyFigure
from torch import Tensor, nn

from .. import threat
from ..models.contract import check_device, check_images, check_labels
from . import look
from .look import ADVERSARIAL, INK, NATURAL, PERTURBATION, REFERENCE, WIDTH, styled

_NORM_NAMES = {"Linf": "L∞", "L2": "L2", "L1": "L1", "L0": "L0"}


@styled
def show_images(
    images: Tensor,
    titles: Sequence[str] | None = None,
    rows: int = 1,
    *,
    colors: Sequence[str] | None = None,
) -> AnyFigure:
    """Images in a grid, row by row.

    :param images: (N, C, H, W) in [0, 1], with one channel (gray) or three (RGB); N ≥ 1.
    :param titles: N texts, one above each image.
    :param rows: of the grid.
    :param colors: N colors of the titles, such as ``viz.NATURAL`` and ``viz.ADVERSARIAL``.
    :raises ValueError: another shape or range, or lists of another length.
    """
    _check_drawable(images, "images")
    n = len(images)
    for name, given in (("titles", titles), ("colors", colors)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name}: expected {n}, one for each image, found {len(given)}")
    if not 1 <= rows <= n:
        raise ValueError(f"rows: expected 1 to {n}, the number of images, found {rows}")
    columns = -(-n // rows)
    cell = min(WIDTH / columns, 2.6)
    lines = max((str(t).count("\n") + 1 for t in titles), default=0) if titles else 0
    ratio = images.shape[2] / images.shape[3]
    size = (columns * cell, rows * (cell * ratio + 0.24 * lines))
    figure = look.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, ax in enumerate(axes):
        ax.set_axis_off()
        if i < n:
            _draw_image(ax, images[i])
        if i < n and titles is not None:
            color = INK if colors is None else colors[i]
            ax.set_title(str(titles[i]), color=color, fontsize=_title_size(cell))
    return figure


@styled
def compare(
    x: Tensor,
    x_adv: Tensor,
    y: Tensor | None = None,
    *,
    model: nn.Module | None = None,
    logits: tuple[Tensor, Tensor] | None = None,
    classes: Sequence[str] | None = None,
    norms: Sequence[str] = ("Linf", "L2", "L0"),
    magnify: float | None = None,
) -> AnyFigure:
    """A row for each pair: natural image, its perturbation magnified, adversarial image.

    Under an image stands what the model answers and how sure it is (the softmax of its logits):
    in blue with a check mark where it is right, in orange with a cross where it is wrong, in gray
    where y is not given. Under a perturbation stand its norms, measured here. The perturbation
    of an RGB image shows, at each pixel, the channel that moved most.

    :param x: (N, C, H, W) in [0, 1], with one or three channels.
    :param x_adv: of the shape of x, in [0, 1].
    :param y: (N,) int64, the true classes.
    :param model: asked for its answers. Give either this, or ``logits``, or neither.
    :param logits: the two answers, for x and for x_adv, each (N, K).
    :param classes: K names.
    :param norms: which to write, of ``"Linf"``, ``"L2"``, ``"L1"``, ``"L0"``.
    :param magnify: a change of 1/magnify of the range from black to white has the full color.
        By default the largest change in the figure has it.
    :raises ValueError: shapes or ranges that do not fit.
    """
    _check_drawable(x, "x")
    _check_drawable(x_adv, "x_adv")
    if x.shape != x_adv.shape:
        raise ValueError(
            f"x_adv: expected the shape of x, {tuple(x.shape)}, found {tuple(x_adv.shape)}"
        )
    if y is not None:
        check_labels(y, x)
    delta = (x_adv - x).detach().cpu()
    limit = _limit(delta, magnify)
    if model is not None and logits is not None:
        raise ValueError("expected a model or its logits, found both; drop one")
    if model is not None:
        check_device(model, x)
        logits = look.answers(model, x), look.answers(model, x_adv)
    if logits is not None:
        logits = _check_pair(logits, len(x))

    n, ratio = len(x), x.shape[2] / x.shape[3]
    names = [threat.parse_norm(norm) for norm in norms]
    cell = WIDTH / 3 - 0.15
    under = 0.1 + 0.2 * max(1 if logits is not None else 0, len(names))
    figure = look.Figure(figsize=(WIDTH, n * (cell * ratio + under) + 1.15), layout="constrained")
    grid = figure.add_gridspec(n + 1, 3, height_ratios=[cell * ratio] * n + [0.1])
    heads = (
        ("natural\n$x$", NATURAL),
        (f"perturbation\n$\\delta$ × {look.number(1 / limit, 2)}", INK),
        ("adversarial\n$x+\\delta$", ADVERSARIAL),
    )
    for i in range(n):
        axes = [figure.add_subplot(grid[i, j]) for j in range(3)]
        if i == 0:
            for ax, (text, color) in zip(axes, heads, strict=True):
                ax.set_title(text, color=color)
        _draw_image(axes[0], x[i])
        _draw_delta(axes[1], delta[i], limit)
        _draw_image(axes[2], x_adv[i])
        sizes = [threat.size(delta[i : i + 1], norm).item() for norm in names]
        axes[1].set_xlabel(
            "\n".join(
                f"{_NORM_NAMES[norm]} = {_size_text(value, norm)}"
                for norm, value in zip(names, sizes, strict=True)
            ),
            fontsize=11,
        )
        for ax, answer in zip((axes[0], axes[2]), logits or (), strict=False):
            text, color = _verdict(answer[i], None if y is None else int(y[i]), classes)
            ax.set_xlabel(text, color=color, fontsize=11)
    _add_colorbar(figure, limit, x.shape[1], cax=figure.add_subplot(grid[n, 1]))
    return figure


@styled
def perturbation(
    delta: Tensor, *, magnify: float | None = None, title: str | None = None, ax: Axes | None = None
) -> AnyFigure | Axes:
    """One perturbation on the diverging scale with its color bar; unchanged is white.

    :param delta: (C, H, W) or (1, C, H, W), values in [−1, 1]; with three channels each pixel
        shows the channel that moved most.
    :param magnify: a change of 1/magnify has the full color; by default the largest change.
    :raises ValueError: another shape or range.
    """
    if not isinstance(delta, Tensor):
        raise TypeError(f"delta: expected a torch.Tensor, found {type(delta).__name__}")
    if delta.ndim == 4 and len(delta) == 1:
        delta = delta[0]
    if delta.ndim != 3 or delta.shape[0] not in (1, 3):
        raise ValueError(f"delta: expected (1 or 3, H, W), found {tuple(delta.shape)}")
    delta = delta.detach().cpu()
    limit = _limit(delta, magnify)
    own = ax is None
    figure, ax = look.canvas(ax, 3.6, 4.2)
    _draw_delta(ax, delta, limit)
    times = f"× {look.number(1 / limit, 2)}"
    ax.set_title(f"perturbation $\\delta$ {times}" if title is None else title)
    _add_colorbar(figure, limit, len(delta), ax=ax)
    return figure if own else ax


def _check_drawable(images: Tensor, name: str) -> None:
    check_images(images, name)
    if images.shape[1] not in (1, 3):
        raise ValueError(
            f"{name}: expected 1 channel (gray) or 3 (RGB) to draw, found {images.shape[1]}"
        )
    if not len(images):
        raise ValueError(f"{name}: expected at least one image, found none")


def _check_pair(logits: tuple[Tensor, Tensor], n: int) -> tuple[Tensor, Tensor]:
    if len(logits) != 2 or any(a.ndim != 2 or len(a) != n for a in logits):
        found = [tuple(a.shape) for a in logits]
        raise ValueError(f"logits: expected two tensors of shape ({n}, K), found {found}")
    return logits[0].detach().cpu(), logits[1].detach().cpu()


def _draw_image(ax: Axes, image: Tensor) -> None:
    pixels = image.detach().cpu().float().permute(1, 2, 0).numpy()
    ax.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
    look.frame(ax)


def _draw_delta(ax: Axes, delta: Tensor, limit: float) -> None:
    largest = delta.abs().argmax(0, keepdim=True)
    signed = delta.gather(0, largest)[0].float().numpy()
    ax.imshow(signed, cmap=PERTURBATION, vmin=-limit, vmax=limit)
    look.frame(ax)


def _limit(delta: Tensor, magnify: float | None) -> float:
    """The change that has the full color; 1 for a perturbation that is zero everywhere."""
    if magnify is not None:
        if not 0 < magnify < float("inf"):
            raise ValueError(f"magnify: expected a finite number above 0, found {magnify!r}")
        return 1 / magnify
    largest = delta.abs().max().item() if delta.numel() else 0.0
    if not largest <= 1:  # written so that NaN fails
        raise ValueError(f"perturbation: expected values in [−1, 1], found up to {largest:.4g}")
    return largest or 1.0


def _add_colorbar(figure: AnyFigure, limit: float, channels: int, **where: Axes) -> None:
    scale = ScalarMappable(Normalize(-limit, limit), PERTURBATION)
    bar = figure.colorbar(scale, orientation="horizontal", shrink=0.9, **where)
    bar.set_ticks([-limit, 0, limit])
    bar.set_ticklabels([look.number(v, 2) for v in (-limit, 0, limit)])
    what = "pixel" if channels == 1 else "channel\nthat moved most"
    bar.set_label(f"change of the {what}\n(pixel values 0 to 1)", fontsize=11)
    bar.outline.set_edgecolor(REFERENCE)


def _size_text(value: float, norm: str) -> str:
    if norm == "L0":
        return f"{value:.0f} pixel{'' if value == 1 else 's'}"
    return look.number(value, 3)


def _verdict(logits: Tensor, y: int | None, classes: Sequence[str] | None) -> tuple[str, str]:
    probability, answer = logits.double().softmax(0).max(0)
    text = f"{look.class_name(int(answer), classes)} ({look.fraction(probability.item())})"
    if y is None:
        return text, REFERENCE
    return (f"✓ {text}", NATURAL) if int(answer) == y else (f"✗ {text}", ADVERSARIAL)


def _title_size(cell: float) -> float:
    return 12 if cell > 1.1 else 10
