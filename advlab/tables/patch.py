"""A patch's success, by how much of the picture it covers: ``advlab reproduce patch``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from functools import partial

import torch

from .. import data
from ..attacks import AdversarialPatch
from ..backend import Stopwatch
from ..evaluation import noise_patch, patch_curve, picture_patch
from ..models import load_model, predict_logits
from ..transforms import Camera
from .base import Cell, Table, markdown

SETTINGS = {
    "network": "signs-cnn",
    "data": "signs",
    "images": 1000,
    "judged": 300,
    "targets": ["stop", "limit 80", "priority road", None],
    "learned area": [0.05, 0.25],
    "areas": [0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25],
    "rotation": 20,
    "steps": 100,
    "batch_size": 64,
    "lr": 0.1,
    "seed": 0,
}
# The slides: a network's confidence in "cat" as a sticker on the photograph grows.
SLIDES = (0.90, 0.89, 0.75, 0.60)
REASON = (
    f"The slides: {', '.join(f'{value:.2f}' for value in SLIDES)}, as the sticker grows. They are "
    "of one photograph of a cat before a network of two classes, and name neither the network nor "
    "the stickers' sizes, so no column is theirs. Ours are means over photographs of ten signs, "
    "that the network has right. What a photograph or noise of the same size costs is the part "
    "that comes from hiding the sign; the rest is the attack."
)


def cells(settings: Mapping, device: torch.device) -> dict[str, Cell]:
    """A cell for each target, without and with the camera between patch and network."""

    @functools.cache
    def there() -> tuple:
        found = data.load(settings["data"], device=device)
        return load_model(settings["network"], device), found

    def cell(target: str | None, camera: Camera | None) -> dict:
        model, found = there()
        x, y = (t[: settings["images"]] for t in found.train)
        unseen = [t[: settings["judged"]] for t in found.test]
        number = None if target is None else found.classes.index(target)
        attack = AdversarialPatch(
            target=number,
            area=tuple(settings["learned area"]),
            camera=camera,
            **{name: settings[name] for name in ("rotation", "steps", "batch_size", "lr", "seed")},
        )
        with Stopwatch() as watch:
            patch = attack(model, x, y)
        # A photograph of the target class (without a target of class 0), the one that the network
        # is surest of.
        sure = predict_logits(model, x).softmax(1)[:, number or 0]
        patches = {
            "learned": patch,
            "noise": noise_patch(patch),
            "photograph": picture_patch(patch, x[sure.argmax()]),
        }
        if camera is not None:
            patches["learned without it"] = dataclasses.replace(attack, camera=None)(model, x, y)
        values = {"seconds to learn": round(watch.seconds, 1)}
        for name, worn in patches.items():
            scores = patch_curve(
                model, worn, *unseen, settings["areas"],
                rotation=settings["rotation"], camera=camera, seed=settings["seed"],
            )  # fmt: skip
            values[name] = {
                "success": [round(score.success, 4) for score in scores],
                "confidence": [round(score.confidence, 4) for score in scores],
            }
            values["judged"] = scores[0].images
        return values

    return {
        _key(target, camera): partial(cell, target, camera)
        for camera in (None, Camera())
        for target in settings["targets"]
    }


def _key(target: str | None, camera: Camera | None) -> str:
    return f"{target or 'any other class'}{', camera' if camera else ''}"


def show(cells: Mapping[str, dict]) -> str:
    """Success and confidence against area, and the slides' four numbers."""
    areas = [f"{area:.0%}" for area in SETTINGS["areas"]]
    parts = []
    for what, title in (
        ("success", "Success on unseen photographs, by the patch's area"),
        ("confidence", "Mean confidence in the true class, by the patch's area"),
    ):
        rows = [["target", "patch", *areas]]
        for key, found in cells.items():
            rows += [
                [key, name, *(f"{value:.2f}" for value in found[name][what])]
                for name in ("learned", "learned without it", "photograph", "noise")
                if name in found
            ]
        parts += [title, markdown(rows)]
    return "\n\n".join([*parts, REASON]) + "\n"


PATCH = Table(
    name="patch",
    source="Brown et al. (2017), Adversarial patch; slides with a cat and a growing sticker",
    what="How often a learned patch has its way, by its area, beside stickers that are no attack.",
    settings=SETTINGS,
    cells=cells,
    show=show,
)
