"""One perturbation for all images: learned and applied on the same images.

The labels are not looked at; on images that the model has right, fooled is misclassified.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from advlab import attacks

from . import Contest, Run

EPS, EPOCHS = 0.3, 2


def contests(model: nn.Module) -> dict[str, Contest]:
    def learned(method: str) -> Run:
        # Every pass is made, so that all have the same budget.
        attack = attacks.UAP(eps=EPS, method=method, epochs=EPOCHS, fooling=1, batch_size=10)
        return lambda x, y: (x + attack(model, x)).clamp(0, 1)

    return {
        "UAP": Contest(
            runs={
                "advlab": learned("deepfool"),
                "advlab, sgd": learned("sgd"),
                "ART": _art(model),
            },
            images=50,
            budget=f"{EPOCHS} passes over the images",
        ),
    }


def _art(model: nn.Module) -> Run:
    from art.attacks.evasion import UniversalPerturbation
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0)
    )
    attack = UniversalPerturbation(
        classifier,
        attacker_params={"verbose": False},
        delta=0.0,
        max_iter=EPOCHS,
        eps=EPS,
        verbose=False,
    )

    def run(x: Tensor, y: Tensor) -> Tensor:
        found = attack.generate(x.numpy(), np.eye(10, dtype=np.float32)[y.numpy()])
        return torch.from_numpy(np.asarray(found, dtype=np.float32))

    return run
