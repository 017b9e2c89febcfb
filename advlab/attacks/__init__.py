"""Attacks: each a frozen dataclass of its hyper-parameters, called as ``attack(model, x, y)``."""

from .adaptive import AdaptiveBIM, AdaptiveCWL2, AdaptiveFGSM, AdaptivePGD, AdaptiveSPSA
from .adversarial_patch import AdversarialPatch, PatchInterrupted
from .apgd import APGD, APGDT
from .augment import jacobian_augment, noise_augment, reservoir
from .autoattack import AutoAttack, RandomnessWarning
from .base import Attack, AttackInterrupted, GradientWarning, LearningInterrupted
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
from .oracle import Oracle, QueryBudgetSpent
from .patch import Patch
from .pgd import BIM, PGD
from .printable import (
    black_and_white,
    nearest_printable,
    non_printability,
    printable_colors,
)
from .rp2 import RP2, RP2Interrupted
from .segmentation import SegmentationUAP, hide
from .spsa import SPSA, spsa_gradient
from .square import Square
from .stickers import sticker_mask, vulnerable_mask
from .substitute import Substitute, SubstituteInterrupted, SubstituteRun
from .unanimous import UnanimousVote
from .universal import UAP, UAPInterrupted
from .voice import Microphone, audible_energy, modulate, resample

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
    "RP2",
    "SPSA",
    "UAP",
    "AdaptiveBIM",
    "AdaptiveCWL2",
    "AdaptiveFGSM",
    "AdaptivePGD",
    "AdaptiveSPSA",
    "AdversarialPatch",
    "Attack",
    "AttackInterrupted",
    "AutoAttack",
    "Boundary",
    "CWLinf",
    "DeepFool",
    "GradientWarning",
    "HopSkipJump",
    "LearningInterrupted",
    "Microphone",
    "Noise",
    "Oracle",
    "Patch",
    "PatchInterrupted",
    "QueryBudgetSpent",
    "RP2Interrupted",
    "RandomnessWarning",
    "SegmentationUAP",
    "Square",
    "Substitute",
    "SubstituteInterrupted",
    "SubstituteRun",
    "UAPInterrupted",
    "UnanimousVote",
    "audible_energy",
    "black_and_white",
    "hide",
    "jacobian_augment",
    "modulate",
    "nearest_printable",
    "noise_augment",
    "non_printability",
    "printable_colors",
    "resample",
    "reservoir",
    "saliency_map",
    "spsa_gradient",
    "sticker_mask",
    "vulnerable_mask",
]
