"""Results as text: what crosses from the student's process to the judge's.

Plain data only: None, bool, int, float, str, lists, dicts with string keys, and tensors. Anything
else is kept as the name of its type, so that the verdict can say "found a numpy.ndarray". Reading
trusts nothing: sizes and depth are bounded, and a record of another form is refused.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MIME = "application/vnd.advlab.record+json"  # under which a record leaves a kernel
MAX_TEXT = 8_000_000  # characters of a whole record
MAX_ENTRIES = 200_000  # of one tensor
MAX_ITEMS = 50_000  # of all lists and dicts together
MAX_STRING = 10_000
MAX_KEY = 200
MAX_DEPTH = 12
MAX_DIMENSIONS = 8

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}


class RecordError(ValueError):
    """Results that are too large to keep, or a text that is no record."""


@dataclass(frozen=True)
class Recorded:
    """A tensor as the student's code returned it: its values on the CPU, and where it was."""

    value: Tensor
    device: str = "cpu"
    requires_grad: bool = False


@dataclass(frozen=True)
class Other:
    """Something that is no plain data: the name of its type."""

    type: str


def encode(results: Any) -> str:
    """Results as JSON.

    :raises RecordError: more than a record holds.
    """
    text = json.dumps(_Packer().pack(results, 0), allow_nan=False)
    if len(text) > MAX_TEXT:
        raise RecordError(f"{len(text)} characters of results, expected at most {MAX_TEXT}")
    return text


class _Packer:
    """Counts what it has packed, as :class:`_Reader` does: what is written can be read."""

    items = 0

    def pack(self, value: Any, depth: int) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise RecordError(f"results of more than {MAX_ITEMS} items")
        if depth > MAX_DEPTH:
            raise RecordError(f"results nested more than {MAX_DEPTH} deep")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if abs(value) < 2**63 else {"$other": "an integer beyond 64 bits"}
        if isinstance(value, float):
            value = float(value)
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, str):
            return str(value)[:MAX_STRING]
        if isinstance(value, Tensor):
            return _pack_tensor(value)
        if isinstance(value, list | tuple):
            return [self.pack(item, depth + 1) for item in value]
        if isinstance(value, dict) and all(isinstance(k, str) and k[:1] != "$" for k in value):
            return {_short(key): self.pack(item, depth + 1) for key, item in value.items()}
        kind = type(value)
        return {"$other": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")[:200]}


def _short(key: str) -> str:
    if len(key) > MAX_KEY:
        raise RecordError(f"a key of {len(key)} characters, expected at most {MAX_KEY}")
    return key


def _pack_tensor(value: Tensor) -> dict:
    name = str(value.dtype).removeprefix("torch.")
    if name not in DTYPES or value.layout != torch.strided or value.device.type == "meta":
        return {"$other": f"tensor of {name}, {value.layout}, on {value.device}"}
    if max((value.numel(), *value.shape)) > MAX_ENTRIES:
        raise RecordError(
            f"a tensor of shape {tuple(value.shape)}, expected at most {MAX_ENTRIES} entries"
        )
    if value.dim() > MAX_DIMENSIONS:
        raise RecordError(
            f"a tensor of {value.dim()} dimensions, expected at most {MAX_DIMENSIONS}"
        )
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return {
        "$tensor": base64.b64encode(data).decode("ascii"),
        "dtype": name,
        "shape": list(value.shape),
        "device": str(value.device),
        "requires_grad": bool(value.requires_grad),
    }


def decode(text: str) -> Any:
    """What :func:`encode` wrote; tensors come back as :class:`Recorded`.

    :raises RecordError: anything that :func:`encode` would not have written.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise RecordError(f"expected a text of at most {MAX_TEXT} characters")
    try:
        return _Reader().read(json.loads(text, object_pairs_hook=_once, parse_constant=_refuse), 0)
    except RecordError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError, RuntimeError) as error:
        raise RecordError(f"not a record: {error}") from error


def _once(pairs: list) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise RecordError("a key stands twice")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise RecordError(f"{constant} is not JSON")


class _Reader:
    """Counts what it has read, over the whole record."""

    items = 0

    def read(self, value: Any, depth: int) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS or depth > MAX_DEPTH:
            raise RecordError(f"more than {MAX_ITEMS} items, or nested more than {MAX_DEPTH} deep")
        if isinstance(value, str) and len(value) > MAX_STRING:
            raise RecordError(f"a string of {len(value)} characters")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise RecordError("an integer beyond 64 bits")
        if isinstance(value, float) and not math.isfinite(value):  # 1e999
            raise RecordError("a number beyond the range of a float")
        if isinstance(value, list):
            return [self.read(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return self._dict(value, depth)
        return value

    def _dict(self, value: dict, depth: int) -> Any:
        keys = set(value)
        if keys == {"$float"} and value["$float"] in ("nan", "inf", "-inf"):
            return float(value["$float"])
        if keys == {"$other"} and isinstance(value["$other"], str):
            return Other(value["$other"][:200])
        if keys == {"$tensor", "dtype", "shape", "device", "requires_grad"}:
            return _unpack_tensor(value)
        if any(key[:1] == "$" or len(key) > MAX_KEY for key in keys):
            raise RecordError(f"an object with the keys {sorted(k[:20] for k in keys)[:5]}")
        return {key: self.read(item, depth + 1) for key, item in value.items()}


def _unpack_tensor(packed: dict) -> Recorded:
    dtype, shape, device = DTYPES.get(str(packed["dtype"])), packed["shape"], packed["device"]
    if dtype is None or not isinstance(device, str) or len(device) > 20:
        raise RecordError("a tensor of unknown type or place")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or any(type(n) is not int for n in shape)
    ):
        raise RecordError("a tensor of unreadable shape")
    if any(n < 0 or n > MAX_ENTRIES for n in shape) or (count := math.prod(shape)) > MAX_ENTRIES:
        raise RecordError(f"a tensor of shape {shape}")
    data = base64.b64decode(packed["$tensor"], validate=True)
    if len(data) != count * dtype.itemsize or type(packed["requires_grad"]) is not bool:
        raise RecordError(f"a tensor of shape {shape} in {len(data)} bytes")
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return Recorded(flat.reshape(shape), device, packed["requires_grad"])
