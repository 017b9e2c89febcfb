"""Scores alone: Square and SPSA."""

from __future__ import annotations

from torch import nn

from advlab import attacks

from . import Contest, art, ours

EPS, EPS2, QUERIES, SAMPLES = 0.2, 2.0, 500, 8


def contests(model: nn.Module) -> dict[str, Contest]:
    import torchattacks as ta

    spsa = attacks.SPSA(eps=0.3, queries=2 * QUERIES, samples=SAMPLES, lr=0.05)
    budget = f"{QUERIES} queries"
    return {
        "Square": Contest(
            runs={
                "advlab": ours(model, attacks.Square(eps=EPS, queries=QUERIES)),
                "torchattacks": ta.Square(model, eps=EPS, n_queries=QUERIES),
                "ART": art(
                    model, "SquareAttack", eps=EPS, max_iter=QUERIES, batch_size=128, verbose=False
                ),
            },
            images=128,
            budget=budget,
        ),
        "Square L2": Contest(
            runs={
                "advlab": ours(model, attacks.Square(eps=EPS2, norm="L2", queries=QUERIES)),
                "torchattacks": ta.Square(model, norm="L2", eps=EPS2, n_queries=QUERIES),
                "ART": art(
                    model,
                    "SquareAttack",
                    norm=2,
                    eps=EPS2,
                    max_iter=QUERIES,
                    batch_size=128,
                    verbose=False,
                ),
            },
            norm="L2",
            images=128,
            budget=budget,
        ),
        "SPSA": Contest(
            runs={
                "advlab": ours(model, spsa),
                "torchattacks": ta.SPSA(
                    model, eps=0.3, nb_iter=spsa.steps, nb_sample=SAMPLES, lr=0.05
                ),
            },
            images=50,
            budget=f"eps 0.3, {spsa.steps} steps of 0.05, {SAMPLES} differences each",
        ),
    }
