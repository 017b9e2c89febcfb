"""Text that students chose, made fit to be shown: no control characters, one line, not too long."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Escape sequences of terminals: colors, titles, cursor movements.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


def plain(text: Any) -> str:
    """Without escape sequences, control characters (lines and tabs stay) and half characters."""
    text = _ANSI.sub("", str(text)).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


def one_line(text: Any, most: int = 200) -> str:
    """:func:`plain` text on one line, of at most so many characters."""
    text = " ".join(plain(str(text)[: 10 * most]).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def visible(name: str) -> str:
    """A file's name with each control character and half character written out: ``\\x1b``.

    Nothing is dropped, and a backslash becomes two: so different names stay different. Of a name of
    blanks every character is written out, ``\\x20``: else there would be nothing to be seen.
    """
    if all(unicodedata.category(c)[0] in "CZ" for c in name):
        return "".join(f"\\x{ord(c):02x}" if ord(c) < 256 else repr(c)[1:-1] for c in name)
    return "".join(
        repr(c)[1:-1] if c == "\\" or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c
        for c in name
    )


def shortened(names: list[str], most: int = 5) -> str:
    """Names on one line, and how many more there are."""
    shown = ", ".join(one_line(name, 80) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
