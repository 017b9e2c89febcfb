"""A model that may say no: it answers K + 1 logits, and the last one rejects the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .base import Detector


class Defended(nn.Module):
    """A model and its detector as one model, so that attacks and evaluations run on the whole.

    z_K = max over k < K of z_k + (s(x) − τ) / σ: the class K, "rejected", wins exactly where the
    score s exceeds the threshold τ. Carlini & Wagner (2017), "Adversarial examples are not easily
    detected", join the two in one model in a similar way. σ is the spread of the
    natural images' scores, so that being one σ over the threshold counts as one logit.

    The goal ``"undetected"`` is to be wrong and not rejected; ``"targeted"`` is as it always was.
    An attack with any other goal also counts a rejected image as fooled.

    :param detector: fitted.
    :param threshold: τ; images with a higher score are rejected. A finite number.
    :raises ValueError: a detector that is not fitted, or a threshold that is not finite.

    :ivar rejected: the number of the class "rejected", from the right: always −1.
    """

    rejected = -1

    def __init__(self, detector: Detector, threshold: float):
        super().__init__()
        if not math.isfinite(threshold):
            raise ValueError(f"threshold: expected a finite number, found {threshold!r}")
        self.model = detector.fitted()
        self.detector = detector
        self.threshold = float(threshold)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K + 1)."""
        logits = self.model(x.clone())
        over = (self.detector(x) - self.threshold) / self.detector.spread
        top = logits.amax(1)
        reject = top + over.to(logits.dtype)
        # A score that is over by less than the logits' rounding is over all the same.
        least = torch.nextafter(top, torch.full_like(top, math.inf)).detach()
        reject = torch.where(over > 0, torch.maximum(reject, least), reject)
        return torch.cat((logits, reject[:, None]), 1)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold:.4g}"
