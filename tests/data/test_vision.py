"""The downloaded data sets, on small files in the exact formats of the real ones."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image

from advlab.data import import_torchvision, is_there, load, vision

torchvision = import_torchvision()
RANDOM = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture(params=["mnist", "fashion-mnist"])
def digits(request, tmp_path, monkeypatch):
    """A data set of 20 + 10 images in MNIST's format: (name, its folder, its images, root)."""
    kind = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[request.param]
    raw = tmp_path / kind / "raw"
    raw.mkdir(parents=True)
    images = {}
    for split, n in (("train", 20), ("t10k", 10)):
        images[split] = RANDOM.integers(0, 256, (n, 28, 28))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images[split]))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    hashes = {path.name: md5(path.read_bytes()) for path in raw.iterdir()}
    monkeypatch.setattr(vision, "MNIST_MD5", hashes)
    return request.param, raw, images, tmp_path


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10's pickled batches, four images each: (folder, images, labels, root)."""
    loader = torchvision.datasets.CIFAR10
    folder = tmp_path / loader.base_folder
    folder.mkdir()
    images, labels = [], []

    def write(name: str, content: dict) -> list[str]:
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return [name, md5(data)]

    def batch(name: str) -> list[str]:
        images.append(RANDOM.integers(0, 256, (4, 3072)).astype(np.uint8))
        labels.append(RANDOM.integers(0, 10, 4).tolist())
        return write(name, {"data": images[-1], "labels": labels[-1]})

    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    meta, hashed = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(loader, "train_list", [batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(loader, "test_list", [batch("test_batch")])
    monkeypatch.setattr(loader, "meta", {"filename": meta, "key": "label_names", "md5": hashed})
    return folder, images, labels, tmp_path


@pytest.fixture
def signs(tmp_path, monkeypatch):
    """GTSRB's folders: 43 classes, one training image each, of different sizes, and 5 to test."""
    base = tmp_path / "gtsrb"
    for label in range(43):
        folder = base / "GTSRB" / "Training" / f"{label:05d}"
        folder.mkdir(parents=True)
        shade = Image.new("RGB", (20 + label, 30), (5 * label, 0, 255))
        shade.save(folder / "00000_00000.ppm")
    test = base / "GTSRB" / "Final_Test" / "Images"
    test.mkdir(parents=True)
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i in range(5):
        Image.new("RGB", (40, 25 + i), (0, 50 * i, 0)).save(test / f"{i:05d}.ppm")
        lines.append(f"{i:05d}.ppm;40;{25 + i};5;5;35;20;{i + 14}")
    (base / "GT-final_test.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(vision, "GTSRB_COUNTS", {"train": 43, "test": 5})
    return base, tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def test_idx_images_and_labels_are_those_of_the_files(digits):
    name, _, images, root = digits
    data = load(name, root=root)
    for split, (x, y) in (("train", data.train), ("t10k", data.test)):
        expected = torch.from_numpy(images[split])[:, None].float() / 255
        assert torch.equal(x, expected)
        assert torch.equal(y, torch.arange(len(x)) % 10)
    assert len(data.classes) == 10


def test_the_root_comes_from_the_environment_and_may_be_read_only(digits, monkeypatch):
    name, _raw, _, root = digits
    monkeypatch.setenv("ADVLAB_DATA", str(root))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert is_there(name)
    assert len(load(name).train.x) == 20
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", ["truncated", "too long", "no header", "another format", "gone"])
def test_damaged_idx_files_are_refused_by_name(digits, file, damage):
    name, raw, _, root = digits
    path = raw / file
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        bad = {
            "truncated": good[:-5],
            "too long": good + b"\0",
            "no header": good[:3],
            "another format": b"\x1f\x8b" + good[2:],
        }[damage]
        path.write_bytes(bad)
    with pytest.raises(ValueError, match="Nothing of it was loaded") as error:
        load(name, root=root)
    assert str(path) in str(error.value)


def test_one_flipped_bit_of_mnist_is_seen(digits):
    name, raw, _, root = digits
    if name != "mnist":  # the only one of the two whose unpacked files have known hashes
        return
    path = raw / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="MD5"):
        load(name, root=root)


def test_labels_that_do_not_fit_are_refused(digits, monkeypatch):
    name, raw, _, root = digits
    monkeypatch.setattr(vision, "MNIST_MD5", {})
    path = raw / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.full(20, 10)))
    with pytest.raises(ValueError, match="labels from 10 to 10, expected 0 to 9"):
        load(name, root=root)
    path.write_bytes(idx(np.arange(19) % 10))
    with pytest.raises(ValueError, match=r"20 images.*19 labels"):
        load(name, root=root)


def test_cifar_images_and_labels_are_those_of_the_files(cifar):
    _, images, labels, root = cifar
    data = load("cifar10", root=root)
    x = torch.from_numpy(np.concatenate(images)).view(-1, 3, 32, 32).float() / 255
    y = torch.tensor([label for batch in labels for label in batch])
    assert torch.equal(torch.cat([data.train.x, data.test.x]), x)
    assert torch.equal(torch.cat([data.train.y, data.test.y]), y)
    assert data.train.x.shape == (20, 3, 32, 32)
    assert data.classes[6] == "frog"


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_damaged_cifar_files_are_refused_by_name(cifar, file, damage):
    path = cifar[0] / file
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:-10] if damage == "truncated" else good[:-3] + b"\0" + good[-2:])
    with pytest.raises(ValueError, match="Nothing of it was loaded") as error:
        load("cifar10", root=cifar[-1])
    assert str(path) in str(error.value)


def test_signs_are_resized_and_labeled(signs):
    data = load("gtsrb", root=signs[-1])
    assert data.train.x.shape == (43, 3, 32, 32)
    assert torch.equal(data.train.y, torch.arange(43))
    # Every image has one color, which no resizing changes.
    assert torch.equal(data.train.x[:, 0, 9, 9] * 255, torch.arange(43) * 5.0)
    assert data.test.y.tolist() == [14, 15, 16, 17, 18]
    assert data.classes[14] == "stop"
    assert load("gtsrb", root=signs[-1], size=16).test.x.shape == (5, 3, 16, 16)


@pytest.mark.parametrize(
    ("file", "damage"),
    [("GTSRB/Training/00007/00000_00000.ppm", "truncated"),
     ("GTSRB/Final_Test/Images/00002.ppm", "truncated"),
     ("GTSRB/Final_Test/Images/00002.ppm", "gone"),
     ("GTSRB/Final_Test/Images/00002.ppm", "text"),
     ("GT-final_test.csv", "gone"),
     ("GT-final_test.csv", "truncated"),
     ("GT-final_test.csv", "text")],
)  # fmt: skip
def test_damaged_sign_files_are_refused_by_name(signs, file, damage):
    path = signs[0] / file
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        # Of two lines: a table has a heading, and a row under it.
        text = b"once upon a time\nthere was"
        path.write_bytes(good[: len(good) // 2] if damage == "truncated" else text)
    with pytest.raises(ValueError) as error:
        load("gtsrb", root=signs[-1])
    assert str(path) in str(error.value)


def test_a_half_unpacked_sign_folder_is_refused(signs):
    (signs[0] / "GTSRB" / "Training" / "00009" / "00000_00000.ppm").unlink()
    (signs[0] / "GTSRB" / "Training" / "00009").rmdir()
    with pytest.raises(ValueError, match="holds 42 images, expected 43"):
        load("gtsrb", root=signs[-1])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "gtsrb"])
def test_no_network_names_the_folder_and_the_embedded_choice(tmp_path, name, no_network):
    with pytest.raises(OSError, match="network is unreachable") as error:
        load(name, root=tmp_path / "here")
    assert str(tmp_path / "here") in str(error.value)
    assert "mnist5k" in str(error.value)
    assert not is_there(name, root=tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_download_arrives_whole(tmp_path, digits, monkeypatch):
    """torchvision's own downloader, fed from the files of the fixture."""
    name, raw, _, _ = digits
    loader = torchvision.datasets.MNIST if name == "mnist" else torchvision.datasets.FashionMNIST
    archives = {f"{p.name}.gz": gzip.compress(p.read_bytes(), mtime=0) for p in raw.iterdir()}
    monkeypatch.setattr(loader, "resources", [(n, md5(c)) for n, c in archives.items()])
    serve(monkeypatch, archives)
    root = tmp_path / "new"
    assert len(load(name, root=root).train.x) == 20
    assert [path.name for path in root.iterdir()] == [loader.__name__]


@pytest.mark.parametrize("end", ["cut short", "interrupted"])
def test_an_interrupted_download_leaves_nothing_behind(tmp_path, digits, monkeypatch, end):
    name, raw, _, _ = digits
    loader = torchvision.datasets.MNIST if name == "mnist" else torchvision.datasets.FashionMNIST
    archives = {f"{p.name}.gz": gzip.compress(p.read_bytes(), mtime=0) for p in raw.iterdir()}
    monkeypatch.setattr(loader, "resources", [(n, md5(c)) for n, c in archives.items()])
    last = list(archives)[-1]
    cut = archives | {last: archives[last][:20] if end == "cut short" else KeyboardInterrupt()}
    serve(monkeypatch, cut)
    root = tmp_path / "new"
    with pytest.raises(OSError if end == "cut short" else KeyboardInterrupt):
        load(name, root=root)
    assert list(root.iterdir()) == []
    serve(monkeypatch, archives)  # the network is back
    assert len(load(name, root=root).test.x) == 10


def serve(monkeypatch, files: dict[str, bytes | BaseException]) -> None:
    """Let torchvision's downloads find these files."""

    def write(url, filename, *args, **kwargs):
        content = files[url.rsplit("/", 1)[-1]]
        if isinstance(content, BaseException):
            raise content
        with open(filename, "wb") as file:
            file.write(content)

    utils = torchvision.datasets.utils
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", write)
