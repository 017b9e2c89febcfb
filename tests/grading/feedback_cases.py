"""A class for the tests of the feedback pages, and students who write what they should not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser

from advlab.course.grading.feedback import student_page, summary_page
from advlab.course.grading.gradebook import Gradebook, collect
from advlab.course.grading.results import (
    BROKEN,
    CRASHED,
    GRADED,
    NOT_YET,
    PASSED,
    TIMED_OUT,
    Mark,
    Result,
    keyed,
)
from advlab.course.grading.settings import Rule
from advlab.course.grading.submissions import Submission

DUE = datetime(2026, 10, 30, 18, tzinfo=UTC)
MADE = datetime(2026, 11, 2, 9, 30, tzinfo=timezone(timedelta(hours=1)))
CODE = "def fgsm(model, x, y, eps):\n    # up the slope\n    return x + eps * x.sign()\n"

NASTY = {
    "script": "<script>window.ran = 1</script>",
    "handler": "<img src=x onerror='window.ran = 1'>",
    "attribute": '" onmouseover="window.ran = 1" autofocus onfocus=\'window.ran = 1\' x="',
    "svg": "<svg onload=window.ran=1><script>window.ran=1</script></svg>",
    "end of script": "</script><script>window.ran = 1</script>",
    "end of style": "</style><style>* { display: none }</style>",
    "end of the page": "</code></pre></article></main></body></html><h1>Mine</h1>",
    "comment": "--><!-- <script>window.ran = 1</script>",
    "cdata": "]]><![CDATA[<script>window.ran = 1</script>",
    "link": "javascript:window.ran=1",
    "fetched": "<link rel=stylesheet href=http://example.com/a.css><iframe src=//example.com>",
    "redirect": "<meta http-equiv=refresh content='0;url=http://example.com'><base href=//a.b>",
    "template": "{{ 7*7 }}{% for a in b %}{{ config }}{# #}${7*7}",
    "entity": "&lt;b&gt; &amp; &#x202e; &nbsp",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m",
    "bidi": "\u202egnp.exe \u2066a\u2069 \u200fb \u061c",
    "invisible": "a\u200bb\ufeffc\u00add\U000e0041e\u2028f\u2029g\u0085h",
    "control": "a\x00b\x07c\x08d\x7fe\x0cf\rg\r\nh",
    "surrogates": "half \ud83d and \udc00",
    "noncharacters": "\ufffe\uffff\U0010ffff\ue000",
    "tower": "z" + "\u0301\u0489" * 200,
    "wide": "\ufdfd" * 30 + "word" * 200,
    "climbs": "../../etc/passwd",
    "reserved": "CON",
    "empty": "",
}


def mark(id="4.1", status=PASSED, message="right", *, title="FGSM", points=2.0, **more) -> Mark:
    earned = points if status == PASSED else 0.0
    return Mark(id, title, points, earned, status, message, **({"answer": CODE} | more))


def handed_in(student="ada", result=None, *, hours=-1, file="", **more):
    result = result or Result("04-fgsm", GRADED, "", (mark(),), "bubblewrap")
    when = DUE + timedelta(hours=hours)
    file = file or f"{student}/04-fgsm.ipynb"
    return Submission(student, None, result.chapter, when, file=file, **more), result


def book(*graded, points=None, **rule) -> Gradebook:
    if points is None:
        points = {}
        for _, result in graded:
            found = {key: m.points for key, m in keyed(result.marks)}
            points[result.chapter] = points.get(result.chapter, {}) | found
        points.pop("", None)
    return collect(graded, points, Rule(**rule))


def page_of(gradebook: Gradebook, student="ada") -> str:
    row = next(row for row in gradebook.rows if row.student == student)
    return student_page(gradebook, row, made=MADE)


class Reader(HTMLParser):
    """The text of a page, and its elements with the names of their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.words, self.levels, self.inside = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag != "span":  # what Pygments marks differs from text to text
            self.elements.append((tag, *sorted(name for name, _ in attrs)))

    def handle_endtag(self, tag):
        self.inside.append("/" + tag)
        if tag not in ("span", "bdi", "a", "strong"):
            self.words.append(" ")

    def handle_data(self, data):
        if self.inside[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def text(page: str) -> str:
    return Reader(page).text


def nasty(bad: str) -> Result:
    """A result in which everything that can come from a student is ``bad``."""
    marks = (
        mark("4.1", NOT_YET, f"x {bad}", title=f"T {bad}", hint=f"H {bad}", answer=f"# {bad}"),
        mark("4.2", CRASHED, f"x {bad}", title=f"T {bad}", answer=f"x = '''\n{bad}\n'''\n"),
        mark("4.3", PASSED, f"x {bad}", title=f"T {bad}", hidden=True, answer=bad),
    )
    return Result("04-fgsm", TIMED_OUT, f"R {bad}", marks, f"S {bad}")


def both_pages(bad: str) -> list[str]:
    student = f"s {bad}"
    gradebook = book(
        handed_in(student, nasty(bad), file=f"F {bad}", notes=(f"M {bad}",)),
        handed_in(student, Result("", BROKEN, f"R {bad}"), file=f"G {bad}"),
    )
    return [page_of(gradebook, student), summary_page(gradebook)]


def class_of(size: int, chapters=20, exercises=4) -> Gradebook:
    graded = []
    for s in range(size):
        for c in range(1, chapters + 1):
            marks = []
            for e in range(1, exercises + 1):
                right = (s * 7 + c * 3 + e) % 5 > 1
                message = f"x_adv[{s}] is 0.{s}{c} above what it should be, in way {s * e % 23:c}x"
                status = PASSED if right else NOT_YET
                marks.append(mark(f"{c}.{e}", status, message.replace("\x00", "a"), answer=""))
            result = Result(f"{c:02d}-chapter", GRADED, "", tuple(marks), "bubblewrap")
            graded.append(handed_in(f"Student Number {s:03d}", result))
    return book(*graded)
