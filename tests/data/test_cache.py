"""Made data sets are kept in the cache folder, and a cache that is wrong is made again."""

from __future__ import annotations

import pytest
import torch

from advlab.data import Dataset, Split, cache

CLASSES = ("a", "b")


class Maker:
    """A data set that counts how often it was made."""

    def __init__(self, levels: bool):
        x = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
        self.x = (255 * x).round_().div_(255) if levels else x
        self.y, self.calls = torch.arange(6) % 2, 0

    def __call__(self) -> Dataset:
        self.calls += 1
        x, y = self.x.mT, self.y  # not contiguous
        return Dataset("made", Split(x[:4], y[:4]), Split(x[4:], y[4:]), CLASSES)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVLAB_CACHE", str(tmp_path))
    return tmp_path / "made.safetensors"


@pytest.mark.parametrize("levels", [True, False])
def test_the_second_load_reads_what_the_first_made(path, levels):
    make = Maker(levels)
    first, second = (cache.cached("made", CLASSES, make) for _ in range(2))
    assert make.calls == 1
    assert second.name == "made"
    assert second.classes == CLASSES
    for a, b in zip((*first.train, *first.test), (*second.train, *second.test)):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_images_of_256_levels_take_a_byte_a_pixel(path):
    sizes = []
    for levels in (True, False):
        make = Maker(levels)
        make.x = make.x.repeat(1, 1, 40, 40)
        path.unlink(missing_ok=True)
        cache.cached("made", CLASSES, make)
        sizes.append(path.stat().st_size)
    assert sizes[0] < 0.3 * sizes[1]


def test_other_code_makes_it_again(path, monkeypatch):
    make = Maker(True)
    cache.cached("made", CLASSES, make)
    monkeypatch.setattr(cache, "_key", lambda: "0" * 64)
    cache.cached("made", CLASSES, make)
    assert make.calls == 2


def test_the_key_follows_the_code(monkeypatch, tmp_path):
    package = tmp_path / "advlab"
    for folder in ("data", "transforms"):
        (package / folder).mkdir(parents=True)
        (package / folder / "a.py").write_text("1")
    monkeypatch.setattr(cache, "__file__", str(package / "data" / "cache.py"))
    keys = {cache._key()}
    for folder in ("data", "transforms"):
        (package / folder / "a.py").write_text("2")
        keys.add(cache._key())
    assert len(keys) == 3


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty"])
def test_a_damaged_file_is_made_again(path, spoil):
    make = Maker(True)
    cache.cached("made", CLASSES, make)
    content = bytearray(path.read_bytes())
    if spoil == "flip":
        content[-1] ^= 1
    path.write_bytes({"cut": content[:-5], "flip": content, "empty": b""}[spoil])
    again = cache.cached("made", CLASSES, make)
    assert make.calls == 2
    assert torch.equal(again.train.x, make.x.mT[:4])
    cache.cached("made", CLASSES, make)
    assert make.calls == 2


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ADVLAB_CACHE", str(blocked))
    make = Maker(True)
    with pytest.warns(UserWarning, match="ADVLAB_CACHE"):
        data = cache.cached("made", CLASSES, make)
    assert torch.equal(data.train.x, make.x.mT[:4])
