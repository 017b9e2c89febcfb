"""Models on which the best attack is known, and every attack of the package."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from advlab.attacks import (
    APGD,
    APGDT,
    BIM,
    CWL0,
    CWL2,
    EAD,
    EOT,
    FABT,
    FGSM,
    JSMA,
    MIFGSM,
    PGD,
    RFGSM,
    SPSA,
    Attack,
    AutoAttack,
    Boundary,
    CWLinf,
    DeepFool,
    HopSkipJump,
    Noise,
    Square,
)
from advlab.transforms import Blur, Chain, Contrast, SensorNoise

from .rejecting import Rejects

# Every attack, small enough to run in every test. Each has eps and norm.
GRADIENT_ATTACKS = [
    FGSM(eps=0.1),
    FGSM(eps=1.0, norm="L2"),
    RFGSM(eps=0.1),
    RFGSM(eps=0.1, alpha=0.02, seed=4),
    BIM(eps=0.1, steps=5),
    BIM(eps=0.1, steps=5, variant="a"),
    BIM(eps=1.0, steps=5, norm="L2"),
    BIM(eps=3.0, steps=5, norm="L1"),
    MIFGSM(eps=0.1, steps=5),
    MIFGSM(eps=1.0, steps=5, norm="L2", decay=0.5),
    PGD(eps=0.1, steps=7),
    PGD(eps=1.0, steps=7, norm="L2"),
    PGD(eps=3.0, steps=7, norm="L1"),
    PGD(eps=0.1, steps=4, restarts=3),
    PGD(eps=1.0, steps=4, norm="L2", restarts=2, early_stop=True),
    PGD(eps=0.1, steps=7, early_stop=True),
    PGD(eps=0.1, steps=7, random_start=False, best=False),
    APGD(eps=0.1, steps=10),
    APGD(eps=1.0, norm="L2", steps=8, restarts=2),
    APGD(eps=0.1, steps=10, loss="margin"),
    EOT(
        attack=PGD(eps=0.1, steps=7),
        transformation=Chain(Contrast(factor=(0.5, 1)), SensorNoise(read=0.05)),
        samples=4,
    ),
    EOT(attack=FGSM(eps=1.0, norm="L2"), transformation=Blur(sigma=(0, 1)), samples=2),
]
# Attacks that look for the smallest perturbation: they have a norm and no eps.
MINIMUM_ATTACKS: list[Attack] = [
    Boundary(queries=400),
    HopSkipJump(queries=400, evals=30),
    HopSkipJump(queries=400, evals=30, norm="Linf"),
    FABT(norm="Linf", steps=15),
    FABT(norm="L2", steps=15),
    FABT(norm="L1", steps=10, restarts=2),
    DeepFool(),
    DeepFool(norm="Linf", candidates=2),
    JSMA(gamma=0.9),
    JSMA(gamma=0.9, theta=-1),
    JSMA(gamma=0.9, variant="single"),
    JSMA(gamma=0.9, outputs="logits"),
    CWL2(steps=100, searches=7),
    CWL2(steps=150, searches=7, space="tanh"),
    CWL0(steps=60),
    CWLinf(),
    EAD(steps=60, searches=7),
]
# Attacks that see scores alone, with a budget.
SCORE_ATTACKS = [
    Square(eps=0.1, queries=40),
    Square(eps=1.0, norm="L2", queries=40),
    SPSA(eps=0.1, queries=48, samples=2, lr=0.05),
]
# Attacks that are made of others, and cannot be targeted.
JOINT_ATTACKS = [
    APGDT(eps=0.1, steps=8, loss="margin"),
    APGDT(eps=1.0, norm="L2", steps=8, loss="margin"),
    AutoAttack(eps=0.1, steps=6, queries=30),
    AutoAttack(eps=1.0, norm="L2", steps=6, queries=30),
]
ATTACKS = [
    Noise(eps=0.1),
    Noise(eps=1.0, norm="L2"),
    *GRADIENT_ATTACKS,
    *SCORE_ATTACKS,
    *JOINT_ATTACKS,
]


@dataclass(frozen=True, kw_only=True)
class Nothing(Attack):
    """The attack that does nothing: what it passes is no test."""

    eps: float = 0.1
    norm: str = "Linf"

    def perturb(self, model, x, y):
        return x.clone()


class BinaryLinear(nn.Module):
    """Logits (0, w·x + b) in float64. For label 1 the loss is log(1 + exp(−w·x − b))."""

    def __init__(self, shape, seed=0):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(shape, generator=source, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x):
        score = (x * self.w).flatten(1).sum(1) + self.b
        return torch.stack([torch.zeros_like(score), score], 1)


def small_cnn(channels=1, size=(6, 7), classes=3, dtype=torch.float64, seed=0):
    """An untrained convolutional network with its weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(6 * size[0] * size[1], classes),
        )
    return model.to(dtype).eval()


def images(n, channels=1, size=(6, 7), dtype=torch.float64, seed=1):
    """Random images; a third of the pixels are exactly 0 or 1, as in MNIST."""
    x = torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed))
    return (1.5 * x - 0.25).clamp(0, 1).to(dtype)


@pytest.fixture
def cnn(device):
    return small_cnn().to(device)


@pytest.fixture
def x(device):
    return images(40).to(device)


@pytest.fixture
def y(cnn, x):
    """The classes that the model gives: it is always right."""
    with torch.no_grad():
        return cnn(x).argmax(1)


@pytest.fixture
def guarded(cnn, x, device):
    model = Rejects(cnn, x.shape[1:]).to(device)
    model.tau = model.over(x).median().item() + 0.5
    return model
