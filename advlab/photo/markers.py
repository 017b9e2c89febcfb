"""Finding a sheet in a photograph: its corner markers, its plane, its QR code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .layout import CORNERS, PAPERS, Box, Paper
from .opencv import opencv

# Markers are looked for at these lengths of the photograph's longer side, in this order: the
# search is made for about a thousand pixels, and large photographs are grainy.
_LENGTHS = (1600, 2400, 4000, 1000)
_SHORTEST = 28  # pixels: a narrower picture holds no marker
_BENT = 3.0  # mm that a marker may lie off its place, and the sheet still be read


@dataclass(frozen=True, eq=False)
class Plane:
    """Where the paper lies in the photograph.

    :param matrix: (3, 3), takes millimeters on the paper to pixels of the photograph.
    :param off: how far, in millimeters on the paper, the marker corners lie off their places, the
        root of the mean square: paper that is not flat.
    :param missing: the corners whose marker was not found.
    """

    paper: Paper
    matrix: np.ndarray
    off: float
    missing: tuple[str, ...]

    def corners(self, place: Box) -> np.ndarray:
        """The corners of a square on the paper as pixels, (4, 2), from the top left clockwise."""
        return _project(self.matrix, np.array(place.corners()))

    def dots(self, place: Box) -> float:
        """How many pixels of the photograph a millimeter takes there, along its shortest side."""
        corners = self.corners(place)
        return float(np.linalg.norm(corners - np.roll(corners, 1, 0), axis=1).min() / place.side)


def find_plane(photo: np.ndarray) -> Plane:
    """Find the markers, and from all of their corners the plane of the paper.

    :param photo: (H, W, 3), bytes.
    :raises ValueError: fewer than three markers, markers of two sheets, or a sheet that is bent.
    """
    found = _markers(photo)
    papers = [p for p in PAPERS.values() if set(p.markers()) & found.keys()]
    if not papers and _markers(photo[:, ::-1]):
        raise ValueError(
            "photo: found the markers of a sheet in a mirror, expected them as printed; switch "
            "mirroring off in the camera, or flip the picture from left to right"
        )
    if not papers:
        raise ValueError(
            f"photo: found no marker of a sheet in a picture of {_size(photo)}, expected four "
            "black squares in the corners of the sheet; photograph the whole sheet, sharp, with "
            "white around each square"
        )
    paper = papers[0]
    places = paper.markers()
    missing = tuple(CORNERS[n - paper.first] for n in places if n not in found)
    twice = [CORNERS[n - paper.first] for n in places if len(found.get(n, ())) > 1]
    if len(papers) > 1 or twice:
        what = f"the {_and(twice)} marker twice" if twice else "markers of an A4 and a Letter sheet"
        raise ValueError(f"photo: found {what}, expected one sheet; photograph one at a time")
    if len(missing) > 1:
        raise ValueError(
            f"photo: found {4 - len(missing)} of 4 markers, expected at least 3; missing: "
            f"{_and(missing)}. Nothing may cover them, shine on them or cut them off"
        )
    seen = [n for n in places if n in found]
    on_paper = np.concatenate([places[n].corners() for n in seen])
    in_photo = np.concatenate([found[n][0] for n in seen])
    matrix, _ = opencv().findHomography(on_paper, in_photo, 0)
    if matrix is None:
        raise ValueError("photo: the markers lie on one line; photograph the sheet from above")
    gap = _project(np.linalg.inv(matrix), in_photo) - on_paper
    off = float(np.sqrt((gap**2).sum(1).mean()))
    if off > _BENT:
        raise ValueError(
            f"photo: the markers lie {off:.1f} mm off their places, expected below {_BENT:g} mm: "
            "the paper is bent, or the markers are those of several sheets; lay one sheet flat"
        )
    return Plane(paper, matrix, off, missing)


def read_code(photo: np.ndarray, plane: Plane) -> str | None:
    """The text of the sheet's QR code; None if it cannot be read.

    Where the code lies is known. OpenCV's reader gets it rectified. If that fails, the photograph
    is blurred: the cells are looked up one by one in the sharpened picture, for each number of
    cells that a QR code can have, and OpenCV gets a clean code drawn from these.
    """
    cv2 = opencv()
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    text = decode(cut(gray, plane, plane.paper.code().grown(4), 600))
    sizes = iter(range(29, 74, 4))
    while text is None and (cells := next(sizes, None)):
        text = decode(_drawn_anew(gray, plane, cells))
    return text


def decode(picture: np.ndarray) -> str | None:
    """The text of the QR code in a gray picture, (H, W) bytes; None if it cannot be read."""
    cv2 = opencv()
    # Either of OpenCV's two ways to find a code misses some that the other reads.
    for reader in (cv2.QRCodeDetector(), cv2.QRCodeDetectorAruco()):
        try:
            text, *_ = reader.detectAndDecode(picture)
        except cv2.error:  # a code that is too damaged to be taken apart
            continue
        if text:
            return text
    return None


def _drawn_anew(gray: np.ndarray, plane: Plane, cells: int) -> np.ndarray:
    """The QR code as it would be if it had ``cells`` cells along a side."""
    cv2 = opencv()
    border, fine = 4, 10  # in cells around the code, in pixels of a cell
    place = plane.paper.code()
    wide = cells + 2 * border
    flat = cut(gray, plane, place.grown(border * place.side / cells), wide * fine)
    flat = flat.astype(np.float32)
    sharp = 9 * flat - 8 * cv2.GaussianBlur(flat, (0, 0), 0.8 * fine)
    around = cv2.GaussianBlur(sharp, (0, 0), 3 * fine)  # the light may be uneven
    middle = (np.arange(border, border + cells) * fine) + fine // 2
    here = np.ix_(middle, middle)
    light = cv2.blur(sharp, (fine // 2, fine // 2))[here] > around[here]
    code = np.where(light, 255, 0).astype(np.uint8)
    return framed(code)


def framed(code: np.ndarray) -> np.ndarray:
    """The cells of a QR code, bytes, enlarged, with the white that a reader needs."""
    return np.pad(code, 4, constant_values=255).repeat(6, 0).repeat(6, 1)


def cut(photo: np.ndarray, plane: Plane, place: Box, pixels: int) -> np.ndarray:
    """A square of the paper, seen from straight above, ``pixels`` wide."""
    cv2 = opencv()
    # cv2 takes whole numbers for the middles of pixels, we for their edges.
    side = pixels - 0.5
    target = np.float32([(-0.5, -0.5), (side, -0.5), (side, side), (-0.5, side)])
    matrix = cv2.getPerspectiveTransform(plane.corners(place).astype(np.float32), target)
    return cv2.warpPerspective(
        photo, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _markers(photo: np.ndarray) -> dict[int, list[np.ndarray]]:
    """Of each of our markers, the corners (4, 2) wherever it is seen, in pixels."""
    cv2 = opencv()
    if min(photo.shape[:2]) < _SHORTEST:
        return {}
    gray = cv2.cvtColor(np.ascontiguousarray(photo), cv2.COLOR_RGB2GRAY)
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    book = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_50)
    detector = cv2.aruco.ArucoDetector(book, settings)
    ours = {number for paper in PAPERS.values() for number in paper.markers()}
    best: dict[int, list[np.ndarray]] = {}
    longest = max(gray.shape)
    for length in dict.fromkeys(min(length, longest) for length in _LENGTHS):
        scale = length / longest
        small = gray
        if scale < 1:
            size = [max(1, round(side * scale)) for side in gray.shape[::-1]]
            small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        corners, numbers, _ = detector.detectMarkers(small)
        found: dict[int, list[np.ndarray]] = {}
        for where, number in zip(corners, [] if numbers is None else numbers.ravel().tolist()):
            if number in ours:
                shape = np.array([gray.shape[1] / small.shape[1], gray.shape[0] / small.shape[0]])
                pixels = (where[0].astype(np.float64) + 0.5) * shape - 0.5
                found.setdefault(number, []).append(pixels)
        if len(found) > len(best):
            best = found
        if len(best) >= 4:
            break
    return best


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) through a homography (3, 3)."""
    moved = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return moved[:, :2] / moved[:, 2:]


def _and(names) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _size(photo: np.ndarray) -> str:
    return f"{photo.shape[1]} x {photo.shape[0]} pixels"
