"""Chance: what it alone does with so few images, and what random models draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from scipy.stats import binom
from torch import Tensor

from ..backend import own_random_state, seed_device


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


@contextmanager
def seeded(where: torch.device, seed: int) -> Iterator[None]:
    """Inside, what a random model draws is the same at each call; the caller's state stays."""
    with own_random_state(where):
        seed_device(where, seed)
        yield
