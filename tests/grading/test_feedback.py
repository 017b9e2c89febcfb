"""What the feedback pages say to the student."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from feedback_cases import (
    DUE,
    MADE,
    book,
    handed_in,
    mark,
    page_of,
    text,
)

from advlab.course.grading.display import MOST_LINES, highlighted
from advlab.course.grading.feedback import summary_page
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
        handed_in(result=stopped, notes=("Two cells of your own were not run.",)),
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
        assert "0 points, late: 80 % = 0 of 2 points" in page
        assert "It was handed in late, and earns 80% of its points." in page
        assert "Of 2 notebooks for this chapter, the last that can be graded counts" in page
    else:
        assert "2 of 2 points" in page
        assert " late" not in page
        assert "the best that can be graded counts: ada/first.ipynb." in page


def test_too_late_earns_nothing():
    said = text(page_of(book(handed_in(hours=2), due=DUE, late=0)))
    assert "It was handed in late, and earns no points." in said
    assert "2 points, late: 0 % = 0 of 2 points" in said


@pytest.mark.parametrize("status", [TIMED_OUT, "too much output"])
def test_the_name_of_a_limit_is_said_once(status):
    reason = f"{status} in exercise 4.3: more than that"
    gradebook = book(handed_in(result=Result("04-fgsm", status, reason, (mark(),))))
    for page in (page_of(gradebook), summary_page(gradebook)):
        assert f"{status} in exercise 4.3: more than that" in text(page)
        assert f"{status} {status}" not in text(page)


def test_a_file_called_as_a_status_keeps_its_name():
    result = Result("04-fgsm", BROKEN, "broken.ipynb: it is not JSON")
    assert "broken broken.ipynb: it is not JSON" in text(page_of(book(handed_in(result=result))))


def test_the_cards_and_the_heading_of_a_late_chapter_add_up():
    late = Result("04-fgsm", GRADED, "", (mark(points=5.0), mark("4.2", points=3.0)))
    gradebook = book(handed_in(result=late, hours=2), due=DUE, late=0.5)
    page, summary = page_of(gradebook), summary_page(gradebook)
    assert "8 points, late: 50 % = 4 of 8 points" in text(page)
    assert '<span class="late" title="8 points, late: 50 %">' in summary
    assert "ada 4 8 points, late: 50 %: 4 Possible 8 8" in text(summary)
    free = summary_page(book(handed_in(result=late, hours=2), due=DUE))
    assert "ada 8 late: 8 Possible" in text(free)
    assert "was late." in text(free)
    assert 'href="#i-late"' not in summary_page(book(handed_in(result=late), due=DUE))


@pytest.mark.parametrize("timed", [False, True])
def test_a_page_says_when_it_was_made_and_which_hand_in_time_was_used(timed):
    zone = timezone(timedelta(hours=2))
    one, result = handed_in(hours=-1.5)
    points = {"04-fgsm": {"4.1": 2}}
    asked = collect([(one, result)], points, Rule(due=DUE.astimezone(zone)), timed=timed)
    said = text(page_of(asked))
    # In the zone of the due time: so the three can be compared.
    whence = "" if timed else ", the time at which its file was last changed"
    due = "it was due 2026-10-30 20:00 UTC+02:00."
    assert f"Handed in 2026-10-30 18:30 UTC+02:00{whence}; {due}" in said
    assert said.endswith("Made 2026-11-02 10:30 UTC+02:00 by advlab grade.")
    assert text(summary_page(asked, made=MADE)).endswith(
        "Made 2026-11-02 10:30 UTC+02:00 by advlab grade."
    )
    free = text(page_of(collect([(one, result)], points, Rule(), timed=timed)))
    assert f"Handed in 2026-10-30 17:30 UTC+01:00{whence}. " in free
    assert free.endswith("Made 2026-11-02 09:30 UTC+01:00 by advlab grade.")
    unknown = collect([(replace(one, submitted=None), result)], points, Rule(), timed=timed)
    assert "Handed in" not in text(page_of(unknown))


def test_a_folder_without_a_notebook_and_a_notebook_without_answers_ran_nothing():
    one, nothing = handed_in(result=Result("", BROKEN, "no notebook in the folder."))
    points = {"04-fgsm": {"4.1": 2}}
    said = text(page_of(book((replace(one, file=""), nothing), points=points)))
    assert "belongs to a chapter. Reason: no notebook in the folder. Made" in said
    assert "Other files" not in said
    blank = Result("04-fgsm", GRADED, "", (mark(status=NO_ANSWER, message="is empty"),))
    ran = "Each check ran your code on fresh inputs."
    assert ran not in text(page_of(book(handed_in(result=blank))))
    graded = Result("04-fgsm", GRADED, "", (mark(),), "bubblewrap")
    assert f"{ran} Made" in text(page_of(book(handed_in(result=graded))))
    hidden = Result("04-fgsm", GRADED, "", (mark(), mark(hidden=True)), "bubblewrap")
    assert f"{ran} Hidden checks say only" in text(page_of(book(handed_in(result=hidden))))


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
