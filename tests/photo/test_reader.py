"""Photographs of a sheet, from all sides, are read as the files are; what is none is refused."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from advlab.photo import Sheet, make_sheet, read_photo
from advlab.photo.drawing import _qr
from advlab.photo.layout import PAPERS
from advlab.photo.markers import find_plane, read_code
from advlab.photo.reader import open_photo

from .simulate import DPI, photograph

PHOTOGRAPHS = {
    "straight": {},
    "turned 30": {"angle": 30},
    "turned 90": {"angle": 90},
    "upside down": {"angle": 180},
    "turned 285": {"angle": 285},
    "tilted 20": {"tilt": 20, "toward": 30, "angle": 8},
    "tilted 40": {"tilt": 40, "toward": 110, "angle": 200},
    "in a shadow": {"uneven": 0.7},
    "dark": {"exposure": 0.25},
    "in warm light": {"tint": (1, 0.85, 0.6)},
    "blurred": {"blur": 1.5, "size": (2000, 1500)},
    "grainy": {"noise": 20, "size": (2000, 1500)},
    "far away": {"size": (1200, 900)},
    "large": {"size": (2400, 1800), "angle": 5, "tilt": 15, "blur": 1.5},
    "everything": {
        "angle": 160, "tilt": 25, "toward": 70, "uneven": 0.5, "blur": 1.2, "noise": 6,
        "tint": (1, 0.9, 0.75), "size": (2000, 1500),
    },
}  # fmt: skip


@pytest.mark.parametrize("how", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)
def test_a_photograph_is_read_as_the_file(how, made, page, paper, shoot):
    sheet, x, x_adv, _ = made
    photo, true = photograph(page, paper, **how)
    path = shoot(photo)
    reading = read_photo(path)
    assert reading.sheet == sheet
    same = [*(reading.clean == torch.tensor(sheet.clean)).tolist()]
    same += (reading.adversarial == torch.tensor(sheet.adversarial)).tolist()
    assert np.mean(same) >= 0.95
    assert (reading.x - x).abs().mean() < 0.06
    assert (reading.x_adv - x_adv).abs().mean() < 0.06

    plane = find_plane(open_photo(path))
    for pair in map(paper.pair, range(len(sheet.index))):
        for place in pair:
            middle_of_pixels = cv2.perspectiveTransform(np.array([place.corners()]), true)[0] - 0.5
            off = np.linalg.norm(plane.corners(place) - middle_of_pixels, axis=1).max()
            assert off < 0.015 * plane.dots(place) * place.side


def test_the_light_is_taken_out(made, page, paper, shoot):
    path = shoot(photograph(page, paper, uneven=0.6, exposure=0.7, black=0.15)[0])
    x = made[1]
    plain, raw = read_photo(path).x, read_photo(path, raw=True).x
    assert (plain - x).abs().mean() < 0.04
    assert (raw - x).abs().mean() > 2 * (plain - x).abs().mean()


def test_colors_come_back(tmp_path, page, shoot):
    """A gray network's sheet has no colors, so the images here are painted over the page."""
    from advlab.photo.light import cut_images

    paper, painted = PAPERS["A4"], page.copy()
    place = paper.pair(0)[0]
    x0, y0, x1, y1 = (round(v / 25.4 * DPI) for v in (*place[:2], *place.corners()[2]))
    painted[y0:y1, x0:x1] = 200, 40, 90
    photo, _ = photograph(painted, paper, tint=(1, 0.8, 0.55), uneven=0.4)
    found = cut_images(photo, find_plane(photo), [place], (3, 8, 8), raw=False)
    expected = torch.tensor([200, 40, 90]) / 255
    assert (found[0, :, 1:-1, 1:-1] - expected[:, None, None]).abs().max() < 0.05


def test_the_exif_orientation_is_honored(page, paper, shoot):
    photo, _ = photograph(page, paper, size=(1200, 1600))
    upright = read_photo(shoot(photo, "upright.png"))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    path = shoot(np.rot90(photo), "turned.png", exif=exif)
    assert np.array_equal(open_photo(path), photo)
    assert torch.equal(read_photo(path).x, upright.x)


def cover(page, paper, *corners: int) -> np.ndarray:
    covered = page.copy()
    for corner in corners:
        place = paper.markers()[paper.first + corner].grown(4)
        x0, y0, x1, y1 = (round(v / 25.4 * DPI) for v in (*place[:2], *place.corners()[2]))
        covered[max(y0, 0) : y1, max(x0, 0) : x1] = 160
    return covered


@pytest.mark.parametrize("corner", range(4))
def test_three_markers_suffice(corner, made, page, paper, shoot):
    name = ("top left", "top right", "bottom right", "bottom left")[corner]
    photo, _ = photograph(cover(page, paper, corner), paper, tilt=20, angle=40)
    reading = read_photo(shoot(photo))
    assert reading.notes == (f"the {name} marker was not found; the other three were used",)
    assert torch.equal(reading.clean, torch.tensor(made[0].clean))
    assert torch.equal(reading.adversarial, torch.tensor(made[0].adversarial))


def test_two_markers_do_not(page, paper, shoot):
    photo, _ = photograph(cover(page, paper, 0, 2), paper)
    with pytest.raises(ValueError, match=r"2 of 4 markers.*missing: top left and bottom right"):
        read_photo(shoot(photo))


def test_a_code_that_cannot_be_read(made, page, paper, shoot):
    sheet, *_, file = made
    place = paper.code()
    x0, y0, x1, y1 = (round(v / 25.4 * DPI) for v in (*place[:2], *place.corners()[2]))
    covered = page.copy()
    covered[y0 : (y0 + y1) // 2, x0:x1] = 255
    path = shoot(photograph(covered, paper)[0])
    with pytest.raises(ValueError, match=r"QR code cannot be read: it is \d+ pixels wide.*--sheet"):
        read_photo(path)
    reading = read_photo(path, sheet=Sheet.load(file))
    assert reading.sheet == sheet
    assert torch.equal(reading.clean, torch.tensor(sheet.clean))
    assert reading.notes == ("the QR code cannot be read; the sheet is the one given",)


def test_a_photograph_from_too_far(made, page, paper, shoot):
    with pytest.raises(ValueError, match=r"QR code cannot be read|marker"):
        read_photo(shoot(photograph(page, paper, size=(480, 360))[0]))
    reading = read_photo(shoot(photograph(page, paper, size=(640, 480))[0]), sheet=made[0])
    assert any("pixels for each pixel of a printed image" in note for note in reading.notes)


def test_of_another_sheet(made, page, paper, shoot, straight, tmp_path):
    other = dataclasses.replace(made[0], attack="pgd", eps=0.1)
    with pytest.raises(ValueError, match=r"found a sheet of 15 images.*BIM.*expected.*PGD.*0\.1"):
        read_photo(straight, sheet=other)
    letter = make_sheet("mnist-cnn", attack="fgsm", images=3, paper="letter")
    covered = page.copy()
    covered[:467, 666:1200] = 255  # the code is gone
    with pytest.raises(ValueError, match="markers are those of A4, and the sheet given is Letter"):
        read_photo(shoot(photograph(covered, paper)[0]), sheet=letter.sheet)
    letter.write(tmp_path / "letter.png")
    beside = open_photo(tmp_path / "letter.png")
    beside = cv2.resize(beside, None, fx=DPI / 300, fy=DPI / 300, interpolation=cv2.INTER_AREA)
    both = np.hstack([page[: len(beside)], np.full((len(beside), 200, 3), 200, np.uint8), beside])
    with pytest.raises(ValueError, match="one at a time"):
        read_photo(shoot(both))


def test_two_prints_of_one_sheet(page, shoot):
    with pytest.raises(ValueError, match=r"the top left.*twice.*one at a time"):
        read_photo(shoot(np.hstack([page, page])))


def test_a_blurred_code_of_the_longest_line(page, paper, made):
    """Fifteen images and a long name: the cells stay wide enough for a blurred picture."""
    sheet = dataclasses.replace(
        made[0], model="signs-cnn-b", eps=16 / 255, eot=True, shape=(3, 48, 48)
    )
    cells = _qr(sheet.code())
    assert len(cells) <= 41
    code, painted = paper.code(), page.copy()
    x0, y0, x1, y1 = (round(v / 25.4 * DPI) for v in (*code[:2], *code.corners()[2]))
    wide = cv2.resize(cells, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    painted[y0:y1, x0:x1] = wide[..., None]
    photo, _ = photograph(painted, paper, blur=1.8)
    assert read_code(photo, find_plane(photo)) == sheet.code()


def test_a_lens_that_bends_lines_is_noted(page, paper, shoot):
    photo, _ = photograph(page, paper)
    rows, columns = np.indices(photo.shape[:2], np.float32)
    x, y = columns - photo.shape[1] / 2, rows - photo.shape[0] / 2
    bend = 0.06 * (x**2 + y**2) / (photo.shape[1] / 2) ** 2
    bent = cv2.remap(photo, columns + bend * x, rows + bend * y, cv2.INTER_LINEAR)
    notes = read_photo(shoot(bent)).notes
    assert len(notes) == 1
    assert "bends lines" in notes[0]


@pytest.mark.parametrize("kind", ["16 bits", "transparent", "CMYK", "gray"])
def test_kinds_of_pictures(kind, page, paper, tmp_path):
    photo, _ = photograph(page, paper, size=(1000, 750))
    picture = Image.fromarray(photo).convert("L")
    expected, path = np.array(picture)[..., None], tmp_path / "photo.png"
    if kind == "16 bits":
        picture = Image.fromarray(np.array(picture).astype(np.uint16) * 257)
    elif kind == "transparent":  # where it is white there is nothing, and that is stored as black
        alpha = np.where(expected > 200, 0, 255).astype(np.uint8)
        stored = np.where(alpha > 0, expected, 0).astype(np.uint8)
        picture = Image.fromarray(np.concatenate([stored, alpha], 2), "LA")
        expected = np.where(alpha > 0, expected, 255)
    elif kind == "CMYK":
        picture, path = picture.convert("RGB").convert("CMYK"), tmp_path / "photo.tif"
    picture.save(path)
    assert np.abs(open_photo(path).astype(int) - expected).max() <= 1
    assert find_plane(open_photo(path)).missing == ()


def test_a_mirrored_picture_is_named(page):
    with pytest.raises(ValueError, match=r"in a mirror.*flip the picture"):
        find_plane(page[:, ::-1])


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (2, 2), (40, 5000)])
def test_pictures_of_odd_shapes(shape):
    with pytest.raises(ValueError, match="found no marker"):
        find_plane(np.full((*shape, 3), 128, np.uint8))


def test_a_bent_sheet(page, paper, shoot):
    # One marker is elsewhere, and seen from the same side as before: no plane has such markers.
    bent = page.copy()
    corner = bent[:226, :226].copy()
    bent[:226, :226] = 255
    bent[533:759, :226] = corner
    with pytest.raises(ValueError, match=r"mm off their places.*flat"):
        find_plane(bent)


def test_pictures_that_show_no_sheet(shoot, made, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="no marker of a sheet in a picture of 800 x 600"):
        read_photo(shoot(noise))
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.jpg: cannot be read as an image"):
        read_photo(text)
    whole = shoot(noise, "whole.jpg").read_bytes()
    cut_off = tmp_path / "cut.jpg"
    cut_off.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot be read as an image.*truncated"):
        read_photo(cut_off)
    for name, hint in (("a.pdf", "--sheet"), ("a.heic", "export it as JPEG")):
        (tmp_path / name).write_bytes(b"something")
        with pytest.raises(ValueError, match=hint):
            read_photo(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_photo(tmp_path / "nothing.jpg")
