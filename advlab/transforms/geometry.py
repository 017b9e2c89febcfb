"""Where a flat print appears in a picture: homographies, warps, and the pose of a print.

Coordinates are fractions of a frame: (0, 0) is its upper left corner, (1, 1) its lower right one,
u goes to the right, v goes down. Pixel (row i, column j) has its center at
((j + ½) / W, (i + ½) / H).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_number, check_range
from .base import Draw, Transformation, clip, wide

MOST_SAMPLES = 16  # along one side of an output pixel


def homography(source: Tensor, target: Tensor) -> Tensor:
    """The projective map that takes four points to four points: Hartley & Zisserman (2004), 4.1.

    With the points as columns (u, v, 1), M = [λ₁p₁ λ₂p₂ λ₃p₃], where Σ λᵢpᵢ = p₄, takes the
    standard frame to the points; the map is M_target M_source⁻¹. A point (u, v) goes to
    (a / w, b / w), where (a, b, w) = H (u, v, 1).

    :param source: (N, 4, 2) floating point, no three of the four points in a line.
    :param target: (N, 4, 2), likewise.
    :returns: (N, 3, 3), scaled to w = 1 at the mean of the source points.
    :raises ValueError: another shape, or three points in a line.
    """
    for name, points in (("source", source), ("target", target)):
        if points.ndim != 3 or points.shape[1:] != (4, 2):
            raise ValueError(f"{name}: expected points (N, 4, 2), found {tuple(points.shape)}")
    start, end = source.cpu().double(), target.cpu().double()
    matrix = torch.linalg.solve(
        _standard_frame(start, "source"), _standard_frame(end, "target"), left=False
    )
    scale = (matrix[:, 2] * F.pad(start.mean(1), (0, 1), value=1.0)).sum(1)
    return (matrix / scale[:, None, None]).to(source)


def _standard_frame(points: Tensor, name: str) -> Tensor:
    """(N, 3, 3), the map from (1,0,0), (0,1,0), (0,0,1), (1,1,1) to four points."""
    columns = F.pad(points, (0, 1), value=1.0).transpose(1, 2)
    size = (points - points.mean(1, keepdim=True)).abs().amax((1, 2)).clamp_min(1e-300)
    for three in ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)):
        area = torch.linalg.det(columns[:, :, three]).abs() / size**2
        if not (area > 1e-9).all():
            raise ValueError(
                f"{name}: three of the four points lie in a line, so no homography is defined; "
                "give the corners of a quadrilateral"
            )
    weights = torch.linalg.solve(columns[:, :, :3], columns[:, :, 3])
    return columns[:, :, :3] * weights[:, None]


def warp(
    x: Tensor,
    matrix: Tensor,
    size: tuple[int, int] | None = None,
    fill: float | Tensor = 0.0,
) -> Tensor:
    """Images seen through a homography, differentiable in x.

    Each output pixel looks up its place in the input: bilinear, and where the picture shrinks by
    more than half again, the mean of k × k such looks, k being the number of input pixels that an
    output pixel covers along a side (at most 16).

    To put a picture onto the quadrilateral ``corners`` (N, 4, 2) of a frame, corner by corner from
    the upper left one clockwise: ``warp(x, homography(corners, square), size, fill)``, where
    ``square`` is (0, 0), (1, 0), (1, 1), (0, 1).

    :param x: (N, C, H, W).
    :param matrix: (N, 3, 3) or (1, 3, 3), takes places in the output to places in the input.
    :param size: (h, w) of the output; by default the input's.
    :param fill: what is seen outside the input: a number, or a tensor that broadcasts to
        (N, C, h, w), such as a background.
    :returns: (N, C, h, w). The input's edge is soft, over one of its pixels.
    :raises ValueError: a matrix of another shape.
    """
    n = max(len(x), len(matrix))
    if matrix.shape[-2:] != (3, 3) or matrix.ndim != 3 or {len(x), len(matrix)} - {1, n}:
        raise ValueError(
            f"matrix: expected (N, 3, 3) for {len(x)} images, found {tuple(matrix.shape)}"
        )
    size = tuple(x.shape[-2:]) if size is None else size
    x, matrix = x.expand(n, -1, -1, -1), matrix.expand(n, -1, -1).to(x)
    if not isinstance(fill, Tensor):  # the same number everywhere: nothing to blend
        return _look_up(x - fill, matrix, size) + fill
    inside = _look_up(torch.ones_like(x[:, :1]), matrix, size)
    return _look_up(x, matrix, size) + fill * (1 - inside)


def _look_up(x: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Zero outside. Images that need equally many looks a pixel go together."""
    samples = _shrink(matrix.detach(), x.shape[-2:], size)
    different = sorted(set(samples.tolist()))
    if len(different) == 1:
        return _sampled(x, matrix, size, different[0])
    out = x.new_empty(len(x), x.shape[1], *size)
    for k in different:
        rows = (samples == k).nonzero().squeeze(1).to(x.device)
        out = out.index_put((rows,), _sampled(x[rows], matrix[rows], size, k))
    return out


def _sampled(x: Tensor, matrix: Tensor, size: tuple[int, int], k: int) -> Tensor:
    u, v, w = _places(matrix, size[0] * k, size[1] * k)
    front = w > 0
    w = torch.where(front, w, torch.ones_like(w))
    grid = torch.stack((2 * u / w - 1, 2 * v / w - 1), -1)
    grid = torch.where(front[..., None], grid, torch.full_like(grid, -3.0))  # behind: outside
    seen = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return seen if k == 1 else F.avg_pool2d(seen, k)


def _places(matrix: Tensor, rows: int, columns: int) -> tuple[Tensor, ...]:
    """H (u, v, 1) at each pixel's center: three of (N, rows, columns)."""
    u = (torch.arange(columns, device=matrix.device, dtype=matrix.dtype) + 0.5) / columns
    v = (torch.arange(rows, device=matrix.device, dtype=matrix.dtype) + 0.5) / rows
    m = matrix[:, :, :, None, None]
    return tuple(m[:, i, 0] * u + m[:, i, 1] * v[:, None] + m[:, i, 2] for i in range(3))


def _shrink(matrix: Tensor, source: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(N,) int: input pixels an output pixel, along a side, where the input's middle is seen."""
    # The place in the output of the input's middle, and the map's derivative there.
    m = matrix.cpu().double()
    middle = torch.linalg.solve(m, m.new_tensor([0.5, 0.5, 1.0]).expand(len(m), 3))
    a, b, w = (m @ (middle / middle[:, 2:])[:, :, None]).squeeze(2).unbind(1)
    across = (m[:, 0, :2] - (a / w)[:, None] * m[:, 2, :2]) / w[:, None] * source[1]
    down = (m[:, 1, :2] - (b / w)[:, None] * m[:, 2, :2]) / w[:, None] * source[0]
    per_pixel = torch.stack((across, down), 1) / m.new_tensor([size[1], size[0]])
    area = torch.linalg.det(per_pixel).abs()
    return area.sqrt().nan_to_num(1.0).round().clamp(1, MOST_SAMPLES).long()


def pose_matrix(
    size: tuple[int, int],
    *,
    tilt: Tensor,
    turn: Tensor,
    distance: Tensor,
    shift: Tensor,
    view: float = 40.0,
) -> Tensor:
    """Where each place of the frame lies on a flat print, by a pinhole camera.

    The print has the frame's shape, and at distance 1 and no angle fills it. Its point X (in its
    plane, from its middle) is in the camera's coordinates P = R X + d (s, z₀), where
    R = R_across(tilt₁) R_up(tilt₀) R_sight(turn), and appears at z₀ (P₁, P₂) / P₃ from the middle
    of the frame, where z₀ = ½ / tan(view / 2). This is the inverse of that map.

    :param size: (H, W) of the frame, for its proportions.
    :param tilt: (N, 2) in degrees, out of the plane: about the vertical and the horizontal axis.
    :param turn: (N,) in degrees, in the plane, counterclockwise as seen.
    :param distance: (N,) d > 0, relative; 2 halves the picture.
    :param shift: (N, 2), of the picture's middle to the right and down, as a fraction of the frame.
    :param view: the angle in degrees that the frame's longer side spans, below 180.
    :returns: (N, 3, 3), for :func:`~advlab.transforms.warp`.
    """
    about_up, about_across, turn = torch.deg2rad(torch.cat((tilt, turn[:, None]), 1)).unbind(1)
    depth = 0.5 / math.tan(math.radians(view) / 2)
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)

    def matrix(*rows):
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def rotation(angle):
        return angle.cos(), angle.sin()

    c, s = rotation(turn)
    in_plane = matrix((c, s, zero), (-s, c, zero), (zero, zero, one))
    c, s = rotation(about_up)
    up = matrix((c, zero, s), (zero, one, zero), (-s, zero, c))
    c, s = rotation(about_across)
    across = matrix((one, zero, zero), (zero, c, -s), (zero, s, c))
    longer = max(size)
    sides = turn.new_tensor([size[1] / longer, size[0] / longer])
    place = torch.cat((shift * sides, depth * torch.ones_like(shift[:, :1])), 1)
    print_to_camera = (across @ up @ in_plane)[:, :, :2]
    to_frame = torch.cat((print_to_camera, (distance[:, None] * place)[:, :, None]), 2)
    to_frame = to_frame * turn.new_tensor([depth, depth, 1.0])[:, None]
    # From fractions of the frame to lengths from its middle; the print has the same proportions.
    lengths = torch.diag(F.pad(sides, (0, 1), value=1.0))
    lengths[:2, 2] = -sides / 2
    return torch.linalg.inv(to_frame @ lengths) @ lengths * depth


@dataclass(frozen=True, kw_only=True)
class Pose(Transformation):
    """A flat print photographed from somewhere: true pinhole projection, see
    :func:`~advlab.transforms.pose_matrix`.

    Each angle, the distance and both shifts are drawn uniformly from their ranges. The defaults
    change nothing.

    :param tilt: the most degrees, 0 to 80, by which the print leans, about each of the two axes in
        its plane.
    :param turn: the most degrees, 0 to 180, by which it is turned in its plane, either way.
    :param distance: (low, high), relative to where the print fills the frame; 2 halves it.
    :param shift: the most that its middle is off the frame's, as a fraction of the frame's sides.
    :param background: the gray, 0 to 1, of what is outside the print.
    :param view: the angle in degrees, 1 to 120, that the longer side of the frame spans. A wide one
        gives strong perspective.
    :raises ValueError: a parameter out of its range.
    """

    tilt: float = 0.0
    turn: float = 0.0
    distance: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    background: float = 0.5
    view: float = 40.0

    def __post_init__(self):
        check_number(self, "tilt", 0, 80)
        check_number(self, "turn", 0, 180)
        check_range(self, "distance", 0.1, 100)
        check_number(self, "shift", 0, 10)
        check_number(self, "background", 0, 1)
        check_number(self, "view", 1, 120)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        uniform = wide(draw("uniform", (6,)))
        signed = 2 * uniform - 1
        low, high = self.distance
        matrix = pose_matrix(
            x.shape[-2:],
            tilt=self.tilt * signed[:, :2],
            turn=self.turn * signed[:, 2],
            distance=low + (high - low) * uniform[:, 3],
            shift=self.shift * signed[:, 4:],
            view=self.view,
        )
        return clip(warp(wide(x), matrix, fill=self.background)).to(x.dtype)
