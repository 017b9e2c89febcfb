"""Where a number came from: versions, processor, device, date."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from pathlib import Path

import torch


def processor() -> str:
    """The model name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def provenance(device: torch.device | str, libraries: tuple[str, ...] = ("torch",)) -> dict:
    """What a stored result says of how it was made, as plain data.

    :param device: where it was computed; of a GPU its name is kept.
    :param libraries: distributions whose versions are kept.
    """
    device = torch.device(device)
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "device": device.type,
        "processor": on,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
