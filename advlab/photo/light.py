"""The images cut out of a photograph, as a model takes them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .layout import MODULES, Box
from .markers import Plane, cut
from .opencv import opencv

_RING = (0.8, 2.4)  # mm from an image's edge: the white that is measured
_PER_MM = 8  # samples of the white


def cut_images(
    photo: np.ndarray, plane: Plane, places: list[Box], shape: tuple[int, int, int], *, raw: bool
) -> Tensor:
    """The images at these places, (N, C, H, W) in [0, 1].

    Each printed pixel becomes the mean over its square on the paper. Then the light is taken out:
    the print's gray r, a fraction of the white paper beside it, becomes (r − b) / (1 − b), where b
    is that fraction for the black of the markers. So white paper is 1 and black ink is 0, as in
    the file, wherever a shadow falls.

    :param photo: (H, W, 3), bytes.
    :param raw: leave the light as it was photographed.
    """
    cv2 = opencv()
    channels, height, _ = shape
    black = np.zeros(3) if raw else _black(photo, plane)
    images = []
    for place in places:
        fine = int(np.clip(np.ceil(plane.dots(place) * place.side / height), 2, 16))
        seen = cut(photo, plane, place, height * fine).astype(np.float32)
        small = cv2.resize(seen, (height, height), interpolation=cv2.INTER_AREA)
        if raw:
            levels = small / 255
        else:
            levels = (small / _white(photo, plane, place, height) - black) / (1 - black)
        images.append(levels if channels == 3 else levels @ [[0.299], [0.587], [0.114]])
    stacked = torch.from_numpy(np.stack(images)).float().permute(0, 3, 1, 2)
    return stacked.clamp(0, 1).contiguous()


def _white(photo: np.ndarray, plane: Plane, place: Box, pixels: int) -> np.ndarray:
    """How bright white paper is at each pixel of an image, (pixels, pixels, 3).

    A plane through the white around the image, each side in four parts.
    """
    near, far = _RING
    samples = round((place.side + 2 * far) * _PER_MM)
    seen = cut(photo, plane, place.grown(far), samples).astype(np.float64)
    deep = round((far - near) * _PER_MM)
    edge = np.linspace(0, samples, 5).astype(int)
    rows, whites = [], []
    for start, end in pairwise(edge):
        along, low, high = (start + end) / 2, deep / 2, samples - deep / 2
        for part, x, y in (
            (seen[:deep, start:end], along, low),
            (seen[-deep:, start:end], along, high),
            (seen[start:end, :deep], low, along),
            (seen[start:end, -deep:], high, along),
        ):
            rows.append((1, x, y))
            whites.append(np.median(part.reshape(-1, 3), 0))
    fit, *_ = np.linalg.lstsq(np.array(rows), np.array(whites), rcond=None)
    at = far * _PER_MM + (np.arange(pixels) + 0.5) / pixels * place.side * _PER_MM
    x, y = np.meshgrid(at, at)
    white = fit[0] + x[..., None] * fit[1] + y[..., None] * fit[2]
    return white.clip(1, None)


def _black(photo: np.ndarray, plane: Plane) -> np.ndarray:
    """How bright black ink is as a fraction of the white beside it, (3,): the markers' mean."""
    fractions = []
    for place in plane.paper.markers().values():
        width = plane.corners(place)
        if (width < 0).any() or (width >= photo.shape[1::-1]).any():
            continue  # outside of the photograph
        module = place.side / MODULES
        ink = _border(photo, plane, place.grown(-module * 0.2), module * 0.6)
        paper = _border(photo, plane, place.grown(3.0), 1.5)
        fractions.append(ink / paper.clip(1, None))
    return np.clip(np.median(fractions, 0), 0, 0.8) if fractions else np.zeros(3)


def _border(photo: np.ndarray, plane: Plane, place: Box, width: float) -> np.ndarray:
    """The median color of a square's border."""
    samples = round(place.side * _PER_MM)
    deep = max(1, round(width * _PER_MM))
    seen = cut(photo, plane, place, samples).astype(np.float64)
    border = np.ones((samples, samples), bool)
    border[deep:-deep, deep:-deep] = False
    return np.median(seen[border], 0)
