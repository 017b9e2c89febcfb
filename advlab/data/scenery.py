"""What stands in a made street: each thing is drawn by a function, in colors and in classes."""

from __future__ import annotations

import numpy as np

SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, PEDESTRIAN = range(7)

# Each pixel is the mean of FINE × FINE points; its class is that of the point in the middle.
FINE = 3


class Canvas:
    """Colors and classes on a fine grid. The picture is 1 high and ``wide`` wide; v points down."""

    def __init__(self, height: int, width: int):
        self.scale = height * FINE
        self.wide = width / height
        self.v = ((np.arange(height * FINE) + 0.5) / self.scale).astype(np.float32)
        self.u = ((np.arange(width * FINE) + 0.5) / self.scale).astype(np.float32)
        self.color = np.zeros((height * FINE, width * FINE, 3), np.float32)
        self.classes = np.zeros((height * FINE, width * FINE), np.uint8)

    def window(self, top, bottom, left, right):
        """The rows and columns of a box, cut to the picture, and their v (rows, 1) and u."""
        # Plain numbers: for boxes of a few points NumPy's own round and clip take longer.
        ends = [max(0, round(float(end) * self.scale)) for end in (top, bottom, left, right)]
        rows, columns = slice(*ends[:2]), slice(*ends[2:])
        return (rows, columns), self.v[rows, None], self.u[columns]

    def rectangle(self, kind, color, top, bottom, left, right):
        where, _, _ = self.window(top, bottom, left, right)
        self.color[where] = color
        self.classes[where] = kind

    def ellipse(self, kind, color, v, u, half_height, half_width, power=2):
        """``power`` above 2 gives a box with round corners."""
        where, vs, us = self.window(
            v - half_height, v + half_height, u - half_width, u + half_width
        )
        inside = np.abs((vs - v) / half_height) ** power + np.abs((us - u) / half_width) ** power
        self.fill(kind, color, where, inside <= 1)

    def trapezoid(self, kind, color, top, bottom, left_top, right_top, left_bottom, right_bottom):
        where, vs, us = self.window(
            top, bottom, min(left_top, left_bottom), max(right_top, right_bottom)
        )
        down = (vs - top) / max(bottom - top, 1e-6)
        left = left_top + down * (left_bottom - left_top)
        right = right_top + down * (right_bottom - right_top)
        self.fill(kind, color, where, (us >= left) & (us < right))

    def fill(self, kind, color, where, inside):
        self.color[where][inside] = color
        self.classes[where][inside] = kind

    def shadow(self, v, u, half_height, half_width):
        """Darken the ground: colors change, classes do not."""
        where, vs, us = self.window(
            v - half_height, v + half_height, u - half_width, u + half_width
        )
        inside = ((vs - v) / half_height) ** 2 + ((us - u) / half_width) ** 2 <= 1
        self.color[where][inside] *= 0.55


def house(canvas, place, top, foot, left, right):
    wall = np.array(((0.62, 0.38, 0.30), (0.72, 0.66, 0.56), (0.55, 0.55, 0.58),
                     (0.80, 0.74, 0.62), (0.48, 0.42, 0.40))[place.randint(5)])  # fmt: skip
    wall = (wall * place.uniform(0.8, 1.15)).clip(0, 1)
    canvas.rectangle(BUILDING, wall, top, foot, left, right)
    canvas.rectangle(BUILDING, wall * 0.72, top, top + 0.015, left, right)
    step = place.uniform(0.06, 0.09)
    glass = np.array((0.30, 0.36, 0.44)) if place.rand() < 0.7 else np.array((0.88, 0.82, 0.58))
    for v in np.arange(top + 0.04, foot - 0.05, step):
        for u in np.arange(left + 0.025, right - 0.03, step * 0.8):
            color = glass * place.uniform(0.75, 1.1)
            canvas.rectangle(BUILDING, color, v, v + 0.55 * step, u, u + 0.42 * step)


def tree(canvas, v, u, tall, low, leaf, leaves):
    canvas.shadow(v, u, 0.03 * tall + 0.004, 0.3 * tall)
    crown = 0.15 * tall if low else 0.7 * tall
    if not low:
        trunk = (0.30, 0.22, 0.16)
        canvas.rectangle(VEGETATION, trunk, v - crown, v, u - 0.03 * tall, u + 0.03 * tall)
    for a, b, shade in leaves:
        canvas.ellipse(
            VEGETATION, leaf * (1 + 0.3 * shade), v - crown + 0.14 * a * tall,
            u + 0.2 * b * tall, 0.16 * tall, 0.17 * tall,
        )  # fmt: skip


def post(canvas, v, u, tall, half, color):
    canvas.shadow(v, u, 0.025 * tall + 0.003, 1.4 * half)
    canvas.rectangle(BUILDING, color, v - 0.95 * tall, v, u - half, u + half)
    canvas.rectangle(BUILDING, 0.7 * color, v - 0.08 * tall, v, u - half, u + half)
    canvas.ellipse(BUILDING, 0.8 * color, v - 0.95 * tall, u, 0.06 * tall, 1.15 * half)


def car(canvas, v, u, wide, paint, coming):
    """A car from behind or from the front: cabin, window, body, lamps and wheels."""
    half, tall = wide / 2, 0.72 * wide
    canvas.shadow(v, u, 0.09 * wide + 0.003, 0.58 * wide)
    for side in (-1, 1):
        at = u + side * 0.36 * wide
        canvas.rectangle(
            CAR, (0.06, 0.06, 0.07), v - 0.22 * wide, v, at - 0.08 * wide, at + 0.08 * wide
        )
    canvas.trapezoid(
        CAR, paint * 0.92, v - tall, v - 0.36 * tall,
        u - 0.33 * wide, u + 0.33 * wide, u - 0.45 * wide, u + 0.45 * wide,
    )  # fmt: skip
    canvas.trapezoid(
        CAR, (0.24, 0.30, 0.36), v - 0.92 * tall, v - 0.58 * tall,
        u - 0.28 * wide, u + 0.28 * wide, u - 0.37 * wide, u + 0.37 * wide,
    )  # fmt: skip
    canvas.ellipse(CAR, paint, v - 0.36 * tall, u, 0.24 * tall, half, power=6)
    lamp = (0.98, 0.96, 0.84) if coming else (0.85, 0.10, 0.08)
    for side in (-1, 1):
        canvas.ellipse(CAR, lamp, v - 0.4 * tall, u + side * 0.37 * wide, 0.07 * tall, 0.08 * wide)
    canvas.rectangle(
        CAR, (0.86, 0.86, 0.82), v - 0.3 * tall, v - 0.2 * tall, u - 0.11 * wide, u + 0.11 * wide
    )


def pedestrian(canvas, v, u, tall, skin, coat, legs, hair, stride):
    """Two legs, a coat, two arms and a head with hair, all in units of the figure's height."""
    canvas.shadow(v, u, 0.025 * tall + 0.003, 0.22 * tall)
    for side in (-1, 1):
        foot = u + side * 0.13 * stride * tall
        canvas.trapezoid(
            PEDESTRIAN, legs * (1 + 0.15 * side), v - 0.48 * tall, v,
            u - 0.08 * tall + 0.02 * side * tall, u + 0.08 * tall + 0.02 * side * tall,
            foot - 0.05 * tall, foot + 0.05 * tall,
        )  # fmt: skip
        hand = u + side * (0.13 + 0.07 * stride) * tall
        shoulder = u + side * 0.10 * tall
        canvas.trapezoid(
            PEDESTRIAN, coat * 0.85, v - 0.80 * tall, v - 0.44 * tall,
            shoulder - 0.04 * tall, shoulder + 0.04 * tall, hand - 0.03 * tall, hand + 0.03 * tall,
        )  # fmt: skip
    canvas.ellipse(PEDESTRIAN, coat, v - 0.64 * tall, u, 0.20 * tall, 0.13 * tall, power=4)
    canvas.ellipse(PEDESTRIAN, hair, v - 0.925 * tall, u, 0.085 * tall, 0.075 * tall)
    canvas.ellipse(PEDESTRIAN, skin, v - 0.90 * tall, u, 0.065 * tall, 0.055 * tall)
