"""Where a model changes its mind: maps of its answers over two dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure as AnyFigure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from ..models.contract import check_device, check_images, check_logits
from . import look
from .look import INK, NATURAL, styled

# Light enough for black letters. The first is the class at the center; edges and names, not the
# tints alone, tell regions apart.
_TINTS = (
    "#BBD9EE", "#F8D3B5", "#E2E2E2", "#BFE5D6", "#EAD0DF", "#F5EDB5", "#CFCBE8", "#D9E6A8",
    "#F3C4C4", "#C9DADA",
)  # fmt: skip
_TOY_TINTS = ("#E6E6E6", "#BBD9EE", "#F5EDB5", "#EAD0DF", "#BFE5D6", *_TINTS[6:])
_FINER = 4
_HALO = [patheffects.withStroke(linewidth=3, foreground="white")]


@styled
def decision_boundary(
    model: nn.Module,
    x0: Tensor,
    direction1: Tensor,
    direction2: Tensor,
    *,
    radius: float | tuple[float, float] = 0.3,
    steps: int = 61,
    clip: bool = True,
    classes: Sequence[str] | None = None,
    y: Tensor | None = None,
    labels: tuple[str, str] = ("a, along direction 1", "b, along direction 2"),
    points: dict[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """The classes that a model answers in the plane x0 + a d1 + b d2.

    :param x0: (1, C, H, W) in [0, 1]; the point (0, 0), marked with a dot.
    :param direction1: d1, of the shape of x0, taken as it is: with signs, a is an L∞ distance.
    :param direction2: d2.
    :param radius: a and b run from −radius to radius; two numbers give each its own.
    :param steps: grid points along an axis; the model is asked steps² times.
    :param clip: images are clipped to [0, 1] before the model sees them, as an attack's are.
        Where that bites, the map is of a bent surface, not of a plane.
    :param classes: names.
    :param y: (1,) int64: draw contours of the cross-entropy of this class, in nats.
    :param labels: of the two axes.
    :param points: label → (a, b), further points to mark.
    :raises ValueError: shapes or ranges that do not fit, or a direction of zeros.
    """
    check_images(x0, "x0")
    check_device(model, x0)
    if len(x0) != 1:
        raise ValueError(f"x0: expected one image, (1, C, H, W), found {tuple(x0.shape)}")
    for name, d in (("direction1", direction1), ("direction2", direction2)):
        if d.shape != x0.shape or not d.isfinite().all() or not d.any():
            raise ValueError(
                f"{name}: expected the shape of x0, {tuple(x0.shape)}, finite and not all zero, "
                f"found {tuple(d.shape)}"
            )
    ra, rb = (radius, radius) if isinstance(radius, (int, float)) else radius
    if ra <= 0 or rb <= 0 or steps < 2:
        raise ValueError(f"expected a radius above 0 and 2 steps or more, found {radius}, {steps}")
    a, b = np.linspace(-ra, ra, steps), np.linspace(-rb, rb, steps)
    column = torch.as_tensor(a, dtype=x0.dtype, device=x0.device).view(-1, 1, 1, 1)
    rows = []
    for value in b:  # a row of the map at a time: the whole map may not fit in memory
        line = x0 + column * direction1 + float(value) * direction2
        rows.append(look.answers(model, line.clamp(0, 1) if clip else line))
    logits = torch.stack(rows).double()  # (steps of b, steps of a, K)
    # Between grid points logits are interpolated, which draws edges without stairs; at grid
    # points the map is the model's own answer.
    fine = _FINER * (steps - 1) + 1
    scores = F.interpolate(
        logits.permute(2, 0, 1)[None], size=(fine, fine), mode="bilinear", align_corners=True
    )[0].permute(1, 2, 0)
    answer = scores.argmax(2)
    answer[::_FINER, ::_FINER] = logits.argmax(2)
    answer = answer.numpy()
    fine_a, fine_b = np.linspace(-ra, ra, fine), np.linspace(-rb, rb, fine)
    center = int(look.answers(model, x0).argmax())
    own = ax is None
    figure, ax = look.canvas(ax, 5.0, 5.6)
    order = [center, *[int(c) for c in np.unique(answer) if c != center]]
    marks = {"$x_0$": (0.0, 0.0), **(points or {})}
    names = [look.class_name(c, classes) for c in order]
    tints = {c: _TINTS[i % len(_TINTS)] for i, c in enumerate(order)}
    _draw_regions(ax, fine_a, fine_b, answer, scores.numpy(), tints, names, list(marks.values()))
    if y is not None:
        check_logits(logits.flatten(0, 1), logits.flatten(0, 1), y.cpu())
        loss = F.cross_entropy(logits.flatten(0, 1), y.cpu().expand(steps**2), reduction="none")
        lines = ax.contour(
            a, b, loss.view(steps, steps), levels=6, colors=INK, linewidths=0.7, alpha=0.6
        )
        ax.clabel(lines, fontsize=9, fmt="%.3g")
    for i, (label, (pa, pb)) in enumerate(marks.items()):
        natural, side = i == 0, pa / ra
        ax.plot(
            pa, pb, "o" if natural else "s", ms=9, mec="white", mew=1.4, zorder=6,
            color=NATURAL if natural else look.ADVERSARIAL,
        )  # fmt: skip
        ax.annotate(
            label, (pa, pb), (0, 9), textcoords="offset points", path_effects=_HALO, zorder=7,
            ha="right" if side > 0.6 else "left" if side < -0.6 else "center",
        )  # fmt: skip
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    return figure if own else ax


@styled
def boundary_2d(
    function: Callable[[Tensor], Tensor],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    points: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    threshold: float = 0.5,
    classes: Sequence[str] | None = None,
    names: tuple[str, str] = ("$x_1$", "$x_2$"),
    steps: int = 201,
    title: str | None = None,
    ax: Axes | None = None,
) -> AnyFigure | Axes:
    """What a function of two numbers answers over a rectangle: gates and other toys.

    :param function: (M, 2) → (M,) or (M, 1), class 1 at or above the threshold, else 0; or
        (M, 2) → (M, K) with K ≥ 2, the largest wins.
    :param points: (P, 2), examples to draw.
    :param labels: (P,), their classes: circles for 0, squares for 1, and so on; the number
        stands inside.
    :param threshold: of a single answer: 0.5 for a step or a sigmoid, 0 for its input.
    :param classes: names of the regions; by default the numbers.
    :raises ValueError: shapes or ranges that do not fit.
    """
    if xlim[0] >= xlim[1] or ylim[0] >= ylim[1] or steps < 2:
        raise ValueError(
            f"expected limits (low, high) and 2 steps or more, found {xlim}, {ylim}, {steps}"
        )
    if points is not None and (points.ndim != 2 or points.shape[1] != 2):
        raise ValueError(f"points: expected (P, 2), found {tuple(points.shape)}")
    if labels is not None and (points is None or labels.shape != points.shape[:1]):
        raise ValueError(f"labels: expected one for each point, found {tuple(labels.shape)}")
    a, b = np.linspace(*xlim, steps), np.linspace(*ylim, steps)
    mesh = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    with torch.no_grad():
        out = torch.as_tensor(function(torch.as_tensor(mesh, dtype=torch.float32))).cpu()
    if out.ndim not in (1, 2) or len(out) != len(mesh) or not out.numel():
        raise ValueError(
            f"function: expected ({len(mesh)},) or ({len(mesh)}, K) for points of shape "
            f"({len(mesh)}, 2), found {tuple(out.shape)}"
        )
    single = out.ndim == 1 or out.shape[1] == 1
    out = out.double().flatten() if single else out.double()
    answer = (out >= threshold).long() if single else out.argmax(1)
    answer = answer.view(steps, steps).numpy()
    scores = torch.stack([2 * threshold - out, out], dim=1) if single else out
    scores = scores.view(steps, steps, -1).numpy()
    own = ax is None
    figure, ax = look.canvas(ax, 4.4, 4.8)
    present = [int(c) for c in np.unique(answer)]
    # Class 0 is gray and 1 blue: neither is adversarial here.
    tints = {c: _TOY_TINTS[c % len(_TOY_TINTS)] for c in present}
    shown = [look.class_name(c, classes) for c in present]
    _draw_regions(ax, a, b, answer, scores, tints, shown, [] if points is None else points.tolist())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    if points is not None:
        _draw_points(ax, points.detach().cpu().double().numpy(), labels)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    if title:
        ax.set_title(title)
    return figure if own else ax


def _draw_points(ax: Axes, points: np.ndarray, labels: Tensor | None) -> None:
    few = len(points) <= 30
    for i, point in enumerate(points):
        label = 0 if labels is None else int(labels[i])
        ax.plot(
            *point, look.MARKERS[label % len(look.MARKERS)], ms=15 if few else 6, mew=1.5,
            mfc="white" if label == 0 else look.CYCLE[(label - 1) % len(look.CYCLE)],
            mec=INK if few else "white" if label else INK, zorder=5, clip_on=False,
        )  # fmt: skip
        if few and labels is not None:
            ax.annotate(
                str(label), point, ha="center", va="center_baseline", fontsize=11, zorder=6,
                color=INK if label == 0 else "white", annotation_clip=False,
            )  # fmt: skip


def _draw_regions(
    ax: Axes,
    a: np.ndarray,
    b: np.ndarray,
    answer: np.ndarray,
    scores: np.ndarray,
    tints: dict[int, str],
    names: list[str],
    marks: list[tuple[float, float]],
) -> None:
    """Tint each class, draw the edges between classes, and write each name where it has room.

    ``answer`` is (len(b), len(a)), ``scores`` (len(b), len(a), K); ``tints`` are in the order of
    ``names``; names keep off the ``marks``.
    """
    ranks = np.select([answer == c for c in tints], range(len(tints)))
    ax.pcolormesh(
        a, b, ranks, cmap=ListedColormap(list(tints.values())), shading="nearest", rasterized=True,
        norm=BoundaryNorm(np.arange(len(tints) + 1) - 0.5, len(tints)),
    )  # fmt: skip
    free = np.ones_like(answer, dtype=bool)
    for x, y in marks:
        near_x = np.abs(a - x) < 0.05 * (a[-1] - a[0])
        near_y = np.abs(b - y) < 0.05 * (b[-1] - b[0])
        free[np.ix_(near_y, near_x)] = False
    narrow = []
    for c, name in zip(tints, names, strict=True):
        if len(tints) > 1:
            margin = scores[..., c] - np.delete(scores, c, axis=2).max(axis=2)
            ax.contour(a, b, margin, levels=[0], colors=INK, linewidths=1.3)
        # A name is wider than high: distances count for less along its length.
        wide = 1 / max(1.0, 0.6 * len(name))
        inside = np.pad((answer == c) & free, 1)
        room = distance_transform_edt(inside, sampling=(1, wide))[1:-1, 1:-1]
        if room.max() < 0.025 * len(b):
            narrow.append(Patch(fc=tints[c], ec=INK, label=name))
            continue
        row, column = np.unravel_index(room.argmax(), room.shape)
        ax.text(
            a[column], b[row], name, ha="center", va="center", fontsize=13, fontweight="bold",
            path_effects=_HALO, zorder=4,
        )  # fmt: skip
    if narrow:
        ax.legend(handles=narrow, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    ax.set_xlim(a[0], a[-1])
    ax.set_ylim(b[0], b[-1])
    ax.spines[["top", "right"]].set_visible(True)
