"""Where things are on a sheet, in millimeters from the top left corner of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

CORNERS = ("top left", "top right", "bottom right", "bottom left")
MARGIN = 10.0  # printers cannot print to the edge of the paper
MARKER = 18.0  # side of a corner marker
MODULES = 7  # cells along a marker: 5 and the black border
CODE = 48.0  # side of the QR code
IMAGE = 27.0  # side of a printed image
GAP = 5.0  # white between images: the reader takes the paper's white from here
PITCH = 36.0  # from one row of images to the next; the labels stand between
TOP, BOTTOM = 64.0, 33.0  # what title and instructions take of the height
PAIRS_A_ROW = 3


class Box(NamedTuple):
    """A square on the paper: its top left corner and its side, in millimeters."""

    x: float
    y: float
    side: float

    def corners(self) -> list[tuple[float, float]]:
        """From the top left corner clockwise."""
        x, y, side = self
        return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]

    def grown(self, by: float) -> Box:
        """The square with a border around it; with a negative number, its middle."""
        return Box(self.x - by, self.y - by, self.side + 2 * by)


@dataclass(frozen=True)
class Paper:
    """A size of paper, and what goes where on it.

    :param width: in millimeters.
    :param height: in millimeters.
    :param first: the number of the marker at the top left; the others follow clockwise. Each paper
        has numbers of its own, so that the markers say which paper it is.
    """

    name: str
    width: float
    height: float
    first: int

    def markers(self) -> dict[int, Box]:
        """The place of each marker, by its number."""
        right, low = self.width - MARGIN - MARKER, self.height - MARGIN - MARKER
        places = [(MARGIN, MARGIN), (right, MARGIN), (right, low), (MARGIN, low)]
        return {self.first + i: Box(x, y, MARKER) for i, (x, y) in enumerate(places)}

    def code(self) -> Box:
        """The place of the QR code."""
        return Box(self.width - MARGIN - MARKER - 6 - CODE, MARGIN, CODE)

    def room(self) -> int:
        """How many pairs of images the sheet has room for."""
        return PAIRS_A_ROW * int((self.height - TOP - BOTTOM) // PITCH)

    def pair(self, i: int) -> tuple[Box, Box]:
        """The places of clean image i and of its adversarial version, at its right."""
        row, column = divmod(i, PAIRS_A_ROW)
        left = (self.width - 2 * PAIRS_A_ROW * (IMAGE + GAP) + GAP) / 2
        x, y = left + 2 * column * (IMAGE + GAP), TOP + row * PITCH
        return Box(x, y, IMAGE), Box(x + IMAGE + GAP, y, IMAGE)


PAPERS = {
    "A4": Paper("A4", 210.0, 297.0, 20),
    "Letter": Paper("Letter", 215.9, 279.4, 24),
}


def paper_named(name: str) -> Paper:
    """:raises ValueError: another paper than A4 and Letter, upper or lower case."""
    for paper in PAPERS.values():
        if paper.name.lower() == str(name).lower():
            return paper
    raise ValueError(f"paper: found {name!r}, expected {' or '.join(PAPERS)}")
