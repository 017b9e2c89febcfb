"""CSV files: read as spreadsheets and learning platforms write them, written safe to open."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .clean import plain

# A spreadsheet takes what begins with a sign for a formula, in East Asia with a wide one too. What
# is before it does not hide it: a space is a trick of its own. Where lists are separated by
# semicolons, a cell begins after each. An apostrophe that is there gets a second:
# different names stay different.
_FORMULA = re.compile(r"""(?:^|(?<=;))(?=[\s"']*[-=+@＝＋－＠﹦﹢﹣﹫])""")


def read_table(path: str | Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header in small letters, and each row with its line number. Cells without outer spaces.

    :raises ValueError: the file is not there, not UTF-8 text, or not CSV.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a CSV file in UTF-8: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = []
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        for row in reader:
            padded = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
            if any(padded):
                rows.append((reader.line_num, dict(zip(header, padded))))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not CSV: {error}") from error
    return header, rows


def write_table(rows: Iterable[Sequence[str | float | None]]) -> str:
    """The text of a CSV file. Numbers stay numbers; None is an empty cell.

    Text is made harmless: one line, without control characters, and with an apostrophe before it
    where a spreadsheet would take it for a formula.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    # Spaces stay as they are, or two names that differ by them would look like one.
    text = re.sub(r"[\n\t\u2028\u2029]", " ", plain(value[:10_000]))[:1_000]
    text = _FORMULA.sub("'", text)
    tricky = value.startswith(("\t", "\r", "\n")) and not text.startswith("'")
    return f"'{text}" if tricky else text


def number(value: float) -> str:
    """Up to four decimals, and none where it is whole: ``7``, ``3.5``."""
    return f"{round(value, 4):.4f}".rstrip("0").rstrip(".")
