"""How robust is a model? Attacks run, outcomes measured from outside, numbers reported."""

from .compare import Comparison, Row, adaptive_attack, compare
from .costs import prediction_costs, training_costs
from .destruction import Destruction, destruction_rate
from .detection import Detection, DetectionScores, detection
from .evaluate import accuracy_curve, evaluate
from .fooling import fooling_rate
from .metrics import minimum_distortion, robust_accuracy, success_rate
from .oracle import OracleError, oracle_error
from .outcomes import Outcome, Outcomes, outcomes
from .patch import PatchScore, noise_patch, patch_curve, patch_success, picture_patch
from .physical import answers_over_draws, physical_success, success_over_draws
from .queries import QueryCurve, query_curve
from .report import AttackResult, Report
from .roc import Roc, detection_auc, roc_curve, true_positive_rate
from .sanity import Sanity, sanity
from .sanity_checks import Check
from .segmentation import hidden_rate, preserved_rate, target_rate
from .transfer import TransferMatrix, transfer_matrix

__all__ = [
    "AttackResult",
    "Check",
    "Comparison",
    "Destruction",
    "Detection",
    "DetectionScores",
    "OracleError",
    "Outcome",
    "Outcomes",
    "PatchScore",
    "QueryCurve",
    "Report",
    "Roc",
    "Row",
    "Sanity",
    "TransferMatrix",
    "accuracy_curve",
    "adaptive_attack",
    "answers_over_draws",
    "compare",
    "destruction_rate",
    "detection",
    "detection_auc",
    "evaluate",
    "fooling_rate",
    "hidden_rate",
    "minimum_distortion",
    "noise_patch",
    "oracle_error",
    "outcomes",
    "patch_curve",
    "patch_success",
    "physical_success",
    "picture_patch",
    "prediction_costs",
    "preserved_rate",
    "query_curve",
    "robust_accuracy",
    "roc_curve",
    "sanity",
    "success_over_draws",
    "success_rate",
    "target_rate",
    "training_costs",
    "transfer_matrix",
    "true_positive_rate",
]
