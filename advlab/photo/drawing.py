"""Drawing a sheet at its physical size, as PDF or PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .layout import CORNERS, GAP, IMAGE, MARGIN, MARKER, Box, paper_named
from .markers import decode, framed
from .opencv import opencv
from .sheet import Sheet

DPI = 300
_INCH = 25.4
_KINDS = (".pdf", ".png")
# Text stays text, and is the same on all machines.
_STYLE = {"pdf.fonttype": 42, "font.family": "DejaVu Sans", "font.size": 7}


def draw(sheet: Sheet, x: Tensor, x_adv: Tensor, names: Sequence[str], kind: str) -> bytes:
    """The content of the file. The same sheet gives the same bytes.

    :param x: (N, C, H, W), the clean images.
    :param x_adv: the same, adversarial.
    :param names: of the classes.
    :param kind: ``".pdf"``, or ``".png"`` with 300 dots an inch.
    :raises ValueError: another kind.
    """
    check_kind(kind)
    with matplotlib.rc_context(_STYLE):
        figure = _page(sheet, x, x_adv, names)
        file, code = io.BytesIO(), sheet.code()
        if kind.lower() == ".pdf":  # a date would make other bytes each time
            about = {"CreationDate": None, "Title": "advlab sheet", "Subject": code}
        else:
            about = {"Title": "advlab sheet", "Description": code}
        figure.savefig(file, format=kind.lower()[1:], dpi=DPI, metadata=about)
    return file.getvalue()


def check_kind(kind: str) -> None:
    """:raises ValueError: a file's ending that is neither ``.pdf`` nor ``.png``."""
    if kind.lower() not in _KINDS:
        found = kind or "no ending"
        raise ValueError(f"sheet: expected a file that ends in .pdf or .png, found {found}")


def _page(sheet: Sheet, x: Tensor, x_adv: Tensor, names: Sequence[str]) -> Figure:
    paper = paper_named(sheet.paper)
    figure = Figure(figsize=(paper.width / _INCH, paper.height / _INCH))
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    for number, place in paper.markers().items():
        _put(page, _marker(number), place)
    _put(page, _qr(sheet.code()), paper.code())
    for i, (clean, adversarial) in enumerate(zip(x, x_adv)):
        one, other = paper.pair(i)
        _put(page, _pixels(clean), one)
        _put(page, _pixels(adversarial), other)
        truth, read = names[sheet.truth[i]], names[sheet.adversarial[i]]
        _label(page, one, f"{i + 1}  {truth}")
        _label(page, other, f"read as {read}" if read != truth else "still read right")
    _words(page, sheet)
    # Last: an image sets the limits of its axes anew.
    page.set_xlim(0, paper.width)
    page.set_ylim(paper.height, 0)
    page.set_aspect("auto")
    return figure


def _put(page: Axes, pixels: np.ndarray, place: Box) -> None:
    """Bytes (H, W) or (H, W, 3), enlarged until every pixel is a sharp square on paper."""
    factor = max(1, round(600 / pixels.shape[0]))
    enlarged = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    x, y, side = place
    extent = (x, x + side, y + side, y)
    # As colors: a color map would round gray levels once more.
    colors = enlarged if enlarged.ndim == 3 else np.stack([enlarged] * 3, -1)
    page.imshow(colors, extent=extent, interpolation="none")


def _pixels(image: Tensor) -> np.ndarray:
    """(C, H, W) in [0, 1] as bytes."""
    channels = (image * 255).round().byte().movedim(0, -1).numpy()
    return channels[..., 0] if channels.shape[-1] == 1 else channels


def _marker(number: int) -> np.ndarray:
    cv2 = opencv()
    book = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_50)
    return cv2.aruco.generateImageMarker(book, number, 7)


def _qr(text: str) -> np.ndarray:
    """The cells of a QR code, bytes (cells, cells).

    :raises ValueError: OpenCV does not read the code that it made.
    """
    cv2 = opencv()
    settings = cv2.QRCodeEncoder_Params()
    for level in (cv2.QRCodeEncoder_CORRECT_LEVEL_M, cv2.QRCodeEncoder_CORRECT_LEVEL_L):
        settings.correction_level = level
        code = cv2.QRCodeEncoder_create(settings).encode(text)
        # The encoder leaves white around the code; the page is white already.
        dark = np.argwhere(code == 0)
        (top, left), (bottom, right) = dark.min(0), dark.max(0)
        cells = code[top : bottom + 1, left : right + 1]
        if decode(framed(cells)) == text:
            return cells
    raise ValueError(
        f"sheet: OpenCV {cv2.__version__} made a QR code that it cannot read back, expected "
        f"{text!r}; choose other images with --seed, or fewer with --images"
    )


def _label(page: Axes, place: Box, text: str) -> None:
    page.text(place.x + IMAGE / 2, place.y + IMAGE + GAP - 2, _short(text), ha="center", va="top")


def _short(text: str, most: int = 20) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _words(page: Axes, sheet: Sheet) -> None:
    paper = paper_named(sheet.paper)
    left, low = MARGIN + MARKER + 6, paper.height - MARGIN - MARKER
    eot = " + EOT" if sheet.eot else ""
    page.text(left, MARGIN, "advlab photo", fontsize=15, va="top")
    about = [
        sheet.model,
        f"{sheet.attack.upper()}{eot}, ε = {sheet.eps:.4g}",
        f"seed {sheet.seed}",
        "",
        "In each pair: the clean image,",
        "then its adversarial version.",
    ]
    page.text(left, MARGIN + 9, "\n".join(about), va="top", linespacing=1.4)
    how = [
        f"Print at 100 % on {paper.name}. The black squares in the corners are {MARKER:g} mm wide.",
        f"Photograph the whole sheet, all {len(CORNERS)} corner squares in the picture, then:",
        "advlab photo --read PHOTO.jpg",
    ]
    page.text(left, low + 3, "\n".join(how), va="top", linespacing=1.6)
