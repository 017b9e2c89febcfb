"""A vote is fooled when all those who can vote for a class do: a targeted attack on all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..goals import ConfidenceReduction, Undetected, Untargeted, logits_of
from .attacked import AttackedModel
from .carlini_wagner import CWL2
from .penalty import hair

_WHY = "it makes those who can vote for a class do so; name the class, by targeted=True"


@dataclass(frozen=True, kw_only=True)
class UnanimousVote(CWL2):
    """C&W's L2 attack on all members of an ensemble that must agree on the class wanted.

    He et al. (2017), "Adversarial example defenses: ensembles of weak defenses are not strong",
    against Specialists+1. With M(t), the members whose sets hold the class t, it minimizes
    ‖x′ − x‖₂² + c f(x′) over the box, as :class:`advlab.attacks.CWL2` does, with

    f(x′) = Σ_{m ∈ M(t)} max(κ − (z_mt − max_{j ≠ t} z_mj), 0) + max(log τ − log h_t(x′), 0),

    where the inner maximum is over the classes of the member's set, and h_t is the mean probability
    that M(t) gives t. f is 0 exactly where all of M(t) answer t by κ, so that only they vote, and
    their confidence is at least τ: the whole answers t and does not reject. An image for which none
    is found is left as it was.

    Where we differ from the paper: it has the first sum alone, and a κ large enough for the
    confidence that is asked for. With the second term κ = 0 is enough.

    Of the model it needs ``member_logits(x)``, (N, M, K) with −∞ for what a member cannot predict,
    and ``log_threshold``, log τ, such as :class:`advlab.defenses.SpecialistsPlusOne` has. Wanted is
    a class t < K: y is that, by ``targeted=True`` or :class:`advlab.goals.SourceTarget`.

    :param kappa: κ ≥ 0, the margin in logits by which each member must answer t. More of it makes
        the whole surer.
    :param steps: of a descent, at least 1.
    :param lr: Adam's learning rate, ≥ 0.
    :param searches: descents, each with another c, at least 1.
    :param c: the first c, above 0.
    :param abort_early: end an image's descent that gains no more. Off by default: where many
        members are to be moved far, the loss may rise for a while before it falls.
    :param space: ``"pixels"`` or ``"tanh"``.
    :raises ValueError: a hyper-parameter out of its range, a goal without a class wanted; when
        called, a class that is not below K.
    :raises TypeError: when called, a model without these two.
    """

    abort_early: bool = False

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
        if not (hasattr(model, "member_logits") and hasattr(model, "log_threshold")):
            raise TypeError(
                f"model: expected one with member_logits(x) and log_threshold, such as "
                f"SpecialistsPlusOne, found {type(model).__name__}"
            )
        self.model, self.kappa = model, kappa

    def forward(self, x: Tensor) -> Tensor:
        z = self.model.member_logits(x)
        can = z.isfinite()
        # Logarithms of probabilities round as numbers of size 1 do, however small the logits.
        more = hair(torch.where(can, z, 0), least=1.0)[:, None]
        short = (self.kappa + more[..., None] - _margins(z)).clamp_min(0)
        short = torch.where(can, short, 0).sum(1)
        log_h = z.log_softmax(2).logsumexp(1) - can.sum(1).to(z.dtype).log()
        return -(short + (self.model.log_threshold + more - log_h).clamp_min(0))


def _margins(logits: Tensor) -> Tensor:
    """z_t − max over j ≠ t of z_j, for every class t at once. (…, K) to (…, K)."""
    (first, second), best = logits.topk(2).values.split(1, -1), logits.argmax(-1, keepdim=True)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return logits - torch.where(classes == best, second, first)
