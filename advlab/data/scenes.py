"""Made street scenes with the class of every pixel: no download, and as many as one wants."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch

from ..checks import check_count
from .cache import cached
from .dataset import Dataset, Split
from .scenery import FINE, ROAD, SIDEWALK, SKY, Canvas, car, house, pedestrian, post, tree

#: The class of each number in a map of classes.
CLASSES = ("sky", "building", "road", "sidewalk", "vegetation", "car", "pedestrian")
#: A color for each class, (7, 3) in [0, 1]: those of Okabe and Ito, told apart with any color
#: vision.
PALETTE = torch.tensor(
    [
        [0.337, 0.706, 0.914],  # sky blue
        [0.800, 0.475, 0.655],  # reddish purple
        [0.000, 0.000, 0.000],  # black
        [0.941, 0.894, 0.259],  # yellow
        [0.000, 0.620, 0.451],  # bluish green
        [0.000, 0.447, 0.698],  # blue
        [0.835, 0.369, 0.000],  # vermilion
    ]
)
SKIN = ((0.95, 0.80, 0.69), (0.82, 0.62, 0.48), (0.58, 0.40, 0.28), (0.36, 0.24, 0.18))


def scenes(
    n: int, *, seed: int = 0, size: tuple[int, int] = (48, 96), street: int | None = None
) -> Split:
    """Draw n street scenes, as a camera on a car would see them, and the class of every pixel.

    A scene is a street in perspective: sky, two rows of houses, road, sidewalks, trees, and posts
    (of the class building, as large as people and colored as their clothes, so that a pedestrian
    is told by more than its outline). On it are 0 to 3 cars and 2 to 7 pedestrians, far (small)
    and near (large), the near ones in front.
    Places, sizes, colors, light and sensor noise are drawn anew for each scene. Scene i of a
    seed is the same whatever n is.

    :param n: how many.
    :param seed: at least 0; scenes of two seeds are different ones.
    :param size: (H, W) in pixels, each at least 16.
    :param street: a camera that does not move: all scenes show the street of this number, at
        other moments, so that only the light, the cars, the pedestrians and the noise differ. By
        default every scene has a street of its own.
    :returns: ``x, y``: images (n, 3, H, W) float32 in [0, 1] and class numbers (n, H, W) int64,
        which ``advlab.data.SCENE_CLASSES`` names.
    :raises ValueError: a number out of its range.
    """
    check_count("n", n)
    check_count("seed", seed)
    check_count("street", street or 0)
    if len(size) != 2 or not all(isinstance(side, Integral) and side >= 16 for side in size):
        raise ValueError(f"size: expected (H, W), each at least 16, found {size!r}")
    height, width = size
    x = np.empty((n, 3, height, width), np.float32)
    y = np.empty((n, height, width), np.int64)
    for i in range(n):
        # The one generator whose numbers NumPy promises never to change (NEP 19).
        moment = np.random.RandomState([seed, i])
        place = np.random.RandomState([seed, i, 0] if street is None else [street])
        x[i], y[i] = _scene(place, moment, height, width)
    return Split(torch.from_numpy(x), torch.from_numpy(y))


def scenes_dataset() -> Dataset:
    """1,000 scenes to train on and 200 others to test on, 48 × 96: what ``load("scenes")`` gives.

    The training scenes are those of seed 0, the test scenes those of seed 1.
    """

    def make() -> Dataset:
        return Dataset("scenes", scenes(1000, seed=0), scenes(200, seed=1), CLASSES)

    return cached("scenes", CLASSES, make)


class _Street:
    """Where things are: the horizon, the vanishing point, and the edges of the road.

    ``depth(v)`` is 0 at the horizon and 1 at the bottom of the picture. Heights and widths on the
    ground grow with it.
    """

    def __init__(self, place, wide: float):
        self.wide = wide
        self.horizon = place.uniform(0.36, 0.46)
        self.vanishing = place.uniform(0.38, 0.62) * wide
        self.far = place.uniform(0.03, 0.07)  # half the road's width at the horizon
        self.left = place.uniform(-0.05, 0.22) * wide  # its edges at the bottom
        self.right = place.uniform(0.78, 1.05) * wide
        self.foot = self.horizon + place.uniform(0.10, 0.24, 2)  # of the houses, at both sides

    def depth(self, v):
        return (v - self.horizon) / (1 - self.horizon)

    def edges(self, depth):
        """The road's left and right edge."""
        left, right = self.vanishing - self.far, self.vanishing + self.far
        return left + depth * (self.left - left), right + depth * (self.right - right)

    def near(self, u):
        """0 at the vanishing point, 1 at the picture's left and right edge."""
        end = np.where(u < self.vanishing, 0, self.wide)
        return (u - self.vanishing) / (end - self.vanishing)

    def ground(self, u):
        """Where the ground begins, at the houses' feet."""
        foot = np.where(u < self.vanishing, *self.foot)
        return self.horizon + self.near(u) * (foot - self.horizon)

    def on_sidewalk(self, random, depths, ways):
        """A place v, u; way 0 is at the curb, 1 at the edge of the picture."""
        depth, way, side = random.uniform(*depths), random.uniform(*ways), random.randint(2)
        edge = self.edges(depth)[side]
        u = edge + way * ((0.0, self.wide)[side] - edge)
        v = self.horizon + depth * (1 - self.horizon)
        return max(v, float(self.ground(u)) + 0.02), u


def _scene(place, moment, height, width):
    canvas = Canvas(height, width)
    street = _Street(place, canvas.wide)
    light = _Light(moment)
    _sky(canvas, light, moment)
    _houses(canvas, street, place)
    _ground(canvas, street, place)
    things = _trees(street, place) + _posts(street, place)
    things += _cars(street, moment) + _pedestrians(street, moment)
    for v, draw, looks in sorted(things, key=lambda thing: thing[0]):  # the far ones first
        draw(canvas, v, *looks)
    return _photograph(canvas, light, moment, height, width)


class _Light:
    """Day, evening or an overcast sky: the colors of the sky and of what it lights."""

    def __init__(self, moment):
        kind = moment.randint(3)
        self.top = ((0.30, 0.52, 0.86), (0.45, 0.45, 0.62), (0.66, 0.70, 0.74))[kind]
        self.low = ((0.74, 0.86, 0.95), (0.96, 0.74, 0.52), (0.84, 0.86, 0.87))[kind]
        tint = ((1.0, 1.0, 0.98), (1.06, 0.95, 0.82), (0.92, 0.96, 1.02))[kind]
        self.tint = np.array(tint, np.float32) * moment.uniform(0.72, 1.06)


def _sky(canvas, light, moment):
    down = np.clip(canvas.v / 0.45, 0, 1)[:, None, None]
    canvas.color[:] = (1 - down) * np.array(light.top) + down * np.array(light.low)
    for _ in range(moment.randint(0, 4)):
        v, u = moment.uniform(0, 0.28), moment.uniform(0, canvas.wide)
        for _ in range(4):
            color = np.array(light.low) * 0.35 + 0.62
            shift = moment.uniform(-1, 1, 2)
            canvas.ellipse(
                SKY, color, v + 0.02 * shift[0], u + 0.1 * shift[1],
                moment.uniform(0.02, 0.05), moment.uniform(0.06, 0.14),
            )  # fmt: skip


def _houses(canvas, street, place):
    """Two rows of fronts that grow smaller toward the vanishing point; gaps show the sky."""
    for side, end in ((0, 0.0), (1, canvas.wide)):
        u = street.vanishing + (end - street.vanishing) * place.uniform(0.02, 0.12)
        while abs(u - street.vanishing) < abs(end - street.vanishing):
            near = abs(u - street.vanishing) / abs(end - street.vanishing)
            wide = (0.10 + 0.30 * near) * place.uniform(0.7, 1.5)
            following = u + np.sign(end - street.vanishing) * wide
            if place.rand() < 0.9:
                tall = (0.12 + 0.30 * near) * place.uniform(0.6, 1.25)
                foot = street.horizon + near * (street.foot[side] - street.horizon) + 0.03
                left, right = sorted((u, following))
                house(canvas, place, street.horizon - tall, foot + 0.12 * wide, left, right)
            u = following


def _ground(canvas, street, place):
    """Sidewalk up to the houses' feet, and on it the road with its curbs and its middle line."""
    stone = np.array((0.66, 0.63, 0.60)) * place.uniform(0.85, 1.1)
    asphalt = np.array((0.33, 0.33, 0.35)) * place.uniform(0.8, 1.25)
    v, u = canvas.v[:, None], canvas.u[None]
    everywhere = np.s_[:, :]
    ground = v > street.ground(u)
    depth = street.depth(v)
    left, right = street.edges(depth)
    canvas.fill(SIDEWALK, stone, everywhere, ground)
    # Slabs, their joints evenly spaced on the ground: at 1 / depth.
    joint = (1.5 / np.maximum(depth, 0.02)) % 1 < 0.1
    canvas.fill(SIDEWALK, stone * 0.88, everywhere, ground & joint)
    below = depth > 0
    curb = 0.035 * depth
    canvas.fill(SIDEWALK, stone * 1.15, everywhere, below & (u > left - curb) & (u < right + curb))
    road = below & (u > left) & (u < right)
    canvas.fill(ROAD, asphalt, everywhere, road)
    middle = np.abs(u - (left + right) / 2) < 0.018 * depth
    dashes = (0.9 / np.maximum(depth, 0.02) + place.rand()) % 1 < 0.55
    canvas.fill(ROAD, (0.85, 0.84, 0.78), everywhere, road & middle & dashes)


def _trees(street, place):
    things = []
    for _ in range(place.randint(2, 7)):
        v, u = street.on_sidewalk(place, (0.08, 0.55), (0.15, 0.9))
        tall, low = (0.1 + street.depth(v)) * place.uniform(0.5, 0.8), place.rand() < 0.3
        leaf = np.array((0.20, 0.40, 0.16)) * place.uniform(0.75, 1.35, 3).clip(0.8, 1.3)
        leaves = place.uniform(-1, 1, (7, 3))
        things.append((v, tree, (u, tall, low, leaf, leaves)))
    return things


def _muted(random):
    """The color of most clothes, and of posts: a gray with some color to it."""
    return random.uniform(0.12, 0.75) + random.uniform(-0.12, 0.12, 3)


def _posts(street, place):
    """Advertising columns, bins and mailboxes, as wide and tall as people: class building."""
    things = []
    for _ in range(place.randint(1, 5)):
        v, u = street.on_sidewalk(place, (0.14, 0.7), (0.05, 0.95))
        tall = (0.08 + 0.55 * street.depth(v)) * place.uniform(0.5, 1.1)
        things.append((v, post, (u, tall, place.uniform(0.11, 0.2) * tall, _muted(place))))
    return things


def _cars(street, moment):
    things = []
    paints = ((0.75, 0.12, 0.12), (0.90, 0.90, 0.90), (0.10, 0.12, 0.16), (0.16, 0.30, 0.62),
              (0.62, 0.64, 0.66), (0.85, 0.65, 0.15))  # fmt: skip
    for lane in moment.permutation(3)[: moment.randint(0, 4)]:
        depth = moment.uniform(0.12, 0.62)
        v = street.horizon + depth * (1 - street.horizon)
        left, right = street.edges(depth)
        u = left + (right - left) * ((0.22, 0.5, 0.78)[lane] + moment.uniform(-0.05, 0.05))
        paint = np.array(paints[moment.randint(6)]) * moment.uniform(0.85, 1.1)
        wide = 0.42 * depth * moment.uniform(0.85, 1.15) + 0.03
        things.append((v, car, (u, wide, paint, moment.rand() < 0.5)))
    return things


def _pedestrians(street, moment):
    """On the sidewalks, and one in four on the road."""
    things = []
    for _ in range(moment.randint(2, 8)):
        if moment.rand() < 0.25:
            v = street.horizon + moment.uniform(0.18, 0.8) * (1 - street.horizon)
            left, right = street.edges(street.depth(v))
            u = left + (right - left) * moment.uniform(0.05, 0.95)
        else:
            v, u = street.on_sidewalk(moment, (0.18, 0.8), (0.1, 0.95))
        tall = (0.08 + 0.55 * street.depth(v)) * moment.uniform(0.9, 1.12)
        skin = np.array(SKIN[moment.randint(4)])
        coat = _muted(moment)
        legs = moment.uniform(0.10, 0.40) + moment.uniform(-0.05, 0.05, 3)
        hair = np.array((0.20, 0.14, 0.10)) * moment.uniform(0.4, 2.2)
        stride = moment.uniform(0.05, 1)
        things.append((v, pedestrian, (u, tall, skin, coat, legs, hair, stride)))
    return things


def _photograph(canvas, light, moment, height, width):
    """Light falls on the scene, and the camera makes pixels of it: blur, noise, 256 levels."""
    color = canvas.color.reshape(height, FINE, width, FINE, 3).mean((1, 3), dtype=np.float32)
    classes = canvas.classes[FINE // 2 :: FINE, FINE // 2 :: FINE]
    slope = np.linspace(-1, 1, width, dtype=np.float32)[:, None] * moment.uniform(-0.08, 0.08)
    texture = moment.normal(0, 0.008, (height, width, 1)).astype(np.float32)
    color = color * light.tint * (1 + slope + texture)
    color = color + moment.normal(0, moment.uniform(0.002, 0.006), (height, width, 3))
    bytes_ = np.round(255 * color.clip(0, 1))
    return (bytes_ / 255).transpose(2, 0, 1), classes
