"""A sheet, made once, and its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from advlab.photo import make_sheet
from advlab.photo.layout import paper_named

from .simulate import DPI, photograph


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The sheet, its clean and its adversarial images, and the PNG that shows it."""
    printout = make_sheet("mnist-cnn", attack="bim")
    path = tmp_path_factory.mktemp("sheet") / "sheet.png"
    printout.write(path)
    return printout.sheet, printout.x, printout.x_adv, path


@pytest.fixture(scope="session")
def page(made) -> np.ndarray:
    """The sheet as it is printed: bytes (H, W, 3), 200 dots an inch: more would only be slow."""
    with Image.open(made[3]) as picture:
        size = [round(side * DPI / 300) for side in picture.size]
        return np.array(picture.convert("RGB").resize(size, Image.Resampling.BOX))


@pytest.fixture(scope="session")
def paper(made):
    return paper_named(made[0].paper)


@pytest.fixture(scope="session")
def straight(page, paper, tmp_path_factory):
    """A photograph from straight above, as a file."""
    path = tmp_path_factory.mktemp("straight") / "photo.jpg"
    Image.fromarray(photograph(page, paper)[0]).save(path, quality=85)
    return path


@pytest.fixture
def shoot(tmp_path):
    """Write a photograph as a JPEG file, with the options of Pillow."""

    def shoot(photo: np.ndarray, name: str = "photo.jpg", **options):
        path = tmp_path / name
        Image.fromarray(photo).save(path, **{"quality": 85, **options})
        return path

    return shoot
