"""Attacks that see only decisions, at equal queries: HopSkipJump and the boundary attack.

The peers run a number of steps, not of queries. Ours gets as many queries an image as the peers'
steps came to, counted by a hook on 16 images; where the peers differ, as the least of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab import attacks

from . import Contest, art, foolbox, ours

# Steps of the peers, and the queries an image that ours gets.
STEPS, HOPS = 5, {"L2": 915, "Linf": 940}
WALK, WALKED = 1000, 1150


class Single(nn.Module):
    """ART's bisection hands the model float64 images, whatever it was given."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.to(torch.float32))


def contests(model: nn.Module) -> dict[str, Contest]:
    import foolbox as fb

    def hops(norm: str, constraint: str, p: float | str) -> Contest:
        peer = fb.attacks.HopSkipJumpAttack(steps=STEPS, constraint=constraint)
        theirs = art(Single(model), "HopSkipJump", norm=p, max_iter=STEPS, verbose=False)
        return Contest(
            runs={
                "advlab": ours(model, attacks.HopSkipJump(queries=HOPS[norm], norm=norm)),
                "Foolbox": foolbox(model, peer, None),
                "ART": theirs,
            },
            norm=norm,
            images=40,
            budget=f"about {HOPS[norm]} queries, {STEPS} steps",
        )

    walk = fb.attacks.BoundaryAttack(steps=WALK)
    return {
        "HopSkipJump L2": hops("L2", "l2", 2),
        "HopSkipJump Linf": hops("Linf", "linf", "inf"),
        "Boundary": Contest(
            runs={
                "advlab": ours(model, attacks.Boundary(queries=WALKED)),
                "Foolbox": foolbox(model, walk, None),
            },
            norm="L2",
            images=40,
            budget=f"about {WALKED} queries",
        ),
    }
