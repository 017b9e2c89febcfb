"""Widgets that also work on a page with no kernel behind it.

Python callbacks (``observe``, ``interact``) need a kernel. These widgets are joined by
``jslink`` alone, so the reader's browser is enough.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import ipywidgets as widgets
from matplotlib.figure import Figure
from PIL import Image

from . import look

# A slider has many frames: fewer dots than a figure alone, still over 700 across a page.
FRAME_DPI = 110
_PNG = b"\x89PNG\r\n\x1a\n"


def frames(
    pictures: Sequence[Figure | bytes],
    labels: Sequence[str],
    description: str,
    value: int = 0,
    *,
    alts: Sequence[str] | None = None,
    play: bool = False,
    interval: int = 700,
    colors: int = 128,
) -> widgets.VBox:
    """A slider over pictures: one frame shown at a time, with its label below.

    It works by mouse, touch and keyboard (arrow keys, Home, End), on a live kernel and on a
    static page.

    :param pictures: figures, or PNG files as bytes; at least two, best all of one size.
    :param labels: a text for each frame, such as ``"ε = 0.10: 73% right"``.
    :param description: what the slider sets, such as ``"ε"``: read out by a screen reader.
    :param value: the frame shown first, from 0.
    :param alts: a text for each frame that says what is seen; by default its label.
    :param play: add a play button.
    :param interval: milliseconds a frame when playing.
    :param colors: of a frame's palette, 2 to 256. Fewer make a smaller page.
    :raises ValueError: lists of different length, fewer than two frames, or not a PNG.
    """
    n = len(pictures)
    if n < 2:
        raise ValueError(f"pictures: expected two or more, found {n}")
    for name, texts in (("labels", labels), ("alts", alts)):
        if texts is not None and len(texts) != n:
            raise ValueError(f"{name}: expected {n}, one for each picture, found {len(texts)}")
    if not 0 <= value < n:
        raise ValueError(f"value: expected a frame from 0 to {n - 1}, found {value}")
    if not 2 <= colors <= 256:
        raise ValueError(f"colors: expected 2 to 256, found {colors}")
    children = [
        widgets.HTML(_frame(small_png(picture, colors), label, alt))
        for picture, label, alt in zip(pictures, labels, alts or labels, strict=True)
    ]
    stack = widgets.Stack(children, selected_index=value)
    slider = widgets.IntSlider(
        value=value,
        min=0,
        max=n - 1,
        description=description,
        tooltip=f"{description}: {n} frames, arrow keys move",
        readout=False,
        style={"description_width": "initial"},
        layout={"width": "auto", "flex": "1 1 auto", "min_width": "0"},
    )
    widgets.jslink((slider, "value"), (stack, "selected_index"))
    controls = [slider]
    if play:
        player = widgets.Play(
            value=value, min=0, max=n - 1, interval=interval, show_repeat=False,
            tooltip=f"play {description}",
        )  # fmt: skip
        widgets.jslink((player, "value"), (slider, "value"))
        controls.insert(0, player)
    row = widgets.HBox(controls, layout={"width": "100%", "max_width": "40rem"})
    return widgets.VBox([row, stack])


def small_png(picture: Figure | bytes, colors: int = 128) -> bytes:
    """A picture as a PNG with a palette of few colors, the same bytes each time.

    Figures are drawn with 110 dots an inch, PNG files keep their size.

    :raises ValueError: bytes that are not a PNG.
    """
    raw = picture if isinstance(picture, bytes) else look.png(picture, FRAME_DPI)
    if not raw.startswith(_PNG):
        raise ValueError("pictures: expected matplotlib figures or the bytes of PNG files")
    image = Image.open(io.BytesIO(raw)).convert("RGBA")
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image)
    # Median cut, the default, gives rare colors away, and with them the ends of color bars.
    palette = opaque.convert("RGB").quantize(
        colors, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE
    )
    buffer = io.BytesIO()
    palette.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _frame(picture: bytes, label: str, alt: str) -> str:
    source = base64.b64encode(picture).decode()
    width, height = Image.open(io.BytesIO(picture)).size
    return (
        f'<figure style="margin:0"><img alt="{html.escape(alt, quote=True)}" '
        f'width="{width}" height="{height}" '
        'style="max-width:100%;height:auto;display:block;background:#fff" '
        f'src="data:image/png;base64,{source}">'
        f'<figcaption style="font-size:1rem;line-height:1.4">{html.escape(label)}'
        "</figcaption></figure>"
    )
