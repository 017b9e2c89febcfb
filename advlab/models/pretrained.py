"""ImageNet networks of torchvision, ready to be attacked in pixels."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from .. import backend
from ..data import import_torchvision
from .normalized import Normalized

# Networks with weights that were converted from elsewhere rescale their input themselves.
_OPTIONS = {name: {"transform_input": True} for name in ("googlenet", "inception_v3")}


class Pretrained(nn.Module):
    """Normalization, then a network. Images (N, 3, H, W) in [0, 1] to logits (N, 1000).

    ``classes``: the 1,000 names. ``size``: the H = W that it was trained for.
    """

    def __init__(self, normalized: Normalized, network: nn.Module, classes: list[str], size: int):
        super().__init__()
        self.normalized, self.network = normalized, network
        self.classes, self.size = tuple(classes), size

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.normalized(x))


def pretrained(
    name: str, *, device: str | torch.device | None = None, progress: bool = True
) -> Pretrained:
    """A network with torchvision's best ImageNet weights, in evaluation mode.

    The weights are downloaded the first time, to torch's own cache (``TORCH_HOME`` moves it),
    and compared with the hash in their file's name.

    :param name: ``"vgg16"``, ``"resnet18"``, … (:func:`pretrained_names`).
    :param device: where to put it; by default where :func:`advlab.backend.device` says.
    :param progress: show a bar while downloading.
    :raises ValueError: no network of that name, or a file of weights that is damaged.
    :raises OSError: the weights are not there and cannot be downloaded; the message names the
        file and the folder where it can be put.
    """
    network = _build(name)
    weights = _models().get_model_weights(name).DEFAULT
    network.load_state_dict(_state(name, weights, progress))
    preset = weights.transforms()
    model = Pretrained(
        Normalized(preset.mean, preset.std), network, weights.meta["categories"],
        preset.crop_size[0],
    )  # fmt: skip
    return model.to(device or backend.device()).eval()


def pretrained_names() -> list[str]:
    """The networks that :func:`pretrained` knows."""
    models = _models()
    return models.list_models(module=models)


def architecture(name: str) -> nn.Module:
    """A network of torchvision without weights, on the meta device: shapes and no numbers.

    It takes no memory and no download, and its parameters can be counted.

    :raises ValueError: no network of that name.
    """
    with torch.device("meta"):
        return _build(name)


def _models() -> ModuleType:
    return import_torchvision().models


def _build(name: str) -> nn.Module:
    known = pretrained_names()
    if name not in known:
        raise ValueError(f"network: found {name!r}, expected one of {', '.join(known)}")
    options = _OPTIONS.get(name, {})
    # Initial weights, drawn only to be replaced, must not move the caller's random state.
    with torch.random.fork_rng(devices=[]):
        return _models().get_model(name, weights=None, **options)


def _state(name: str, weights, progress: bool) -> dict[str, Tensor]:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = weights.url.rsplit("/", 1)[-1]
    path = folder / file
    if path.exists():
        _check_hash(path)
    try:
        return weights.get_state_dict(progress=progress, check_hash=True, weights_only=True)
    except Exception as error:  # torch raises many kinds, EOFError and UnpicklingError too
        if path.exists():
            kind = type(error).__name__
            raise ValueError(f"{path}: cannot be read as weights ({kind}); delete it") from error
        raise FileNotFoundError(
            f"{name}: its weights are not in {folder}, and {weights.url} could not be downloaded "
            f"({error}). Put the file {file} into that folder, or set TORCH_HOME"
        ) from None


def _check_hash(path: Path) -> None:
    """torch compares a file with the hash in its name when it downloads it, and never again."""
    match = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if not match:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(match[1]):
        raise ValueError(
            f"{path}: its SHA-256 begins with {found[: len(match[1])]}, expected {match[1]}: the "
            "file is damaged; delete it to download it again"
        )
