"""A few pixels, changed a lot: the saliency maps of the Jacobian tell which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..goals import Targeted, logits_but
from .base import Attack, check_number

# How many pairs are looked at together: 64 MiB of float32 for each table.
_TABLE = 2**24
# A feature nearer than this to the edge that it moves to has no room: it would gain nothing.
_EDGE = 0.01


def saliency_map(jacobian: Tensor, target: Tensor, theta: float = 1.0) -> Tensor:
    """How much each feature alone speaks for the class wanted, at least 0. (N, C, H, W).

    With a = ∂F_t/∂xᵢ and b = Σ_{j≠t} ∂F_j/∂xᵢ: S(x, t)[i] = 0 where a < 0 or b > 0, and a \\|b\\|
    elsewhere. For features that are to go down (``theta`` < 0), S[i] = 0 where a > 0 or b < 0, and
    \\|a\\| b elsewhere. Papernot et al. (2016), equations 8 and 9.

    :param jacobian: (N, K, C, H, W), ∇ₓF, of the probabilities or the logits.
    :param target: (N,) int64, the class t wanted.
    :param theta: its sign: features go up, or down.
    """
    own = jacobian[torch.arange(len(target), device=target.device), target]
    return _saliency(*_for_and_against(own, jacobian.sum(1) - own, theta))


@dataclass(frozen=True, kw_only=True)
class JSMA(Attack):
    """The Jacobian-based saliency map attack. Papernot et al. (2016), algorithms 2 and 3.

    A feature is one channel of one pixel. Each step looks at all pairs (p, q) of features that
    have room to move, takes the one with the largest −αβ, where
    α = ∂F_t/∂x_p + ∂F_t/∂x_q > 0 and β = Σ_{j≠t} (∂F_j/∂x_p + ∂F_j/∂x_q) < 0,
    and adds θ to both, clipped to [0, 1]; for θ < 0, with α < 0 and β > 0. It ends when the goal
    is reached, after ⌊n γ / 2⌋ steps for n features, or when no pair is left.

    The paper writes F, the model's outputs, in its definitions; in its experiments it
    differentiates the last layer before the softmax. Carlini & Wagner (2017) call the two JSMA-F
    and JSMA-Z. Our default is JSMA-F, as fewer pixels are needed. Probabilities sum up to 1, so
    β = −α, and the best pair are the two features that raise F_t most. ``outputs="logits"`` is
    JSMA-Z: the sum over j ≠ t then also counts classes that are far from winning. The same number
    added to all the logits, another for each image, leaves the probabilities as they are, and so
    JSMA-F; JSMA-Z it changes. A model that ends in a ``LogSoftmax`` is an example.

    Where we differ from the paper: its search starts with all features, and drops one only when a
    change has brought it to exactly 0 or 1. Here a feature has room or not: one within 0.01 of the
    edge that it would move to is out, from the start. Where the paper's search fails it returns
    what it came to; here the image as it was. The paper is targeted only. Where no class is wanted,
    we go for the one with the second highest logit at the start, and end as soon as the goal is
    reached, whichever class that is.

    The variant ``"single"`` takes one feature a step, the largest of :func:`saliency_map`, for
    ⌊n γ⌋ steps.

    Where libraries differ: torchattacks takes the logits; ART takes the two features of the
    largest ∂z_t/∂xᵢ, without β.

    :param theta: θ from −1 to 1 and not 0, what is added to a feature.
    :param gamma: γ from 0 to 1, the fraction of the features that may change.
    :param variant: ``"pair"`` or ``"single"``.
    :param outputs: ``"probabilities"`` or ``"logits"``.
    :raises ValueError: a hyper-parameter out of its range.
    """

    theta: float = 1.0
    gamma: float = 0.145
    variant: str = "pair"
    outputs: str = "probabilities"
    norm = "L0"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "theta", -1, 1)
        if self.theta == 0:
            raise ValueError("theta: expected a number from -1 to 1 that is not 0, found 0")
        check_number(self, "gamma", 0, 1)
        for name, known in (
            ("variant", ("pair", "single")),
            ("outputs", ("probabilities", "logits")),
        ):
            if getattr(self, name) not in known:
                expected = " or ".join(map(repr, known))
                raise ValueError(f"{name}: expected {expected}, found {getattr(self, name)!r}")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        _, _, logits = model.gradient(x, y, first=True, of=model.goal.margin)
        wanted = y
        if not isinstance(model.goal, Targeted):
            wanted = logits_but(logits, y).argmax(1)
        choose, size = (best_pair, 2) if self.variant == "pair" else (_best_single, 1)
        out = x.clone()
        alive = (~model.goal.reached(logits, y)).nonzero().squeeze(1)
        x_adv = x[alive]
        # One more look than there are changes: the last change is judged too.
        for _ in model.steps(int(x[0].numel() * self.gamma / size + 1e-9) + 1):
            if not len(alive):
                break
            logits, slopes = model.jacobian(x_adv, of=self.rows(wanted[alive]))
            fell = model.goal.reached(logits, y[alive])
            out[alive[fell]] = x_adv[fell]
            own = slopes[:, 0].flatten(1)
            others = slopes[:, 1].flatten(1) if self.outputs == "logits" else -own
            flat = x_adv.flatten(1)
            room = (1 - flat if self.theta > 0 else flat) > _EDGE
            chosen, found = choose(*_for_and_against(own, others, self.theta), room)
            going = ~fell & found
            alive, flat, chosen = alive[going], flat[going], chosen[going]
            changed = (flat.gather(1, chosen) + self.theta).clamp(0, 1)
            x_adv = flat.scatter(1, chosen, changed).view(-1, *x.shape[1:])
        return out

    def rows(self, wanted: Tensor) -> Callable[[Tensor], Tensor]:
        """What to differentiate: one or two rows, never all of the Jacobian's."""

        def of(logits: Tensor) -> Tensor:
            if self.outputs == "probabilities":
                # ∇F_t = F_t ∇ log F_t: F_t scales the whole map, and would come to 0 in float32.
                return logits.log_softmax(1).gather(1, wanted[:, None])
            own = logits.gather(1, wanted[:, None])
            return torch.cat([own, logits.sum(1, keepdim=True) - own], 1)

        return of


def best_pair(up: Tensor, down: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """The pair of features with the largest product of sums, (u_p + u_q)(v_p + v_q).

    Both sums must be positive. This is the search of all pairs, and exact: but of a feature that
    two others surpass in u and in v both, one of the two can take the place in any pair. Only the
    others, a few dozen as a rule, are tried in pairs.

    :param up: (N, n), u: how much each feature raises the class wanted.
    :param down: (N, n), v: how much each lowers the others.
    :param room: (N, n) bool, the features that may be chosen.
    :returns: (N, 2) int64, and (N,) bool, where there is a pair.
    """
    up, down = up.where(room, -torch.inf), down.where(room, -torch.inf)
    up, order = up.sort(dim=1, descending=True, stable=True)
    down = down.gather(1, order)
    # Of all features before one, which are those of larger u: the largest v and the second.
    largest = _before(down.cummax(1).values)
    second = _before(torch.minimum(down, largest).cummax(1).values)
    kept = down > second
    count = int(kept.sum(1).max()) if len(kept) else 0
    place = kept.byte().argsort(dim=1, descending=True, stable=True)[:, :count]
    kept, order = kept.gather(1, place), order.gather(1, place)
    # Features that are not kept come to −∞ and make no pair.
    up = up.gather(1, place).where(kept, -torch.inf)
    down = down.gather(1, place).where(kept, -torch.inf)
    best = up.new_zeros(len(up))
    pair = torch.zeros(len(up), 2, dtype=torch.int64, device=up.device)
    rows = max(1, _TABLE // max(1, up.numel()))
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        alpha, beta = up[:, part, None] + up[:, None], down[:, part, None] + down[:, None]
        value = torch.where((alpha > 0) & (beta > 0), alpha * beta, 0)
        first = torch.arange(count, device=up.device)
        value.masked_fill_(first[part, None] >= first, 0)  # p before q
        value, index = value.flatten(1).max(1)
        found = torch.stack([start + index // count, index % count], 1)
        better = value > best
        best, pair[better] = torch.where(better, value, best), found[better]
    return order.gather(1, pair) if count else pair, best > 0


def _best_single(up: Tensor, down: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    value, index = _saliency(up, down).masked_fill(~room, 0).max(1, keepdim=True)
    return index, value.squeeze(1) > 0


def _saliency(up: Tensor, down: Tensor) -> Tensor:
    return up.clamp_min(0) * down.clamp_min(0)


def _for_and_against(own: Tensor, others: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """What a change by θ does: how much it raises the class wanted, and lowers the others."""
    return (own, -others) if theta > 0 else (-own, others)


def _before(largest: Tensor) -> Tensor:
    """Each entry's left neighbor, −∞ for the first."""
    return torch.nn.functional.pad(largest[:, :-1], (1, 0), value=-torch.inf)
