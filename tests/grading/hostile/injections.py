"""Names, messages and answers that are code for whoever reads the marks."""

from __future__ import annotations

from .case import BROKEN, NOTHING, Case, attack, called, right

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}{% raw %}&lt;"
FORMULA = '=HYPERLINK("http://example.org","marks")'
ESCAPES = "\\x1b[2J\\x1b]0;owned\\x07\\x1b[31m"


def named(name: str, tries: str, folder: str) -> Case:
    """All answers are right; the folder's name is what matters."""
    return Case(name, tries, folder=folder)


def refused(name: str, tries: str, folder: str, says: str) -> Case:
    """A name that is not opened at all; it has its row, and a reason."""
    return Case(name, tries, folder=folder, status=BROKEN, says=says)


CASES = [
    named("name-of-markup", "is called as a piece of HTML", "<img src=x onerror=alert(1)>{{7*7}}"),
    named("name-of-a-formula", "is called as a formula of a spreadsheet", "=1+1|cmd' C calc'!A0"),
    named("name-with-a-sign", "is called as a formula, with another sign", "@SUM(1+1)*cmd"),
    refused(
        "name-of-escapes",
        "is called as escape sequences of a terminal",
        "\x1b[2J\x1b[31mred",
        "control characters",
    ),
    refused(
        "name-of-two-lines",
        "is called as a row of the gradebook",
        "two\nhonest,04-small,9,9",
        "control characters",
    ),
    named("name-of-quotes", "is called as cells of the gradebook", 'a","9","9'),
    named("name-of-a-page", "is called as the summary's page", "index"),
    named("name-of-the-summary", "is called as the summary's page, too", "summary"),
    named("name-twin", "is called as another student, with letters of another alphabet", "hоnest"),
    named("name-in-parts", "is called José, its accent a character of its own", "Jose\u0301"),
    named("name-in-one", "is called José, in composed characters", "Jos\u00e9"),
    named("name-in-capitals", "is called as another student, in capitals", "HONEST"),
    refused(
        "name-of-no-text",
        "is called by bytes that are no text",
        "bad\udcff\udcfename",
        "not text in UTF-8",
    ),
    refused(
        "name-of-255-bytes",
        "has the longest name that a folder may have",
        "n" * 255,
        "longer than 200 bytes",
    ),
    named("name-of-direction", "has a name that is written from right to left", "\u202egnp.ipynb"),
    named("name-of-a-device", "is called as a device of another system", "NUL"),
    named("name-of-blanks", "has a name of blanks", "   "),
    named("name-of-dashes", "has a name that a program may take for an option", "--report=x"),
    attack(
        "message-of-markup",
        "raises an exception whose text is HTML",
        called(f"raise RuntimeError({MARKUP!r})"),
        says="RuntimeError",
    ),
    attack(
        "message-of-a-formula",
        "raises an exception whose text is a formula",
        f"raise RuntimeError({FORMULA!r})\n",
        says="HYPERLINK",
    ),
    attack(
        "message-of-escapes",
        "raises an exception whose text is escape sequences",
        called(f'raise RuntimeError("{ESCAPES}")'),
        says="RuntimeError",
    ),
    right(
        "answer-of-markup",
        "answers right, with HTML and the end of a page in a comment",
        f"# </code></pre></body></html>{MARKUP}\n",
    ),
    attack(
        "output-of-markup",
        "displays HTML and a script, with the record and before it",
        "from IPython.display import HTML, display\n"
        f"display(HTML({MARKUP!r}))\n" + called(f"display(HTML({MARKUP!r}))"),
    ),
    attack(
        "type-of-markup",
        "returns an object whose type is named as HTML",
        called(f"return type({MARKUP!r}, (), {{}})()"),
        marks={"4.1": NOTHING},
    ),
]
