"""Chance: what it alone does with so few images."""

from __future__ import annotations

from scipy.stats import binom
from torch import Tensor


def at_least(count: int, n: int, rate: float) -> float:
    """P(k ≥ count) of k ~ Bin(n, rate): how likely so many are where ``rate`` of them is normal."""
    return float(binom.sf(count - 1, n, rate))


def sign_test(better: Tensor, worse: Tensor) -> float:
    """The one-sided sign test of two attacks on the same images: McNemar's, exact.

    b images are fooled by the first alone, c by the second alone. Were both equally strong, each of
    these b + c images would be as likely to fall to the one as to the other: P(k ≥ b) of
    k ~ Bin(b + c, 1/2).

    :param better: (N,) bool, fooled by the attack that is suspected of being stronger.
    :param worse: (N,) bool, fooled by the other.
    :returns: from 0 to 1; 1 where no image tells them apart.
    """
    b, c = int((better & ~worse).sum()), int((worse & ~better).sum())
    return at_least(b, b + c, 0.5)
