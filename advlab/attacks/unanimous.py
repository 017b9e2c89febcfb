"""A vote is fooled when all those who can vote for a class do: a targeted attack on all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..goals import ConfidenceReduction, Undetected, Untargeted, logits_of
from .attacked import AttackedModel
from .carlini_wagner import CWL2

_WHY = "it makes those who can vote for a class do so; name the class, by targeted=True"


@dataclass(frozen=True, kw_only=True)
class UnanimousVote(CWL2):
    """C&W's L2 attack on all members of an ensemble that must agree on the class wanted.

    He et al. (2017), "Adversarial example defenses: ensembles of weak defenses are not strong",
    against Specialists+1. With M(t), the members whose sets hold the class t, it minimizes
    ‖x′ − x‖₂² + c f(x′) over the box, as :class:`advlab.attacks.CWL2` does, with

    f(x′) = Σ_{m ∈ M(t)} max(κ − (z_mt − max_{j ≠ t} z_mj), 0) + max(−margin(x′), 0),

    where the maximum is over the classes of the member's set, and the margin is that of the whole:
    log h_t(x′) less the largest other logit, the one for "rejected" among them. f is 0 where all of
    M(t) answer t by κ and the whole answers t: an image that the whole rejects is no success. It
    is left as it was.

    Where we differ from the paper: it has the first sum alone, and a κ large enough for the
    confidence that is asked for. The margin of the whole makes κ = 0 enough.

    Of the model it needs ``member_logits(x)``, (N, M, K) with −∞ for what a member cannot predict,
    and ``decide(member_logits)``, (N, K + 1), such as
    :class:`advlab.defenses.SpecialistsPlusOne` has. Wanted is a class t < K: y is that, by
    ``targeted=True`` or :class:`advlab.goals.SourceTarget`.

    :param kappa: κ ≥ 0, the margin in logits by which each member must answer t. More of it makes
        the whole surer.
    :param steps: of a descent, at least 1.
    :param lr: Adam's learning rate, ≥ 0.
    :param searches: descents, each with another c, at least 1.
    :param c: the first c, above 0.
    :param abort_early: end an image's descent that gains no more.
    :param space: ``"pixels"`` or ``"tanh"``.
    :raises ValueError: a hyper-parameter out of its range, a goal without a class wanted; when
        called, a class that is not below K.
    :raises TypeError: when called, a model without these methods.
    """

    refuses: ClassVar = {Untargeted: _WHY, ConfidenceReduction: _WHY, Undetected: _WHY}

    def _attack(self, model: nn.Module, x: Tensor, y: Tensor, index: Tensor, progress: bool):
        return super()._attack(_Losses(model, self.kappa), x, y, index, progress)

    def begin(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        _, f, _ = model.gradient(x, y, first=True, of=lambda z, y: self.f(model, z, y))
        model.stuck &= f > 0
        return ((f > 0) & ~model.stuck).nonzero().squeeze(1)

    def f(self, model: AttackedModel, logits: Tensor, y: Tensor) -> Tensor:
        return -logits_of(logits, y)


class _Losses(nn.Module):
    """−f for each class that could be wanted, (N, K): what the attack sees in place of logits."""

    def __init__(self, model: nn.Module, kappa: float):
        super().__init__()
        if not all(callable(getattr(model, name, None)) for name in ("member_logits", "decide")):
            raise TypeError(
                f"model: expected one with member_logits(x) and decide(member_logits), such as "
                f"SpecialistsPlusOne, found {type(model).__name__}"
            )
        self.model, self.kappa = model, kappa

    def forward(self, x: Tensor) -> Tensor:
        members = self.model.member_logits(x)
        whole = self.model.decide(members)
        can = members.isfinite()
        # As in C&W's attack, a hair's breadth more: in another batch logits round otherwise.
        kind = torch.finfo(members.dtype)
        largest = torch.where(can, members, 0).detach().abs().flatten(1).amax(1)
        largest = torch.maximum(largest, whole.detach().abs().amax(1))
        hair = (16 * kind.eps * largest).clamp_min(kind.tiny)[:, None]
        short = (self.kappa + hair[..., None] - _margins(members)).clamp_min(0)
        short = torch.where(can, short, 0).sum(1)
        return -(short + (hair - _margins(whole)[:, :-1]).clamp_min(0))


def _margins(logits: Tensor) -> Tensor:
    """z_t − max over j ≠ t of z_j, for every class t at once. (…, K) to (…, K)."""
    (first, second), best = logits.topk(2).values.split(1, -1), logits.argmax(-1, keepdim=True)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return logits - torch.where(classes == best, second, first)
