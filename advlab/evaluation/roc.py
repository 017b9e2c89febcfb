"""How well a score tells two kinds of images apart, at every threshold at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn import metrics
from torch import Tensor

from ..checks import check_rate


@dataclass(frozen=True, eq=False)
class Roc:
    """The receiver operating characteristic of a score: what each threshold costs and catches.

    :param false_positive_rate: (T,) float64, rising: the fraction of natural images that have a
        score of at least the threshold.
    :param true_positive_rate: (T,) float64, rising: the fraction of adversarial images that have.
    :param threshold: (T,) float64, falling; the first is infinite: there nothing is an alarm.
    """

    false_positive_rate: Tensor
    true_positive_rate: Tensor
    threshold: Tensor

    @property
    def auc(self) -> float:
        """The area under the curve, from 0 to 1."""
        return float(metrics.auc(self.false_positive_rate, self.true_positive_rate))


def roc_curve(natural: Tensor, adversarial: Tensor) -> Roc:
    """The curve of all thresholds, by scikit-learn.

    :param natural: (n,), scores of the images that should raise no alarm.
    :param adversarial: (m,), scores of those that should.
    :raises ValueError: other shapes, no scores, or a score that is NaN.
    """
    false, true, threshold = metrics.roc_curve(
        *_labeled(natural, adversarial), drop_intermediate=False
    )
    return Roc(*(torch.from_numpy(np.asarray(a, float)) for a in (false, true, threshold)))


def detection_auc(natural: Tensor, adversarial: Tensor) -> float:
    """The area under the ROC curve: P(s(x_adv) > s(x)) + P(s(x_adv) = s(x)) / 2.

    It is the chance that a random adversarial image has a higher score than a random natural one;
    0.5 is what a coin reaches. Below that the score is the wrong way round for this attack, and the
    number stays as it is: who has to choose a detector beforehand cannot turn it.

    :param natural: (n,), scores of the images that should raise no alarm.
    :param adversarial: (m,), scores of those that should.
    :returns: from 0 to 1.
    :raises ValueError: other shapes, no scores, or a score that is NaN.
    """
    return float(metrics.roc_auc_score(*_labeled(natural, adversarial)))


def true_positive_rate(
    natural: Tensor, adversarial: Tensor, false_positive_rate: float = 0.05
) -> float:
    """The fraction of adversarial images caught where at most that share of natural ones is.

    The most that any threshold on these images reaches. A detector in use has its threshold from
    other images, and may do a little better or worse on both.

    :param natural: (n,), scores of the images that should raise no alarm.
    :param adversarial: (m,), scores of those that should.
    :param false_positive_rate: from 0 to 1.
    :raises ValueError: a rate outside of that, other shapes, no scores, or a score that is NaN.
    """
    check_rate("false_positive_rate", false_positive_rate)
    curve = roc_curve(natural, adversarial)
    within = curve.false_positive_rate <= false_positive_rate + 1e-9
    return curve.true_positive_rate[within].max().item()


def _labeled(natural: Tensor, adversarial: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """1 for adversarial and 0 for natural, and the scores. Infinite ones keep their order."""
    for name, scores in (("natural", natural), ("adversarial", adversarial)):
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"{name}: expected scores (n,), found {tuple(scores.shape)}")
        if scores.isnan().any():
            raise ValueError(
                f"{name}: expected numbers, found {int(scores.isnan().sum())} NaN among "
                f"{len(scores)} scores"
            )
    scores = torch.cat((natural.detach().cpu().double(), adversarial.detach().cpu().double()))
    finite = scores[scores.isfinite()]
    if len(finite) < len(scores):  # scikit-learn takes no ±∞: a number beyond all others
        beyond = 2 * finite.abs().max().item() + 1 if len(finite) else 1.0
        scores = torch.nan_to_num(scores, posinf=beyond, neginf=-beyond)
    labels = torch.cat((torch.zeros(len(natural)), torch.ones(len(adversarial))))
    return labels.numpy(), scores.numpy()
