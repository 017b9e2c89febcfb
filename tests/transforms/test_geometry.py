"""Homographies and poses against what can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from advlab.transforms import Pose, SharedDraws, homography, pose_matrix, warp

SQUARE = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)


def pictures(n, channels=2, size=(20, 28)):
    source = torch.Generator().manual_seed(6)
    return torch.rand(n, channels, *size, generator=source, dtype=torch.float64)


def pose(size=(20, 28), tilt=(0, 0), turn=0, distance=1, shift=(0, 0), **settings):
    def row(value):
        return torch.tensor([value], dtype=torch.float64)

    return pose_matrix(
        size, tilt=row(tilt), turn=row(turn), distance=row(distance), shift=row(shift), **settings
    )


def mapped(matrix, points):
    out = F.pad(points, (0, 1), value=1.0) @ matrix.mT
    return out[..., :2] / out[..., 2:]


def test_a_homography_takes_the_four_points_to_the_four_points(device):
    source = torch.Generator().manual_seed(0)
    corners = SQUARE + 0.3 * (torch.rand(50, 4, 2, generator=source, dtype=torch.float64) - 0.5)
    other = corners.roll(1, 0) * 3 - 7
    corners, other = corners.to(device), other.to(device)
    matrix = homography(corners, other)
    assert torch.allclose(mapped(matrix, corners), other, atol=1e-9)
    assert torch.allclose(mapped(homography(other, corners), other), corners, atol=1e-9)
    middle = F.pad(corners.mean(1), (0, 1), value=1.0)
    assert torch.allclose((matrix[:, 2] * middle).sum(1), torch.ones(50, device=device).double())
    # w is positive all over the quadrilateral: none of it is behind the camera.
    assert (F.pad(corners, (0, 1), value=1.0) @ matrix.mT)[..., 2].min() > 0


def test_affine_homographies_are_affine():
    matrix = homography(SQUARE, 2 * SQUARE + torch.tensor([0.5, -1.0]).double())
    expected = torch.tensor([[2, 0, 0.5], [0, 2, -1], [0, 0, 1]], dtype=torch.float64)
    assert torch.allclose(matrix[0], expected)


def test_points_on_a_line_are_refused():
    line = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 1.0]]])
    with pytest.raises(ValueError, match="target: three of the four points lie in a line"):
        homography(SQUARE.float(), line)
    with pytest.raises(ValueError, match=r"source: expected points \(N, 4, 2\)"):
        homography(SQUARE[0], SQUARE)


def test_a_quarter_turn_is_rot90(device):
    x = pictures(3, size=(16, 16)).to(device)
    for quarters in (1, 2, 3):
        turned = warp(x, pose((16, 16), turn=90.0 * quarters).to(device))
        assert torch.allclose(turned, x.rot90(quarters, (2, 3)), atol=1e-9)


def test_a_shift_by_whole_pixels():
    x = pictures(2)
    out = warp(x, pose(shift=(7 / 28, -2 / 20)), fill=0.25)
    assert torch.allclose(out[..., :-2, 7:], x[..., 2:, :-7])
    assert torch.allclose(out[..., :7], torch.tensor(0.25).double())
    assert torch.allclose(out[..., -2:, :], torch.tensor(0.25).double())


def test_twice_as_far_is_half_as_large_and_anti_aliased():
    x = pictures(2)
    out = warp(x, pose(distance=2.0), fill=0.25)
    assert torch.allclose(out[..., 5:15, 7:21], F.avg_pool2d(x, 2))
    assert torch.allclose(out[..., :4, :], torch.tensor(0.25).double())
    small = warp(x, torch.eye(3)[None], size=(5, 7))
    assert torch.allclose(small, F.avg_pool2d(x, 4))


@pytest.mark.parametrize("view", [20.0, 60.0])
def test_a_tilt_is_a_pinhole_projection(view):
    # The print's right edge, ½ from its middle, leans away from the camera.
    angle, depth = 35.0, 0.5 / math.tan(math.radians(view) / 2)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    to_frame = torch.linalg.inv(pose((10, 10), tilt=(angle, 0.0), view=view))
    seen = mapped(to_frame, SQUARE)[0] - 0.5
    far, near = depth - 0.5 * s, depth + 0.5 * s  # of the two sides, in some order
    width = sorted([depth * 0.5 * c / far, depth * 0.5 * c / near])
    height = sorted([depth * 0.5 / far, depth * 0.5 / near])
    assert sorted({round(abs(p[0].item()), 6) for p in seen}) == pytest.approx(width, abs=1e-5)
    assert sorted({round(abs(p[1].item()), 6) for p in seen}) == pytest.approx(height, abs=1e-5)
    # The frame's middle still shows the print's.
    assert (
        mapped(to_frame, torch.full((1, 1, 2), 0.5).double()).flatten().tolist()
        == [pytest.approx(0.5)] * 2
    )


def test_a_frame_that_is_not_square_keeps_right_angles():
    # A quarter turn of a wide frame: its left edge comes to the bottom, as long as it was.
    to_frame = torch.linalg.inv(pose((10, 20), turn=90.0))
    seen = (mapped(to_frame, SQUARE)[0] - 0.5) * torch.tensor([20.0, 10.0])
    expected = (SQUARE[0] - 0.5) * torch.tensor([20.0, 10.0])
    expected = torch.stack((expected[:, 1], -expected[:, 0]), 1)
    assert torch.allclose(seen, expected)


def test_what_is_behind_the_camera_is_not_seen():
    # w = 1 − 2v: the lower half of the output looks backwards.
    matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, -2, 1]]], dtype=torch.float64)
    out = warp(torch.ones(1, 1, 8, 8, dtype=torch.float64), matrix, fill=0.5)
    assert torch.equal(out[..., 4:, :], torch.full((1, 1, 4, 8), 0.5).double())
    assert out[0, 0, 0, 0] > 0.9


def test_a_picture_is_put_on_a_quadrilateral_of_a_background():
    corners = torch.tensor([[[0.2, 0.3], [0.7, 0.2], [0.8, 0.9], [0.3, 0.8]]]).double()
    background = pictures(1, 1, size=(60, 60))
    white = torch.ones(1, 1, 30, 30).double()
    out = warp(white, homography(corners, SQUARE), (60, 60), background)
    area = (out - background) / (1 - background)  # 1 on the picture
    x, y = corners[0].unbind(1)
    expected = (x * y.roll(-1) - y * x.roll(-1)).sum().abs() / 2
    assert area.mean().item() == pytest.approx(expected.item(), rel=0.01)
    assert torch.equal(out[..., :6, :], background[..., :6, :])


def test_one_picture_from_many_places():
    matrix = torch.cat([pose(turn=t) for t in (0.0, 10.0, 20.0)])
    x = pictures(1)
    out = warp(x, matrix)
    assert out.shape == (3, 2, 20, 28)
    assert torch.allclose(out[1:2], warp(x, matrix[1:2]))
    with pytest.raises(ValueError, match=r"matrix: expected \(N, 3, 3\) for 2 images"):
        warp(pictures(2), matrix)


def test_images_that_shrink_by_different_factors_go_together():
    matrix = torch.cat([pose(distance=d) for d in (1.0, 2.0, 5.0, 2.2)])
    x = pictures(4).requires_grad_()
    out = warp(x, matrix)
    for i in range(4):
        assert torch.allclose(out[i : i + 1], warp(x[i : i + 1], matrix[i : i + 1]))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    # A pixel's light arrives over an area smaller by d²; at the frame's edge some of it is cut.
    for i, d in enumerate((1.0, 2.0, 5.0, 2.2)):
        assert gradient[i].mean().item() == pytest.approx(1 / d**2, rel=0.1)


def test_the_pose_stays_within_its_limits():
    x = torch.ones(60, 1, 40, 40)

    def area_of(transformation):
        draw = SharedDraws(0).for_copies(x[:1], len(x))
        return transformation.apply(x, draw).mean((1, 2, 3))

    area = area_of(Pose(distance=(1.5, 2), background=0))
    assert area.min() > 0.25 * 0.95
    assert area.max() < 1.5**-2 * 1.05
    assert area.std() > 0.02
    shifted = area_of(Pose(shift=0.25, background=0))
    assert shifted.min() > 0.75**2 * 0.97
    assert shifted.std() > 0.05
