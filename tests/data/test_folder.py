"""``folder:PATH``: the user's own images."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from advlab.data import load


def fill(folder, classes=("cat", "dog"), each=10, size=(12, 9), mode="RGB"):
    for k, title in enumerate(classes):
        (folder / title).mkdir(parents=True)
        for i in range(each):
            shade = 20 * i + k
            color = shade if mode == "L" else (shade, 255 - shade, 7)
            Image.new(mode, size, color).save(folder / title / f"{i:02d}.png")
    return folder


def test_train_and_test_folders(tmp_path):
    fill(tmp_path / "train", each=3)
    fill(tmp_path / "test", each=2)
    data = load(f"folder:{tmp_path}")
    assert data.classes == ("cat", "dog")
    assert data.train.x.shape == (6, 3, 9, 12)
    assert data.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.y.tolist() == [0, 0, 1, 1]
    expected = torch.tensor([20 + 1, 255 - 20 - 1, 7]) / 255
    assert torch.equal(data.test.x[3, :, 4, 4], expected)


def test_one_folder_is_split_by_the_seed(tmp_path):
    fill(tmp_path)
    data, again, other = (load(f"folder:{tmp_path}", seed=seed) for seed in (0, 0, 1))
    assert data.train.y.bincount().tolist() == [8, 8]
    assert data.test.y.bincount().tolist() == [2, 2]
    assert torch.equal(data.test.x, again.test.x)
    assert not torch.equal(data.test.x, other.test.x)
    shades = torch.cat([data.train.x, data.test.x])[:, 0, 0, 0].mul(255).round()
    assert sorted(shades.tolist()) == sorted([20.0 * i + k for i in range(10) for k in range(2)])


def test_gray_images_have_one_channel_unless_one_is_colored(tmp_path):
    fill(tmp_path, mode="L")
    assert load(f"folder:{tmp_path}").shape == (1, 9, 12)
    Image.new("RGB", (12, 9)).save(tmp_path / "cat" / "colored.png")
    assert load(f"folder:{tmp_path}").shape == (3, 9, 12)


def test_images_of_different_sizes_are_named_and_size_cures_it(tmp_path):
    fill(tmp_path)
    odd = tmp_path / "dog" / "odd.png"
    Image.new("RGB", (30, 40)).save(odd)
    with pytest.raises(ValueError, match=r"most are 9 x 12.*size=") as error:
        load(f"folder:{tmp_path}")
    assert f"{odd} (40 x 30)" in str(error.value)
    assert load(f"folder:{tmp_path}", size=16).shape == (3, 16, 16)


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_damaged_image_is_named(tmp_path, damage):
    fill(tmp_path, each=2, size=(60, 60))
    path = tmp_path / "cat" / "01.png"
    Image.effect_noise((60, 60), 50).save(path)
    path.write_bytes(path.read_bytes()[:900] if damage == "truncated" else b"not an image")
    with pytest.raises(ValueError, match="cannot be read as an image") as error:
        load(f"folder:{tmp_path}")
    assert str(path) in str(error.value)


def test_folders_that_cannot_be_a_data_set(tmp_path):
    with pytest.raises(OSError, match="there is no such folder"):
        load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(OSError, match="class"):
        load(f"folder:{tmp_path}")
    fill(tmp_path / "one", each=1)
    with pytest.raises(ValueError, match="class 'cat' has 1 image, expected at least 2"):
        load(f"folder:{tmp_path / 'one'}")
    fill(tmp_path / "two" / "train")
    fill(tmp_path / "two" / "test", classes=("cat", "cow"))
    with pytest.raises(ValueError, match="found in one of them only: cow, dog"):
        load(f"folder:{tmp_path / 'two'}")


def test_a_root_is_where_relative_paths_start(tmp_path):
    fill(tmp_path / "mine")
    assert len(load("folder:mine", root=tmp_path).train.x) == 16
