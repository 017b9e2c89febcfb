"""Every page of the built site, in a browser: over HTTP and from a file, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from page_checks import tab_through
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"]] + [c["file"] for part in TOC["parts"] for c in part["chapters"]]
CHAPTERS = [p for p in PAGES if (ROOT / f"{p}.ipynb").is_file()]
EXTRA = ["search", "genindex", "py-modindex", "_modules/advlab/attacks/fgsm"]


@pytest.mark.parametrize("page", PAGES + EXTRA)
def test_page_served(visit, home, page):
    visit.open(f"{home}/{page}.html", "light")
    light = visit.inspect()
    # The theme follows the system while the page is open.
    visit.page.emulate_media(color_scheme="dark")
    expect(visit.page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = [f"in dark mode: {p}" for p in visit.inspect() if p not in light]
    stuck = visit.stuck_widgets()
    assert light + dark + stuck + visit.too_wide() + visit.heard() == []


@pytest.mark.parametrize("page", PAGES + EXTRA)
def test_page_opened_from_a_file(visit, site, page):
    visit.open((site / f"{page}.html").as_uri(), "dark")
    expect(visit.page.locator("html")).to_have_attribute("data-theme", "dark")
    assert visit.inspect() + visit.stuck_widgets() + visit.heard() == []


def test_the_first_page_leads_to_the_course(visit, home):
    visit.open(f"{home}/book/glossary.html")
    visit.page.goto(f"{home}/", wait_until="commit")
    visit.page.wait_for_url("**/book/intro.html")
    assert visit.heard() == []


@pytest.mark.parametrize("page", [TOC["root"], *CHAPTERS[:1]])
def test_keyboard_reaches_the_skip_link_search_and_chapters(visit, home, page):
    tab = visit.open(f"{home}/{page}.html").page
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    tab.keyboard.press("Enter")
    assert tab.evaluate("location.hash") == "#main-content"
    visit.open(f"{home}/{page}.html")
    assert tab_through(tab, "button.search-button, .search-button-field", 20), "search"
    assert tab_through(tab, 'nav a[href$="notation.html"]', 60), "the sidebar's links"
    assert tab_through(tab, "article a[href]", 200), "the links of the text"


@pytest.mark.parametrize("page", CHAPTERS)
def test_keyboard_reaches_every_widget(visit, home, page):
    tab = visit.open(f"{home}/{page}.html").page
    if tab.locator("[role=slider]").count():
        assert tab_through(tab, "[role=slider]")


@pytest.mark.parametrize("where", ["served", "file"])
def test_search_finds_pages(visit, site, home, where):
    start = home if where == "served" else site.as_uri()
    visit.open(f"{start}/search.html?q=gradient")
    visit.page.wait_for_selector("#search-results li a", timeout=5000)
    found = visit.page.locator("#search-results li a[href*='glossary.html']")
    found.first.wait_for(timeout=5000)
    # Summaries of the results are fetched when served, and not asked for from a file.
    if where == "served":
        visit.page.wait_for_selector("#search-results p.context", timeout=5000)
    visit.page.wait_for_load_state("networkidle")
    assert visit.heard() == []


def test_the_theme_button_switches_to_dark_and_back(visit, home):
    page = visit.open(f"{home}/book/intro.html", "light").page
    seen = set()
    for _ in range(3):
        page.locator("button.theme-switch-button").first.click()
        seen.add(page.locator("html").get_attribute("data-theme"))
    assert seen == {"light", "dark"}


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_offers_its_exercise_notebook(visit, home, page):
    tab = visit.open(f"{home}/{page}.html").page
    link = tab.locator(".exercise-notebook a[download]")
    assert link.count() == 1, "a chapter links its exercise notebook once, below the title"
    answer = tab.request.get(link.evaluate("a => a.href"))
    assert answer.ok, f"{link.get_attribute('href')}: {answer.status}"
    assert answer.json()["nbformat"] == 4
    published = (ROOT / f"{page}.ipynb").read_bytes()
    assert answer.body() != published, "the exercise notebook is the chapter, solutions included"
