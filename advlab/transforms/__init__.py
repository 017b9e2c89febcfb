"""Transformations: what the world does to an image, as frozen dataclasses of physical numbers."""

from .base import Chain, Draw, SharedDraws, Transformation

__all__ = ["Chain", "Draw", "SharedDraws", "Transformation"]
