"""What a speech recognizer looks at: how loud each pitch is at each moment, as an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RANGE = 60.0  # dB between black and white
LOWEST = 80.0  # Hz: below are hum and the microphone's constant
WINDOW = 512  # samples
_SILENCE = 1e-9  # power below which nothing is made louder


def spectrogram(wave: Tensor, rate: int = 16_000, *, bands: int = 32, frames: int = 32) -> Tensor:
    """Log-mel spectrogram: ``P(b, t) = Σ W(b, f) |STFT(f, t)|²``, from −60 to 0 dB.

    The pixel is clip(1 + 10 log₁₀(P / max P) / 60, 0, 1): white is the loudest place of this
    recording, black is 60 dB below or less, so that the level of the recording does not matter;
    but max P counts as at least 1e-9, and what is quieter than a tone of 1e-4 becomes darker.
    Bands are as wide as the ear's, equal on the mel scale, 2595 log₁₀(1 + f / 700), from 80 Hz to
    half the rate; a band between two frequencies of the STFT, rate / 512 apart, is black. Low pitch
    is at the bottom (the last row), time goes to the right. It is differentiable in the wave. A
    silent recording is black.

    :param wave: (N, 1, T) floating point, at least ``frames`` and 512 samples long.
    :param rate: samples a second.
    :param bands: rows of the image.
    :param frames: columns; the windows of 512 samples (32 ms at 16 kHz) begin T / frames apart.
    :returns: (N, 1, bands, frames) in [0, 1].
    :raises ValueError: another shape, samples that are NaN or infinite, too short a recording, or
        a number out of its range.
    """
    check_wave(wave)
    if not (bands >= 1 and frames >= 1):
        raise ValueError(f"bands, frames: expected at least 1, found {bands!r}, {frames!r}")
    if not rate > 2 * LOWEST:
        raise ValueError(f"rate: expected above {2 * LOWEST:g} samples a second, found {rate!r}")
    length = wave.shape[2]
    if length < max(WINDOW, frames):
        raise ValueError(
            f"wave: expected at least {max(WINDOW, frames)} samples, found {length}; "
            "pad it with zeros"
        )
    window = torch.hann_window(WINDOW, dtype=wave.dtype, device=wave.device)
    centered = wave[:, 0] - wave[:, 0].mean(1, keepdim=True)
    # Frame t stands in the middle of the t-th piece of the recording.
    hop, half = length // frames, WINDOW // 2
    padded = torch.nn.functional.pad(centered, (half, half))[:, hop // 2 :]
    pieces = padded.unfold(1, WINDOW, hop)[:, :frames]
    power = torch.fft.rfft(pieces * window).abs().square() / window.sum() ** 2
    mel = power @ mel_bands(bands, rate).to(wave).T
    loudest = mel.amax((1, 2), keepdim=True).clamp_min(_SILENCE)
    decibel = 10 * torch.log10(mel / loudest + 10 ** (-RANGE / 10 - 2))
    return (1 + decibel / RANGE).clamp(0, 1).transpose(1, 2).flip(1)[:, None]


def mel_bands(bands: int, rate: int) -> Tensor:
    """W: triangles over the frequencies of the STFT, each from its neighbor's middle to the next.

    :returns: (bands, 257) float64, each triangle of height 1.
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (LOWEST, rate / 2))
    corners = torch.linspace(low, high, bands + 2, dtype=torch.float64)
    corners = 700 * (10 ** (corners / 2595) - 1)
    f = torch.linspace(0, rate / 2, WINDOW // 2 + 1, dtype=torch.float64)[:, None]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (f - left) / (middle - left), (right - f) / (right - middle)
    return torch.minimum(rising, falling).clamp_min(0).T


def check_wave(wave: Tensor, name: str = "wave") -> None:
    """:raises ValueError: not float32 or float64 (N, 1, T) of finite samples, N and T above 0.

    :raises TypeError: not a tensor.
    """
    if not isinstance(wave, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, found {type(wave).__name__}")
    # torch has no Fourier transform of half precision on a CPU, nor of an empty batch.
    good = wave.dtype in (torch.float32, torch.float64)
    if wave.ndim != 3 or wave.shape[1] != 1 or not good or not wave.numel():
        raise ValueError(
            f"{name}: expected floating point (32 or 64 bits) of shape (N, 1, T), N and T at least "
            f"1, found {wave.dtype} of shape {tuple(wave.shape)}"
        )
    if not wave.isfinite().all():
        raise ValueError(f"{name}: expected finite samples, found NaN or infinity")
