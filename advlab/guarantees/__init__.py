"""Guarantees: bounds that hold for every perturbation of a size, found by an attack or not."""

from .certificates import certified, certified_accuracy, margin_bounds
from .intervals import interval_bounds
from .semidefinite import semidefinite_bound, semidefinite_certified
from .semidefinite_program import (
    MissingSolver,
    dual_value,
    feasible_prices,
    pair_matrix,
    semidefinite_program,
)
from .semidefinite_training import SemidefiniteTraining, TwoLayer
from .smoothing import (
    ABSTAIN,
    Certificates,
    GaussianNoise,
    Smoothed,
    SmoothingInterrupted,
    lower_bound,
)
from .training import ConvexTraining, IBPTraining

__all__ = [
    "ABSTAIN",
    "Certificates",
    "ConvexTraining",
    "GaussianNoise",
    "IBPTraining",
    "MissingSolver",
    "SemidefiniteTraining",
    "Smoothed",
    "SmoothingInterrupted",
    "TwoLayer",
    "certified",
    "certified_accuracy",
    "dual_value",
    "feasible_prices",
    "interval_bounds",
    "lower_bound",
    "margin_bounds",
    "pair_matrix",
    "semidefinite_bound",
    "semidefinite_certified",
    "semidefinite_program",
]
