"""One step and many: FGSM, R+FGSM, BIM, PGD."""

from __future__ import annotations

from torch import nn

from advlab import attacks

from . import Contest, art, foolbox, ours

EPS, STEPS, ALPHA = 0.3, 40, 2.5 * 0.3 / 40
EPS2, EPS1 = 2.0, 10.0


def contests(model: nn.Module) -> dict[str, Contest]:
    import foolbox as fb
    import torchattacks as ta

    def iterated(eps, alpha):
        return {"eps": eps, "eps_step": alpha, "max_iter": STEPS, "verbose": False}

    step = {"steps": STEPS, "random_start": True}
    alpha2, alpha1 = 2.5 * EPS2 / STEPS, 2.5 * EPS1 / STEPS
    pgd = {
        "Foolbox": foolbox(model, fb.attacks.LinfPGD(abs_stepsize=ALPHA, **step), EPS),
        "torchattacks": ta.PGD(model, eps=EPS, alpha=ALPHA, steps=STEPS),
        "ART": art(model, "ProjectedGradientDescent", num_random_init=1, **iterated(EPS, ALPHA)),
    }
    return {
        "FGSM": Contest(
            runs={
                "advlab": ours(model, attacks.FGSM(eps=EPS)),
                "Foolbox": foolbox(model, fb.attacks.LinfFastGradientAttack(), EPS),
                "torchattacks": ta.FGSM(model, eps=EPS),
                "ART": art(model, "FastGradientMethod", eps=EPS),
            },
        ),
        "RFGSM": Contest(
            runs={
                "advlab": ours(model, attacks.RFGSM(eps=EPS)),
                "torchattacks": ta.RFGSM(model, eps=EPS, alpha=EPS / 2, steps=1),
            },
        ),
        "BIM-b": Contest(
            runs={
                "advlab": ours(model, attacks.BIM(eps=EPS, alpha=EPS / 10, steps=10)),
                "Foolbox": foolbox(
                    model,
                    fb.attacks.LinfBasicIterativeAttack(
                        abs_stepsize=EPS / 10, steps=10, random_start=False
                    ),
                    EPS,
                ),
                "torchattacks": ta.BIM(model, eps=EPS, alpha=EPS / 10, steps=10),
                "ART": art(
                    model,
                    "BasicIterativeMethod",
                    **(iterated(EPS, EPS / 10) | {"max_iter": 10}),
                ),
            },
        ),
        "PGD": Contest(
            images=500,
            runs={
                "advlab": ours(model, attacks.PGD(eps=EPS, steps=STEPS)),
                "advlab, early_stop": ours(
                    model, attacks.PGD(eps=EPS, steps=STEPS, early_stop=True)
                ),
                **pgd,
            },
        ),
        "PGD L2": Contest(
            images=500,
            runs={
                "advlab": ours(model, attacks.PGD(eps=EPS2, steps=STEPS, norm="L2")),
                "Foolbox": foolbox(model, fb.attacks.L2PGD(abs_stepsize=alpha2, **step), EPS2),
                "torchattacks": ta.PGDL2(model, eps=EPS2, alpha=alpha2, steps=STEPS),
                "ART": art(
                    model,
                    "ProjectedGradientDescent",
                    norm=2,
                    num_random_init=1,
                    **iterated(EPS2, alpha2),
                ),
            },
            norm="L2",
        ),
        "PGD L1": Contest(
            images=500,
            runs={
                "advlab": ours(model, attacks.PGD(eps=EPS1, steps=STEPS, norm="L1")),
                # ART's L1 projection takes minutes; tests/peers compares its strength.
                "Foolbox": foolbox(model, fb.attacks.L1PGD(abs_stepsize=alpha1, **step), EPS1),
            },
            norm="L1",
        ),
    }
