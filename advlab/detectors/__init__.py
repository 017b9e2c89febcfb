"""Detectors: ``fit(model, data)``, then ``score(x)`` and ``threshold(false_positive_rate)``."""

from .activation_classifier import ActivationClassifier
from .any_of import AnyOf
from .base import Detector
from .combined import Combined, LogisticDetector
from .defended import Defended
from .examples import Examples, examples, noise_like
from .fingerprint import NeuralFingerprint
from .input_classifier import InputClassifier
from .kernel_density import KernelDensity
from .lid import LID
from .safetynet import SafetyNet
from .squeezing_l1 import SqueezingL1
from .uncertainty import BayesianUncertainty

__all__ = [
    "LID",
    "ActivationClassifier",
    "AnyOf",
    "BayesianUncertainty",
    "Combined",
    "Defended",
    "Detector",
    "Examples",
    "InputClassifier",
    "KernelDensity",
    "LogisticDetector",
    "NeuralFingerprint",
    "SafetyNet",
    "SqueezingL1",
    "examples",
    "noise_like",
]
