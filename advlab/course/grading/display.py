"""What a student wrote, made fit to be shown: nothing in it hides, moves text or runs.

Names, answers and messages are not trusted. Escaping for HTML is Jinja's part (autoescape);
here, what escaping lets through is made visible or cut: characters that cannot be seen, that turn
the direction of the text around them, or that no file may hold, and texts without an end.
"""

from __future__ import annotations

import re

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from .clean import JOINERS

MOST = 2_000  # characters of a name, a message or a note
MOST_LINE = 400  # characters of one line of code
MOST_LINES = 400  # lines of one answer
MOST_CODE = 40_000  # characters of one answer, after its lines are cut

_KEPT = frozenset("\n\t" + JOINERS)  # not printable, and yet at home in a text
# More than three accents on one letter are a tower that covers the lines above.
_ACCENTS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_TOWER = re.compile(f"([{_ACCENTS}]{{3}})[{_ACCENTS}]+")


def visible(text: str, most: int = MOST) -> str:
    """The text with every character that cannot be seen as its code, ``⟨U+202E⟩``.

    Control characters (the escape of ANSI sequences, null), format characters (bidirectional
    overrides, zero-width spaces), lone surrogates and what Unicode does not assign. Line breaks
    and tabs stay.

    :param most: cut after so many characters, and say how many are left out.
    """
    cut = len(text) - most
    if cut > 0:
        text = text[:most]
    text = text.replace("\r\n", "\n")
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in _KEPT else f"⟨U+{ord(c):04X}⟩" for c in text)
    text = _TOWER.sub(r"\1…", text)
    return f"{text} … ({cut:,} more characters)" if cut > 0 else text


def highlighted(code: str) -> Markup:
    """A student's code as HTML: one ``<span class="line">`` a line, keywords and so on marked.

    Lines keep their numbers, which messages name. Long lines are cut with a note, and so is an
    answer with too many of them.
    """
    lines, room = [], MOST_CODE
    every = code.replace("\r\n", "\n").rstrip("\n").split("\n")
    for line in every[:MOST_LINES]:
        line = visible(line.rstrip(" \t\r"), MOST_LINE)
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    shown = highlight("\n".join(lines), _LEXER, _FORMATTER).rstrip("\n").split("\n")
    left = len(every) - len(lines)
    note = f'<span class="cut">… {left:,} more lines are not shown here</span>' if left else ""
    # Pygments has escaped its input, and closes its spans at the end of each line. The break is
    # inside: so a line without a character is copied as well.
    return Markup("".join(f'<span class="line">{line}\n</span>' for line in shown) + note)


# Nothing is stripped and nothing is guessed: line 3 here is line 3 of the cell.
_LEXER = PythonLexer(stripnl=False, ensurenl=False, tabsize=4)
_FORMATTER = HtmlFormatter(nowrap=True)
