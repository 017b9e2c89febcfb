"""Training that makes the semidefinite bound small, and a network that carries its certificate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_count, check_number
from ..defenses.composed import Composed
from ..models.mlp import MLP
from .semidefinite import back, through
from .semidefinite_program import pairs


class TwoLayer(MLP):
    """An MLP with one hidden layer that carries its own certificate: prices c for each pair.

    They take no part in the logits. :class:`advlab.guarantees.SemidefiniteTraining` learns them
    with the weights; ``semidefinite_bound(model, method="trained")`` reads them.

    :param hidden: m, the width.
    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param size: H = W of the images.
    """

    def __init__(self, hidden: int = 100, classes: int = 10, channels: int = 1, size: int = 28):
        super().__init__(classes=classes, channels=channels, size=size, hidden=(hidden,))
        entries = 1 + channels * size**2 + hidden
        self.register_parameter(
            "log_c", nn.Parameter(torch.zeros(classes * (classes - 1) // 2, entries))
        )

    def prices(self) -> tuple[Tensor, Tensor]:
        """c > 0 of the pixels, (pairs, d), and of 1 and the neurons, (pairs, 1 + m)."""
        c, d = self.log_c.exp(), self.layers[1].in_features
        return c[:, 1 : 1 + d], torch.cat([c[:, :1], c[:, 1 + d :]], 1)


@dataclass(frozen=True, kw_only=True)
class SemidefiniteTraining(Composed):
    """J(x, y) + λ mean over pairs of G_ij(W, V, c): the weights and the prices c learn together.

    Every G is an upper bound for any c, so a smaller one is a better guarantee; the certificate
    comes with the network, and needs no solver. Raghunathan et al. (2018), section 4.

    Where we differ from the paper: the dual is the scaled one of
    :func:`advlab.guarantees.semidefinite_bound`, one λ serves all pairs, and J is the cross-entropy
    by default, where the paper has a hinge loss. The norm in G is found by ``power`` steps of the
    power method, from below, here only: what ``semidefinite_bound`` reports later is no estimate.

    The prices start at 1, where G = ½ √(d(1 + m)) ‖[p A]‖₂, and have far to go: a step size of 0.01
    served better than 0.003.

    :param strength: λ ≥ 0.
    :param power: at least 1.
    :param objective: J, what is lowered besides.
    :raises ValueError: a number out of its range, or a model that is no
        :class:`advlab.guarantees.TwoLayer`.
    """

    strength: float = 0.03
    power: int = 10

    def __post_init__(self):
        check_number(self, "strength")
        check_count("power", self.power, 1)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self.objective(model, x, y) + self.strength * self.bound(model).mean()

    def bound(self, model: nn.Module) -> Tensor:
        """G of each pair, (K(K − 1)/2,), differentiable in the weights and in c."""
        if not isinstance(model, TwoLayer):
            raise ValueError(f"model: expected a TwoLayer, found {type(model).__name__}")
        W, V = model.layers[1].weight, model.layers[-1].weight
        i, j = pairs(len(V)).to(V.device)
        v = V[i] - V[j]
        c_s, c_u = (c[:, :, None] for c in model.prices())
        s_scale, u_scale = c_s.rsqrt(), c_u.rsqrt()
        with torch.no_grad():
            u = torch.randn_like(c_u)
            for _ in range(self.power):
                s = F.normalize(s_scale * through(W, v, u_scale * u), dim=1)
                u = F.normalize(u_scale * back(W, v, s_scale * s), dim=1)
        # The gradient of a norm sᵀBu is that of sᵀBu with the vectors held still.
        norm = (s * s_scale * through(W, v, u_scale * u)).sum(1)
        return ((c_s.sum(1) * c_u.sum(1)).sqrt() * norm / 2).squeeze(1)
