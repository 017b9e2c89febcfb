"""A painted stop sign, photographed from many places: ``advlab reproduce road-signs``."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from ..attacks import (
    RP2,
    black_and_white,
    nearest_printable,
    non_printability,
    sticker_mask,
    vulnerable_mask,
)
from ..backend import generator
from ..data import SIGN_CLASSES, Roadside, sign_face, sign_mask
from ..evaluation import answers_over_draws, success_over_draws
from ..models import load_model
from .base import Cell, Table, markdown

SETTINGS = {
    "network": "signs-cnn",
    "sign": "stop",
    "target": "limit 30",
    "stickers": {"stickers": 6, "size": [16, 24]},
    "first run": {"norm": "L1", "lam": 0.02, "nps": 0.0, "steps": 40, "lr": 0.05},
    "attack": {"steps": 100, "lr": 0.1, "samples": 16, "nps": 0.0},
    "cell": 4,
    # Of the poses that the attack is made in and of those that it is judged in: other streets
    # and other random numbers. The settings above were picked by streets 1: these are new.
    "seed": 0,
    "judge": {"seed": 5000, "streets": 3, "draws": 200},
    "distances": {"near": [1.15, 1.35], "middle": [1.35, 1.55], "far": [1.55, 1.8]},
}
# One place in front of the sign, in even light; the street behind it is all that changes.
FRONTAL = {"distance": 1.15, "tilt": 0, "turn": 0, "shift": 0, "exposure": 0, "uneven": 0}
# What differs from the attack on stickers in many poses. The keys of RP2, and "kind" of stickers.
ATTACKS = {
    "poster": {"kind": "poster", "lam": 0.05, "cell": 1},
    "poster, one view": {"kind": "poster", "lam": 0.05, "cell": 1, "one view": True},
    "stickers": {},
    "stickers, one view": {"one view": True},
    "stickers, NPS": {"nps": 1.0},
    "stickers, printed colors": {"printed": True},
    "stickers, black and white": {"printed": True, "black and white": True},
    "bars": {"kind": "bars"},
    "graffiti": {"kind": "graffiti"},
}
# Eykholt et al. (2018), tables 1 and 2: of photographs of the stop sign from 5 feet to 40, at up to
# 60°, the part that LISA-CNN (poster, graffiti, art) reads as "speed limit 45".
PAPER = {"poster": 1.0, "graffiti": 2 / 3, "stickers": 1.0}


class _Scene:
    """The network, the sign, and the poses."""

    def __init__(self, settings: Mapping, device: torch.device):
        self.settings = settings
        self.model = load_model(settings["network"], device=device)
        self.face = sign_face(settings["sign"]).to(device)
        self.sign = sign_mask(settings["sign"]).to(device)
        self.y = torch.tensor([SIGN_CLASSES.index(settings["sign"])], device=device)
        self.target = SIGN_CLASSES.index(settings["target"])
        self.road = Roadside(sign=settings["sign"])

    def attack(self, mask: Tensor, **how) -> Tensor:
        attack = RP2(
            target=self.target,
            mask=mask,
            seed=self.settings["seed"],
            **{"transformation": self.road, **self.settings["attack"], **how},
        )
        return attack(self.model, self.face, self.y)

    @functools.cached_property
    def found(self) -> Tensor:
        """The stickers that a first run in L1 asks for."""
        poster = sticker_mask(self.sign, "poster")
        first = self.attack(poster, **self.settings["first run"])
        return vulnerable_mask(first - self.face, self.sign, **self.settings["stickers"])

    def judge(self, painted: Tensor, mask: Tensor, palette: Tensor | None = None) -> dict:
        """How the network reads it, as it is and as it comes out of the printer."""
        printed = nearest_printable(painted, mask, palette)
        faces, judge, bands = torch.cat([self.face, painted, printed]), self.settings["judge"], {}
        for name, distance in self.settings["distances"].items():
            road = Roadside(
                sign=self.settings["sign"], streets=judge["streets"], distance=tuple(distance)
            )
            answers = answers_over_draws(
                self.model, faces, road, draws=judge["draws"], seed=judge["seed"]
            )
            plain, *others = (row[None] for row in answers)
            bands[name] = {"plain right": (plain == self.y).double().mean().item()}
            for how, row in zip(("painted", "printed"), others, strict=True):
                for goal, target in (("target", self.target), ("wrong", None)):
                    bands[name][f"{how} {goal}"] = success_over_draws(
                        plain, row, self.y, target=target
                    )
        delta = (painted - self.face).abs()
        return {
            "area": (mask.sum() / self.sign.sum()).item(),
            "change": (delta * mask).sum().item() / (3 * mask.sum().item()),
            "nps": non_printability(painted, mask, palette).item(),
            "distances": bands,
        }


def plain(scene: _Scene) -> dict:
    """The sign as it is."""
    return scene.judge(scene.face, sticker_mask(scene.sign, "poster"))


def blank(scene: _Scene) -> dict:
    """A control: stickers at the same places, of white paper."""
    mask, paper = scene.found, black_and_white()[1].to(scene.face).view(1, 3, 1, 1)
    return scene.judge(torch.where(mask != 0, paper, scene.face), mask)


def random_colors(scene: _Scene) -> dict:
    """A control: stickers at the same places, in random colors."""
    mask, cell = scene.found, scene.settings["cell"]
    colors = torch.rand(1, 3, *(side // cell for side in mask.shape[2:]), generator=generator(0))
    squares = colors.repeat_interleave(cell, 2).repeat_interleave(cell, 3).to(scene.face)
    return scene.judge(torch.where(mask != 0, squares, scene.face), mask)


def attacked(scene: _Scene, how: Mapping) -> dict:
    how = {"cell": scene.settings["cell"], **how}
    kind = how.pop("kind", None)
    mask = sticker_mask(scene.sign, kind) if kind else scene.found
    if how.pop("one view", False):
        how["transformation"] = Roadside(sign=scene.settings["sign"], **FRONTAL)
    palette = black_and_white().to(scene.face) if how.pop("black and white", False) else None
    return scene.judge(scene.attack(mask, palette=palette, **how), mask, palette)


def cells(settings: Mapping, device: torch.device) -> dict[str, Cell]:
    """The plain sign, two controls, and a cell for each attack."""
    scene = functools.cache(lambda: _Scene(settings, device))  # made when a cell needs it
    made: dict[str, Cell] = {
        "plain sign": lambda: plain(scene()),
        "blank stickers": lambda: blank(scene()),
        "random colors": lambda: random_colors(scene()),
    }
    for name, how in ATTACKS.items():
        made[name] = lambda how=how: attacked(scene(), how)
    return made


def show(cells: Mapping[str, dict]) -> str:
    """The sign as it was painted, and how much of it the printer leaves."""
    bands = list(SETTINGS["distances"])
    rows = [["", "area", "change", "NPS", *bands, "other than stop", "printed", "in the paper"]]
    for name, cell in cells.items():
        by_band = [cell["distances"][band] for band in bands]

        def mean(key, by_band=by_band):
            return f"{sum(band[key] for band in by_band) / len(by_band):.0%}"

        rows.append([
            name, f"{cell['area']:.0%}", f"{cell['change']:.2f}", f"{cell['nps']:.2g}",
            *(f"{band['painted target']:.0%}" for band in by_band),
            mean("painted wrong"), mean("printed target"),
            f"{PAPER[name]:.0%}" if name in PAPER else "",
        ])  # fmt: skip
    parts = [
        f"Photographs of a {SETTINGS['sign']} sign read as “{SETTINGS['target']}”, in poses and "
        "streets that the attack has not seen, nor who picked its settings, of those in which the "
        "plain sign is read right.",
        markdown(rows),
    ]
    if "plain sign" in cells:
        right = cells["plain sign"]["distances"]
        said = ", ".join(f"{band} {right[band]['plain right']:.1%}" for band in bands)
        parts.append(f"The plain sign is read right: {said}.")
    return "\n\n".join(parts)


SIGNS = Table(
    name="road-signs",
    source="Eykholt et al. (2018)",
    what="A stop sign with stickers, read as a speed limit in poses that nobody has tried.",
    settings={**SETTINGS, "attacks": ATTACKS},
    cells=cells,
    show=show,
)
