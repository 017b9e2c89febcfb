"""Made speech and its spectrogram: the same for everybody, varied, and like speech."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from advlab.data import SPEECH_CLASSES, load, speech
from advlab.data.speech_synthesis import PHONES, RATE, WORDS, say
from advlab.models import accuracy, load_model
from advlab.transforms import spectrogram
from advlab.transforms.spectrogram import mel_bands


@pytest.fixture(scope="module")
def forty():
    return speech(40, seed=7)


def tone(frequency, length=10_240, rate=RATE, amplitude=0.5):
    t = torch.arange(length, dtype=torch.float64) / rate
    return amplitude * torch.cos(2 * math.pi * frequency * t).view(1, 1, -1)


def test_recordings_are_waveforms_and_every_command_has_its_turn(forty):
    x, y = forty
    assert (x.shape, x.dtype) == ((40, 1, 10_240), torch.float32)
    assert x.abs().max() <= 1
    assert (y.dtype, y.tolist()) == (torch.int64, 4 * list(range(10)))
    assert len(SPEECH_CLASSES) == 10


def test_a_recording_depends_on_its_seed_and_number_alone(forty):
    state = torch.get_rng_state()
    again = speech(13, seed=7)
    assert torch.equal(again.x, forty.x[:13])
    assert torch.equal(torch.get_rng_state(), state)
    other = speech(13, seed=8).x
    assert not (other == again.x).all(2).any()
    assert len(speech(0).x) == 0


def test_levels_and_moments_vary(forty):
    peak = forty.x.abs().amax((1, 2))
    assert peak.max() > 3 * peak.min()
    loud = forty.x[:, 0].abs() > peak[:, None] / 3
    first = loud.float().argmax(1).float()
    assert first.std() > 300, "they begin at different moments"


def test_background_is_10_to_40_decibel_below_the_speech(forty):
    """The first 12 ms are background alone."""
    background = forty.x[:, 0, :200].std(1)
    below = 20 * (forty.x[:, 0].std(1) / background).log10()
    assert 8 < below.min() < 16
    assert 34 < below.max() < 42


def peaks(samples):
    """Frequencies at which the smoothed spectrum is larger than on both sides, in Hz."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    f = np.fft.rfftfreq(len(samples), 1 / RATE)
    near = np.exp(-0.5 * ((f[:, None] - np.arange(0, 4000, 20)) / 90) ** 2)
    smooth = np.log(power @ near / near.sum(0))
    inside = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] > smooth[2:])
    return np.arange(0, 4000, 20)[1:-1][inside]


def test_a_held_vowel_has_its_formants(monkeypatch):
    """By the formula of a vocal tract: the spectrum peaks where Peterson and Barney measured."""
    monkeypatch.setattr("advlab.data.speech_synthesis.Speaker.__init__", _average_speaker)
    for name in ("eh", "ah"):
        monkeypatch.setitem(WORDS, "test", name)
        monkeypatch.setitem(PHONES, name, PHONES[name]._replace(ms=400.0))
        distance = []
        for seed in range(4):
            wave = say("test", np.random.RandomState(seed), 8000)
            loud = np.abs(wave) > 0.2 * np.abs(wave).max()
            first, last = np.flatnonzero(loud)[[0, -1]]
            found = peaks(wave[first + 800 : last - 800])
            distance.append([np.abs(found - f).min() for f in PHONES[name].formants])
        assert (np.median(distance, axis=0) < [70, 90, 130]).all(), (name, found)


def _average_speaker(self, random):
    self.size, self.pitch, self.melody, self.vibrato = 1.0, 80.0, 0.0, 0.0
    self.slowness, self.breath, self.accent, self.clarity = 1.0, 0.01, np.ones(3), 1.0


def test_fricatives_are_high_and_vowels_low(forty):
    """The s of "yes" has its energy above 4 kHz, the n and the vowel of "no" below 1.5 kHz."""
    power = torch.fft.rfft(forty.x[:, 0]).abs().square()
    f = torch.fft.rfftfreq(10_240, 1 / RATE)
    high = power[:, f > 4000].sum(1) / power.sum(1)
    yes, no = (high[forty.y == SPEECH_CLASSES.index(word)] for word in ("yes", "no"))
    assert yes.min() > 2 * no.median()
    low = power[:, f < 1500].sum(1) / power.sum(1)
    assert low[forty.y == SPEECH_CLASSES.index("no")].min() > 0.8


@pytest.mark.parametrize(("n", "seed"), [(-1, 0), (2.0, 0), (True, 0), (1, -1), (1, "a")])
def test_numbers_out_of_range_are_refused(n, seed):
    with pytest.raises(ValueError, match="expected a whole number"):
        speech(n, seed=seed)


# the spectrogram ---------------------------------------------------------------------------------


def test_spectrogram_is_an_image_in_0_1_at_any_level(forty):
    x = forty.x
    image = spectrogram(x)
    assert (image.shape, image.dtype) == ((40, 1, 32, 32), torch.float32)
    assert image.min() == 0
    assert (image.amax((1, 2, 3)) > 0.9999).all(), "the loudest place is white"
    assert (spectrogram(0.1 * x + 0.3) - image).abs().max() < 2e-3, "level and constant"
    assert torch.equal(spectrogram(x[3:5]), image[3:5])


@pytest.mark.parametrize("frequency", [300, 1000, 3000, 6000])
def test_a_tone_is_white_in_its_own_band(frequency):
    image = spectrogram(tone(frequency))[0, 0]
    corners = 2595 * np.log10(1 + np.array([80, frequency, 8000]) / 700)
    band = round((corners[1] - corners[0]) / (corners[2] - corners[0]) * 33) - 1
    assert (image[:, 4:-4].argmax(0) == 31 - band).all(), "low pitch is in the last row"
    assert image[31 - band, 16] > 0.99


def test_time_goes_to_the_right_and_sixty_decibel_are_black():
    wave = torch.cat([1e-3 * tone(1000, 5120), tone(1000, 5120)], 2)
    columns = spectrogram(wave)[0, 0].amax(0)
    assert (columns[:15] < 0.02).all()
    assert (columns[17:] > 0.98).all()
    wave[..., :5120] *= 10 ** (30 / 20)
    assert spectrogram(wave)[0, 0].amax(0)[4:12] == pytest.approx(0.5 * torch.ones(8), abs=0.02)


def test_a_click_is_in_the_column_of_its_piece():
    """Piece 10 of 32 is samples 3200 to 3519; the windows are shorter than a piece and a half."""
    click = torch.zeros(1, 1, 10_240)
    click[..., 3_360] = 1.0
    columns = spectrogram(click)[0, 0].amax(0)
    assert columns[10] == pytest.approx(1, abs=1e-4)
    assert columns.count_nonzero() == 1


def test_a_recording_quieter_than_the_threshold_is_darker():
    assert spectrogram(tone(1000, amplitude=2e-4)).max() > 0.999
    assert 0.2 < spectrogram(tone(1000, amplitude=1e-5)).max() < 0.9


@pytest.mark.parametrize(
    "numbers", [{"bands": 0}, {"frames": 0}, {"rate": 160}, {"rate": math.nan}]
)
def test_numbers_of_no_spectrogram_are_refused(numbers):
    with pytest.raises(ValueError, match=next(iter(numbers))):
        spectrogram(tone(60), **numbers)


def test_silence_is_black_and_gradients_are_finite():
    wave = torch.zeros(1, 1, 10_240, requires_grad=True)
    image = spectrogram(wave)
    assert (image == 0).all()
    (gradient,) = torch.autograd.grad(image.sum(), wave)
    assert gradient.isfinite().all()


def test_gradient_is_that_of_finite_differences():
    x = speech(3, seed=2).x[:1, :, 4000:4600].double().requires_grad_(True)
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4)
    score = lambda wave: (spectrogram(wave, bands=4, frames=4)[0, 0] * weights).sum()  # noqa: E731
    (gradient,) = torch.autograd.grad(score(x), x)
    assert gradient.abs().max() > 0
    step = 1e-6 * torch.cos(torch.arange(600.0).double())
    with torch.no_grad():
        difference = score(x + step) - score(x - step)
    assert difference.item() == pytest.approx(2 * (gradient * step).sum().item(), rel=1e-4)


def test_bands_overlap_to_one_and_none_is_empty():
    w = mel_bands(32, RATE)
    assert w.shape == (32, 257)
    assert (w.amax(1) > 0.5).all()
    middle = (torch.linspace(0, 8000, 257) > 200) & (torch.linspace(0, 8000, 257) < 7000)
    assert torch.allclose(w[:, middle].sum(0), torch.ones(int(middle.sum()), dtype=w.dtype))


@pytest.mark.parametrize(
    ("wave", "says"),
    [
        (torch.zeros(1, 10_240), r"\(N, 1, T\)"),
        (torch.zeros(1, 2, 10_240), r"\(N, 1, T\)"),
        (torch.zeros(1, 1, 10_240, dtype=torch.int16), "floating point"),
        (torch.zeros(1, 1, 10_240, dtype=torch.float16), "floating point"),
        (torch.zeros(0, 1, 10_240), "N and T at least 1"),
        (torch.full((1, 1, 10_240), math.nan), "NaN"),
        (torch.zeros(1, 1, 100), "at least 512 samples"),
    ],
)
def test_what_is_no_recording_is_refused(wave, says):
    with pytest.raises(ValueError, match=says):
        spectrogram(wave)


def test_load_gives_spectrograms_and_the_zoo_hears_them():
    data = load("speech", device="cpu")
    assert (data.shape, len(data.train.x), len(data.test.x)) == ((1, 32, 32), 1000, 500)
    assert data.classes == SPEECH_CLASSES
    assert torch.equal(data.train.x[:5], spectrogram(speech(5).x))
    assert accuracy(load_model("speech-cnn", "cpu"), *data.test) >= 0.97
