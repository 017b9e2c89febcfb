"""AutoAttack and its parts: APGD, APGD-T, FAB-T."""

from __future__ import annotations

from torch import nn

from advlab import attacks

from . import Contest, ours

EPS, EPS2, STEPS = 0.15, 2.0, 100


def contests(model: nn.Module) -> dict[str, Contest]:
    import torchattacks as ta

    def auto(steps: int) -> ta.AutoAttack:
        peer = ta.AutoAttack(model, eps=EPS, seed=0)
        for attack in peer._autoattack.attacks[:3]:  # its own settings are 10 steps each
            attack.steps = steps
        return peer

    def apgd(norm: str, eps: float) -> Contest:
        return Contest(
            runs={
                "advlab": ours(model, attacks.APGD(eps=eps, norm=norm, steps=STEPS)),
                "torchattacks": ta.APGD(model, eps=eps, norm=norm, steps=STEPS),
            },
            norm=norm,
            images=256,
            budget=f"eps {eps}, {STEPS} steps",
        )

    return {
        "APGD": apgd("Linf", EPS),
        "APGD L2": apgd("L2", EPS2),
        "APGD-T": Contest(
            runs={
                "advlab": ours(model, attacks.APGDT(eps=EPS, steps=STEPS)),
                "torchattacks": ta.APGDT(model, eps=EPS, steps=STEPS),
            },
            images=64,
            budget=f"eps {EPS}, 9 targets, {STEPS} steps each",
        ),
        "FAB-T": Contest(
            runs={
                "advlab": ours(model, attacks.FABT(steps=STEPS, targets=1)),
                # An eps that all are inside, so that it takes one target for each image.
                "torchattacks": ta.FAB(model, eps=1.0, steps=STEPS, multi_targeted=True),
            },
            images=64,
            budget=f"the likeliest other class, {STEPS} steps",
        ),
        "AutoAttack": Contest(
            runs={
                "advlab": ours(model, attacks.AutoAttack(eps=EPS)),
                "torchattacks": auto(STEPS),
            },
            images=48,
            budget=f"eps {EPS}, {STEPS} steps for each gradient attack, 5000 queries",
        ),
    }
