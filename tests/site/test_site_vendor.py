"""The vendored files are those of the packages that README.txt names, byte for byte."""

import hashlib
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "book" / "_static" / "vendor"


def recorded() -> dict[str, str]:
    lines = (VENDOR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name.removeprefix("./"): digest for digest, name in (line.split() for line in lines)}


def test_every_vendored_file_is_recorded():
    files = {p.relative_to(VENDOR).as_posix() for p in VENDOR.rglob("*") if p.is_file()}
    assert files - {"SHA256SUMS", "README.txt"} == set(recorded())


def test_every_vendored_file_is_as_it_was_published():
    changed = [
        name
        for name, digest in recorded().items()
        if hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() != digest
    ]
    assert changed == []


def test_every_vendored_package_comes_with_its_license():
    for package in ("mathjax/LICENSE", "widgets/LICENSE-ipywidgets", "widgets/LICENSE-requirejs"):
        (text,) = VENDOR.glob(f"{package}*")
        assert "copyright" in text.read_text(encoding="utf-8").lower()
