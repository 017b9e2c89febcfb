"""The checks of pages find what they are for: each is shown a page with one thing wrong."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

# A PNG of one black pixel.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgAB"
    "SK+kcQAAAABJRU5ErkJggg=="
)
PAGE = '<!DOCTYPE html><html lang="en"><head><title>A page</title></head><body>{}</body></html>'
SLIDER = """<h1>A</h1><div class="widget-subarea"><div class="jupyter-widgets">
<div role="slider" tabindex="0" style="width:9px;height:9px"></div>
<img alt="a dot" height="9" src="{0}"></div></div><script>
document.querySelector('[role=slider]').onkeydown = () => {{ {1} }};
</script>"""
MOVES = "document.querySelector('.jupyter-widgets img').src += '#';"
WIDGET = '<script type="application/vnd.jupyter.widget-view+json">{}</script>'

BROKEN = {
    "console: oh no": "<h1>A</h1><script>console.error('oh no')</script>",
    "page error: oh no": "<h1>A</h1><script>throw new Error('oh no')</script>",
    "foreign request: https://cdn.invalid/": "<h1>A</h1><script src='https://cdn.invalid/x.js'></script>",
    "request failed: file://": "<h1>A</h1><script src='gone.js'></script>",
    "headings: 0 h1": "<h2>A</h2>",
    "headings: 2 h1": "<h1>A</h1><h1>B</h1>",
    "headings: h1 is followed by h3": "<h1>A</h1><h3>B</h3>",
    "images: no alt text": f"<h1>A</h1><img src='{DOT}'>",
    "images: alt text is a hash": f"<h1>A</h1><img src='{DOT}' alt='../_images/0f3a.png'>",
    "images: does not load": "<h1>A</h1><img src='data:image/png;base64,AAAA' alt='a dot'>",
    "maths: not typeset": "<h1>A</h1><p class='math'>x + 1</p>",
    "maths: error": "<h1>A</h1><mjx-container><mjx-merror>no</mjx-merror></mjx-container>",
    "maths: left raw": "<h1>A</h1><p>where $$x = 1$$ holds</p>",
    "widgets: not rendered": f"<h1>A</h1><div>{WIDGET}</div>",
    "widgets: slider 1 of number 1 changes nothing": SLIDER.format(DOT, ""),
    "widgets: number 1 has nothing to move": "<h1>A</h1><div class='widget-subarea'></div>",
    "contrast: 1": "<h1>A</h1><p style='color:#ccc'>pale</p>",
    "phone: the page is": "<h1>A</h1><div style='width:900px'>wide</div>",
}
SOUND = f"""<h1>A</h1><h2>B</h2><h3>C</h3><h2>D</h2><p>Text, and <code>$$x</code>.</p>
<img src="{DOT}" alt="a black dot"><p style="overflow-x:auto">
<span style="display:block; width:900px">scrolls in its own box</span></p>
""" + SLIDER.format(DOT, MOVES).removeprefix("<h1>A</h1>")


def problems(visit, tmp_path, body: str) -> list[str]:
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(body), encoding="utf-8")
    visit.open(path.as_uri())
    return visit.inspect() + visit.stuck_widgets() + visit.too_wide() + visit.heard()


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_page_is_found_out(visit, tmp_path, monkeypatch, problem):
    if problem == "widgets: not rendered":
        monkeypatch.setattr("page_checks._READY", "() => {}")  # do not wait for what cannot come
    found = problems(visit, tmp_path, BROKEN[problem])
    assert any(p.startswith(problem) for p in found), found
    # And nothing else: a failed request may be heard in two ways.
    kinds = {p.split(":")[0] for p in found} - {"console", "request failed"}
    assert kinds <= {problem.split(":")[0]}


def test_a_sound_page_has_no_problem(visit, tmp_path):
    assert problems(visit, tmp_path, SOUND) == []


def test_a_page_without_language_or_title_is_found_out(visit, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<!DOCTYPE html><html><body><h1>A</h1></body></html>", encoding="utf-8")
    found = visit.open(path.as_uri()).inspect()
    assert found == ["document: no lang=en", "document: no title"]
