"""A transformation is what the world does to an image on its way to the model.

It is a frozen dataclass of physical parameters, and a function of images and random numbers that
is differentiable in the images. It draws nothing itself: who calls it hands it the numbers. So the
same camera gives each image a photograph of its own (:meth:`Transformation.sample`), and gives an
attack the same photographs of all images (:class:`SharedDraws`, for :class:`advlab.attacks.EOT`).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backend import generator, in_batches
from ..images import check_images
from ..threat import Streams, draw_into, per_image

# draw(kind, shape) gives random numbers (N, *shape), of the dtype and on the device of the images;
# the kinds are those of advlab.threat.Streams.draw.
Draw = Callable[[str, tuple[int, ...]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Transformation:
    """Images (N, C, H, W) in [0, 1] to images (N, C, H, W) in [0, 1], at random.

    A subclass holds the physics in :meth:`apply`, and its parameters are numbers in physical words
    and units, each with a default. What clips to [0, 1] lets the gradient pass as if it did not.
    """

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The transformed images, differentiable in x.

        :param x: (N, C, H, W) in [0, 1].
        :param draw: gives the random numbers: ``draw("uniform", (2,))`` is (N, 2). It is called
            equally often, with the same arguments, whatever the images.
        """
        raise NotImplementedError

    def sample(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """One random t(x) for each image; it depends on that image and the seed alone.

        Without gradients, a batch at a time.

        :param x: (N, C, H, W) floating point, in [0, 1].
        :raises ValueError: images that break the contract.
        """
        check_images(x)
        with torch.no_grad():
            return in_batches(lambda x: self.apply(x, Streams(x, seed).draw), x)

    def __str__(self) -> str:
        """The name with what differs from the defaults: ``Blur(sigma=2)``."""
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if f.repr and getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, init=False)
class Chain(Transformation):
    """One transformation after the other: t(x) = tₖ(… t₂(t₁(x))).

    :param parts: the first is applied first.
    :raises TypeError: a part that is no transformation.
    """

    parts: tuple[Transformation, ...] = ()

    def __init__(self, *parts: Transformation):
        for part in parts:
            if not isinstance(part, Transformation):
                raise TypeError(f"Chain: expected transformations, found {type(part).__name__}")
        object.__setattr__(self, "parts", parts)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        for part in self.parts:
            x = part.apply(x, draw)
        return x

    def __str__(self) -> str:
        return f"Chain({', '.join(map(str, self.parts))})"


class SharedDraws:
    """Random numbers that all images of a batch share, drawn on the CPU from one seed.

    Copies are numbered as they are handed out, and each has a stream of its own. So a copy's
    numbers depend neither on which images stand in the batch nor on how many copies go at once.

    :param seed: another seed, other numbers.
    :ivar given: how many copies were handed out; set it back to have the same ones again.
    """

    def __init__(self, seed: int):
        self._seed, self.given = seed, 0

    def for_copies(self, x: Tensor, copies: int) -> Draw:
        """A ``draw`` for copies × n images: x repeated, ``x.repeat(copies, 1, 1, 1)``.

        Each copy of the batch has its own numbers, and the images of one copy share them.

        :param x: (n, C, H, W), the images before they are repeated.
        """
        sources = [
            generator(zlib.crc32(f"{self._seed} {number}".encode()))
            for number in range(self.given, self.given + copies)
        ]
        self.given += copies

        def draw(kind: str, shape: tuple[int, ...]) -> Tensor:
            numbers = torch.empty((copies, *shape), dtype=x.dtype)
            for row, source in zip(numbers, sources, strict=True):
                draw_into(row, kind, source)
            return numbers.to(x.device).repeat_interleave(len(x), 0)

        return draw


def between(draw: Draw, x: Tensor, low: float, high: float) -> Tensor:
    """A number for each image, uniform between two values: (N, 1, 1, 1)."""
    return per_image(low + (high - low) * draw("uniform", ()), x)


def wide(x: Tensor) -> Tensor:
    """x, in half precision as float32: places and gray levels have more digits than it holds."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def clip(x: Tensor) -> Tensor:
    """x clipped to [0, 1]; its gradient passes as if it were not.

    A pixel that noise or rounding drove out of the box would otherwise answer 0, and an attack
    that starts on a black background would not see half of its pixels.
    """
    return x.detach().clamp(0, 1) + (x - x.detach())  # what is added is exactly 0
