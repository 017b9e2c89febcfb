"""Attacks: each a frozen dataclass of its hyper-parameters, called as ``attack(model, x, y)``."""

from .apgd import APGD, APGDT
from .autoattack import AutoAttack, RandomnessWarning
from .base import Attack, AttackInterrupted, GradientWarning
from .boundary import Boundary
from .carlini_wagner import CWL0, CWL2, CWLinf
from .deepfool import DeepFool
from .ead import EAD
from .eot import EOT
from .fab import FABT
from .fgsm import FGSM, RFGSM
from .hopskipjump import HopSkipJump
from .jsma import JSMA, saliency_map
from .momentum import MIFGSM
from .noise import Noise
from .pgd import BIM, PGD
from .segmentation import SegmentationUAP, hide
from .spsa import SPSA, spsa_gradient
from .square import Square
from .universal import UAP, UAPInterrupted

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "CWL0",
    "CWL2",
    "EAD",
    "EOT",
    "FABT",
    "FGSM",
    "JSMA",
    "MIFGSM",
    "PGD",
    "RFGSM",
    "SPSA",
    "UAP",
    "Attack",
    "AttackInterrupted",
    "AutoAttack",
    "Boundary",
    "CWLinf",
    "DeepFool",
    "GradientWarning",
    "HopSkipJump",
    "Noise",
    "RandomnessWarning",
    "SegmentationUAP",
    "Square",
    "UAPInterrupted",
    "hide",
    "saliency_map",
    "spsa_gradient",
]
