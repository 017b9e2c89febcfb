"""The state of a training run in one file: safetensors, with JSON in its metadata, no pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .data.files import digest, write_atomically

FORMAT = "advlab checkpoint 1"


def describe(model: nn.Module, data: tuple[Tensor, Tensor], **settings) -> dict[str, str]:
    """What makes two runs the same run, as text: shapes, data and settings."""
    shapes = {name: [str(t.dtype), *t.shape] for name, t in model.state_dict().items()}
    return {
        "model": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16],
        "data": digest(data)[:16],
        **{name: _text(value) for name, value in settings.items()},
    }


def _text(value) -> str:
    text = repr(value)
    # The default representation of functions and objects holds an address, new in each process.
    return text if " at 0x" not in text else getattr(value, "__qualname__", type(value).__name__)


def write_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, str],
    epoch: int,
    history: dict[str, list[float]],
) -> None:
    """Write the file whole, or leave the one that is there."""
    tensors = {f"model.{name}": _copy(t) for name, t in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": _copy(t) for key, t in state.items()}
    record = {"format": FORMAT, "epoch": epoch, "settings": settings, "history": history}
    metadata = {"advlab": json.dumps(record)}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def read_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, str],
) -> tuple[int, dict[str, list[float]]]:
    """Put the state back. Returns the number of epochs that are done, and the history.

    :raises ValueError: the file is damaged, is no checkpoint, or is of another run.
    """
    way_out = "delete the file to start anew, or give another checkpoint"
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("advlab", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {way_out}") from error
    if record.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of advlab.training.fit; {way_out}")
    for name, wanted in settings.items():
        found = record["settings"].get(name)
        if found != wanted:
            raise ValueError(
                f"{path} is the checkpoint of another run: {name} is {found} there and {wanted} "
                f"here; {way_out}"
            )
    model.load_state_dict(_below(tensors, "model."))
    saved = optimizer.state_dict()
    for name, tensor in _below(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        saved["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(saved)
    return record["epoch"], record["history"]


def _copy(tensor) -> Tensor:
    return torch.as_tensor(tensor).detach().cpu().contiguous().clone()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
