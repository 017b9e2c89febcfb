"""Nothing that a student wrote acts, hides or grows without end in a page."""

from __future__ import annotations

import time

import pytest
from feedback_cases import (
    NASTY,
    Reader,
    book,
    both_pages,
    class_of,
    handed_in,
    mark,
    page_of,
    text,
)

from advlab.course.grading.display import highlighted, visible
from advlab.course.grading.feedback import summary_page
from advlab.course.grading.results import (
    GRADED,
    NOT_YET,
    Result,
)


@pytest.mark.parametrize("name", NASTY)
def test_what_students_write_adds_no_element_and_no_attribute(name):
    for page, harmless in zip(both_pages(NASTY[name]), both_pages("harmless"), strict=True):
        assert Reader(page).elements == Reader(harmless).elements
        assert Reader(page).levels == Reader(harmless).levels
        page.encode("utf-8")
        assert {c for c in page if not c.isprintable()} <= set("\n\t\u200c\u200d")
        # It is shown, not dropped.
        shown = " ".join(visible(NASTY[name]).split())[:40]
        assert shown in text(page)


def test_hidden_characters_are_shown_by_their_codes():
    assert visible("\u202ea\x1b[1m\ud800\x00") == "⟨U+202E⟩a⟨U+001B⟩[1m⟨U+D800⟩⟨U+0000⟩"
    assert visible("नमस्ते می‌خواهم 👩‍🚀 José\n\té") == "नमस्ते می‌خواهم 👩‍🚀 José\n\té"
    assert visible("x" * 3000) == "x" * 2000 + " … (1,000 more characters)"
    assert len(visible("z" + "\u0301" * 100)) == 5


def test_a_line_of_a_million_characters_is_cut():
    line = "x" * 1_000_000
    for page, most in zip(both_pages(line), (60_000, 60_000), strict=True):
        assert len(page) < most
        assert "more characters)" in page
    answer = mark(status=NOT_YET, answer=(line + "\n") * 50)
    began = time.process_time()
    page = page_of(book(handed_in(result=Result("04-fgsm", GRADED, "", (answer,)))))
    assert time.process_time() - began < 2
    assert len(page) < 60_000


@pytest.mark.parametrize(
    "evil", ["f'{" * 13_000, '"' * 40_000, "'''\\" * 10_000, "(" * 40_000, "0_" * 20_000]
)
def test_code_made_to_be_slow_to_read_is_not(evil):
    lines = "\n".join(evil[n : n + 390] for n in range(0, len(evil), 390))
    began = time.process_time()
    highlighted(lines)
    assert time.process_time() - began < 2


def test_a_class_of_500_has_a_summary_in_2_s_and_2_mb():
    gradebook = class_of(500)
    summary_page(class_of(2))  # the templates are compiled once
    began = time.process_time()
    page = summary_page(gradebook)
    assert time.process_time() - began < 2
    assert len(page.encode()) < 2_000_000
    assert page.count('<th scope="row"><a href="feedback/') == 500
