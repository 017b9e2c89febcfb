"""The zoo: networks that were trained before, with a card that says how.

A recipe is data: which network, on which images, with which settings of
:func:`advlab.training.fit`, or of the model's own method ``fit`` where it has one. To add a model,
add a recipe and run ``advlab zoo train NAME``.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from .. import backend
from ..data import Dataset, Split, is_there, load
from ..data.files import write_atomically
from .cnn import CNN
from .contract import accuracy
from .counting import count_parameters
from .kernel_svm import KernelSVM
from .mlp import MLP, LogisticRegression
from .resnet import ResNet
from .segmentation import SegmentationNet, class_iou, pixel_accuracy, predict_maps

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Recipe:
    """How a model of the zoo is made.

    :param build: gives the untrained network.
    :param data: the name of the data set, for :func:`advlab.data.load`.
    :param settings: gives the keyword arguments of :func:`advlab.training.fit`, or of the model's
        own ``fit(x, y, **settings)``.
    :param seed: of the initial weights and of the training.
    :param half: the trained weights are rounded to half precision, and kept in half the space. What
        is measured, and loaded, are the rounded ones.
    """

    build: Callable[[], nn.Module]
    data: str
    settings: Callable[[], dict]
    seed: int = 0
    half: bool = False


def _plain(**settings) -> Callable[[], dict]:
    return lambda: settings


def _shifted(pixels: int, **settings) -> Callable[[], dict]:
    def make() -> dict:
        from ..training import Shift

        return {"augment": Shift(pixels=pixels), **settings}

    return make


def _sized(network: type[nn.Module], **sizes: int) -> Callable[[], nn.Module]:
    """A network for images of another size than the course's digits, under its own name."""

    @functools.wraps(network, updated=())
    def build() -> nn.Module:
        return network(**sizes)

    return build


RECIPES = {
    "mnist-cnn": Recipe(CNN, "mnist5k", _plain(epochs=12, lr=3e-3)),
    "mnist-cnn-b": Recipe(CNN, "mnist5k", _plain(epochs=12, lr=3e-3), seed=1),
    "mnist-resnet": Recipe(ResNet, "mnist5k", _plain(epochs=12, lr=3e-3)),
    "mnist-mlp": Recipe(MLP, "mnist5k", _plain(epochs=20, lr=3e-3)),
    "mnist-logistic": Recipe(LogisticRegression, "mnist5k", _plain(epochs=20, lr=3e-3)),
    "mnist-svm": Recipe(KernelSVM, "mnist5k", _plain(gamma=0.01, C=10.0)),
    "mnist-cnn-full": Recipe(CNN, "mnist", _shifted(2, epochs=15, lr=2e-3, batch_size=128)),
    "signs-cnn": Recipe(
        _sized(CNN, channels=3, size=48, stride=2), "signs", _shifted(2, epochs=20, lr=3e-3)
    ),
    "signs-cnn-b": Recipe(
        _sized(CNN, channels=3, size=48, stride=2),
        "signs",
        _shifted(2, epochs=20, lr=3e-3),
        seed=1,
    ),
    "scenes-segmentation": Recipe(
        SegmentationNet, "scenes", _plain(epochs=10, lr=4e-3, batch_size=16)
    ),
    "speech-cnn": Recipe(_sized(CNN, size=32), "speech", _plain(epochs=12, lr=3e-3)),
}


def recipes() -> dict[str, Recipe]:
    """All recipes by name: the plain networks here, and those of :mod:`advlab.recipes`."""
    from ..recipes import RECIPES as DEFENDED  # made of what stands above models

    return RECIPES | DEFENDED


@dataclass(frozen=True)
class Card:
    """What is known of the weights in ``weights/NAME.safetensors``.

    :param accuracy: on the test split of ``data``, between 0 and 1, of ``tested_on`` images; of
        ``tested_on`` pixels where every pixel has a class.
    :param epochs: 0 for a model that is not trained in epochs, such as a kernel machine.
    :param sha256: of the file.
    :param iou: where every pixel has a class, the intersection over union of each class.
    """

    name: str
    model: str
    parameters: int
    data: str
    command: str
    settings: dict[str, str] = field(repr=False)
    seed: int
    epochs: int
    accuracy: float
    tested_on: int
    seconds: float
    date: str
    device: str
    torch: str
    sha256: str
    iou: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What ``tested_on`` counts."""
        return "pixels" if self.iou else "images"


def names() -> list[str]:
    """The models that :func:`load_model` knows."""
    return sorted(path.stem for path in WEIGHTS.glob("*.json"))


def read_card(name: str) -> Card:
    """How a model was trained, and how good it is.

    :raises ValueError: no such model; the message lists what there is.
    """
    path = WEIGHTS / f"{name}.json"
    if name not in names():
        raise ValueError(f"model: found {name!r}, expected one of {', '.join(names())}")
    return Card(**json.loads(path.read_text(encoding="utf-8")))


def load_model(name: str, device: str | torch.device | None = None) -> nn.Module:
    """A trained network in evaluation mode: images (N, C, H, W) in [0, 1] to logits (N, K).

    :param name: one of ``advlab zoo list``, ``"mnist-cnn"`` for example.
    :param device: where to put it; by default where :func:`advlab.backend.device` says.
    :raises ValueError: no such model, or weights that are not those that the card describes.
    :raises OSError: the file of weights is not there.
    """
    card = read_card(name)
    content = _weights(card)
    # Initial weights, drawn only to be replaced, must not move the caller's random state.
    with torch.random.fork_rng(devices=[]):
        model = recipes()[name].build()
    try:
        model.load_state_dict(safetensors.torch.load(content))
    except RuntimeError as error:
        raise ValueError(
            f"{name}: its file of weights does not fit its recipe ({error}); "
            f"train it again: advlab zoo train {name}"
        ) from error
    return model.to(device or backend.device()).eval()


def _weights(card: Card) -> bytes:
    path = WEIGHTS / f"{card.name}.safetensors"
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise ValueError(
            f"{path}: its SHA-256 is {found}, its card says {card.sha256}: the file is damaged or "
            f"was changed. Install advlab again, or train it: advlab zoo train {card.name}"
        )
    return content


def train(name: str, *, progress: bool = True, device: str | torch.device | None = None) -> Card:
    """Train a model by its recipe, measure it, and write its weights and its card.

    :raises ValueError: no such recipe; the message lists what there is.
    """
    known = recipes()
    if name not in known:
        raise ValueError(f"model: found {name!r}, expected one of {', '.join(known)}")
    recipe = known[name]
    data = load(recipe.data)
    with backend.seeded(torch.device("cpu"), recipe.seed):
        model = recipe.build()
    settings = recipe.settings()
    where = torch.device(device or "cpu")
    with backend.Stopwatch() as watch:
        epochs = _fit(model, data, recipe.seed, settings, where, progress)
    state = {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}
    if recipe.half:
        state = {k: t.half() if t.is_floating_point() else t for k, t in state.items()}
        model.load_state_dict(state)
    content = safetensors.torch.save(state)
    test = data.test.to(where)
    of_pixels = data.test.y.ndim == 3
    card = Card(
        name=name,
        model=recipe.build.__name__,
        parameters=count_parameters(model),
        data=recipe.data,
        command=f"advlab zoo train {name}",
        settings={key: repr(value) for key, value in settings.items()},
        seed=recipe.seed,
        epochs=epochs,
        accuracy=round(_measure(model, test, recipe.seed), 6),
        tested_on=test.y.numel(),
        seconds=round(watch.seconds, 1),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        device=where.type,
        torch=torch.__version__,
        sha256=hashlib.sha256(content).hexdigest(),
        iou=_iou(model, data.to(where)) if of_pixels else {},
    )
    write_atomically(WEIGHTS / f"{name}.safetensors", content)
    text = json.dumps(asdict(card), indent=2) + "\n"
    write_atomically(WEIGHTS / f"{name}.json", text.encode())
    return card


def _fit(model, data: Dataset, seed: int, settings: dict, where, progress: bool) -> int:
    """Train by the model's own method, or else by gradients. Returns the epochs that it took."""
    from ..training import fit

    if hasattr(model, "fit"):
        model.to(where).fit(*data.train.to(where), **settings)
        return settings.get("epochs", 0)
    return len(fit(model, data, seed=seed, progress=progress, device=where, **settings).loss)


def _measure(model: nn.Module, test: Split, seed: int) -> float:
    """Its accuracy. A model that draws at random draws the same each time."""
    with backend.seeded(test.x.device, seed):
        return (pixel_accuracy if test.y.ndim == 3 else accuracy)(model, *test)


def _iou(model: nn.Module, data: Dataset) -> dict[str, float]:
    found = class_iou(predict_maps(model, data.test.x), data.test.y, len(data.classes))
    return {name: round(value, 4) for name, value in zip(data.classes, found.tolist())}


def verify(name: str) -> str:
    """Check the weights against the card's hash, measure the accuracy again, and say what came.

    Data that are not on this machine are not downloaded: then only the hash is checked, and the
    sentence says so. The accuracy may differ from the card's by two images, or by one pixel in
    10,000, since another processor rounds differently.

    :raises ValueError: no such model, or the hash or the accuracy is not what the card says.
    :raises OSError: the weights are not there.
    """
    card = read_card(name)
    model = load_model(name)
    if not is_there(card.data):
        return f"{name}: hash right; accuracy not measured: {card.data} is not on this machine"
    test = load(card.data).test
    found = _measure(model, test, card.seed)
    if abs(found - card.accuracy) * card.tested_on > max(2.5, 1e-4 * card.tested_on):
        raise ValueError(
            f"{name}: its accuracy is {found:.2%} on the {card.tested_on:,} test {card.unit} of "
            f"{card.data}, and its card says {card.accuracy:.2%}"
        )
    return f"{name}: hash right; {found:.2%} of {card.tested_on:,} test {card.unit}, as on its card"
