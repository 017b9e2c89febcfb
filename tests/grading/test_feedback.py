"""What the feedback pages and the summary say."""

from __future__ import annotations

import pytest
from feedback_cases import (
    DUE,
    book,
    handed_in,
    mark,
    page_of,
    text,
)

from advlab.course.grading.commonest import grouped, histogram, pattern
from advlab.course.grading.display import MOST_LINES, highlighted
from advlab.course.grading.feedback import _mark, summary_page
from advlab.course.grading.gradebook import collect
from advlab.course.grading.results import (
    BROKEN,
    CRASHED,
    GRADED,
    NO_ANSWER,
    NOT_RUN,
    NOT_YET,
    PASSED,
    REFUSED,
    TIMED_OUT,
    Result,
)
from advlab.course.grading.settings import Rule

# What the student reads ---------------------------------------------------------------------------


def test_a_card_says_points_status_message_hint_and_shows_the_code():
    marks = (
        mark("4.1", PASSED, "the gradient is right at 6 images"),
        mark("4.2", NOT_YET, "x_adv leaves [0, 1]", title="Clip", hint="Where do pixels end?"),
        mark("4.3", REFUSED, "it calls advlab.attacks.FGSM", title="Curve", points=1.5),
    )
    page = page_of(book(handed_in(result=Result("04-fgsm", GRADED, "", marks))))
    said = text(page)
    assert "2 of 5.5 points" in said
    assert "4.1 FGSM 2 of 2 points passed: the gradient is right at 6 images" in said
    assert "4.2 Clip 0 of 2 points not yet: x_adv leaves [0, 1] Hint: Where do pixels end?" in said
    assert "4.3 Curve 0 of 1.5 points refused: it calls advlab.attacks.FGSM" in said
    assert said.count("return x + eps * x.sign()") == 3
    for shape in ("passed", "not-yet", "stopped"):  # by icon and word, not by color alone
        assert f'href="#i-{shape}"' in page
        assert f'id="i-{shape}"' in page


def test_of_a_hidden_check_only_the_title_and_whether_it_passed():
    secret = {"hidden": True, "hint": "SECRET hint", "answer": "SECRET = code"}
    marks = (
        mark("4.1"),
        mark("4.1", NOT_YET, "SECRET message", title="A batch of one", points=1, **secret),
        mark("4.1", CRASHED, "SECRET crash", title="In half precision", points=1, **secret),
        mark("4.1", PASSED, "SECRET praise", title="Twice the same", points=1, **secret),
    )
    gradebook = book(handed_in(result=Result("04-fgsm", GRADED, "", marks)))
    page = page_of(gradebook)
    said = text(page)
    assert "SECRET" not in page
    assert "4.1 A batch of one hidden check 0 of 1 point not passed" in said
    assert "4.1 In half precision hidden check 0 of 1 point not passed" in said
    assert "4.1 Twice the same hidden check 1 of 1 point passed" in said
    assert CRASHED not in said
    assert "SECRET message" in text(summary_page(gradebook)), "the teacher sees it"


def test_a_limit_and_a_broken_file_say_their_reason():
    stopped = Result(
        "04-fgsm",
        TIMED_OUT,
        "the answer to 4.2 ran for more than 60 s",
        (mark("4.1"), mark("4.2", NOT_RUN, "the submission was stopped before it")),
        ("Two cells of your own were not run.",),
        "bubblewrap",
    )
    broken = Result("05-many-small-steps", BROKEN, "it is not JSON")
    stray = Result("", BROKEN, "a folder, expected a notebook")
    points = {
        "04-fgsm": {"4.1": 2, "4.2": 2},
        "05-many-small-steps": {"5.1": 3},
        "06-x": {"6.1": 1},
    }
    gradebook = book(
        handed_in(result=stopped),
        handed_in(result=broken, file="ada/05.ipynb"),
        handed_in(result=stray, file="ada/notes"),
        points=points,
    )
    said = text(page_of(gradebook))
    assert "timed out the answer to 4.2 ran for more than 60 s" in said
    assert "Two cells of your own were not run. Your code ran in the sandbox “bubblewrap”." in said
    assert "4.2 FGSM 0 of 2 points not run: the submission was stopped before it" in said
    assert "broken it is not JSON" in said
    assert "06-x not handed in, 0 of 1" in said
    assert "2 of 8 points" in said
    assert "ada/notes: a folder, expected a notebook" in said
    look = text(summary_page(gradebook))
    assert (
        "ada 04-fgsm timed out the answer to 4.2 ran for more than 60 s ada/04-fgsm.ipynb" in look
    )
    assert "ada – broken a folder, expected a notebook ada/notes" in look


@pytest.mark.parametrize("keep", ["last", "best"])
def test_which_attempt_counted_and_what_being_late_costs(keep):
    worse = Result("04-fgsm", GRADED, "", (mark(status=NOT_YET, message="not so"),))
    gradebook = book(
        handed_in(hours=-1, file="ada/first.ipynb"),
        handed_in(result=worse, hours=2, file="ada/second.ipynb"),
        due=DUE,
        late=0.8,
        keep=keep,
    )
    page = text(page_of(gradebook))
    if keep == "last":
        assert "0 of 2 points" in page
        assert "It was handed in late, and earns 80% of its points." in page
        assert "Of 2 notebooks for this chapter, the last that can be graded counts" in page
    else:
        assert "2 of 2 points" in page
        assert "late" not in page
        assert "the best that can be graded counts: ada/first.ipynb." in page


def test_too_late_earns_nothing():
    said = text(page_of(book(handed_in(hours=2), due=DUE, late=0)))
    assert "It was handed in late, and earns no points." in said
    assert "0 of 2 points" in said


def test_lines_keep_the_numbers_that_messages_name():
    code = "\n\ndef f(x):\r\n\treturn x\n\n\n"
    shown = highlighted(code)
    assert shown.count('<span class="line">') == 4
    assert shown.count("\n</span>") == 4, "an empty line is copied too"
    third = shown.split("\n")[2]
    assert "def" in third
    assert "\t" not in shown
    long = highlighted("x = 1\n" * (MOST_LINES + 70))
    assert long.count('<span class="line">') == MOST_LINES
    assert "70 more lines are not shown" in long


# What the teacher reads ---------------------------------------------------------------------------


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
        graded.append(handed_in(f"s{n}", Result("04-fgsm", GRADED, "", (wrong,), (), "bubblewrap")))
    blank = mark(status=NO_ANSWER, message="exercise 4.1 is not filled in yet")
    graded.append(handed_in("s9", Result("04-fgsm", GRADED, "", (blank,), (), "bubblewrap")))
    page = summary_page(book(*graded))
    said = text(page)
    assert "60 % passed 6 of 10" in said
    assert "not yet: loss is 0.6 above what it should be 3 students: s6 · s7 · s8" in said
    assert "no answer: exercise 4.1" not in said, "which is no wrong answer"
    assert "1 without an answer: s9" in said
    assert "0: 4 students; 2: 6 students" in page, "the histogram in words"
    assert "NOT ISOLATED" not in said
    assert "10 submissions ran in the sandbox “bubblewrap”. A student’s code sees" in said
    for n in range(10):
        assert f'href="feedback/s{n}.html"' in page


@pytest.mark.parametrize("level", ["plain", "a level that nobody knows"])
def test_a_run_without_isolation_is_said_loudly(level):
    gradebook = book(handed_in(result=Result("04-fgsm", GRADED, "", (mark(),), (), level)))
    page = summary_page(gradebook)
    assert 'class="banner"' in page
    assert f"NOT ISOLATED 1 submission ran in “{level}”: the student" in text(page)
    assert f"“{level}”: NOT ISOLATED" in text(page_of(gradebook))


def test_histograms():
    bars = histogram([0, 2, 2, 1], 2)
    assert [(b.label, b.count, b.full) for b in bars] == [
        ("0", 1, False),
        ("1", 1, False),
        ("2", 2, True),
    ]
    bars = histogram([0, 0.6, 1.5, 1.35], 1.5)
    assert [b.count for b in bars] == [1, 0, 0, 0, 1, 0, 0, 0, 0, 2]
    assert bars[-1].full


def test_a_chapter_has_its_title_on_both_pages():
    one, result = handed_in()
    points = {"04-fgsm": {"4.1": 2}}
    gradebook = collect([(one, result)], points, Rule(), titles={"04-fgsm": "One <step>"})
    for page in (summary_page(gradebook), page_of(gradebook)):
        assert '>04-fgsm <span class="title">One &lt;step&gt;</span></h2>' in page


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
