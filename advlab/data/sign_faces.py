"""The faces of ten road signs, seen from the front, drawn by code: no file, no font."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import torch
from PIL import Image, ImageDraw
from torch import Tensor

#: The sign of each class number.
SIGN_CLASSES = (
    "stop",
    "yield",
    "no entry",
    "limit 30",
    "limit 80",
    "priority road",
    "crossing",
    "turn right",
    "roundabout",
    "curve",
)

#: A color for each sign in figures, (10, 3) in [0, 1].
SIGN_PALETTE = torch.tensor(
    [
        [0.70, 0.10, 0.13],  # dark red
        [0.95, 0.55, 0.50],  # salmon
        [0.45, 0.05, 0.25],  # wine
        [0.35, 0.35, 0.35],  # dark gray
        [0.70, 0.70, 0.70],  # light gray
        [0.95, 0.75, 0.10],  # yellow
        [0.00, 0.45, 0.70],  # blue
        [0.34, 0.71, 0.91],  # sky blue
        [0.00, 0.62, 0.45],  # bluish green
        [0.84, 0.37, 0.00],  # vermilion
    ]
)

RED, WHITE, BLACK = (188, 22, 30), (240, 240, 236), (26, 26, 28)
BLUE, YELLOW = (18, 84, 160), (250, 190, 20)
AROUND = 216  # the light gray around a sign
# A face is drawn this many times as large as asked for, and averaged.
FINE = 6

Point = tuple[float, float]


def sign_number(sign: str | int) -> int:
    """The class number of a sign, given by its name or by its number.

    :raises ValueError: no such sign; the message lists what there is.
    """
    if isinstance(sign, str) and sign in SIGN_CLASSES:
        return SIGN_CLASSES.index(sign)
    whole = isinstance(sign, int) and not isinstance(sign, bool)
    if whole and 0 <= sign < len(SIGN_CLASSES):
        return sign
    known = ", ".join(SIGN_CLASSES)
    raise ValueError(
        f"sign: found {sign!r}, expected 0 to {len(SIGN_CLASSES) - 1} or one of {known}"
    )


def sign_face(sign: str | int, size: int = 96) -> Tensor:
    """A sign from the front, as it leaves the factory: (1, 3, size, size) float32 in [0, 1].

    It fills the picture; around it is a light gray, which :func:`advlab.data.sign_mask` tells from
    the sign. Shapes and colors follow the Vienna Convention on Road Signs and Signals (1968).

    :param sign: a name of ``SIGN_CLASSES``, or its number.
    :param size: in pixels, at least 16.
    :raises ValueError: no such sign, or a size below 16.
    """
    return _drawn(sign_number(sign), _checked(size))[0].clone()


def sign_mask(sign: str | int, size: int = 96) -> Tensor:
    """1 on the sign, 0 around it, in between on its edge: (1, 1, size, size) float32.

    :param sign: a name of ``SIGN_CLASSES``, or its number.
    :param size: in pixels, at least 16.
    :raises ValueError: no such sign, or a size below 16.
    """
    return _drawn(sign_number(sign), _checked(size))[1].clone()


def _checked(size: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 16:
        raise ValueError(f"size: expected a whole number, at least 16, found {size!r}")
    return size


@lru_cache(maxsize=64)
def _drawn(number: int, size: int) -> tuple[Tensor, Tensor]:
    face, mask = Pen("RGB", size, (AROUND,) * 3), Pen("L", size, 0)
    outline, draw = _SIGNS[SIGN_CLASSES[number]]
    mask.polygon(outline, 255)
    draw(face, outline)
    return face.pixels(size), mask.pixels(size)


class Pen:
    """Draws in units of the picture, u to the right and v down, both from 0 to 1."""

    def __init__(self, mode: str, size: int, around):
        self.side = size * FINE
        self._image = Image.new(mode, (self.side, self.side), around)
        self._draw = ImageDraw.Draw(self._image)

    def pixels(self, size: int) -> Tensor:
        """The mean of FINE × FINE points in each pixel, (1, C, size, size)."""
        points = torch.frombuffer(bytearray(self._image.tobytes()), dtype=torch.uint8)
        cells = points.view(size, FINE, size, FINE, -1).double().mean((1, 3))
        return (cells / 255).permute(2, 0, 1)[None].float().contiguous()

    def polygon(self, points: list[Point], color) -> None:
        self._draw.polygon([(u * self.side, v * self.side) for u, v in points], fill=color)

    def stroke(self, points: list[Point], width: float, color) -> None:
        """A line of some width with round ends and corners."""
        for (u, v), (to_u, to_v) in pairwise(points):
            length = math.hypot(to_u - u, to_v - v) or 1.0
            a, b = width / 2 * (to_v - v) / length, -width / 2 * (to_u - u) / length
            self.polygon([(u + a, v + b), (to_u + a, to_v + b), (to_u - a, to_v - b),
                          (u - a, v - b)], color)  # fmt: skip
        for u, v in points:
            self.polygon(_arc(u, v, width / 2), color)

    def write(self, text: str, left: float, top: float, wide: float, tall: float, color) -> None:
        """Letters of one width, a gap of four tenths of it between them."""
        step = wide / (1.4 * len(text) - 0.4)
        for i, letter in enumerate(text):
            start = left + 1.4 * i * step
            for line in _LETTERS[letter]:
                points = [(start + u * step, top + v * tall) for u, v in line]
                self.stroke(points, 0.18 * tall, color)


def _arc(u: float, v: float, radius: float, start=0, end=360, tall: float | None = None):
    """Points on a circle or an ellipse, from one angle to another: 0 is right, 90 is down."""
    n = max(8, round(abs(end - start) / 6))
    angles = [math.radians(start + (end - start) * i / n) for i in range(n + 1)]
    return [(u + radius * math.cos(a), v + (tall or radius) * math.sin(a)) for a in angles]


# Strokes in a box of width 1 and height 1.
_LETTERS = {
    "S": [_arc(0.5, 0.25, 0.5, -25, -270, 0.25) + _arc(0.5, 0.75, 0.5, -90, 155, 0.25)],
    "T": [[(0, 0), (1, 0)], [(0.5, 0), (0.5, 1)]],
    "O": [_arc(0.5, 0.5, 0.5, tall=0.5)],
    "P": [[(0, 1), (0, 0), *_arc(0.5, 0.28, 0.5, -90, 90, 0.28), (0, 0.56)]],
    "0": [_arc(0.5, 0.5, 0.5, tall=0.5)],
    "3": [_arc(0.45, 0.25, 0.47, -155, 90, 0.25) + _arc(0.45, 0.75, 0.55, -90, 155, 0.25)],
    "8": [_arc(0.5, 0.24, 0.44, tall=0.24), _arc(0.5, 0.74, 0.5, tall=0.26)],
}


# Outlines ----------------------------------------------------------------------------------------


def _inner(outline: list[Point], share: float) -> list[Point]:
    """The outline shrunk to a share of its size, towards the middle of its corners."""
    u = sum(p[0] for p in outline) / len(outline)
    v = sum(p[1] for p in outline) / len(outline)
    return [(u + share * (p[0] - u), v + share * (p[1] - v)) for p in outline]


def _rounded(corners: list[Point], radius: float) -> list[Point]:
    """A polygon with round corners: each corner is cut at a distance, and bent in between."""
    points, n = [], len(corners)
    for i, (u, v) in enumerate(corners):
        ends = []
        for near_u, near_v in (corners[i - 1], corners[(i + 1) % n]):
            share = radius / math.hypot(near_u - u, near_v - v)
            ends.append((u + share * (near_u - u), v + share * (near_v - v)))
        (a, b), (c, d) = ends
        for t in (k / 6 for k in range(7)):  # a quadratic Bézier curve
            x, y, z = (1 - t) ** 2, 2 * t * (1 - t), t**2
            points.append((x * a + y * u + z * c, x * b + y * v + z * d))
    return points


_DISC = _arc(0.5, 0.5, 0.49)[:-1]
_OCTAGON = [(0.5 + 0.53 * math.cos(a), 0.5 + 0.53 * math.sin(a))
            for a in (math.radians(22.5 + 45 * i) for i in range(8))]  # fmt: skip
_UP = _rounded([(0.5, -0.01), (1.02, 0.93), (-0.02, 0.93)], 0.1)
_DOWN = [(u, 1 - v) for u, v in _UP]
_DIAMOND = _rounded([(0.5, -0.03), (1.03, 0.5), (0.5, 1.03), (-0.03, 0.5)], 0.09)
_SQUARE = _rounded([(0.03, 0.03), (0.97, 0.03), (0.97, 0.97), (0.03, 0.97)], 0.1)


# Signs -------------------------------------------------------------------------------------------


def _stop(pen, outline):
    pen.polygon(outline, WHITE)
    pen.polygon(_inner(outline, 0.94), RED)
    pen.write("STOP", 0.155, 0.375, 0.69, 0.25, WHITE)


def _yield(pen, outline):
    pen.polygon(outline, RED)
    pen.polygon(_inner(outline, 0.62), WHITE)


def _no_entry(pen, outline):
    pen.polygon(outline, WHITE)
    pen.polygon(_inner(outline, 0.95), RED)
    pen.polygon([(0.16, 0.41), (0.84, 0.41), (0.84, 0.59), (0.16, 0.59)], WHITE)


def _limit(text):
    def draw(pen, outline):
        pen.polygon(outline, RED)
        pen.polygon(_inner(outline, 0.8), WHITE)
        pen.write(text, 0.25, 0.315, 0.5, 0.37, BLACK)

    return draw


def _priority(pen, outline):
    pen.polygon(outline, BLACK)
    pen.polygon(_inner(outline, 0.97), WHITE)
    pen.polygon(_inner(outline, 0.66), YELLOW)


def _crossing(pen, outline):
    pen.polygon(outline, BLUE)
    pen.polygon([(0.5, 0.1), (0.93, 0.88), (0.07, 0.88)], WHITE)
    # Stripes on the road, and somebody who walks over them.
    for left in (0.17, 0.33, 0.49, 0.65):
        pen.polygon([(left + 0.02, 0.78), (left + 0.09, 0.78), (left + 0.11, 0.86),
                     (left, 0.86)], BLACK)  # fmt: skip
    pen.polygon(_arc(0.52, 0.305, 0.045), BLACK)
    pen.stroke([(0.51, 0.4), (0.49, 0.56)], 0.09, BLACK)
    pen.stroke([(0.49, 0.56), (0.56, 0.65), (0.6, 0.75)], 0.055, BLACK)
    pen.stroke([(0.48, 0.56), (0.44, 0.66), (0.36, 0.74)], 0.055, BLACK)
    pen.stroke([(0.53, 0.39), (0.59, 0.48), (0.65, 0.48)], 0.04, BLACK)
    pen.stroke([(0.49, 0.39), (0.42, 0.47), (0.4, 0.53)], 0.04, BLACK)


def _turn_right(pen, outline):
    pen.polygon(outline, WHITE)
    pen.polygon(_inner(outline, 0.95), BLUE)
    stem = [(0.36, 0.78), (0.36, 0.52), *_arc(0.48, 0.52, 0.12, 180, 270), (0.6, 0.4)]
    for start, end in pairwise(stem):
        pen.stroke([start, end], 0.12, WHITE)
    pen.polygon([(0.58, 0.22), (0.84, 0.4), (0.58, 0.58)], WHITE)


def _roundabout(pen, outline):
    pen.polygon(outline, WHITE)
    pen.polygon(_inner(outline, 0.95), BLUE)
    for start in (-80, 40, 160):
        # Counterclockwise, as where one drives on the right.
        pen.stroke(_arc(0.5, 0.5, 0.26, start, start - 62), 0.09, WHITE)
        pen.polygon(_arrow(start - 62), WHITE)


def _arrow(angle: float) -> list[Point]:
    """The head of an arrow on the ring of a roundabout, pointing on, counterclockwise."""
    ends = ((angle + 6, 0.15), (angle + 6, 0.37), (angle - 32, 0.26))
    return [
        (0.5 + radius * math.cos(math.radians(a)), 0.5 + radius * math.sin(math.radians(a)))
        for a, radius in ends
    ]


def _curve(pen, outline):
    pen.polygon(outline, RED)
    pen.polygon(_inner(outline, 0.7), WHITE)
    pen.stroke([(0.46, 0.82), (0.46, 0.68), *_arc(0.6, 0.68, 0.14, 180, 230)], 0.1, BLACK)
    pen.polygon([(0.49, 0.44), (0.66, 0.5), (0.56, 0.65)], BLACK)


_SIGNS = {
    "stop": (_OCTAGON, _stop),
    "yield": (_DOWN, _yield),
    "no entry": (_DISC, _no_entry),
    "limit 30": (_DISC, _limit("30")),
    "limit 80": (_DISC, _limit("80")),
    "priority road": (_DIAMOND, _priority),
    "crossing": (_SQUARE, _crossing),
    "turn right": (_DISC, _turn_right),
    "roundabout": (_DISC, _roundabout),
    "curve": (_UP, _curve),
}
