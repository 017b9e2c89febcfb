"""Text that students chose, made fit to be shown: no control characters, one line, not too long."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

JOINERS = "\u200c\u200d"  # invisible, and yet at home in Persian and Indic names, and in emoji
# Escape sequences of terminals: colors, titles, cursor movements.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


def plain(text: Any) -> str:
    """Without escape sequences, half characters, and what cannot be seen: control characters (lines
    and tabs stay), and those that turn or join the text around them (the two joiners stay)."""
    text = _ANSI.sub("", str(text)).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c == "\n" or c == "\t" or not _unseen(c))


def _unseen(c: str) -> bool:
    return c not in JOINERS and unicodedata.category(c) in ("Cc", "Cf", "Cs")


def one_line(text: Any, most: int = 200) -> str:
    """:func:`plain` text on one line, of at most so many characters."""
    text = " ".join(plain(str(text)[: 10 * most]).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def escaped(name: str) -> str:
    """A file's name with each character that :func:`plain` drops written out: ``\\x1b``.

    Nothing is dropped, and a backslash becomes two: so different names stay different. Of a name of
    blanks every character is written out, ``\\x20``: else there would be nothing to be seen.
    """
    if all(unicodedata.category(c)[0] in "CZ" for c in name):
        return "".join(f"\\x{ord(c):02x}" if ord(c) < 256 else repr(c)[1:-1] for c in name)
    return "".join(
        repr(c)[1:-1] if c == "\\" or _unseen(c) or unicodedata.category(c) in ("Zl", "Zp") else c
        for c in name
    )


def alphabetical(name: str) -> tuple[str, str]:
    """To sort names by: capitals and accents tell two apart only where all else is the same."""
    return unicodedata.normalize("NFKD", name.casefold()), name


def count(number: int, what: str) -> str:
    """``1 student``, ``2 students``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shortened(names: list[str], most: int = 5) -> str:
    """Names on one line, and how many more there are; semicolons between them where one of them has
    a comma."""
    shown = [one_line(name, 80) for name in names[:most]]
    between = "; " if any("," in name for name in shown) else ", "
    return between.join(shown) + (f" and {len(names) - most:,} more" if len(names) > most else "")
