"""Defenses: objectives for :func:`advlab.training.fit`, and steps and layers inside the model."""

from .adversarial import FastTraining, FGSMMix, KurakinMix, PGDTraining
from .bounded_relu import BoundedReLU, bounded
from .defense_gan import DefenseGAN, ManifoldAttack
from .distillation import HardLabels, SoftLabels, Temperature
from .ensemble_training import EnsembleTraining
from .fingerprints import Fingerprinted, Fingerprints, FingerprintTraining
from .gda import GaussianAugmentation
from .generators import Generator, PixelCNN
from .jpeg import JPEGCompression
from .label_smoothing import LabelSmoothing
from .pixel_defend import PixelDefend
from .purify import Purified, Purifier
from .randomization import RandomResizePad
from .specialists import SpecialistsPlusOne
from .squeezing import BitDepth, MedianSmoothing
from .stability import StabilityTraining
from .thermometer import Thermometer
from .total_variation import TotalVariation, duality_gap, minimize_total_variation
from .trades import TRADES
from .vat import VAT
from .voting import class_sets, confusion, vote

__all__ = [
    "TRADES",
    "VAT",
    "BitDepth",
    "BoundedReLU",
    "DefenseGAN",
    "EnsembleTraining",
    "FGSMMix",
    "FastTraining",
    "FingerprintTraining",
    "Fingerprinted",
    "Fingerprints",
    "GaussianAugmentation",
    "Generator",
    "HardLabels",
    "JPEGCompression",
    "KurakinMix",
    "LabelSmoothing",
    "ManifoldAttack",
    "MedianSmoothing",
    "PGDTraining",
    "PixelCNN",
    "PixelDefend",
    "Purified",
    "Purifier",
    "RandomResizePad",
    "SoftLabels",
    "SpecialistsPlusOne",
    "StabilityTraining",
    "Temperature",
    "Thermometer",
    "TotalVariation",
    "bounded",
    "class_sets",
    "confusion",
    "duality_gap",
    "minimize_total_variation",
    "vote",
]
