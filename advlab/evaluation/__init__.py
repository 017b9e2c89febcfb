"""How robust is a model? Attacks run, outcomes measured from outside, numbers reported."""

from .evaluate import accuracy_curve, evaluate
from .metrics import minimum_distortion, robust_accuracy, success_rate
from .report import AttackResult, Report

__all__ = [
    "AttackResult",
    "Report",
    "accuracy_curve",
    "evaluate",
    "minimum_distortion",
    "robust_accuracy",
    "success_rate",
]
