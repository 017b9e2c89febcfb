"""What is wrong with a page, seen by a browser: each problem is one sentence."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Error, Page

INSPECT = (Path(__file__).parent / "inspect.js").read_text(encoding="utf-8")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}

# The pages of one view are ready when MathJax has typeset and every widget has its view.
_READY = """async () => {
  await document.fonts.ready;
  if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
  const views = [...document.querySelectorAll(
    'script[type="application/vnd.jupyter.widget-view+json"]')];
  const end = Date.now() + 8000;
  while (Date.now() < end
         && !views.every((v) => v.parentElement.querySelector('.jupyter-widgets')))
    await new Promise((r) => setTimeout(r, 20));
}"""


class Visit:
    """One page in a browser: opens it and hears what it says and asks for."""

    def __init__(self, page: Page):
        self.page, self.problems, self.host = page, [], ""
        page.on("console", self._console)
        page.on("pageerror", lambda e: self.problems.append(f"page error: {e}"))
        page.on("request", self._request)
        page.on("requestfailed", self._request_failed)
        page.on("response", self._response)

    def _request_failed(self, request) -> None:
        # A page that is left while it still loads (a redirect) drops what it had asked for.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"request failed: {request.url}")

    def open(self, url: str, mode: str = "light") -> Visit:
        """Load the page; ``mode`` is ``"light"`` or ``"dark"``."""
        self.problems, self.host = [], urlsplit(url).netloc
        self.page.set_viewport_size(DESK)
        self.page.emulate_media(color_scheme=mode, reduced_motion="reduce")
        self.page.goto(url)
        self.page.evaluate(_READY)
        return self

    def inspect(self) -> list[str]:
        """What can be seen on the page as it stands."""
        return self.page.evaluate(INSPECT)

    def heard(self) -> list[str]:
        """What the page said and asked for since it was opened."""
        return list(self.problems)

    def too_wide(self) -> list[str]:
        """Whether the page itself, not a box in it, scrolls sideways on a phone."""
        self.page.set_viewport_size(PHONE)
        width = self.page.evaluate(
            "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        )
        wide = self.page.evaluate(
            """() => [...document.querySelectorAll('article *')].filter((e) => {
                 const b = e.getBoundingClientRect();
                 return b.width > innerWidth && e.checkVisibility(); })
               .slice(0, 3).map((e) => e.tagName.toLowerCase() + '.' + e.className)"""
        )
        self.page.set_viewport_size(DESK)
        return (
            [f"phone: the page is {width} px wide at 390 px; wide: {wide}"] if width > 391 else []
        )

    def stuck_widgets(self) -> list[str]:
        """Moves every slider and choice by keyboard, and looks at the pictures."""
        problems = []
        areas = self.page.locator(".widget-subarea, .output_area:has(> .jupyter-widgets)")
        controls = "[role=slider]:visible, .jupyter-widgets select:visible"
        for i in range(areas.count()):
            area = areas.nth(i)
            handles = area.locator(controls)
            if not handles.count():
                problems.append(f"widgets: number {i + 1} has nothing to move")
            for j in range(handles.count()):
                handles.nth(j).focus()
                before = self._seen(area)
                for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):
                    self.page.keyboard.press(key)
                    if self._changes(area, before):
                        break
                else:
                    problems.append(f"widgets: slider {j + 1} of number {i + 1} changes nothing")
        return problems

    def _seen(self, area) -> str:
        # The visible pictures (or drawings) of the widget; not the slider and its readout.
        return area.evaluate(
            """(e) => [...e.querySelectorAll('img, svg, canvas')]
                 .filter((p) => p.checkVisibility({visibilityProperty: true})
                                && p.getBoundingClientRect().height > 0)
                 .map((p) => p.src || (p.toDataURL ? p.toDataURL() : p.outerHTML)).join(' ')"""
        )

    def _changes(self, area, before: str) -> bool:
        for _ in range(20):
            if self._seen(area) not in ("", before):
                return True
            self.page.wait_for_timeout(20)
        return False

    def _console(self, message) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _request(self, request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != self.host:
            self.problems.append(f"foreign request: {request.url}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.problems.append(f"answer {response.status}: {response.url}")


def tab_through(page: Page, wanted: str, limit: int = 400) -> bool:
    """Whether pressing Tab from the top of the page reaches an element that matches ``wanted``."""
    page.evaluate("() => { document.activeElement?.blur(); window.scrollTo(0, 0); }")
    for _ in range(limit):
        page.keyboard.press("Tab")
        try:
            if page.evaluate("(s) => document.activeElement.matches(s)", wanted):
                return True
        except Error:
            return False
    return False
