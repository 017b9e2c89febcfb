"""The feedback pages in a real browser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from feedback_cases import (
    CODE,
    NASTY,
    book,
    class_of,
    handed_in,
    mark,
    nasty,
)

from advlab.course.grading.feedback import write_pages
from advlab.course.grading.results import (
    BROKEN,
    CRASHED,
    GRADED,
    NO_ANSWER,
    NOT_RUN,
    NOT_YET,
    PASSED,
    REFUSED,
    Result,
)


@pytest.fixture(scope="module")
def visit(browser):
    sys.path.append(str(Path(__file__).parents[1] / "site"))
    from page_checks import Visit

    page = browser.new_page()
    yield Visit(page)
    page.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[Path]:
    """Pages of a class in which every student is nasty, and of one with every status."""
    folder = tmp_path_factory.mktemp("pages")
    graded = [handed_in(f"s {bad}", nasty(bad), file=f"F {bad}") for bad in NASTY.values()]
    graded.append(handed_in("long", nasty("y" * 100_000)))
    statuses = (PASSED, NOT_YET, NO_ANSWER, REFUSED, CRASHED, NOT_RUN)
    every = [
        mark(
            f"4.{n}",
            status,
            "the sentence",
            hint="Look again.",
            answer=CODE + "x = 'long' * 3 " * 20,
        )
        for n, status in enumerate(statuses, 1)
    ]
    every.append(mark("4.6", NOT_YET, title="One image", hidden=True))
    graded += [
        handed_in(
            "all",
            Result("04-fgsm", GRADED, "", tuple(every), "bubblewrap"),
            notes=("A note.",),
        ),
        handed_in("all", Result("05-many-small-steps", BROKEN, "it is not JSON")),
    ]
    return write_pages(book(*graded), folder)


@pytest.mark.browser
def test_in_a_browser_no_script_runs_no_request_leaves_and_all_is_legible(visit, pages):
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    problems = {}
    for path in pages:
        asked.clear()
        visit.open(path.as_uri(), "light")
        found = visit.inspect()
        visit.page.emulate_media(color_scheme="dark")
        found += [f"in dark mode: {problem}" for problem in visit.inspect()]
        found += visit.too_wide() + visit.heard()
        found += [
            f"asked for {url}" for url in asked if url != path.as_uri() and url[:5] != "data:"
        ]
        if visit.page.evaluate("window.ran"):
            found.append("a script ran")
        if found:
            problems[path.name] = found
    assert problems == {}


@pytest.mark.browser
def test_a_script_in_the_page_itself_would_not_run(visit, pages, tmp_path):
    # So that the policy is what stops it, and not escaping alone.
    page = pages[1].read_text("utf-8")
    script = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    forged = tmp_path / "forged.html"
    forged.write_text(page.replace("<main", script + "<main", 1), "utf-8")
    visit.open(forged.as_uri())
    assert visit.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in problem for problem in visit.heard())


@pytest.mark.browser
def test_the_keyboard_reaches_the_content_and_long_code_scrolls_in_its_box(visit, pages):
    path = next(path for path in pages if path.name == "all.html")
    page = visit.open(path.as_uri()).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for width in (390, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        boxes, heights = page.evaluate(_CODE)
        assert len(boxes) > 3
        assert all(inside > outside for inside, outside in boxes)
        assert max(heights) < 1.1 * min(heights), "no line is broken"
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.matches('pre.code')")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    page.evaluate("document.activeElement.scrollLeft = 300")
    assert page.evaluate(_NUMBER_STAYS)


# Each box of code, with its content's width and its own; the heights of the lines.
_CODE = """() => {
  const boxes = [...document.querySelectorAll("pre.code")];
  const lines = [...document.querySelectorAll("pre.code .line")];
  return [
    boxes.map((box) => [box.scrollWidth, box.clientWidth]),
    lines.map((line) => line.getBoundingClientRect().height),
  ];
}"""
# The number before a line has no box that a script can ask for; its style says that it sticks.
_NUMBER_STAYS = """() => {
  const style = getComputedStyle(document.activeElement.querySelector(".line"), "::before");
  return style.position === "sticky" && style.left === "0px";
}"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1100])
def test_the_names_stay_in_sight_while_a_table_of_twenty_chapters_scrolls(visit, tmp_path, width):
    (path, *_) = write_pages(class_of(3), tmp_path)
    page = visit.open(path.as_uri()).page
    page.set_viewport_size({"width": width, "height": 800})
    box, name, total, last = page.evaluate(
        """() => {
          const table = document.querySelector("table.points"), box = table.parentElement;
          box.scrollLeft = 10000;
          const row = table.tBodies[0].rows[0].cells, left = box.getBoundingClientRect().left;
          const at = (cell) => Math.round(cell.getBoundingClientRect().left - left);
          return [box.clientWidth, at(row[0]), row[1].className, at(row[row.length - 1])];
        }"""
    )
    assert name <= 2, "the first column is where it was"
    assert total == "whole"
    assert 0 < last < box, "and the last chapter is in sight"


@pytest.mark.browser
def test_on_a_phone_the_table_of_what_was_stopped_is_not_cut(visit, pages):
    page = visit.open(pages[0].as_uri()).page
    page.set_viewport_size({"width": 390, "height": 800})
    inside, outside, rows = page.evaluate(
        """() => {
          const table = document.querySelector("table.words");
          const box = table.parentElement;
          return [box.scrollWidth, box.clientWidth, table.rows.length];
        }"""
    )
    assert rows > 1
    assert inside <= outside
