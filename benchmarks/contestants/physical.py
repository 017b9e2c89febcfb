"""Expectation over transformation: PGD through random brightness, and through random turns.

Success is counted on the images as they are, not through the transformation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from advlab import attacks
from advlab.transforms import Brightness, Pose

from . import Contest, Run, ours

EPS, STEPS, SAMPLES, IMAGES = 0.2, 10, 10, 50
ALPHA = 2.5 * EPS / STEPS


def art_through(model: nn.Module, name: str, **settings) -> Run:
    """ART's PGD, with one of its EOT preprocessors in the classifier, as its users set it up."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier
    from art.preprocessing import expectation_over_transformation as eot

    through = getattr(eot, name)(nb_samples=SAMPLES, clip_values=(0.0, 1.0), **settings)
    classifier = PyTorchClassifier(
        model,
        torch.nn.CrossEntropyLoss(),
        (1, 28, 28),
        10,
        clip_values=(0.0, 1.0),
        preprocessing_defences=[through],
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=EPS, eps_step=ALPHA, max_iter=STEPS, num_random_init=1, verbose=False
    )

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found = attack.generate(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()])
        return torch.from_numpy(np.asarray(found, dtype=np.float32))

    return run


def contests(model: nn.Module) -> dict[str, Contest]:
    plain = attacks.PGD(eps=EPS, steps=STEPS, alpha=ALPHA, best=False)

    def ours_through(transformation) -> Run:
        return ours(
            model, attacks.EOT(attack=plain, transformation=transformation, samples=SAMPLES)
        )

    budget = f"{STEPS} steps, {SAMPLES} draws a step"
    return {
        "EOT-PGD brightness": Contest(
            runs={
                "advlab": ours_through(Brightness(change=(-0.2, 0.2))),
                "ART": art_through(model, "EoTBrightnessPyTorch", delta=0.2),
            },
            images=IMAGES,
            budget=f"{budget}, ± 0.2 on all pixels",
        ),
        "EOT-PGD turns": Contest(
            runs={
                "advlab": ours_through(Pose(turn=20, background=0)),
                "ART": art_through(
                    model, "EoTImageRotationPyTorch", angles=20.0, label_type="classification"
                ),
            },
            images=IMAGES,
            budget=f"{budget}, ± 20 degrees",
        ),
    }
