"""Inaudible voice commands (Zhang et al. 2017, DolphinAttack): ultrasound that a microphone hears.

A command is put on a carrier above what people hear. The microphone's amplifier is not quite
linear, and its square term brings the command back, inside the microphone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import threat
from ..checks import check_number, check_whole
from ..transforms.spectrogram import check_wave

AUDIBLE = 20_000  # Hz: the upper end of what people hear
_FADE = 0.01  # s: a carrier that is switched on at once clicks, and a click is heard


def modulate(
    command: Tensor, carrier: float = 30_000, depth: float = 0.5, rate: int = 192_000,
    *, command_rate: int = 16_000, bandwidth: float = 8_000,
) -> Tensor:  # fmt: skip
    """Amplitude modulation: s(t) = (1 + depth · m(t)) cos(2π · carrier · t).

    m is the command below ``bandwidth``, scaled so that its largest sample is 1. The frequencies
    of s lie from carrier − bandwidth to carrier + bandwidth; they are above 20 kHz, where people
    hear nothing. s fades in and out within 10 ms. Zhang et al. (2017), section 4; there a signal
    generator, an amplifier and an ultrasonic speaker do this.

    :param command: (N, 1, T), the sound to be heard by the microphone, at least 20 ms.
    :param carrier: Hz.
    :param depth: of the modulation, above 0, at most 1. What comes back is depth · m, and with it
        ½ depth² m²: more depth is a louder command and a more distorted one.
    :param rate: of s, samples a second: high enough that neither s nor its square fold back into
        what is heard.
    :param command_rate: of the command, samples a second.
    :param bandwidth: Hz of the command that are kept. A carrier nearer to 20 kHz needs less.
    :returns: (N, 1, T · rate / command_rate), in [−1 − depth, 1 + depth]; a bare carrier for a
        command with nothing below ``bandwidth``.
    :raises ValueError: a part of s would be audible, or above what the rate can hold; another
        shape, too short a command, or samples that are not finite.
    """
    check_wave(command, "command")
    if not 0 < depth <= 1:
        raise ValueError(f"depth: expected a number above 0, at most 1, found {depth!r}")
    if not bandwidth > 0 or not rate > 0 or not command_rate > 0:
        raise ValueError(
            "bandwidth, rate, command_rate: expected numbers above 0, "
            f"found {bandwidth!r}, {rate!r}, {command_rate!r}"
        )
    if not carrier - bandwidth >= AUDIBLE:
        raise ValueError(
            f"carrier: {carrier:g} Hz with a bandwidth of {bandwidth:g} Hz reaches down to "
            f"{carrier - bandwidth:g} Hz, which people hear; expected at least {AUDIBLE:,} Hz: "
            "raise the carrier or lower the bandwidth"
        )
    # The square of s reaches 2 (carrier + bandwidth). What is above rate / 2 folds down.
    highest = (rate - AUDIBLE) / 2 - bandwidth
    if carrier > highest:
        raise ValueError(
            f"carrier: found {carrier:g} Hz, expected at most {highest:g} Hz at a rate of "
            f"{rate:g} Hz, or the square of the signal folds back below {AUDIBLE:,} Hz"
        )
    if command.shape[2] < 2 * _FADE * command_rate:
        raise ValueError(
            f"command: expected at least {2 * _FADE * command_rate:g} samples (20 ms), found "
            f"{command.shape[2]}: a shorter burst is heard as a click; pad it with zeros"
        )
    m = resample(command, command_rate, rate, cutoff=bandwidth)
    # A filter that takes the whole command away leaves rounding errors: they stay small.
    least = (1e-5 * command.abs().amax(2, keepdim=True)).clamp_min(1e-12)
    m = m / torch.maximum(m.abs().amax(2, keepdim=True), least)
    # In double precision: in single, the phase at the end of a second is off by 0.01.
    t = torch.arange(m.shape[2], dtype=torch.float64) / rate
    fade = torch.sin(math.pi / 2 * (torch.minimum(t, t[-1] - t) / _FADE).clamp(0, 1)).square()
    return (1 + depth * m) * (fade * torch.cos(2 * math.pi * carrier * t)).to(m)


@dataclass(frozen=True, kw_only=True)
class Microphone:
    """Sound pressure to a recording: amplifier, low-pass filter, analog-to-digital converter.

    1. The amplifier: out = A · in + B · in² (Zhang et al. 2017, section 3). For
       in = (1 + d m) cos ωt the square is ½ (1 + d m)² (1 + cos 2ωt): at low frequencies
       B (½ + d m + ½ d² m²) is left, the command, and with it its square, a distortion.
    2. The low-pass filter takes away all that is above ``cutoff``: the carrier, and 2ω.
    3. The converter keeps ``rate_out`` samples a second.

    Called as ``microphone(signal, rate)``. Real amplifiers have terms of higher order, which are
    left out, as in the paper. Left out too, and measured there on real devices: what speaker, air
    and membrane take of an ultrasound, and what a speaker's own square makes audible.

    :param gain: A.
    :param square: B, per unit of sound pressure. With 0 the microphone is linear.
    :param cutoff: Hz, at most half of ``rate_out``.
    :param rate_out: samples a second.
    :param noise: standard deviation of the noise of its own, added to the recording.
    :raises ValueError: a number out of its range.
    """

    gain: float = 1.0
    square: float = 0.1
    cutoff: float = 8_000
    rate_out: int = 16_000
    noise: float = 0.0

    def __post_init__(self):
        check_number(self, "gain")
        check_number(self, "square", -1e30)
        check_number(self, "noise")
        check_whole(self, "rate_out")
        check_number(self, "cutoff", 1, self.rate_out / 2)

    def amplify(self, signal: Tensor) -> Tensor:
        """A · in + B · in², at the rate of the signal."""
        return self.gain * signal + self.square * signal.square()

    def __call__(self, signal: Tensor, rate: int = 192_000, *, seed: int = 0) -> Tensor:
        """The recording of a sound; differentiable in it.

        :param signal: (N, 1, T), sound pressure; 1 is that of the carrier at the distance 1.
        :param rate: of the signal, samples a second, at least ``rate_out``. The square has twice
            the signal's frequencies: of an ultrasound, what is above (rate − cutoff) / 2 would
            fold back into the recording. A rate at which even an audible sound would is doubled.
        :param seed: of the noise, which is drawn for each recording, from it and the seed.
        :returns: (N, 1, T · rate_out / rate).
        :raises ValueError: another shape, or a rate below ``rate_out``.
        """
        check_wave(signal, "signal")
        if not rate >= self.rate_out:
            raise ValueError(f"rate: expected at least {self.rate_out} Hz, found {rate!r}")
        if rate < 2 * AUDIBLE + self.cutoff:
            signal, rate = resample(signal, rate, 2 * rate), 2 * rate
        heard = resample(self.amplify(signal), rate, self.rate_out, cutoff=self.cutoff)
        if self.noise:
            heard = heard + self.noise * threat.noise(heard, seed, "normal")
        return heard


def audible_energy(signal: Tensor, rate: int = 192_000) -> Tensor:
    """The share of a sound's energy that is below 20 kHz, in dB: 0 is all of it, −60 a millionth.

    All frequencies from 0 Hz on count, and all the same, though an ear hears none below 20 Hz and
    some better than others. In single precision, −140 dB is what rounding leaves.

    :param signal: (N, 1, T).
    :param rate: samples a second.
    :returns: (N,) of the signal's precision; −inf where there is none, and for silence.
    :raises ValueError: another shape, samples that are not finite, or a rate that is not above 0.
    """
    check_wave(signal, "signal")
    if not rate > 0:
        raise ValueError(f"rate: expected a number above 0, found {rate!r}")
    size = torch.fft.rfft(signal[:, 0]).abs()
    # By the largest first: the squares of a small or large number would be 0 or infinite.
    energy = (size / size.amax(1, keepdim=True).clamp_min(1e-30)).square()
    f = torch.fft.rfftfreq(signal.shape[2], 1 / rate, device=signal.device)
    return 10 * (energy[:, f < AUDIBLE].sum(1) / energy.sum(1).clamp_min(1e-30)).log10()


def resample(wave: Tensor, rate: int, new_rate: int, *, cutoff: float | None = None) -> Tensor:
    """The same sound in another number of samples a second, by way of its spectrum.

    Its frequencies up to 95% of ``cutoff`` are kept, above they fall to nothing at ``cutoff``.
    The wave is taken as periodic: its end runs into its beginning.

    :param wave: (N, 1, T).
    :param cutoff: Hz; by default half of the lower rate.
    :returns: (N, 1, T · new_rate / rate), rounded to whole samples.
    :raises ValueError: another shape, samples that are not finite, a rate or cutoff that is not
        above 0, or a wave of which no sample would be left.
    """
    check_wave(wave)
    if not rate > 0 or not new_rate > 0 or not (cutoff is None or cutoff > 0):
        raise ValueError(
            "rate, new_rate, cutoff: expected numbers above 0, "
            f"found {rate!r}, {new_rate!r}, {cutoff!r}"
        )
    lowest = min(rate, new_rate) / 2
    cutoff = lowest if cutoff is None else min(cutoff, lowest)
    length = round(wave.shape[2] * new_rate / rate)
    if not length:
        raise ValueError(
            f"wave: found {wave.shape[2]} samples, of which none is left at {new_rate:g} Hz; "
            "expected a longer one"
        )
    f = torch.fft.rfftfreq(wave.shape[2], 1 / rate, dtype=wave.dtype, device=wave.device)
    falling = ((cutoff - f) / (0.05 * cutoff)).clamp(0, 1)
    kept = torch.sin(math.pi / 2 * falling).square()
    # One by one: in a batch the last bits can depend on the others, and noise is drawn from them.
    sounds = [torch.fft.irfft(torch.fft.rfft(sound.clone()) * kept, length) for sound in wave]
    return torch.stack(sounds) * (length / wave.shape[2])
