"""Every internal link of the built site leads to a page and to an anchor that is there once."""

from __future__ import annotations

from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

# What a browser loads by itself, as opposed to what a reader follows.
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Links(HTMLParser):
    """The links, the loaded files and the anchors of one page."""

    def __init__(self):
        super().__init__()
        self.followed, self.loaded, self.anchors = set(), set(), Counter()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"):
            self.anchors[attrs["id"]] += 1
        elif tag == "a" and attrs.get("name"):
            self.anchors[attrs["name"]] += 1
        for name, value in attrs.items():
            if not value:
                continue
            if (tag, name) in LOADED:
                self.loaded.add(value)
            elif tag == "a" and name == "href":
                self.followed.add(value)


@cache
def read(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text(encoding="utf-8"))
    return links


def broken_links(start: Path) -> list[str]:
    """Follows every internal link from ``start``; a sentence for each that leads nowhere."""
    problems, waiting, seen = [], [start.resolve()], {start.resolve()}
    while waiting:
        page = waiting.pop()
        links = read(page)
        for link in sorted(links.followed | links.loaded):
            parts = urlsplit(link)
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            if parts.netloc:
                if link in links.loaded:
                    problems.append(f"{page.name} loads {link} from another host")
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.is_file():
                problems.append(f"{page.name} links to {link}: no such file")
            elif target.suffix == ".html":
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
                anchor = unquote(parts.fragment)
                count = read(target).anchors[anchor]
                if anchor and count != 1:
                    problems.append(f"{page.name} links to {link}: {count} such anchors")
    return problems


def test_every_internal_link_and_anchor_resolves(site):
    assert broken_links(site / "index.html") == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">x</a>', "no such file"),
        ('<a href="#gone">x</a>', "0 such anchors"),
        ('<a href="#twice">x</a><p id="twice"></p><p id="twice"></p>', "2 such anchors"),
        ('<script src="https://cdn.invalid/x.js"></script>', "from another host"),
        ('<img src="gone.png" alt="x">', "no such file"),
        ('<a href="other.html#there">x</a>', None),
    ],
)
def test_a_broken_link_is_found(tmp_path, body, problem):
    (tmp_path / "index.html").write_text(body, encoding="utf-8")
    (tmp_path / "other.html").write_text('<p id="there"></p>', encoding="utf-8")
    found = broken_links(tmp_path / "index.html")
    assert found == [] if problem is None else len(found) == 1 and problem in found[0]
