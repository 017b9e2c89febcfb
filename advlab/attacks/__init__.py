"""Attacks: each a frozen dataclass of its hyper-parameters, called as ``attack(model, x, y)``."""

from .base import Attack, GradientWarning
from .fgsm import FGSM, RFGSM
from .noise import Noise
from .pgd import BIM, PGD

__all__ = ["BIM", "FGSM", "PGD", "RFGSM", "Attack", "GradientWarning", "Noise"]
