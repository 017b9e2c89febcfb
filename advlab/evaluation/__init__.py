"""How robust is a model? Attacks run, outcomes measured from outside, numbers reported."""

from .evaluate import accuracy_curve, evaluate
from .fooling import fooling_rate
from .metrics import minimum_distortion, robust_accuracy, success_rate
from .queries import QueryCurve, query_curve
from .report import AttackResult, Report
from .segmentation import hidden_rate, preserved_rate, target_rate

__all__ = [
    "AttackResult",
    "QueryCurve",
    "Report",
    "accuracy_curve",
    "evaluate",
    "fooling_rate",
    "hidden_rate",
    "minimum_distortion",
    "preserved_rate",
    "query_curve",
    "robust_accuracy",
    "success_rate",
    "target_rate",
]
