"""Widgets that need no kernel: joined in the browser, and read by a screen reader."""

import base64
import io
import re

import ipywidgets
import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget_link import Link
from PIL import Image

from advlab import viz


def some(n=3):
    return [viz.perturbation(torch.full((1, 4, 4), 0.1 * (i + 1))) for i in range(n)]


def below(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)


def test_frames_are_joined_by_the_browser_alone():
    instances = ipywidgets.widgets.widget._instances
    before = set(instances)
    box = viz.frames(some(), ["a", "b", "c"], "ε", value=1, play=True)
    made = [w for key, w in instances.items() if key not in before]
    by_type = {type(w): w for w in below(box)}
    slider, stack = by_type[ipywidgets.IntSlider], by_type[ipywidgets.Stack]
    player = by_type[ipywidgets.Play]
    links = {
        (w.source[0], w.source[1], w.target[0], w.target[1]) for w in made if isinstance(w, Link)
    }
    assert links == {
        (slider, "value", stack, "selected_index"),
        (player, "value", slider, "value"),
    }
    assert (slider.min, slider.max, player.max) == (0, 2, 2)
    assert slider.value == stack.selected_index == player.value == 1
    # Nothing in Python listens: without a kernel it could not.
    slider.value = 2
    assert stack.selected_index == player.value == 1
    assert slider.readout is False
    assert slider.description == "ε"
    assert slider.tooltip


def test_each_frame_has_its_picture_its_label_and_its_alt_text():
    alts = ["one", 'two "quoted" <b>', "three"]
    box = viz.frames(some(), ["a", "b < c", "d"], "ε", alts=alts)
    stack = next(w for w in below(box) if isinstance(w, ipywidgets.Stack))
    assert len(stack.children) == 3
    assert 'alt="two &quot;quoted&quot; &lt;b&gt;"' in stack.children[1].value
    assert "b &lt; c</figcaption>" in stack.children[1].value
    for child in stack.children:
        assert child.value.count("<img ") == 1
        assert "max-width:100%" in child.value
        source = re.search(r"base64,([^\"]+)", child.value).group(1)
        picture = Image.open(io.BytesIO(base64.b64decode(source)))
        assert f'width="{picture.width}"' in child.value
        assert picture.mode == "P"
    default = viz.frames(some(2), ["a", "b"], "ε").children[1].children[0].value
    assert 'alt="a"' in default


def test_small_pngs_are_small_opaque_and_the_same_each_time():
    figure = some(1)[0]
    small = viz.small_png(figure)
    assert small == viz.small_png(figure)
    assert len(small) < 0.6 * len(viz.png(figure, 110))
    # The palette is for the eye's sake: no pixel is off by a visible amount.
    few, all_colors = (
        np.asarray(Image.open(io.BytesIO(p)).convert("RGB")).astype(int)
        for p in (small, viz.png(figure, 110))
    )
    assert np.abs(few - all_colors).max() <= 24
    clear = io.BytesIO()
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(clear, "PNG")
    shown = Image.open(io.BytesIO(viz.small_png(clear.getvalue()))).convert("RGBA")
    assert shown.getpixel((1, 1)) == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("two or more", (some(1), ["a"], "ε")),
        ("labels: expected 2", (some(2), ["a"], "ε")),
        ("frame from 0 to 1", (some(2), ["a", "b"], "ε", 2)),
        ("matplotlib figures or", ([b"GIF", b"GIF"], ["a", "b"], "ε")),
    ],
)
def test_errors(message, arguments):
    with pytest.raises(ValueError, match=message):
        viz.frames(*arguments)


def test_number_of_colors_is_checked():
    with pytest.raises(ValueError, match="2 to 256"):
        viz.frames(some(2), ["a", "b"], "ε", colors=1)
