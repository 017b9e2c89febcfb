"""Attacks that minimize size and margin together: C&W, EAD.

ART's L2 and L0 attacks are not here: their tanh starts so near to the edges of the box that pixels
of 0 and 1 hardly move, and they fooled none of three digits, in 500 steps of 0.01 and 250 of 0.1.
Its L∞ attack needs a learning rate of 1 to fool any, and then takes too long.
"""

from __future__ import annotations

from torch import nn

from advlab import attacks

from . import Contest, foolbox, ours

STEPS, SEARCHES, LR, C = 100, 6, 0.01, 1e-2


def contests(model: nn.Module) -> dict[str, Contest]:
    import foolbox as fb
    import torchattacks as ta

    same = {"steps": STEPS, "searches": SEARCHES, "lr": LR, "c": C}
    budget = f"{SEARCHES} searches of {STEPS} steps of {LR}, c from {C}"
    theirs = {"binary_search_steps": SEARCHES, "steps": STEPS, "initial_const": C}
    # Foolbox's early abort looks at the whole batch, and stops too soon.
    patient = theirs | {"abort_early": False}

    def cw(**settings):
        return foolbox(model, fb.attacks.L2CarliniWagnerAttack(**settings), None)

    def ead(**settings):
        return foolbox(model, fb.attacks.EADAttack(decision_rule="L1", **settings), None)

    return {
        "C&W L2": Contest(
            runs={
                "advlab": ours(model, attacks.CWL2(**same)),
                "Foolbox": cw(**theirs),
                "Foolbox, no early abort": cw(**patient),
                # No search for c: as many steps in one descent.
                "torchattacks": ta.CW(model, c=1, steps=STEPS * SEARCHES, lr=LR),
            },
            norm="L2",
            images=32,
            budget=budget,
        ),
        "EAD": Contest(
            runs={
                "advlab": ours(model, attacks.EAD(**same)),
                "Foolbox": ead(**theirs),
                "Foolbox, no early abort": ead(**patient),
            },
            norm="L1",
            images=32,
            budget=budget,
        ),
    }
