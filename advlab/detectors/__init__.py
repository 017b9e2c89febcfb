"""Detectors: ``fit(model, data)``, then ``score(x)`` and ``threshold(false_positive_rate)``."""

from .base import Detector
from .defended import Defended
from .examples import Examples, examples, noise_like

__all__ = [
    "Defended",
    "Detector",
    "Examples",
    "examples",
    "noise_like",
]
