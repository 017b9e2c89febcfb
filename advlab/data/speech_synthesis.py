"""A voice from a formula: a source (glottis or noise) through a filter (the mouth's resonances).

The vocal folds give a train of pulses, the vocal tract boosts it at its resonances, the formants,
and where air is forced through a gap there is noise (Fant 1960; Klatt 1980). A word is a row of
phones, and each phone says where the formants should be and how much of each sound there is; the
voice glides from one to the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RATE = 16_000  # samples a second
FRAME = 80  # samples, 5 ms: as long as the mouth stands still
TAIL = 6  # frames, 30 ms: by then what a resonator still sounds is 44 dB down
DELAY = np.exp(-2j * np.pi * np.arange(TAIL * FRAME // 2 + 1) / (TAIL * FRAME))  # by a sample


class Phone(NamedTuple):
    """What the mouth does for one sound.

    ``formants`` are F1, F2, F3 in Hz; ``voice`` (pulses) and ``breath`` (noise) go through them.
    ``hiss`` is noise made at a gap in front, around ``center`` Hz, about ``width`` Hz wide.
    """

    ms: float
    formants: tuple[float, float, float]
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    center: float = 4000.0
    width: float = 2000.0


# The vowels' formants are the means of men in Peterson and Barney (1952).
PHONES = {
    "iy": Phone(90, (270, 2290, 3010), voice=1.0),
    "eh": Phone(150, (530, 1840, 2480), voice=1.0),
    "ah": Phone(150, (640, 1190, 2390), voice=1.0),
    "aa": Phone(150, (730, 1090, 2440), voice=1.0),
    "ao": Phone(170, (570, 840, 2410), voice=1.0),
    "uh": Phone(90, (440, 1020, 2240), voice=0.9),
    "uw": Phone(90, (300, 870, 2240), voice=0.8),
    "y": Phone(80, (260, 2200, 3000), voice=0.6),
    "r": Phone(90, (310, 1060, 1380), voice=0.6),
    "l": Phone(90, (310, 1050, 2880), voice=0.6),
    "n": Phone(100, (250, 1700, 2600), voice=0.3),
    "s": Phone(120, (320, 1700, 2600), hiss=0.25, center=5800, width=1400),
    "f": Phone(120, (340, 1100, 2080), hiss=0.08, center=4500, width=5000),
    # A stop is a closed mouth, and then a short burst as it opens.
    "d|": Phone(50, (200, 1700, 2600), voice=0.1),
    "d": Phone(15, (250, 1700, 2600), voice=0.3, hiss=0.3, center=3800, width=2000),
    "g|": Phone(50, (200, 1900, 2100), voice=0.1),
    "g": Phone(20, (250, 1700, 2000), voice=0.3, hiss=0.4, center=1900, width=700),
    "p|": Phone(70, (300, 1000, 2200)),
    "p": Phone(15, (400, 1000, 2200), breath=0.4, hiss=0.15, center=900, width=1200),
    "t|": Phone(60, (320, 1700, 2600)),
    "t": Phone(25, (350, 1700, 2600), breath=0.2, hiss=0.35, center=4300, width=2500),
}
WORDS = {
    "yes": "y eh s",
    "no": "n ao uw",
    "up": "ah p| p",
    "down": "d| d aa uh n",
    "left": "l eh f t| t",
    "right": "r aa iy t| t",
    "stop": "s t| t aa p| p",
    "go": "g| g ao uw",
    "on": "aa n",
    "off": "ao f",
}


class Speaker:
    """Who speaks, and how this time: all numbers drawn from one generator."""

    def __init__(self, random: np.random.RandomState):
        self.size = random.uniform(0.88, 1.18)  # formants go up where the vocal tract is short
        self.pitch = 120 * self.size**3 * random.uniform(0.85, 1.2)  # Hz
        self.melody = random.uniform(-0.25, 0.1)  # change of pitch over the word
        self.vibrato = random.uniform(0, 0.02)
        self.slowness = random.uniform(0.85, 1.18)
        self.breath = random.uniform(0.01, 0.06)
        self.accent = random.uniform(0.95, 1.05, 3)  # of F1, F2, F3
        self.clarity = random.uniform(0.9, 1.3)  # bandwidth of the formants


def say(word: str, random: np.random.RandomState, length: int) -> np.ndarray:
    """One word by one speaker, (length,) float64 of RATE samples a second, without background."""
    speaker = Speaker(random)
    phones = [PHONES[name] for name in WORDS[word].split()]
    times = np.array([phone.ms for phone in phones]) * speaker.slowness / 1000
    times *= random.uniform(0.9, 1.1, len(times))
    frames = length // FRAME
    free = max(length / RATE - times.sum() - 0.04, 0)
    ends = random.uniform(0.02, 0.02 + free) + np.cumsum(times)
    moments = (np.arange(frames) + 0.5) * FRAME / RATE
    which = np.searchsorted(ends, moments).clip(max=len(phones) - 1)
    silent = (moments < ends[0] - times[0]) | (moments > ends[-1])

    def track(values, smooth):
        """What the phones ask for, frame by frame, as smoothly as the mouth can follow."""
        return _smoothed(np.array(values, float)[which], smooth)

    def loudness(values, smooth):
        return _smoothed(np.where(silent, 0, np.array(values, float)[which]), smooth)

    formants = track([phone.formants for phone in phones], 13) * speaker.size * speaker.accent
    pulses = _glottis(speaker, random, length)
    noise = random.standard_normal((2, length))
    voice = np.repeat(loudness([phone.voice for phone in phones], 7), FRAME)
    breath = np.repeat(loudness([phone.breath for phone in phones], 3), FRAME)
    source = voice * (pulses + speaker.breath * noise[0]) + 0.1 * breath * noise[0]
    hiss = np.repeat(loudness([phone.hiss for phone in phones], 3), FRAME) * noise[1]
    center = track([phone.center for phone in phones], 1) * speaker.size
    width = track([phone.width for phone in phones], 1)
    spoken = _spectra(source) * _vocal_tract(formants, speaker)
    return _joined(spoken + _spectra(hiss) * _band(center.clip(max=7200), width))


def _smoothed(track: np.ndarray, frames: int) -> np.ndarray:
    """A moving mean, by a Hann window as long as that many frames; the ends are held."""
    window = np.hanning(frames + 2)[1:-1]
    edge = (frames // 2, frames // 2)
    padded = np.pad(track, [edge] + [(0, 0)] * (track.ndim - 1), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, frames, axis=0)
    return windows @ (window / window.sum())


def _glottis(speaker: Speaker, random: np.random.RandomState, length: int) -> np.ndarray:
    """The change of the air flow through the vocal folds: they open slowly and close fast.

    The flow of a period is Rosenberg's (1971): half a cosine up, a quarter down, then closed.
    """
    t = np.arange(length) / RATE
    bend = speaker.melody * (t / t[-1] - 0.5) + speaker.vibrato * np.sin(
        2 * np.pi * (5 * t + random.rand())
    )
    phase = np.cumsum(speaker.pitch * (1 + bend)) / RATE % 1
    opening = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
    closing = np.cos(np.pi / 2 * ((phase - 0.4) / 0.2).clip(0, 1))
    flow = np.where(phase < 0.4, opening, closing)
    return 4 * np.diff(flow, prepend=flow[0])


def _vocal_tract(formants: np.ndarray, speaker: Speaker) -> np.ndarray:
    """Five resonators one after the other: what they do to each frequency. (frames, BINS).

    A resonator of frequency F and bandwidth b (Klatt 1980, equation 2):
    y[t] = A x[t] + B y[t−1] + C y[t−2], with C = −exp(−2πb/rate),
    B = 2 exp(−πb/rate) cos(2πF/rate), A = 1 − B − C: it passes 0 Hz as it is.
    """
    gain, below = 1, 1
    fixed = np.broadcast_to(np.array([3500, 4500]) * speaker.size, (len(formants), 2))
    for f, bandwidth in zip(np.hstack([formants, fixed]).T, (60, 90, 150, 200, 280), strict=True):
        c = -np.exp(-2 * np.pi * bandwidth * speaker.clarity / RATE)
        b = 2 * np.sqrt(-c) * np.cos(2 * np.pi * f / RATE)[:, None]
        gain = gain * (1 - b - c)
        below = below * ((1 - c * DELAY**2) - b * DELAY)
    return gain / below


def _band(center: np.ndarray, width: np.ndarray) -> np.ndarray:
    """A resonator with zeros at 0 Hz and at half the rate; 1 at its peak. (frames, BINS)."""
    r = np.exp(-np.pi * width / RATE)[:, None]
    b = 2 * r * np.cos(2 * np.pi * center / RATE)[:, None]
    return (1 - r**2) / 2 * (1 - DELAY**2) / (1 - b * DELAY + r**2 * DELAY**2)


def _spectra(source: np.ndarray) -> np.ndarray:
    """The source cut into overlapping frames of 10 ms that add up to it. (frames, BINS)."""
    padded = np.pad(source, (FRAME // 2, FRAME // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * FRAME)[::FRAME]
    return np.fft.rfft(frames * np.hanning(2 * FRAME + 1)[:-1], TAIL * FRAME)


def _joined(spectra: np.ndarray) -> np.ndarray:
    """The sound of these spectra, each frame with its echo added to those that follow."""
    sounds = np.fft.irfft(spectra, TAIL * FRAME).reshape(len(spectra), TAIL, FRAME)
    out = np.zeros((len(spectra) + TAIL, FRAME))
    for i in range(TAIL):
        out[i : i + len(spectra)] += sounds[:, i]
    return out[: len(spectra)].ravel()
