"""What the summary says to the teacher."""

from __future__ import annotations

import pytest
from feedback_cases import (
    book,
    handed_in,
    mark,
    page_of,
    text,
)

from advlab.course.grading.answers import Answers
from advlab.course.grading.clean import alphabetical
from advlab.course.grading.commonest import grouped, histogram, pattern
from advlab.course.grading.feedback import _mark, summary_page
from advlab.course.grading.gradebook import collect
from advlab.course.grading.results import (
    BROKEN,
    GRADED,
    NO_ANSWER,
    NOT_YET,
    PASSED,
    TIMED_OUT,
    Result,
)
from advlab.course.grading.settings import Rule


def test_wrong_answers_are_grouped_by_message_up_to_numbers():
    told = {
        "ada": "loss is 0.31 above what it should be",
        "bob": "loss is 0.29 above what it should be",
        "cyd": "loss is 1.2e-05 above what it should be",
        "dan": "loss is 0.29 below what it should be",
        "eve": "",
    }
    marks = [
        (who, mark(status=NOT_YET if said else PASSED, message=said)) for who, said in told.items()
    ]
    first, second = grouped(reversed(marks))
    assert first.students == ("ada", "bob", "cyd")
    assert first.message == told["ada"]
    assert second.students == ("dan",)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x is -3.1 above", "x is 2 above", True),
        ("x has shape (2, 3), expected (2,)", "x has shape (4, 5), expected (9,)", True),
        ("x[0, 1] is 7", "x[3, 2] is 1e+03", True),
        ("exercise 4.1 is not filled in yet", "exercise 4.2 is not filled in yet", False),
        ("conv1 is 3", "conv2 is 3", False),
        (
            "your code raised E at line 3 of the cell of f (x = y): no y",
            "your code raised E at line 14 of the cell of g (z(a): b): no y",
            True,
        ),
        ("your code raised E at line 3: no y", "your code raised F at line 3: no y", False),
    ],
)
def test_the_pattern_of_a_message(one, other, same):
    assert (pattern(one) == pattern(other)) is same


def test_the_summary_counts_passes_and_names_the_students():
    graded = [handed_in(f"s{n}") for n in range(6)]
    for n in range(6, 9):
        wrong = mark(status=NOT_YET, message=f"loss is 0.{n} above what it should be")
        graded.append(handed_in(f"s{n}", Result("04-fgsm", GRADED, "", (wrong,), "bubblewrap")))
    blank = mark(status=NO_ANSWER, message="exercise 4.1 is not filled in yet")
    graded.append(handed_in("s9", Result("04-fgsm", GRADED, "", (blank,), "bubblewrap")))
    page = summary_page(book(*graded))
    said = text(page)
    assert "60 % passed 6 of 10" in said
    assert "not yet: loss is 0.6 above what it should be 3 students: s6 · s7 · s8" in said
    assert "no answer: exercise 4.1" not in said, "which is no wrong answer"
    assert "1 without an answer: s9" in said
    assert "points students 0 4 1 0 2 6" in said, "the histogram is a table"
    assert "NOT ISOLATED" not in said
    assert "10 submissions ran in the sandbox “bubblewrap”. A student’s code sees" in said
    for n in range(10):
        assert f'href="feedback/s{n}.html"' in page


@pytest.mark.parametrize("level", ["plain", "a level that nobody knows"])
def test_a_run_without_isolation_is_said_loudly(level):
    gradebook = book(handed_in(result=Result("04-fgsm", GRADED, "", (mark(),), level)))
    page = summary_page(gradebook)
    assert 'class="banner"' in page
    assert f"NOT ISOLATED 1 submission ran in “{level}”: the student" in text(page)
    assert f"“{level}”: NOT ISOLATED" in text(page_of(gradebook))


def test_histograms():
    bars = histogram([0, 2, 2, 1], 2)
    assert [(b.label, b.count) for b in bars] == [("0", 1), ("1", 1), ("2", 2)]
    bars = histogram([0, 0.6, 1.5, 1.35], 1.5)
    assert [b.count for b in bars] == [1, 0, 0, 0, 1, 0, 0, 0, 0, 2]
    assert [b.label for b in bars][::9] == ["0–0.15", "1.35–1.5"], "with both ends"
    (last,) = histogram([100], 100, " %")[9:]
    assert (last.label, last.count) == ("90–100 %", 1)


def test_a_chapter_has_its_title_on_both_pages():
    one, result = handed_in()
    points = {"04-fgsm": {"4.1": 2}}
    gradebook = collect([(one, result)], points, Rule(), titles={"04-fgsm": "One <step>"})
    for page in (summary_page(gradebook), page_of(gradebook)):
        assert '>04-fgsm <span class="title">One &lt;step&gt;</span></h2>' in page


def test_the_table_has_the_total_first_and_a_number_for_each_chapter():
    found = [handed_in(result=Result(f"{n:02d}-x", GRADED, "", (mark(f"{n}.1"),))) for n in (1, 2)]
    page = summary_page(book(*found))
    assert "Student Total 101-x 202-x ada 4 2 2 Possible 4 2 2" in text(page)
    for n in (1, 2):
        assert (
            f'<th scope="col" title="0{n}-x"><span aria-hidden="true">{n}</span>'
            f'<span class="hide">0{n}-x</span></th>'
        ) in page


@pytest.mark.parametrize("names", [("01-x", "1-y"), ("01-x", "appendix")])
def test_chapters_without_a_number_of_their_own_keep_their_names(names):
    found = [handed_in(result=Result(name, GRADED, "", (mark(),))) for name in names]
    assert f"Student Total {' '.join(names)} ada" in text(summary_page(book(*found)))


def test_who_handed_in_nothing_and_what_could_not_be_graded_are_counted_at_each_exercise():
    other = Result("05-x", GRADED, "", (mark("5.1"),))
    graded = [handed_in(name) for name in ("ada", "bo")]
    graded.append(handed_in("cy", Result("04-fgsm", BROKEN, "it is not JSON")))
    graded += [handed_in(name, other) for name in ("ada", "dan", "eve")]
    said = text(summary_page(book(*graded)))
    assert "100 % passed 2 of 2 · 2 not handed in · 1 not graded" in said
    assert "100 % passed 3 of 3 · 2 not handed in 5.1" not in said
    assert "100 % passed 3 of 3 · 2 not handed in" in said


def test_the_same_answers_are_listed_with_the_names():
    def answered(student, *sources, **more):
        found = {f"4.{n}": (source,) for n, source in enumerate(sources, 1)}
        return handed_in(student, answers=Answers(found, **more))

    blank = Answers(untouched=frozenset(["4.1"]))
    graded = [answered("Zoe", "x = 1", "y"), answered("ada", "x = 1", "y"), answered("bo", "x = 2")]
    graded += [handed_in(name, answers=blank) for name in ("cy", "dan")]
    graded += [answered("eve", "z"), answered("eve", "z")]
    said = text(summary_page(book(*graded)))
    assert "That does not say who wrote them. 04-fgsm, 2 answers: ada · Zoe 04-fgsm 4.1" in said
    assert 'id="same"' not in summary_page(book(*graded[1:]))


def test_names_are_sorted_without_their_capitals_and_accents():
    blank = mark(status=NO_ANSWER, message="exercise 4.1 is not filled in")
    names = ["zoe", "Özil", "oz", "Eve", "Bob", "anna"]
    said = text(
        summary_page(
            book(*(handed_in(name, Result("04-fgsm", GRADED, "", (blank,))) for name in names))
        )
    )
    assert "without an answer: anna · Bob · Eve · oz · Özil · zoe" in said
    assert "anna 0 0 Bob 0 0 Eve 0 0 oz 0 0 Özil 0 0 zoe 0 0 Possible" in said, (
        "as in the gradebook"
    )
    assert alphabetical("ann") != alphabetical("Ann"), "a sure order"


def test_what_was_stopped_has_its_list():
    stopped = Result("04-fgsm", TIMED_OUT, "the cell took too long", (mark(),))
    page = summary_page(book(handed_in(result=stopped)))
    assert '<h2 id="look">Not graded to the end</h2>' in page
    assert "notebooks graded 0" in text(page)


def test_an_empty_class_has_a_page():
    assert "students 0" in text(summary_page(collect([], {"04-fgsm": {"4.1": 2}}, Rule())))


def test_what_a_hidden_check_said_is_not_even_given_to_the_template():
    shown = _mark(mark("4.1", NOT_YET, "SECRET", hidden=True, hint="SECRET", answer="SECRET"))
    assert "SECRET" not in str(shown)
