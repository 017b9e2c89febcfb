"""Figures and widgets, all in one visual language. Each function returns the figure it drew.

Blue is natural, orange adversarial, gray reference; perturbations lie on a diverging scale.
"""

from .bars import accuracy_bars, confidence_bars
from .boundaries import boundary_2d, decision_boundary
from .curves import epsilon_curve, loss_along, training_curve
from .heatmap import heatmap, transfer
from .images import compare, perturbation, show_images
from .look import (
    ADVERSARIAL,
    CYCLE,
    NATURAL,
    PERTURBATION,
    REFERENCE,
    Figure,
    png,
    save,
    style,
    use_style,
)
from .network import network
from .roc import outcome_bars, roc, threshold_figure, threshold_frames
from .sound import Player, audio, spectrogram, spectrum
from .tables import pixel_table
from .widgets import frames, small_png

__all__ = [
    "ADVERSARIAL",
    "CYCLE",
    "NATURAL",
    "PERTURBATION",
    "REFERENCE",
    "Figure",
    "Player",
    "accuracy_bars",
    "audio",
    "boundary_2d",
    "compare",
    "confidence_bars",
    "decision_boundary",
    "epsilon_curve",
    "frames",
    "heatmap",
    "loss_along",
    "network",
    "outcome_bars",
    "perturbation",
    "pixel_table",
    "png",
    "roc",
    "save",
    "show_images",
    "small_png",
    "spectrogram",
    "spectrum",
    "style",
    "threshold_figure",
    "threshold_frames",
    "training_curve",
    "transfer",
    "use_style",
]
