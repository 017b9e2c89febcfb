"""One local server for all tests of a worker, and one page of the browser for each file."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "_build" / "html"


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    if not (SITE / "book" / "intro.html").is_file():
        pytest.fail(f"The site is not built ({SITE} has no book/intro.html): run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def home(site) -> str:
    """The site's address on a local server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def visit(browser):
    """A page of the browser, kept for all tests of a file."""
    from page_checks import Visit

    page = browser.new_page()
    yield Visit(page)
    page.close()
