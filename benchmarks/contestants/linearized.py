"""By the slopes of the logits: DeepFool, JSMA; and MI-FGSM."""

from __future__ import annotations

from torch import nn

from advlab import attacks

from . import Contest, art, foolbox, ours

EPS, STEPS = 0.3, 10


def contests(model: nn.Module) -> dict[str, Contest]:
    import foolbox as fb
    import torchattacks as ta

    overshoot = {"steps": 50, "overshoot": 0.02}
    pixels = {"theta": 1.0, "gamma": 0.145}
    wanted = ta.JSMA(model, **pixels)
    wanted.set_mode_targeted_by_label(quiet=True)
    return {
        "MI-FGSM": Contest(
            runs={
                "advlab": ours(model, attacks.MIFGSM(eps=EPS, steps=STEPS)),
                # Foolbox's sums up signs: another attack, at the same cost.
                "Foolbox": foolbox(
                    model, fb.attacks.MIFGSM(abs_stepsize=EPS / STEPS, steps=STEPS), EPS
                ),
                "torchattacks": ta.MIFGSM(model, eps=EPS, alpha=EPS / STEPS, steps=STEPS),
                "ART": art(
                    model,
                    "MomentumIterativeMethod",
                    eps=EPS,
                    eps_step=EPS / STEPS,
                    max_iter=STEPS,
                    verbose=False,
                ),
            },
            budget="10 steps",
        ),
        "DeepFool L2": Contest(
            runs={
                "advlab": ours(model, attacks.DeepFool(**overshoot)),
                "Foolbox": foolbox(model, fb.attacks.L2DeepFoolAttack(**overshoot), None),
                "torchattacks": ta.DeepFool(model, **overshoot),
                "ART": art(
                    model, "DeepFool", max_iter=50, epsilon=0.02, nb_grads=10, verbose=False
                ),
            },
            norm="L2",
            images=128,
            budget="50 steps, 10 classes",
        ),
        "DeepFool Linf": Contest(
            runs={
                "advlab": ours(model, attacks.DeepFool(norm="Linf", **overshoot)),
                "Foolbox": foolbox(model, fb.attacks.LinfDeepFoolAttack(**overshoot), None),
            },
            images=128,
            budget="50 steps, 10 classes",
        ),
        "JSMA": Contest(
            runs={
                "advlab": ours(model, attacks.JSMA(targeted=True, **pixels)),
                "advlab, logits": ours(
                    model, attacks.JSMA(targeted=True, outputs="logits", **pixels)
                ),
                "torchattacks": lambda x, y: wanted(x.clone(), y),  # it writes to its images
                "ART": art(model, "SaliencyMapMethod", verbose=False, **pixels),
            },
            norm="L0",
            images=40,
            targets=True,
            budget="14.5% of the pixels",
        ),
    }
