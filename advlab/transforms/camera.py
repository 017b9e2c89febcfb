"""Printed, photographed, cropped: the whole way of a picture through the physical world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from .base import Chain, Draw, Transformation
from .geometry import Pose
from .jpeg import JPEG
from .light import Contrast, Exposure, Gamma, UnevenLight
from .sensor import Blur, Resolution, SensorNoise


@dataclass(frozen=True, kw_only=True)
class Camera(Transformation):
    """A picture printed on paper, photographed with a phone, cropped and rectified by its markers.

    The channel of Kurakin et al. (2017), "Adversarial examples in the physical world", section 3,
    as a model of the physics: the parts below, in this order, each drawn anew for each photograph.

    ===============  =============================================================  ==============
    parameter        what it is                                                     unit
    ===============  =============================================================  ==============
    ``contrast``     of the print: its black reflects, its white absorbs            factor
    ``tilt``         lean that the rectification leaves, about each of two axes     degrees, ±
    ``turn``         turn in the plane that it leaves                               degrees, ±
    ``distance``     how much too far away the crop shows the print                 relative
    ``shift``        how far the crop is off the middle                             of the frame, ±
    ``background``   the sheet around the picture, where the crop shows it          gray, 0 to 1
    ``uneven``       light falling off across, from the middle to the edge          stops
    ``exposure``     light, against a correct exposure                              stops
    ``blur``         standard deviation of what the lens blurs                      pixels
    ``resolution``   pixels of the sensor per pixel of the picture, along a side    ratio
    ``shot``         noise of the photons, at white                                 of full scale
    ``read``         noise of the electronics                                       of full scale
    ``gamma``        the phone's tone curve                                         power
    ``quality``      of the JPEG file                                               1 to 100
    ===============  =============================================================  ==============

    The defaults are a phone held by hand in a room. They are our choice: the paper measures no
    such numbers.

    Where we differ from the paper: it prints and photographs; this is a model of that, which an
    attack can differentiate. A pixel of blur is a pixel of the picture that the network sees, so
    the same numbers are harder on a small picture.

    :param contrast: (low, high) or one number, as in :class:`~advlab.transforms.Contrast`.
    :param tilt: the most degrees, 0 to 80.
    :param turn: the most degrees, 0 to 180.
    :param distance: (low, high) or one number, from 0.1 to 100.
    :param shift: the most, as a fraction of the frame's sides.
    :param background: 0 to 1.
    :param uneven: (low, high) or one number, from 0 to 8.
    :param exposure: (low, high) or one number, from −8 to 8.
    :param blur: (low, high) or one number, from 0 to 100.
    :param resolution: above 0, at most 10.
    :param shot: 0 to 1.
    :param read: 0 to 1.
    :param gamma: (low, high) or one number, from 0.1 to 10.
    :param quality: (low, high) or one number, from 1 to 100; None leaves JPEG away.
    :raises ValueError: a parameter out of its range, from the part that it belongs to.
    """

    contrast: tuple[float, float] = (0.75, 1.0)
    tilt: float = 4.0
    turn: float = 3.0
    distance: tuple[float, float] = (0.97, 1.06)
    shift: float = 0.02
    background: float = 0.8
    uneven: tuple[float, float] = (0.0, 0.3)
    exposure: tuple[float, float] = (-0.4, 0.4)
    blur: tuple[float, float] = (0.3, 0.8)
    resolution: float = 1.0
    shot: float = 0.02
    read: float = 0.02
    gamma: tuple[float, float] = (0.9, 1.1)
    quality: tuple[float, float] | None = (75.0, 95.0)

    def __post_init__(self):
        self.chain  # noqa: B018 - its parts check the numbers

    @cached_property
    def chain(self) -> Chain:
        """The parts, in the order in which they act."""
        compression = () if self.quality is None else (JPEG(quality=self.quality),)
        return Chain(
            Contrast(factor=self.contrast),
            Pose(
                tilt=self.tilt,
                turn=self.turn,
                distance=self.distance,
                shift=self.shift,
                background=self.background,
            ),
            UnevenLight(stops=self.uneven),
            Exposure(stops=self.exposure),
            Blur(sigma=self.blur),
            Resolution(scale=self.resolution),
            SensorNoise(shot=self.shot, read=self.read),
            Gamma(power=self.gamma),
            *compression,
        )

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        return self.chain.apply(x, draw)
