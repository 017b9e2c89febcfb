"""Pictures of sounds, and the player: what they show is what went in."""

from __future__ import annotations

import base64
import io
import math
import re
import wave

import numpy as np
import pytest
import torch

from advlab import viz


def tone(frequency, rate=16_000, length=4_000):
    t = torch.arange(length, dtype=torch.float64) / rate
    return 0.3 * torch.cos(2 * math.pi * frequency * t).view(1, 1, -1)


def test_figures_have_the_same_bytes_twice():
    for draw in (
        lambda: viz.spectrum(
            {"a": tone(30_000, 192_000), "b": tone(500)}, {"a": 192_000, "b": 16_000}
        ),
        lambda: viz.spectrogram(tone(500), title="a tone"),
    ):
        assert viz.png(draw()) == viz.png(draw())


def test_spectrum_peaks_at_the_frequency_of_a_tone():
    figure = viz.spectrum({"tone": tone(30_000, 192_000, 40_000)}, 192_000)
    (ax,) = figure.axes
    assert (ax.get_xlim(), ax.get_title(loc="left")) == ((0, 96), "tone")
    path = ax.collections[0].get_paths()[0].vertices
    assert path[path[:, 1].argmax(), 0] == pytest.approx(30, abs=0.25)
    assert path[:, 1].max() == pytest.approx(0, abs=1e-6)
    far = np.abs(path[:, 0] - 30) > 2
    assert (path[far, 1] == -100).all()


def test_panels_with_a_reference_share_their_scale():
    """A tenth of the size is 20 dB less, at another rate and length too."""
    sounds = {"first": tone(30_000, 192_000, 40_000), "second": 0.1 * tone(2_000)}
    rates = {"first": 192_000, "second": 16_000}
    for reference, expected in (("first", -20), (None, 0)):
        axes = viz.spectrum(sounds, rates, reference=reference, audible=["second"]).axes
        heights = [ax.collections[0].get_paths()[0].vertices[:, 1].max() for ax in axes]
        assert heights == pytest.approx([0, expected], abs=0.2)
        assert [len(ax.patches) for ax in axes] == [0, 1], "one panel is tinted"
        assert [len(ax.texts) for ax in axes] == [0, 1]
    top = viz.spectrum(sounds, rates, reference="second").axes[0].get_ylim()[1]
    assert top == pytest.approx(20, abs=0.2), "what is louder than the reference is not cut off"


def test_spectrogram_is_dark_at_the_frequency_of_a_tone():
    (ax,) = viz.spectrogram(tone(2_000)).axes
    (image,) = ax.images
    assert tuple(image.get_extent()) == (0, 250, 0, 8)
    rows = np.asarray(image.get_array()).mean(1)
    assert rows.argmax() / (len(rows) - 1) * 8 == pytest.approx(2, abs=0.05)


def test_spectrogram_of_ultrasound_is_as_sharp():
    (ax,) = viz.spectrogram(tone(30_000, 192_000, 19_200), 192_000).axes
    (image,) = ax.images
    rows = np.asarray(image.get_array()).mean(1)
    loud = np.flatnonzero(rows > -60) / (len(rows) - 1) * 96
    assert loud.min() > 29.5
    assert loud.max() < 30.5


@pytest.mark.parametrize("rate", [16_000, 192_000])
def test_audible_stands_within_its_panel(rate):
    (ax,) = viz.spectrum({"tone": tone(500)}, rate).axes
    (word,) = ax.texts
    assert 0 < word.get_position()[0] < ax.get_xlim()[1]


def test_player_keeps_a_silent_recording_silent():
    """Rounding errors of 1e-7 are no sound; the quietest step of 16 bits is."""
    quiet = viz.audio(3e-7 * tone(440)).data[44:]
    assert np.abs(np.frombuffer(quiet, "<i2")).max() < 330
    heard = viz.audio(2e-4 * tone(440)).data[44:]
    assert np.abs(np.frombuffer(heard, "<i2")).max() == 32767


def test_player_holds_the_sound_and_names_it():
    player = viz.audio(tone(440), 16_000, label='"yes" & <more>')
    page = player._repr_html_()
    assert 'aria-label="&quot;yes&quot; &amp; &lt;more&gt;"' in page
    assert "<audio controls" in page
    assert "http" not in page, "no network"
    assert "autoplay" not in page, "a page is silent until its reader wants a sound"
    data = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, 4_000)
        samples = np.frombuffer(file.readframes(4_000), "<i2")
    expected = tone(440).flatten().numpy() - tone(440).mean().item()
    expected = 32767 * expected / np.abs(expected).max()
    assert np.abs(samples - expected).max() <= 0.51
    assert viz.audio(tone(440), 16_000, label='"yes" & <more>')._repr_html_() == page
    assert " at 0x" not in repr(player)
    assert len(viz.audio(torch.zeros(1, 1, 10_240))._repr_html_()) < 28_000


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: viz.audio(tone(500), 192_000), "cannot be played"),
        (lambda: viz.audio(torch.zeros(0)), "finite samples"),
        (lambda: viz.audio(torch.tensor([math.nan])), "finite samples"),
        (lambda: viz.spectrum({}, 16_000), "at least one"),
        (lambda: viz.spectrum({"a": torch.tensor([math.inf])}, 16_000), "finite samples"),
        (lambda: viz.spectrum({"a": tone(500)}, 16_000, reference="b"), "found 'b'"),
        (lambda: viz.spectrum({"a": tone(500)}, 16_000, audible=["b"]), "found 'b'"),
        (lambda: viz.spectrogram(torch.zeros(100)), "at least 320"),
    ],
)
def test_what_cannot_be_shown_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
