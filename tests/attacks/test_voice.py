"""Inaudible commands: the square law in closed form, and what is heard, and what is not."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.signal import resample_poly

from advlab.attacks import Microphone, audible_energy, modulate, resample
from advlab.data import speech
from advlab.models import accuracy, load_model
from advlab.transforms import spectrogram

RATE = 192_000


def tone(frequency, rate=16_000, seconds=0.5, amplitude=1.0):
    t = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    return amplitude * torch.cos(2 * math.pi * frequency * t).view(1, 1, -1)


def amplitude(wave, frequency, rate=16_000):
    """Of one frequency in the middle of a sound, where it is neither faded in nor out."""
    middle = wave[0, 0, rate // 10 : 4 * rate // 10]
    t = torch.arange(rate // 10, 4 * rate // 10, dtype=wave.dtype) / rate
    turning = torch.exp(-2j * math.pi * frequency * t)
    return (middle * turning).mean().abs().item() * (1 if frequency == 0 else 2)


@pytest.fixture(scope="module")
def commands():
    return speech(100, seed=4)


@pytest.fixture(scope="module")
def recognizer():
    return load_model("speech-cnn", "cpu")


# the physics -------------------------------------------------------------------------------------


def test_modulation_is_a_carrier_and_two_sidebands():
    """(1 + d cos ft) cos ct = cos ct + d/2 cos (c − f)t + d/2 cos (c + f)t."""
    s = modulate(tone(500, amplitude=0.3), carrier=30_000, depth=0.8)
    assert s.shape == (1, 1, RATE // 2)
    found = [amplitude(s, f, RATE) for f in (29_500, 30_000, 30_500, 500, 29_000)]
    assert found == pytest.approx([0.4, 1, 0.4, 0, 0], abs=1e-6)


@pytest.mark.parametrize("depth", [0.3, 1.0])
@pytest.mark.parametrize("square", [0.1, -0.25])
def test_square_law_brings_the_command_back_with_its_square(depth, square):
    """B s² = B/2 (1 + d m)² (1 + cos 2ct). For m = cos ft, below the cutoff:

    B (1/2 + d²/4) at 0 Hz, B d at f, B d²/4 at 2f, and nothing else.
    """
    microphone = Microphone(gain=0.7, square=square)
    heard = microphone(modulate(tone(500), depth=depth))
    assert heard.shape == (1, 1, 8_000)
    b, d = abs(square), depth
    expected = {0: b * (1 / 2 + d**2 / 4), 500: b * d, 1000: b * d**2 / 4, 1500: 0, 2000: 0}
    found = [amplitude(heard, f) for f in expected]
    assert found == pytest.approx(list(expected.values()), abs=2e-4 * b)


def test_amplifier_is_the_formula_and_cutoff_cuts():
    x = torch.randn(2, 1, 640, generator=torch.Generator().manual_seed(0))
    microphone = Microphone(gain=2.0, square=0.5)
    assert torch.equal(microphone.amplify(x), 2 * x + 0.5 * x**2)
    low = Microphone(cutoff=800)(modulate(tone(500), depth=1.0))
    assert amplitude(low, 500) == pytest.approx(0.1, abs=1e-5)
    assert amplitude(low, 1000) == pytest.approx(0, abs=1e-5)


def test_what_is_recovered_falls_with_the_square_of_the_level():
    s = modulate(tone(500))
    near, far = (amplitude(Microphone()(s / r), 500) for r in (1, 3))
    assert near / far == pytest.approx(9, rel=1e-4)


def test_plain_sound_goes_through_as_it_is():
    x = tone(700, RATE, amplitude=0.2)
    heard = Microphone(square=0.0)(x)
    assert amplitude(heard, 700) == pytest.approx(0.2, abs=1e-5)


def test_square_of_a_sound_at_a_low_rate_does_not_fold_back():
    """The square of 5 kHz is at 10 kHz: 16,000 samples a second would show it at 6 kHz."""
    heard = Microphone(square=0.2)(tone(5_000), 16_000)
    assert heard.shape == (1, 1, 8_000)
    found = [amplitude(heard, f) for f in (0, 5_000, 6_000)]
    assert found == pytest.approx([0.1, 1, 0], abs=1e-6)


def test_highest_carrier_is_heard_like_any_other():
    """At 78 kHz the double frequency folds back, but not below 20 kHz."""
    low, high = (Microphone()(modulate(tone(500), carrier)) for carrier in (30_000, 78_000))
    assert torch.allclose(low, high, atol=1e-6)


def test_recording_is_differentiable_in_the_sound():
    x = modulate(tone(500, seconds=0.02)).requires_grad_(True)
    recorded = Microphone()(x)
    (gradient,) = torch.autograd.grad(recorded.square().sum(), x)
    step = 1e-6 * torch.sin(torch.arange(x.shape[2], dtype=x.dtype))
    with torch.no_grad():
        change = Microphone()(x + step).square().sum() - Microphone()(x - step).square().sum()
    assert change.item() == pytest.approx(2 * (gradient * step).sum().item(), rel=1e-5)


def test_noise_is_that_of_the_sound_and_the_seed():
    s = modulate(speech(3, seed=1).x)
    quiet, noisy = Microphone()(s), Microphone(noise=0.01)
    heard = noisy(s, seed=5)
    assert (heard - quiet).std().item() == pytest.approx(0.01, rel=0.02)
    assert torch.allclose(noisy(s[1:2], seed=5), heard[1:2], atol=1e-6)
    assert not torch.equal(noisy(s, seed=6), heard)
    first, second = (heard - quiet)[:2].flatten(1)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.1, "each sound its own"


@pytest.mark.parametrize("length", [4_811, 7_333])
def test_noise_does_not_depend_on_the_batch_at_any_length(length):
    x, noisy = speech(4, seed=5).x[:, :, :length], Microphone(noise=0.01)
    heard = noisy(modulate(x))
    for i in range(4):
        assert torch.equal(noisy(modulate(x[i : i + 1])), heard[i : i + 1])
    strided = modulate(x).transpose(0, 2).contiguous().transpose(0, 2)
    assert torch.equal(noisy(strided), heard)


# what is heard -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("carrier", "bandwidth"), [(30_000, 8_000), (28_000, 8_000), (40_000, 8_000), (22_000, 2_000)]
)
def test_attack_is_above_what_people_hear(commands, carrier, bandwidth):
    s = modulate(commands.x[:20], carrier, 1.0, bandwidth=bandwidth)
    assert s.abs().max() <= 2.0001
    assert (audible_energy(s) < -80).all()
    assert (audible_energy(commands.x[:20], 16_000) == 0).all(), "speech itself is all audible"


def test_audible_energy_is_the_share_in_decibel():
    both = tone(1000, RATE, amplitude=0.1) + tone(30_000, RATE)
    assert audible_energy(both).item() == pytest.approx(10 * math.log10(0.01 / 1.01), abs=1e-6)
    assert audible_energy(torch.zeros(2, 1, 100)).tolist() == [-math.inf, -math.inf]
    with pytest.raises(ValueError, match="rate"):
        audible_energy(both, 0)


@pytest.mark.parametrize("level", [1e-25, 1e18])
def test_audible_energy_of_faint_and_loud_sounds(level):
    assert audible_energy(tone(1000, RATE, amplitude=level).float()).item() == 0


def test_recognizer_hears_unseen_speakers_through_the_nonlinear_microphone_alone(
    commands, recognizer
):
    x, y = commands
    s = modulate(x)
    heard = accuracy(recognizer, spectrogram(Microphone()(s)), y)
    deaf = accuracy(recognizer, spectrogram(Microphone(square=0.0)(s)), y)
    assert heard >= 0.9
    assert deaf <= 0.2, "a guess is right in one of ten"
    noisy = Microphone(noise=1e-3)
    rates = [accuracy(recognizer, spectrogram(noisy(s / r)), y) for r in (1, 3, 8)]
    assert rates[0] > rates[1] > rates[2]
    assert rates[2] <= 0.35


def test_less_bandwidth_is_heard_less(commands, recognizer):
    x, y = commands
    narrow = modulate(x, 21_000, bandwidth=1_000)
    assert accuracy(recognizer, spectrogram(Microphone()(narrow)), y) < 0.6


def test_a_command_does_not_depend_on_its_batch_or_its_level(commands):
    s = modulate(commands.x[:6])
    # Sums of another order differ in the last bits.
    assert torch.allclose(modulate(commands.x[2:4]), s[2:4], atol=1e-5)
    assert torch.allclose(modulate(0.01 * commands.x[2:4]), s[2:4], atol=1e-5)
    assert torch.equal(modulate(commands.x[:6]), s)
    heard = Microphone()(s)
    assert torch.allclose(Microphone()(s[2:4]), heard[2:4], atol=1e-6)
    silent = modulate(torch.zeros(1, 1, 1600))
    assert silent.isfinite().all(), "an unmodulated carrier"


def test_command_that_the_filter_takes_away_leaves_a_bare_carrier():
    s = modulate(tone(6_000).float(), 22_000, depth=1.0, bandwidth=2_000)
    bare = modulate(torch.zeros(1, 1, 8_000), 22_000, bandwidth=2_000)
    assert torch.allclose(s, bare, atol=0.02)


def test_shortest_command_is_inaudible_and_shorter_ones_are_refused(commands):
    x = commands.x[:5, :, 5_000:]
    assert (audible_energy(modulate(x[..., :320])) < -80).all()
    with pytest.raises(ValueError, match="at least 320 samples"):
        modulate(x[..., :319])


# resampling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "new_rate"), [(16_000, 192_000), (192_000, 16_000)])
def test_resampling_agrees_with_scipy(rate, new_rate):
    x = sum(tone(f, rate, amplitude=0.2) for f in (300, 1700, 4100))
    x = x * torch.hann_window(x.shape[2], dtype=x.dtype)
    up, down = (12, 1) if new_rate > rate else (1, 12)
    expected = torch.from_numpy(resample_poly(x.numpy(), up, down, axis=2))
    found = resample(x, rate, new_rate)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 2e-3


def test_resampling_there_and_back_changes_nothing():
    x = speech(4, seed=3).x
    x = resample(x, 16_000, 16_000, cutoff=7_000)
    assert torch.allclose(resample(resample(x, 16_000, 48_000), 48_000, 16_000), x, atol=1e-5)


@pytest.mark.parametrize("numbers", [(0, 16_000), (16_000, -1), (math.nan, 1), (8_000, 8_000, 0)])
def test_resampling_to_what_cannot_be_is_refused(numbers):
    *rates, cutoff = (*numbers, None)[:3]
    with pytest.raises(ValueError, match="above 0"):
        resample(torch.ones(1, 1, 100), *rates, cutoff=cutoff)
    with pytest.raises(ValueError, match="none is left"):
        resample(torch.ones(1, 1, 5), 192_000, 16_000)


# errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"carrier": 25_000}, "people hear"),
        ({"carrier": 19_000, "bandwidth": 100}, "people hear"),
        ({"carrier": 100_000}, "folds back"),
        ({"carrier": 78_001}, "folds back"),
        ({"rate": 44_100}, "folds back"),
        ({"depth": 0}, "depth"),
        ({"depth": 1.5}, "depth"),
        ({"bandwidth": -1}, "bandwidth"),
        ({"carrier": math.nan}, "carrier"),
    ],
)
def test_signals_that_people_hear_or_the_rate_cannot_hold_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        modulate(tone(500), **settings)


@pytest.mark.parametrize(
    "settings", [{"cutoff": 9_000}, {"cutoff": 0}, {"noise": -1}, {"rate_out": 0}, {"gain": "a"}]
)
def test_microphones_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Microphone(**settings)


@pytest.mark.parametrize(
    "call", [modulate, audible_energy, Microphone()], ids=["modulate", "audible", "microphone"]
)
def test_what_is_no_sound_is_refused(call):
    with pytest.raises(ValueError, match=r"\(N, 1, T\)"):
        call(torch.zeros(3, 100))
    half = torch.zeros(1, 1, 400, dtype=torch.float16)
    for wave in (torch.zeros(0, 1, 400), torch.zeros(1, 1, 0), half):
        with pytest.raises(ValueError, match="floating point"):
            call(wave)
    with pytest.raises(ValueError, match="NaN"):
        call(torch.full((1, 1, 100), math.nan))
    with pytest.raises(ValueError, match="rate"):
        Microphone()(torch.zeros(1, 1, 100), 8_000)
