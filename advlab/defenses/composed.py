"""What objectives share that stand around another one: both may stand in any order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch.nn.functional as F
from torch import Tensor

from ..training import CrossEntropy, Objective


@dataclass(frozen=True, kw_only=True)
class Composed:
    """What the objectives that have an L₀ share: it may change while it trains, and they with it.

    :param objective: L₀, ``objective(model, x, y)``, the mean over a batch.
    """

    objective: Objective = field(default_factory=CrossEntropy)

    def at(self, progress: float) -> Self:
        """This objective at a share of the training, from 0 up to 1, as L₀ is then."""
        if not hasattr(self.objective, "at"):
            return self
        now = self.objective.at(progress)
        return self if now is self.objective else replace(self, objective=now)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q), the mean over the images and, of maps, over their pixels as well.

    :param p: log-probabilities (N, K) or (N, K, H, W).
    :param q: likewise.
    """
    return F.kl_div(q, p, log_target=True, reduction="batchmean") / q[0, 0].numel()
