"""What a recognizer makes of commands that nobody hears: ``advlab reproduce voice``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import torch
from torch import Tensor

from .. import backend
from ..attacks import Microphone, audible_energy, modulate, resample
from ..data import SPEECH_CLASSES, Split, speech
from ..models import accuracy, load_model
from ..transforms import spectrogram
from .base import Cell, Table, markdown

SETTINGS = {
    "recognizer": "speech-cnn",
    "commands": 500,
    "seed": 2,  # the recognizer learned from seed 0 and was tested on seed 1
    "carrier": 30_000,
    "depth": 0.5,
    "bandwidth": 8_000,
    "square": 0.1,
    "noise": 1e-3,
    "carriers": [21_000, 22_000, 24_000, 26_000, 28_000, 30_000, 35_000, 40_000],
    "depths": [0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0],
    "distances": [1, 2, 3, 4, 6, 8],
    "noises": [0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
    "trace": [20, 50],  # Hz, where the square of speech is, and speech is not
}


def attack(settings: Mapping, command: Tensor, distance: float = 1.0, **changed) -> Tensor:
    """What the microphone records of these commands on their carrier."""
    s = {**settings, **changed}
    sound = modulate(command, s["carrier"], s["depth"], bandwidth=s["bandwidth"])
    # Sound pressure falls as one over the distance; what the air takes of it is left out.
    return Microphone(square=s["square"], noise=s["noise"])(sound / distance)


def heard(settings: Mapping, device: torch.device, **changed) -> float:
    """The share of commands that the recognizer gets right through the microphone."""
    return _recognized(settings, device, lambda x: attack(settings, x, **changed))


def summary(settings: Mapping, device: torch.device) -> dict:
    """The three conditions, and how loud the attack is to people."""
    command = _commands(settings, device).x
    loudness = backend.in_batches(
        lambda x: audible_energy(
            modulate(x, settings["carrier"], settings["depth"], bandwidth=settings["bandwidth"])
        ),
        command,
    )
    return {
        "plain command": _recognized(settings, device, lambda x: x),
        "ultrasound": heard(settings, device),
        "ultrasound, linear microphone": heard(settings, device, square=0.0),
        "chance": 1 / len(SPEECH_CLASSES),
        "audible energy (dB), at most": round(loudness.max().item(), 1),
    }


def carriers(settings: Mapping, device: torch.device) -> dict:
    """By carrier; near 20 kHz less of the command fits between the carrier and what is heard."""
    return {
        f"{carrier / 1000:g} kHz": heard(
            settings, device, carrier=carrier,
            bandwidth=min(settings["bandwidth"], carrier - 20_000),
        )
        for carrier in settings["carriers"]
    }  # fmt: skip


def sweep(settings: Mapping, device: torch.device, name: str) -> dict:
    """By one setting, the others as they are."""
    return {f"{v:g}": heard(settings, device, **{name: v}) for v in settings[f"{name}s"]}


def traces(settings: Mapping, device: torch.device) -> dict:
    """What the square leaves behind: its share of the recording, and its power at low pitch.

    ``square`` is the share of the recording's energy above the trace that is no multiple of the
    command, 1 − correlation². ``low`` is the share of the energy in the band of the trace, in dB.
    Both are medians over the commands, without noise.
    """
    x = _commands(settings, device).x
    low, high = settings["trace"]
    command, f = _spectrum(resample(x, 16_000, 16_000))  # below the microphone's cutoff
    recorded = {"plain": lambda x: x} | {
        f"{depth:g}": partial(attack, settings, depth=depth, noise=0.0)
        for depth in settings["depths"]
    }
    found = {}
    for name, record in recorded.items():
        spectrum, _ = _spectrum(backend.in_batches(record, x))
        power, above = spectrum.abs().square(), f > high
        common = (spectrum * command.conj())[:, above].sum(1).abs().square()
        square = 1 - common / power[:, above].sum(1) / command[:, above].abs().square().sum(1)
        trace = power[:, (f >= low) & (f <= high)].sum(1) / power[:, f >= low].sum(1)
        found[name] = {
            "square": round(square.median().item(), 4),
            "low": round(10 * trace.log10().median().item(), 1),
        }
    return found


def seconds(settings: Mapping, device: torch.device) -> dict:
    """For 100 commands, from the waveform to the recognizer's answers; the faster of two runs."""
    small, times = {**settings, "commands": 100}, []
    command, model = _commands(small, device).x, load_model(settings["recognizer"], device)
    for _ in range(2):
        with backend.Stopwatch() as watch, torch.no_grad():
            model(spectrogram(attack(settings, command)))
        times.append(watch.seconds)
    return {"seconds for 100 commands": round(min(times), 3)}


def cells(settings: Mapping, device: torch.device) -> dict[str, Cell]:
    """A cell for each of the questions."""
    return {
        "summary": partial(summary, settings, device),
        "carrier": partial(carriers, settings, device),
        **{name: partial(sweep, settings, device, name) for name in ("depth", "distance", "noise")},
        "trace": partial(traces, settings, device),
        "seconds": partial(seconds, settings, device),
    }


def show(cells: Mapping[str, dict]) -> str:
    """A table of recognition rates for each question, and what the square leaves behind."""
    parts = [f"Commands recognized, of {SETTINGS['commands']} by speakers not heard before."]
    if "summary" in cells:
        rates = dict(cells["summary"])
        decibel = rates.pop("audible energy (dB), at most")
        rows = [["what the microphone gets", "recognized"]]
        rows += [[name, f"{rate:.1%}"] for name, rate in rates.items()]
        parts += [markdown(rows), f"Energy of the ultrasound below 20 kHz: at most {decibel} dB."]
    for name in ("carrier", "depth", "distance", "noise"):
        if name in cells:
            rows = [
                [name, *cells[name]],
                ["recognized", *map("{:.1%}".format, cells[name].values())],
            ]
            parts.append(markdown(rows))
    if "trace" in cells:
        low, high = SETTINGS["trace"]
        rows = [["depth", *cells["trace"]]]
        rows.append(
            [
                f"not the command, above {high} Hz",
                *(f"{t['square']:.1%}" for t in cells["trace"].values()),
            ]
        )
        rows.append([f"{low} to {high} Hz (dB)", *(str(t["low"]) for t in cells["trace"].values())])
        parts += ["What the square of the command leaves in the recording:", markdown(rows)]
    if "seconds" in cells:
        parts.append(f"{cells['seconds']['seconds for 100 commands']} s for 100 commands.")
    return "\n\n".join(parts)


def _commands(settings: Mapping, device: torch.device) -> Split:
    return _spoken(settings["commands"], settings["seed"]).to(device)


@cache
def _spoken(n: int, seed: int) -> Split:
    return speech(n, seed=seed)


def _recognized(settings: Mapping, device: torch.device, channel) -> float:
    x, y = _commands(settings, device)
    images = backend.in_batches(lambda wave: spectrogram(channel(wave)), x)
    return round(accuracy(load_model(settings["recognizer"], device), images, y), 4)


def _spectrum(wave: Tensor) -> tuple[Tensor, Tensor]:
    """Of 16,000 samples a second, in a window that leaves out the carrier's fading in and out."""
    window = torch.hann_window(wave.shape[2], dtype=wave.dtype, device=wave.device)
    centered = (wave - wave.mean(2, keepdim=True))[:, 0]
    return torch.fft.rfft(centered * window), torch.fft.rfftfreq(
        wave.shape[2], 1 / 16_000, device=wave.device
    )


VOICE = Table(
    name="voice",
    source="Zhang et al. (2017)",
    what="Commands on ultrasound, which a microphone's square law makes audible to a recognizer.",
    settings=SETTINGS,
    cells=cells,
    show=show,
)
