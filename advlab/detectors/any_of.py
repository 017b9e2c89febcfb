"""Several detectors, each of which may say no: He, Wei, Chen, Carlini & Song (2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import check_rate
from .base import Detector, check_detectors


class AnyOf(Detector):
    """s(x) = maxᵢ (sᵢ(x) − τᵢ) / σᵢ: an image is rejected where any of several detectors rejects.

    He, Wei, Chen, Carlini & Song (2017), "Adversarial example defenses: ensembles of weak defenses
    are not strong", join three detectors so. τᵢ is the i-th detector's threshold at
    ``false_positive_rate``, and σᵢ the spread of its scores of natural images: above 0, somebody
    rejects at a threshold of its own. There the rates add up, and the whole rejects up to as many
    times more natural images as there are detectors. ``threshold(rate)`` is for the whole: made
    from natural images that no member learned from, it moves all thresholds together, by the same
    number of σᵢ, so that all of them reject that rate between them. ``Defended(any_of, 0.0)`` is
    each at its own.

    Detectors that were not made for each other fall together. On ``mnist-cnn``, the input
    classifier, the activation classifier at ``"features.2"`` and the kernel density, learned from
    1,000 digits in 3 epochs, let ``AdaptivePGD`` (L2, 40 steps, 4 weights) pass on 14 of 15 digits
    at ε = 3, and on all at ε = 5.

    ``fit`` fits the members, each on the same images. Forward it is the maximum. Its substitute
    has the gradient of log Σᵢ exp in its place, so that an attack sees more than the loudest
    member; each is differentiated as the attack asks, by its own substitute.

    :param detectors: at least one, not fitted yet; ``fit`` fits them again if they are.
    :param false_positive_rate: that of each τᵢ, at least 0 and below 1.
    :raises ValueError: no detectors, something else, or the same one twice; a rate out of range.
    """

    exact = True

    def __init__(self, detectors: Sequence[Detector], *, false_positive_rate: float = 0.05):
        super().__init__()
        check_detectors(detectors)
        check_rate("false_positive_rate", false_positive_rate, below=True)
        self.detectors = nn.ModuleList(detectors)
        self.false_positive_rate = false_positive_rate

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        for detector in self.detectors:
            detector.fit(self.model, (x, y), seed=seed)

    def alarms(self, x: Tensor) -> Tensor:
        """(sᵢ(x) − τᵢ) / σᵢ, (N, number of detectors): which of them rejects, and how clearly."""
        over = [
            (member(x) - member.threshold(self.false_positive_rate)) / member.spread
            for member in self.detectors
        ]
        return torch.stack(over, 1)

    def process(self, x: Tensor) -> Tensor:
        return self.alarms(x).amax(1)

    def substitute(self, x: Tensor) -> Tensor:
        alarms = self.alarms(x)
        smooth = alarms.logsumexp(1)
        return alarms.detach().amax(1) + (smooth - smooth.detach())  # what is added is exactly 0
