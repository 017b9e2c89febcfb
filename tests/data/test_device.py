"""Data and models go where ``advlab.device`` says, and one picture can be read for VGG16."""

import pytest
import torch
from PIL import Image

from advlab import backend, data, models
from advlab.models.contract import device_of


@pytest.fixture
def elsewhere(monkeypatch):
    """Stands for a GPU: another device, which every machine has."""
    monkeypatch.setattr(backend, "_chosen", torch.device("meta"))


def test_the_device_chosen_is_where_things_go(elsewhere, tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    assert data.load("mnist5k").test.x.device.type == "meta"
    assert data.load_image(tmp_path / "red.png").device.type == "meta"
    assert device_of(models.load_model("mnist-logistic")).type == "meta"
    assert data.load("mnist5k", device="cpu").train.y.device.type == "cpu"
    assert device_of(models.load_model("mnist-logistic", device="cpu")).type == "cpu"


def test_load_image_takes_the_middle_square(tmp_path):
    picture = Image.new("RGB", (60, 20), "black")
    picture.paste("red", (20, 0, 40, 20))
    picture.save(tmp_path / "p.png")
    x = data.load_image(tmp_path / "p.png", size=8, device="cpu")
    assert x.shape == (1, 3, 8, 8)
    assert (x[0, 0, :, 1:-1] == 1).all()  # the filter lets some black in at the edges
    assert (x[0, 0] > 0.8).all()
    assert (x[0, 1:] == 0).all()


def test_load_image_names_what_it_cannot_read(tmp_path):
    (tmp_path / "note.txt").write_text("not a picture")
    with pytest.raises(ValueError, match=r"note\.txt"):
        data.load_image(tmp_path / "note.txt")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        data.load_image(tmp_path / "gone.png")
