"""Made speech: ten short commands by as many speakers as one wants, with no download."""

from __future__ import annotations

import numpy as np
import torch

from ..checks import check_count
from ..transforms.spectrogram import spectrogram
from .cache import cached
from .dataset import Dataset, Split
from .speech_synthesis import FRAME, WORDS, say

#: The commands, in the order of the class numbers.
CLASSES = tuple(WORDS)
LENGTH = 128 * FRAME  # samples of a recording: 0.64 s


def speech(n: int, *, seed: int = 0) -> Split:
    """n recordings of a spoken command, each by a speaker of its own.

    The speech is synthetic: made by rules, by a source and a filter (glottal pulses and noise
    through formant resonators), not recorded. Its formants move as they do in speech, and a
    recognizer that learned from it has learned these ten words of this synthesizer, not English.
    Drawn anew for each recording: the length of the vocal tract, pitch and melody, speed, accent,
    breath, the moment, the level, and the background: white noise, 10 to 40 dB below the recording
    of the speech.
    Recording i of a seed is the same whatever n is, and on every machine, up to the rounding of
    its sines, Fourier transforms and sums.

    :param n: how many; the commands take turns: recording i says command i modulo 10.
    :param seed: at least 0; recordings of two seeds are by different speakers.
    :returns: ``x, y``: waveforms (n, 1, 10240) float32 in [−1, 1], 16,000 samples a second, and
        class numbers (n,) int64, which ``advlab.data.SPEECH_CLASSES`` names.
    :raises ValueError: a number out of its range.
    """
    check_count("n", n)
    check_count("seed", seed)
    waves = np.empty((n, 1, LENGTH), np.float32)
    labels = torch.arange(n) % len(CLASSES)
    for i in range(n):
        # The one generator whose numbers NumPy promises never to change (NEP 19).
        waves[i, 0] = _record(CLASSES[labels[i]], np.random.RandomState([seed, i]))
    return Split(torch.from_numpy(waves), labels)


def speech_dataset() -> Dataset:
    """What ``load("speech")`` gives: 1,000 commands to train on and 500 others to test on.

    The images are their spectrograms (:func:`advlab.transforms.spectrogram`), (N, 1, 32, 32). The
    training speakers are those of seed 0, the test speakers those of seed 1.
    """

    def make() -> Dataset:
        heard = [Split(spectrogram(waves), y) for waves, y in (speech(1000), speech(500, seed=1))]
        return Dataset("speech", *heard, CLASSES)

    return cached("speech", CLASSES, make)


def _record(word: str, random: np.random.RandomState) -> np.ndarray:
    """A speaker before a microphone in a room with background noise, clipped to [−1, 1]."""
    wave = say(word, random, LENGTH)
    wave *= 10 ** random.uniform(-1, -0.05) / np.abs(wave).max()
    # White, and below 10 Hz a slow drift.
    hum = np.cumsum(random.standard_normal(LENGTH))
    hum = np.diff(hum - np.linspace(hum[0], hum[-1], LENGTH), prepend=0) + 0.05 * hum / hum.std()
    noise = hum / hum.std() * wave.std() * 10 ** (-random.uniform(10, 40) / 20)
    return (wave + noise).clip(-1, 1)
