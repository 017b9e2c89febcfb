"""Transformations: what the world does to an image, as frozen dataclasses of physical numbers."""

from .base import Chain, Draw, SharedDraws, Transformation
from .camera import Camera
from .geometry import Pose, homography, pose_matrix, warp
from .jpeg import JPEG
from .light import Brightness, Contrast, Exposure, Gamma, UnevenLight
from .sensor import Blur, Resolution, SensorNoise
from .spectrogram import spectrogram

__all__ = [
    "JPEG",
    "Blur",
    "Brightness",
    "Camera",
    "Chain",
    "Contrast",
    "Draw",
    "Exposure",
    "Gamma",
    "Pose",
    "Resolution",
    "SensorNoise",
    "SharedDraws",
    "Transformation",
    "UnevenLight",
    "homography",
    "pose_matrix",
    "spectrogram",
    "warp",
]
