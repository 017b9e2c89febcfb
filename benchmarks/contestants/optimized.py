"""Attacks that minimize size and margin together: C&W in three norms, EAD."""

from __future__ import annotations

from torch import nn

from advlab import attacks

from . import Contest, art, foolbox, ours

STEPS, SEARCHES, LR, C = 200, 6, 0.01, 1e-2


def contests(model: nn.Module) -> dict[str, Contest]:
    import foolbox as fb
    import torchattacks as ta

    same = {"steps": STEPS, "searches": SEARCHES, "lr": LR, "c": C}
    budget = f"{SEARCHES} searches of {STEPS} steps of {LR}, c from {C}"
    theirs = {"binary_search_steps": SEARCHES, "steps": STEPS, "initial_const": C}
    patient = theirs | {"abort_early": False}

    def ead(**settings):
        return foolbox(model, fb.attacks.EADAttack(decision_rule="L1", **settings), None)

    return {
        "C&W L2": Contest(
            runs={
                "advlab": ours(model, attacks.CWL2(**same)),
                "Foolbox": foolbox(model, fb.attacks.L2CarliniWagnerAttack(**theirs), None),
                # No search for c: as many steps in one descent.
                "torchattacks": ta.CW(model, c=1, steps=STEPS * SEARCHES, lr=LR),
                "ART": art(
                    model,
                    "CarliniL2Method",
                    binary_search_steps=SEARCHES,
                    max_iter=STEPS,
                    learning_rate=LR,
                    initial_const=C,
                    batch_size=100,
                    verbose=False,
                ),
            },
            norm="L2",
            images=100,
            budget=budget,
        ),
        "EAD": Contest(
            runs={
                "advlab": ours(model, attacks.EAD(**same)),
                # Foolbox's early abort looks at the whole batch, and stops too soon.
                "Foolbox": ead(**theirs),
                "Foolbox, no early abort": ead(**patient),
            },
            norm="L1",
            images=100,
            budget=budget,
        ),
        "C&W Linf": Contest(
            runs={
                "advlab": ours(model, attacks.CWLinf()),
                "ART": art(model, "CarliniLInfMethod", max_iter=10, batch_size=1, verbose=False),
            },
            images=10,
            budget="each by its own defaults",
        ),
        "C&W L0": Contest(
            runs={
                "advlab": ours(model, attacks.CWL0(steps=100)),
                "ART": art(
                    model,
                    "CarliniL0Method",
                    binary_search_steps=5,
                    max_iter=10,
                    batch_size=10,
                    verbose=False,
                ),
            },
            norm="L0",
            images=10,
            budget="5 searches; ours of 100 steps, ART's of 10",
        ),
    }
