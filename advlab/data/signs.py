"""Made road signs, photographed: one face from many places, and a data set of ten classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import generator, in_batches
from ..checks import check_count, check_number, check_range, check_whole
from ..images import check_images
from ..threat import draw_into, per_image
from ..transforms.base import Chain, Draw, Transformation, clip
from ..transforms.geometry import pose_matrix, warp
from ..transforms.light import Exposure, UnevenLight
from ..transforms.sensor import Blur, SensorNoise
from .cache import cached
from .dataset import Dataset, Split
from .scenes import scenes
from .sign_faces import SIGN_CLASSES, sign_face, sign_mask, sign_number

SIDE = 48  # of a photograph, in pixels
FACE = 64  # of the faces that the data set is made of
VIEW = 25.0  # degrees that a photograph spans
# Of one background: scenes, crops a scene, and the range of their sides before they are resized.
SCENES, CROPS, SCENE_SIZE, CROP_SIDES = 40, 5, (64, 128), (40, 64)


@dataclass(frozen=True, kw_only=True)
class Roadside(Transformation):
    """The face of a road sign to photographs of that sign, on its post, in a street.

    Faces (N, 3, S, S) go in and photographs (N, 3, 48, 48) come out: other than most
    transformations, this one changes the size. It is differentiable in the face, and only the
    pixels on the sign (:func:`advlab.data.sign_mask`) are seen in the photograph.

    The sign is projected by a pinhole camera (:func:`advlab.transforms.pose_matrix`) onto
    a post and a background, a piece of one of 40 made scenes:
    t(x) = c(A(m x) + (1 − A(m)) b), where A is the projection, m the mask and b what is behind the
    sign. Then the camera c: :class:`~advlab.transforms.Exposure`,
    :class:`~advlab.transforms.UnevenLight`, :class:`~advlab.transforms.Blur` and
    :class:`~advlab.transforms.SensorNoise`. All numbers are drawn uniformly from their
    ranges, the noise is normal.

    :param sign: which sign's outline the faces have: a name of ``SIGN_CLASSES`` or its number.
    :param distance: (nearest, farthest), relative to where the sign fills the picture: at 2 it is
        24 pixels wide. Drawn so that the widths are uniform.
    :param tilt: the most degrees, 0 to 80, by which the sign is turned away to the left or right;
        up or down it is at most a third of that.
    :param turn: the most degrees, 0 to 180, by which it hangs askew on its post.
    :param shift: the most that its middle is off the picture's, as a fraction of the picture.
    :param exposure: (darkest, brightest), in stops: 1 is twice the light.
    :param uneven: (least, most) fall of the light from the middle to the edge, in stops.
    :param blur: (sharpest, softest), the σ of a Gaussian in pixels of the photograph.
    :param noise: the standard deviation of the sensor's noise, 0 to 1 (full scale).
    :param streets: a seed: other streets stand behind the sign.
    :raises ValueError: no such sign, or a number out of its range.
    """

    sign: str | int = "stop"
    distance: tuple[float, float] = (1.15, 1.8)
    tilt: float = 36.0
    turn: float = 8.0
    shift: float = 0.1
    exposure: tuple[float, float] = (-1.6, 0.4)
    uneven: tuple[float, float] = (0.0, 0.6)
    blur: tuple[float, float] = (0.2, 0.7)
    noise: float = 0.015
    streets: int = 0

    def __post_init__(self):
        sign_number(self.sign)
        check_range(self, "distance", 0.1, 100)
        check_number(self, "tilt", 0, 80)
        check_number(self, "turn", 0, 180)
        check_number(self, "shift", 0, 10)
        check_range(self, "exposure", -8, 8)
        check_range(self, "uneven", 0, 8)
        check_range(self, "blur", 0, 100)
        check_number(self, "noise", 0, 1)
        check_whole(self, "streets", 0)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The photographs (N, 3, 48, 48), differentiable in x.

        :param x: faces (N, 3, S, S) in [0, 1].
        :param draw: gives the random numbers.
        :raises ValueError: faces of another shape.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] != x.shape[3]:
            raise ValueError(f"x: expected faces (N, 3, S, S), found {tuple(x.shape)}")
        uniform = draw("uniform", (9,))
        matrix = self._pose(uniform)
        mask = sign_mask(self.sign, x.shape[-1]).to(x)
        seen = warp(torch.cat((x * mask, mask.expand(len(x), -1, -1, -1)), 1), matrix, (SIDE, SIDE))
        photo = seen[:, :3] + (1 - seen[:, 3:]) * self._behind(uniform, matrix)
        return self._camera().apply(clip(photo), draw)

    def photos(self, face: Tensor, n: int, *, seed: int = 0) -> Tensor:
        """One face photographed n times, from other places: (n, 3, 48, 48), differentiable in it.

        Photograph i depends on the seed and on i alone, so two faces are seen in the same poses,
        in front of the same streets, by the same light. No photograph is one of
        :func:`advlab.data.signs`; its training images have the streets of seed 0, so for streets
        that a network has not seen give ``streets`` from 2.

        :param face: (1, 3, S, S) in [0, 1].
        :param n: how many, at least 1.
        :param seed: at least 0; another seed, other photographs.
        :raises ValueError: something else than one face, or a number out of its range.
        """
        check_images(face, "face")
        if len(face) != 1:
            raise ValueError(f"face: expected one, (1, 3, S, S), found {tuple(face.shape)}")
        check_count("n", n, 1)
        check_count("seed", seed)
        return _photographed(self, face, torch.arange(n, device=face.device), seed, of_one=True)

    def _camera(self) -> Chain:
        return Chain(
            Exposure(stops=self.exposure),
            UnevenLight(stops=self.uneven),
            Blur(sigma=self.blur),
            SensorNoise(read=self.noise),
        )

    def _pose(self, uniform: Tensor) -> Tensor:
        signed = 2 * uniform - 1
        nearest, farthest = self.distance
        return pose_matrix(
            (SIDE, SIDE),
            tilt=signed[:, :2] * signed.new_tensor([self.tilt, self.tilt / 3]),
            turn=self.turn * signed[:, 2],
            distance=1 / (1 / farthest + (1 / nearest - 1 / farthest) * uniform[:, 3]),
            shift=self.shift * signed[:, 4:6],
            view=VIEW,
        )

    def _behind(self, uniform: Tensor, matrix: Tensor) -> Tensor:
        """A street, perhaps mirrored, and before it the post, in the plane of the sign."""
        bank = _streets(self.streets).to(matrix)
        street = bank[(uniform[:, 6] * len(bank)).long()]
        street = torch.where(per_image(uniform[:, 7] < 0.5, street), street, street.flip(3))
        # The post is 6% as wide as the sign, round, and goes down from the sign's middle.
        to_post = matrix.new_tensor([[1 / 0.06, 0, -0.47 / 0.06], [0, 0.2, -0.1], [0, 0, 1]])
        post = matrix.new_tensor([0.28, 0.38, 0.4, 0.34, 0.26]).expand(1, 3, 8, 5)
        post = post * per_image(0.9 + uniform[:, 8], street)
        return warp(post, to_post @ matrix, (SIDE, SIDE), fill=street)


def _photographed(look: Roadside, face: Tensor, rows: Tensor, seed: int, of_one=False) -> Tensor:
    """One face, by random numbers that depend on the seed and the row alone."""

    def some(rows: Tensor) -> Tensor:
        return look.apply(face.expand(len(rows), -1, -1, -1), _draws(face, seed, rows, of_one))

    return in_batches(some, rows)


def _draws(like: Tensor, seed: int, rows: Tensor, of_one: bool) -> Draw:
    # A last key of 1 keeps the poses of Roadside.photos apart from those of the data set.
    keys = [np.random.SeedSequence((seed, row, int(of_one))) for row in rows.tolist()]
    sources = [generator(int(key.generate_state(1)[0])) for key in keys]

    def draw(kind: str, shape: tuple[int, ...]) -> Tensor:
        numbers = torch.empty((len(sources), *shape), dtype=like.dtype)
        for row, source in zip(numbers, sources, strict=True):
            draw_into(row, kind, source)
        return numbers.to(like.device)

    return draw


@lru_cache(maxsize=4)
def _streets(seed: int) -> Tensor:
    """Pieces of made scenes, (200, 3, 48, 48): from 40 of them 5 each, at different scales."""
    pictures = scenes(SCENES, seed=seed, size=SCENE_SIZE).x
    random = np.random.RandomState([seed, SCENES])
    pieces = []
    for picture in pictures:
        for _ in range(CROPS):
            side = random.randint(CROP_SIDES[0], CROP_SIDES[1] + 1)
            top = random.randint(SCENE_SIZE[0] - side + 1)
            left = random.randint(SCENE_SIZE[1] - side + 1)
            piece = picture[None, :, top : top + side, left : left + side]
            pieces.append(F.interpolate(piece, (SIDE, SIDE), mode="bilinear", antialias=True))
    return torch.cat(pieces)


def signs(n: int, *, seed: int = 0) -> Split:
    """n photographs of road signs, 48 × 48, ten classes in turn: y[i] is i modulo 10.

    Each is a photograph by :class:`advlab.data.Roadside` of an :func:`advlab.data.sign_face`, in
    front of the streets of this seed. Image i of a seed is the same whatever n is.

    The signs are made, and lack what real ones have: dirt, rust, wear, stickers, leaves and other
    signs before them, rain, night and headlights, the cameras' own sharpening and compression, and
    the differences between one country's drawings and another's.

    :param n: how many.
    :param seed: at least 0; another seed, other poses, light and streets.
    :returns: ``x, y``: images (n, 3, 48, 48) float32 in [0, 1], of 256 levels, and class numbers
        (n,) int64, which ``advlab.data.SIGN_CLASSES`` names.
    :raises ValueError: a number out of its range.
    """
    check_count("n", n)
    check_count("seed", seed)
    y = torch.arange(n) % len(SIGN_CLASSES)
    x = torch.empty(n, 3, SIDE, SIDE)
    for number in range(len(SIGN_CLASSES)):
        rows = (y == number).nonzero().squeeze(1)
        if len(rows):
            look = Roadside(sign=number, streets=seed)
            x[rows] = _photographed(look, sign_face(number, FACE), rows, seed)
    return Split((255 * x).round_().div_(255), y)


def signs_dataset() -> Dataset:
    """3,000 photographs to train on and 600 others to test on: what ``load("signs")`` gives.

    The training images are those of seed 0, the test images those of seed 1: other poses, other
    light, other streets. See :func:`advlab.data.signs` for what made signs lack.
    """

    def make() -> Dataset:
        return Dataset("signs", signs(3000, seed=0), signs(600, seed=1), SIGN_CLASSES)

    return cached("signs", SIGN_CLASSES, make)
