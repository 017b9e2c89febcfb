"""A phone's photograph of a sheet on a table, made from the sheet's own pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np

DPI = 200  # dots an inch of the page


def pose(paper, size, *, angle=0.0, tilt=0.0, toward=0.0, fill=0.8) -> np.ndarray:
    """The homography (3, 3) from millimeters on the paper to pixels of the photograph.

    The camera looks at the middle of the sheet. The sheet is turned by ``angle`` degrees, and then
    leans back by ``tilt`` degrees, about an axis that is turned by ``toward`` degrees.
    """
    width, height = size
    diagonal = math.hypot(paper.width, paper.height)
    focal = 1.0 * max(size)
    distance = focal * diagonal / (fill * min(size) * 1.15)
    spin = cv2.Rodrigues(np.array([0, 0, math.radians(angle)]))[0]
    axis = math.radians(tilt) * np.array(
        [math.cos(math.radians(toward)), math.sin(math.radians(toward)), 0]
    )
    turned = cv2.Rodrigues(axis)[0] @ spin
    middle = np.array([[1, 0, -paper.width / 2], [0, 1, -paper.height / 2], [0, 0, 1.0]])
    view = np.column_stack([turned[:, 0], turned[:, 1], [0, 0, distance]])
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return camera @ view @ middle


def photograph(
    page, paper, *, size=(1600, 1200), uneven=0.0, exposure=0.9, tint=(1, 1, 1), blur=0.0,
    noise=2.0, black=0.08, table=(90, 70, 55), seed=0, **how,
):  # fmt: skip
    """The photograph, bytes (H, W, 3), and the homography that was used.

    :param page: (h, w, 3) bytes, the whole sheet.
    :param uneven: the light at the dark end, as a fraction below that at the bright one.
    :param black: how much light the ink still reflects.
    """
    matrix = pose(paper, size, **how)
    scale = np.diag([paper.width / page.shape[1], paper.height / page.shape[0], 1])
    to_page = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # middles of pixels
    whole = np.linalg.inv(to_page) @ matrix @ scale @ to_page
    # Shrink the page first, so that nothing is skipped: warpPerspective takes single points.
    ratio = np.sqrt(abs(np.linalg.det(whole[:2, :2] / whole[2, 2])))
    soft = cv2.GaussianBlur(page, (0, 0), max(0.4 / ratio, 0.3)) if ratio < 1 else page
    reflects = black + (1 - black) * soft.astype(np.float32) / 255
    back = np.ones((size[1], size[0], 3), np.float32) * np.float32(table) / 255
    random = np.random.default_rng(seed)
    grain = cv2.resize(random.normal(0, 0.03, (60, 80)).astype(np.float32), size)
    seen = cv2.warpPerspective(reflects, whole, size, flags=cv2.INTER_LINEAR)
    paper_is = np.ones(reflects.shape[:2], np.float32)
    inside = cv2.warpPerspective(paper_is, whole, size, flags=cv2.INTER_LINEAR)[..., None]
    seen = seen + (1 - inside) * (back + grain[..., None])
    across = np.linspace(0, 1, size[0])[None, :] * 0.7 + np.linspace(0, 1, size[1])[:, None] * 0.3
    light = np.float32(exposure * (1 - uneven * across[..., None]) * np.float32(tint))
    if blur:
        seen = cv2.GaussianBlur(seen, (0, 0), blur)
    shot = seen * light * 255 + noise * random.standard_normal(seen.shape, np.float32)
    return shot.clip(0, 255).round().astype(np.uint8), matrix
