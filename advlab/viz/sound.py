"""Sounds: their spectrum, their spectrogram, and a player that works on a page with no network."""

from __future__ import annotations

import base64
import html
import io
import wave as wavefile
from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure
from torch import Tensor

from . import look
from .look import INK, NATURAL, REFERENCE, WIDTH, styled

_HEARD = 20.0  # kHz
_FLOOR = -100.0  # dB, the bottom of a spectrum
_RANGE = 60.0  # dB between white and black in a spectrogram
_LOUDEST = 32767  # the largest sample of 16 bits


@styled
def spectrum(
    signals: Mapping[str, Tensor],
    rate: int | Mapping[str, int],
    *,
    limit: float | None = None,
    reference: str | None = None,
    audible: Collection[str] | None = None,
    colors: Mapping[str, str] | None = None,
) -> AnyFigure:
    """Which frequencies are in each sound, a panel a sound; what people hear (to 20 kHz) is tinted.

    A panel's 0 dB is its loudest frequency, or that of the reference: then a tone of the same
    size is as high in every panel, whatever its rate and length. Frequencies are joined in bands of
    1/400 of the widest rate's range, of which the loudest is drawn.

    :param signals: title → one sound, T samples in any shape.
    :param rate: samples a second, one number for all, or title → number.
    :param limit: kHz, the right end of the axis; by default half of the highest rate.
    :param reference: the title of the sound whose loudest frequency is 0 dB in all panels.
    :param audible: the titles of the panels that are tinted; by default all.
    :param colors: title → color, where blue does not fit.
    :raises ValueError: nothing to draw, samples that are NaN or infinite, or a title of no sound.
    """
    if not signals:
        raise ValueError("signals: expected at least one sound, found none")
    tinted = set(signals if audible is None else audible)
    for title in tinted | ({reference} - {None}):
        if title not in signals:
            raise ValueError(f"reference, audible: expected {list(signals)}, found {title!r}")
    rates = dict(rate) if isinstance(rate, Mapping) else dict.fromkeys(signals, rate)
    limit = max(rates.values()) / 2000 if limit is None else limit
    figure = look.Figure(figsize=(WIDTH, 0.5 + 1.75 * len(signals)), layout="constrained")
    axes = figure.subplots(len(signals), 1, sharex=True, sharey=True, squeeze=False).ravel()
    powers = {title: _power(_samples(signal, title)) for title, signal in signals.items()}
    loudest = {title: powers[reference or title].max() or 1 for title in signals}
    top = max(0, *(10 * np.log10(p.max() / loudest[t] + 1e-30) for t, p in powers.items()))
    word = next((title for title in signals if title in tinted), None)
    for ax, (title, power) in zip(axes, powers.items(), strict=True):
        samples = signals[title].flatten()
        f = np.fft.rfftfreq(len(samples), 1 / rates[title]) / 1000
        bins = np.minimum((f / limit * 400).astype(int), 400)
        peaks = np.zeros(401)
        np.maximum.at(peaks, bins, power)
        decibel = 10 * np.log10(peaks[:400] / loudest[title] + 1e-30)
        shown = (np.arange(400) + 0.5) * limit / 400 <= f[-1]
        if title in tinted:
            ax.axvspan(0, _HEARD, color="#EFEFEF", lw=0)
        ax.fill_between(
            ((np.arange(400) + 0.5) * limit / 400)[shown],
            _FLOOR, decibel[shown].clip(_FLOOR), lw=0.6,
            color=(colors or {}).get(title, NATURAL),
        )  # fmt: skip
        if title == word:
            middle = min(_HEARD, limit) / 2
            ax.text(middle, top - 4, "audible", color=REFERENCE, ha="center", va="top", fontsize=11)
        ax.set_title(title, loc="left")
        ax.set_ylabel("power (dB)")
    axes[0].set_xlim(0, limit)
    axes[0].set_ylim(_FLOOR, top)
    axes[-1].set_xlabel("frequency (kHz)")
    return figure


@styled
def spectrogram(
    wave: Tensor, rate: int = 16_000, *, title: str | None = None, ax: Axes | None = None
) -> AnyFigure | Axes:
    """How loud each frequency is at each moment: dark is loud, white is 60 dB below the loudest.

    Windows of 10 ms, so that the resonances of the mouth show as dark bars.

    :param wave: one sound, T samples in any shape, at least 20 ms.
    :param rate: samples a second.
    :raises ValueError: too short, or samples that are NaN or infinite.
    """
    samples, size = _samples(wave, "wave"), rate // 100
    if len(samples) < 2 * size:
        raise ValueError(f"wave: expected at least {2 * size} samples, found {len(samples)}")
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[:: rate // 500]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), max(size, 512))) ** 2
    decibel = 10 * np.log10(power / (power.max() or 1) + 1e-30)
    own = ax is None
    figure, ax = look.canvas(ax, 3.2)
    ax.imshow(
        decibel.T, origin="lower", aspect="auto", cmap="gray_r", vmin=-_RANGE, vmax=0,
        extent=(0, 1000 * len(samples) / rate, 0, rate / 2000), interpolation="bilinear",
    )  # fmt: skip
    ax.set_xlabel("time (ms)")
    ax.set_ylabel("frequency (kHz)")
    if title:
        ax.set_title(title, loc="left", color=INK)
    return figure if own else ax


class Player:
    """A sound with buttons to play it, kept in the page itself: what :func:`audio` returns."""

    def __init__(self, data: bytes, label: str, seconds: float):
        self.data, self.label, self.seconds = data, label, seconds

    def _repr_html_(self) -> str:
        source, name = base64.b64encode(self.data).decode(), html.escape(self.label, quote=True)
        return (
            f'<figure style="margin:0"><figcaption style="color:inherit">{name}</figcaption>'
            f'<audio controls preload="metadata" aria-label="{name}" '
            f'style="max-width:100%" src="data:audio/wav;base64,{source}"></audio></figure>'
        )

    def __repr__(self) -> str:
        return f"Player({self.label!r}, {self.seconds:.2f} s)"


def audio(wave: Tensor, rate: int = 16_000, label: str = "sound") -> Player:
    """A player for one sound, with its label above it; on a static page too, with no network.

    The sound is made as loud as it can be, its mean 0 and its largest sample 1, with 16 bits a
    sample: 0.64 s at 16 kHz are 20 KB, and 27 KB in the page. What is smaller than a step of 16
    bits, 1 / 32,767, is not made that loud: it is the rounding of a silent recording. Ultrasound
    is refused: most computers play 48,000 samples a second, and nobody would hear it.

    :param wave: one sound, T samples in any shape.
    :param rate: samples a second, at most 48,000.
    :param label: shown, and read out by a screen reader.
    :raises ValueError: another rate, an empty sound, or samples that are NaN or infinite.
    """
    if not 8_000 <= rate <= 48_000:
        raise ValueError(
            f"rate: expected 8,000 to 48,000 samples a second, found {rate}; "
            "what is above 24 kHz cannot be played"
        )
    samples = _samples(wave, "wave")
    samples = samples - samples.mean()
    samples = samples / max(np.abs(samples).max(), 1 / _LOUDEST)
    buffer = io.BytesIO()
    with wavefile.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(_LOUDEST * samples).astype("<i2").tobytes())
    return Player(buffer.getvalue(), label, len(samples) / rate)


def _power(samples: np.ndarray) -> np.ndarray:
    """Of each frequency; a tone of size a has about (a / 2)², whatever the number of samples."""
    window = np.hanning(len(samples))
    return np.abs(np.fft.rfft(samples * window) / (window.sum() or 1)) ** 2


def _samples(wave: Tensor, name: str) -> np.ndarray:
    samples = wave.detach().cpu().double().flatten().numpy()
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"{name}: expected finite samples, found none, NaN or infinity")
    return samples
