"""``advlab photo``: print a sheet, and read a photograph of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def add_photo(subparsers) -> None:
    """Register the command; it sets ``run``, a function of the parsed arguments that returns the
    exit status."""
    text = "Print adversarial images, photograph them, and see what the model reads."
    parser = subparsers.add_parser(
        "photo",
        help=text,
        description=f"{text} 'advlab photo SHEET.pdf' writes a sheet to print; 'advlab photo "
        '--read PHOTO.jpg\' reads a photograph of it. Needs OpenCV: pip install "advlab[photo]".',
    )
    parser.add_argument(
        "sheet_file", metavar="SHEET", nargs="?",
        help="The sheet to write: .pdf to print, or .png to show on a screen.",
    )  # fmt: skip
    made = parser.add_argument_group("writing a sheet")
    made.add_argument("--model", help="A classifier of 'advlab zoo list' (default: signs-cnn).")
    made.add_argument("--attack", help="fgsm, bim or pgd (default: pgd).")
    made.add_argument(
        "--eps",
        help="L-infinity budget, of pixels 0 to 1, as 0.1 or 8/255 (default: 16/255; for gray "
        "images 0.3).",
    )  # fmt: skip
    made.add_argument(
        "--eot",
        action="store_true",
        default=None,
        help="Attack through a model of a camera (slower).",
    )
    made.add_argument("--images", type=int, metavar="N", help="Pairs of images (default: 15).")
    made.add_argument("--seed", type=int, help="Of the images chosen and the attack (default: 0).")
    made.add_argument("--paper", help="A4 or Letter (default: A4).")
    read = parser.add_argument_group("reading a photograph")
    read.add_argument("--read", metavar="PHOTO", help="A photograph of the printed sheet.")
    read.add_argument(
        "--sheet", metavar="FILE", help="The file that was printed, if the QR code is unreadable."
    )
    read.add_argument("--save", metavar="FOLDER", help="Write the images as they were cut out.")
    read.add_argument("--raw", action="store_true", help="Leave the light as it was photographed.")
    parser.add_argument("--json", action="store_true", help="Print JSON in place of text.")
    parser.set_defaults(run=_photo)


_MADE = ("model", "attack", "eps", "eot", "images", "seed", "paper")


def _photo(args: argparse.Namespace) -> int:
    from .opencv import opencv

    opencv()  # before any work
    if (args.sheet_file is None) == (args.read is None):
        raise ValueError(
            "photo: expected a sheet to write, 'advlab photo SHEET.pdf', or a photograph to read, "
            "'advlab photo --read PHOTO.jpg'" + ("; found both" if args.read else "")
        )
    if args.read is None:
        _refuse(args, ("sheet", "save", "raw"), "go with --read")
        return _write(args)
    _refuse(args, _MADE, "are for writing a sheet; a photograph says itself what was printed")
    return _read(args)


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    # By identity: --seed 0 is given, and 0 == False.
    values = {name: getattr(args, name) for name in names}
    given = [f"--{name}" for name, v in values.items() if v is not None and v is not False]
    if given:
        raise ValueError(f"photo: {', '.join(given)}: these {why}")


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """The errors of files say what was to be written, in place of a number."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror or error}); expected a place in a folder "
            "that you may write"
        ) from error


def _write(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from .drawing import check_kind
    from .numbers import parse_eps
    from .sheet import make_sheet

    check_kind(Path(args.sheet_file).suffix)  # before the attack, which may take long
    if Path(args.sheet_file).is_dir():
        raise ValueError(f"{args.sheet_file}: found a folder, expected a file to write")
    given = {name: getattr(args, name) for name in _MADE if getattr(args, name) is not None}
    if "eps" in given:
        given["eps"] = parse_eps(given["eps"])
    printout = make_sheet(**given)
    with _writing(args.sheet_file):
        printout.write(args.sheet_file)
    sheet = printout.sheet
    if args.json:
        print(json.dumps({"written": args.sheet_file, **asdict(sheet), "code": sheet.code()}))
        return 0
    right = sum(a == b for a, b in zip(sheet.clean, sheet.truth))
    fooled = sum(a == b != c for a, b, c in zip(sheet.clean, sheet.truth, sheet.adversarial))
    print(
        f"{args.sheet_file}: {sheet}\n"
        f"The model reads {right} of {len(sheet.index)} clean files right, and the attack fools "
        f"it on {fooled} of these {right}.\n\n"
        "1. Print it at 100 % ('actual size'); the squares in the corners are 18 mm wide.\n"
        "2. Lay it flat, and photograph the whole sheet with a phone.\n"
        "3. advlab photo --read PHOTO.jpg"
    )
    return 0


def _read(args: argparse.Namespace) -> int:
    from .reader import read_photo
    from .sheet import Sheet

    sheet = Sheet.load(args.sheet) if args.sheet else None
    reading = read_photo(args.read, sheet=sheet, raw=args.raw)
    files = []
    if args.save is not None:
        with _writing(args.save):
            files = reading.save(args.save)
    print(reading.to_json() if args.json else reading.table())
    if files and not args.json:
        print(f"{len(files)} images written to {args.save}")
    return 0
