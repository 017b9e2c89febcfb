"""What a sheet says, what it looks like on paper, and the command from end to end."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from advlab.cli import main
from advlab.models import zoo
from advlab.photo import Printout, Sheet, make_sheet, read_photo
from advlab.photo.layout import PAPERS
from advlab.photo.markers import find_plane, read_code
from advlab.photo.opencv import MissingOpenCV
from advlab.photo.reader import open_photo
from advlab.photo.reading import Reading
from advlab.photo.sheet import check_data, check_model

from .simulate import photograph

SHEET = Sheet(
    "mnist-cnn", "pgd", 16 / 255, True, 3, "Letter", (1, 28, 28),
    (5, 720, 31), (0, 1, 2), (0, 1, 1), (3, 1, 2), "01234567", "ba987654",
)  # fmt: skip


@pytest.mark.parametrize("eps", [0.0, 8 / 255, 0.1, 1.0])
def test_the_budget_is_stored_in_few_characters(eps):
    sheet = dataclasses.replace(SHEET, eps=eps)
    assert Sheet.from_code(sheet.code()) == sheet
    assert len(sheet.code().split()[3]) <= 7


def test_the_attack_has_the_budget_that_is_stored():
    printout = make_sheet("mnist-cnn", attack="fgsm", images=1, eps=0.123456789)
    assert printout.sheet.eps == 0.123457
    assert Sheet.from_code(printout.sheet.code()) == printout.sheet


def test_a_code_that_does_not_read_back_is_not_printed(made, monkeypatch, tmp_path):
    sheet, x, x_adv, _ = made
    monkeypatch.setattr("advlab.photo.drawing.decode", lambda picture: "something else")
    with pytest.raises(ValueError, match=r"cannot read back.*--seed"):
        Printout(sheet, tuple("0123456789"), x, x_adv).write(tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def test_the_code_holds_the_whole_sheet(made):
    for sheet in (SHEET, made[0]):
        assert Sheet.from_code(f"before {sheet.code()} after") == sheet
        assert re.fullmatch(r"[A-Z0-9 $%*+\-./:]+", sheet.code())  # what QR codes hold densely


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "https://example.org",
            "expected the line of an advlab sheet.*found 'https://example.org'",
        ),
        (SHEET.code().replace("PGD", "CW"), "damaged.*'CW"),
        (SHEET.code().replace("LETTER", "A3"), "damaged.*paper"),
        (SHEET.code().replace("05K00V", "05K00"), "damaged"),
        (SHEET.code().replace("1.28.28", "28"), "damaged"),
        ("ADVLAB2 MNIST-CNN END", "damaged"),
    ],
)
def test_a_line_that_is_no_sheet(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sheet.from_code(wrong)


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_nothing_overlaps_and_all_is_on_the_paper(paper):
    places = [*paper.markers().values(), paper.code()]
    places += [place for i in range(paper.room()) for place in paper.pair(i)]
    taken = np.zeros((round(paper.height * 10), round(paper.width * 10)), int)
    for place in places:
        x, y, side = (round(v * 10) for v in place)
        assert min(x, y) >= 50  # 5 mm
        assert x + side <= taken.shape[1] - 50
        assert y + side <= taken.shape[0] - 50
        taken[y : y + side, x : x + side] += 1
    assert taken.max() == 1


def test_the_images_are_the_test_images_one_of_each_class_first():
    printout = make_sheet("mnist-cnn", attack="fgsm", images=12)
    sheet = printout.sheet
    counts = np.bincount(sheet.truth, minlength=10)
    assert counts.min() == 1
    assert counts.max() == 2
    assert make_sheet("mnist-cnn", attack="fgsm", images=12).sheet == sheet
    other = make_sheet("mnist-cnn", attack="fgsm", images=12, seed=1).sheet
    assert set(other.index) != set(sheet.index)
    delta = (printout.x_adv - printout.x).abs().amax()
    assert 0.29 < delta <= 0.3 + 1 / 255
    assert (printout.x * 255 - (printout.x * 255).round()).abs().max() < 1e-4


def pictures_in(pdf: bytes) -> list[np.ndarray]:
    """The pictures in a PDF of few colors: palettes and rows are stored as in a PNG."""
    found, escapes = [], {b"n": b"\n", b"r": b"\r"}
    form = rb"/Width (\d+) /Height (\d+)\s/ColorSpace \[ /Indexed /DeviceRGB \d+\s\((.*?)\)\s*\]"
    form += rb"\s*/BitsPerComponent (\d).*?stream\r?\n"
    for part in re.finditer(form, pdf, re.DOTALL):
        palette = re.sub(rb"\\(.)", lambda m: escapes.get(m[1], m[1]), part[3], flags=re.DOTALL)
        end = pdf.index(b"endstream", part.end())
        head = struct.pack(">IIBBBBB", int(part[1]), int(part[2]), int(part[4]), 3, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n"
        for name, body in (
            (b"IHDR", head), (b"PLTE", palette), (b"IDAT", pdf[part.end() : end]), (b"IEND", b""),
        ):  # fmt: skip
            png += struct.pack(">I", len(body)) + name + body
            png += struct.pack(">I", zlib.crc32(name + body))
        found.append(np.array(Image.open(io.BytesIO(png)).convert("RGB")))
    return found


@pytest.mark.parametrize("name", PAPERS)
def test_the_pdf_has_the_size_of_the_paper_and_the_pixels_of_the_images(name, tmp_path):
    printout = make_sheet("mnist-cnn", attack="fgsm", images=2, paper=name)
    path = tmp_path / "sheet.pdf"
    printout.write(path)
    content = path.read_bytes()
    paper = PAPERS[name]
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
    assert float(box[1]) == pytest.approx(paper.width / 25.4 * 72, abs=0.1)
    assert float(box[2]) == pytest.approx(paper.height / 25.4 * 72, abs=0.1)
    assert Sheet.load(path) == printout.sheet

    # Every image is in the file as it is, each of its pixels enlarged to a square.
    stored = [picture for picture in pictures_in(content) if picture.shape[0] % 28 == 0]
    assert len(stored) == 4
    clean, adversarial = printout.x, printout.x_adv
    for picture, image in zip(stored, (clean[0], adversarial[0], clean[1], adversarial[1])):
        factor = len(picture) // 28
        bytes_of = (image[0] * 255).round().byte().numpy()
        enlarged = bytes_of.repeat(factor, 0).repeat(factor, 1)
        assert (picture[::-1] == enlarged[..., None]).all()  # PDF counts rows from below
    path.write_bytes(b"")
    printout.write(path)
    assert path.read_bytes() == content


def test_the_png_is_the_sheet_itself(made, paper):
    sheet, x, _, path = made
    page = open_photo(path)
    assert page.shape == (int(297 / 25.4 * 300), int(210 / 25.4 * 300), 3)
    plane = find_plane(page)
    assert Sheet.from_code(read_code(page, plane)) == sheet == Sheet.load(path)
    assert plane.dots(paper.code()) == pytest.approx(300 / 25.4, rel=0.002)
    reading = read_photo(path)
    assert (reading.x - x).abs().mean() < 0.01
    assert reading.notes == ()


def test_the_rates_are_those_of_the_paper():
    sheet = dataclasses.replace(
        SHEET, index=(1, 2, 3, 4, 5), truth=(0, 1, 2, 3, 4), clean=(0, 1, 2, 3, 9),
        adversarial=(5, 5, 5, 3, 9),
    )  # fmt: skip
    blank = torch.zeros(5, 1, 28, 28)
    reading = Reading(
        sheet=sheet, names=tuple("0123456789"), x=blank, x_adv=blank,
        clean=torch.tensor([0, 1, 7, 3, 4]), adversarial=torch.tensor([0, 5, 6, 3, 4]),
        confidence=torch.full((5, 2), 0.5),
    )  # fmt: skip
    assert reading.accuracy == pytest.approx(4 / 5)
    assert reading.success == pytest.approx(2 / 4)
    assert reading.destruction_rate == pytest.approx(1 / 3)
    document = json.loads(reading.to_json())
    assert document["destruction_rate"] == pytest.approx(1 / 3)
    assert Sheet.from_code(document["code"]) == sheet
    failed = dataclasses.replace(reading, sheet=dataclasses.replace(sheet, adversarial=sheet.clean))
    assert failed.destruction_rate != failed.destruction_rate  # 0 / 0
    assert json.loads(failed.to_json())["destruction_rate"] is None
    assert "0 of 0" in str(failed)


def written(tmp_path, made, **changed) -> str:
    """A PNG of the sheet, which claims something else."""
    sheet, x, x_adv, _ = made
    path = tmp_path / "changed.png"
    names = tuple("0123456789")
    Printout(dataclasses.replace(sheet, **changed), names, x, x_adv).write(path)
    return str(path)


def test_other_weights_are_an_error_and_other_data_a_note(made, tmp_path):
    with pytest.raises(ValueError, match=r"mnist-cnn of SHA-256 00000000.*the one installed"):
        check_model(dataclasses.replace(made[0], weights="0" * 8))
    with pytest.raises(ValueError, match="model: found 'mnist-gone'"):
        read_photo(written(tmp_path, made, model="mnist-gone"))
    _, notes = check_data(dataclasses.replace(made[0], images="0" * 8))
    assert len(notes) == 1
    assert "images of mnist5k on this machine are not those" in notes[0]
    index = (99_999, *made[0].index[1:])
    notes = read_photo(written(tmp_path, made, index=index)).notes
    assert "are not those" in notes[0]


def test_without_the_data_classes_are_numbers(made, monkeypatch):
    monkeypatch.setattr("advlab.photo.sheet.is_there", lambda name: False)
    reading = read_photo(made[3])
    assert reading.names == tuple(map(str, range(10)))
    assert "mnist5k is not on this machine" in reading.notes[0]


@pytest.mark.parametrize(
    "argv", [["sheet.pdf", "--model", "mnist-cnn"], ["--read", "photo.jpg"]], ids=["write", "read"]
)
def test_without_opencv_the_error_says_how_to_install_it(argv, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["photo", *argv]) == 2
    err = capsys.readouterr().err
    assert "needs OpenCV" in err
    assert 'pip install "advlab[photo]"' in err
    assert list(tmp_path.iterdir()) == []


def test_an_old_opencv_is_named(monkeypatch):
    from types import SimpleNamespace

    from advlab.photo.opencv import opencv

    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="3.4", aruco=None))
    with pytest.raises(MissingOpenCV, match=r"QRCodeEncoder, QRCodeDetectorAruco.*version 3\.4"):
        opencv()


def test_the_command_from_paper_to_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--model", "mnist-cnn", "--attack", "bim", "--eps", "0.2", "--images", "6"]
    assert main(["photo", "sheet.png", *options, "--seed", "4", "--paper", "letter"]) == 0
    said = capsys.readouterr().out
    assert "sheet.png: 6 images of mnist-cnn, BIM, eps 0.2, seed 4, Letter" in said
    assert "100 %" in said
    page = open_photo("sheet.png")
    photo, _ = photograph(page, PAPERS["Letter"], angle=170, tilt=15, uneven=0.3)
    Image.fromarray(photo).save("photo.jpg")
    assert main(["photo", "--read", "photo.jpg", "--save", "cut"]) == 0
    said = capsys.readouterr().out
    assert "destruction rate" in said
    assert "12 images written to cut" in said
    with Image.open("cut/06-adversarial.png") as picture:
        assert picture.size == (28, 28)
    assert len(list((tmp_path / "cut").iterdir())) == 12

    assert main(["photo", "--read", "photo.jpg", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sheet"]["index"] == list(Sheet.load("sheet.png").index)
    assert len(document["photograph"]["clean"]) == 6

    assert main(["photo", "again.pdf", *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (tmp_path / "again.json").write_text(json.dumps(document))
    assert Sheet.load("again.json") == Sheet.load("again.pdf")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "expected a sheet to write.*or a photograph to read"),
        (["a.pdf", "--read", "b.jpg"], "found both"),
        (["a.txt"], r"expected a file that ends in \.pdf or \.png, found \.txt"),
        (["a.pdf", "--images", "16"], "images: found 16, expected 1 to 15"),
        (["a.pdf", "--images", "0"], "images: found 0"),
        (["a.pdf", "--model", "nope"], "model: found 'nope'"),
        (["a.pdf", "--model", "scenes-segmentation"], "expected a classifier"),
        (["a.pdf", "--model", "speech-cnn"], "expected one of pictures"),
        (["a.pdf", "--attack", "cw"], "attack: found 'cw', expected one of fgsm, bim, pgd"),
        (["a.pdf", "--paper", "A3"], "paper: found 'A3', expected A4 or Letter"),
        (["a.pdf", "--model", "mnist-cnn", "--eps", "-1"], "eps: found -1, expected 0 to 1"),
        (["a.pdf", "--model", "mnist-cnn", "--eps", "8"], "eps: found 8, expected 0 to 1.*8/255"),
        (["a.pdf", "--eps", "8/x"], "eps: found '8/x', expected a number as 0.1 or 8/255"),
        (["a.pdf", "--seed", "99999999999999999999"], "seed: found 9+, expected"),
        (["--read", "b.jpg", "--seed", "0"], "--seed: these are for writing"),
        (["--read", "."], "found a folder, expected a photograph"),
        (["--read", "b.jpg", "--sheet", "."], "found a folder, expected the file that was printed"),
        (
            [f"{__file__}/a.pdf", "--model", "mnist-cnn", "--attack", "fgsm", "--images", "1"],
            "cannot be written.*expected a place in a folder",
        ),
        (["a.pdf", "--raw"], "--raw: these go with --read"),
        (["--read", "b.jpg", "--eps", "0.1", "--eot"], "--eps, --eot: these are for writing"),
        (["--read", "b.jpg"], "b.jpg: no such file"),
        (["--read", "b.jpg", "--sheet", __file__], "it holds no sheet"),
    ],
)
def test_what_makes_no_sense_is_one_line(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["photo", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("advlab: error: ")
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert list(tmp_path.iterdir()) == []


def test_the_sheet_of_road_signs(tmp_path):
    printout = make_sheet("signs-cnn", attack="fgsm", images=10)
    assert printout.sheet.shape == (3, 48, 48)
    assert printout.sheet.eps == 16 / 255
    path = tmp_path / "signs.png"
    printout.write(path)
    photo, _ = photograph(open_photo(path), PAPERS["A4"], tint=(1, 0.9, 0.8), uneven=0.3)
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=90)
    reading = read_photo(tmp_path / "photo.jpg")
    assert (reading.x - printout.x).abs().mean() < 0.05
    agree = (reading.clean == torch.tensor(printout.sheet.clean)).float().mean()
    assert agree >= 0.9
    assert reading.sheet.weights == zoo.read_card("signs-cnn").sha256[:8]
