"""Reading a photograph of a sheet: what does the model make of the print?"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from ..models import zoo
from ..models.contract import predict_logits
from .layout import CODE
from .light import cut_images
from .markers import Plane, find_plane, read_code
from .reading import Reading
from .sheet import Sheet, check_data, check_model

_COARSE = 1.5  # pixels of a photograph for each pixel of a printed image: below, details are lost
_BENT = 0.3  # mm that the markers may lie off their places before a note says so


def read_photo(
    path: str | os.PathLike, *, sheet: Sheet | None = None, raw: bool = False
) -> Reading:
    """Find the sheet in a photograph, cut out its images, and ask the model about them.

    The photograph may be turned by any angle, taken from the side, and lack one of the four
    markers. What was printed is read from the QR code.

    Where we differ from Kurakin et al. (2017), section 3: they give the model the photograph's
    pixels as they are. We take the light out first, by the white of the paper and the black of the
    markers; ``raw=True`` does as they did.

    :param path: an image file that Pillow reads; turned as its EXIF orientation says.
    :param sheet: what was printed, if the QR code cannot be read: ``Sheet.load("SHEET.pdf")``.
    :param raw: leave the light as it was photographed.
    :raises ValueError: not an image; no sheet or several in it; a QR code that cannot be read, or
        that is of another sheet than the one given; a model whose weights are others now.
    :raises OSError: no such file.
    """
    photo = open_photo(path)
    plane = find_plane(photo)
    text = read_code(photo, plane)
    notes = _notes_on(plane)
    if text is None:
        if sheet is None:
            raise ValueError(_unreadable(plane))
        notes.append("the QR code cannot be read; the sheet is the one given")
    else:
        seen = Sheet.from_code(text)
        if sheet is not None and seen != sheet:
            raise ValueError(f"photo: found a sheet of {seen}; expected the one given, of {sheet}")
        sheet = seen
    if sheet.paper != plane.paper.name:
        raise ValueError(
            f"photo: its markers are those of {plane.paper.name}, and the sheet given is "
            f"{sheet.paper}; give the file that this sheet was printed from"
        )
    check_model(sheet)
    names, said = check_data(sheet)
    notes += said
    pairs = [plane.paper.pair(i) for i in range(len(sheet.index))]
    places = [clean for clean, _ in pairs] + [adversarial for _, adversarial in pairs]
    dots = min(plane.dots(place) * place.side for place in places) / sheet.shape[1]
    if dots < _COARSE:
        notes.append(
            f"the photograph has {dots:.1f} pixels for each pixel of a printed image, expected at "
            f"least {_COARSE:g}: details are lost; go nearer"
        )
    images = cut_images(photo, plane, places, sheet.shape, raw=raw)
    logits = predict_logits(zoo.load_model(sheet.model, device="cpu"), images)
    confidence, classes = logits.softmax(1).max(1)
    n, k = len(pairs), logits.shape[1]
    return Reading(
        sheet=sheet,
        names=tuple(names or map(str, range(k))),
        x=images[:n],
        x_adv=images[n:],
        clean=classes[:n],
        adversarial=classes[n:],
        confidence=torch.stack([confidence[:n], confidence[n:]], 1),
        notes=tuple(notes),
    )


def open_photo(path: str | os.PathLike) -> np.ndarray:
    """The picture as bytes (H, W, 3), turned as its EXIF orientation says.

    :raises ValueError: a file that cannot be read as an image, or not to its end.
    :raises OSError: no such file.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: found a folder, expected a photograph as JPEG or PNG")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            # Phones take pictures that Pillow suspects of being made to fill the memory.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _bytes(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        hint = "expected a photograph as JPEG or PNG"
        if path.suffix.lower() == ".pdf":
            hint += "; the printed file itself goes with --sheet"
        elif path.suffix.lower() in (".heic", ".heif"):
            hint += "; have the phone, or its photo program, export it as JPEG"
        raise ValueError(f"{path}: cannot be read as an image ({error}); {hint}") from error


def _bytes(picture: Image.Image) -> np.ndarray:
    """The picture as bytes (H, W, 3)."""
    if picture.mode.startswith("I"):  # 16 bits, of which Pillow would keep those below 256
        gray = (np.asarray(picture).astype(np.float64) / 257).clip(0, 255).round()
        picture = Image.fromarray(gray.astype(np.uint8))
    if picture.has_transparency_data:  # what is not there is white, as paper is
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))


def _notes_on(plane: Plane) -> list[str]:
    notes = []
    if plane.missing:
        notes.append(f"the {plane.missing[0]} marker was not found; the other three were used")
    if plane.off > _BENT:
        notes.append(
            f"the markers lie {plane.off:.1f} mm off their places: the paper is not flat, the "
            "lens bends lines, or the camera moved"
        )
    return notes


def _unreadable(plane: Plane) -> str:
    dots = plane.dots(plane.paper.code())
    return (
        f"photo: the sheet was found, and its QR code cannot be read: it is {dots * CODE:.0f} "
        "pixels wide in the photograph, expected about 200, sharp and evenly lit; go nearer, hold "
        "still, or give the file that was printed: --sheet SHEET.pdf"
    )
