"""Adversarial training: images made anew at every step, and trained on with their true labels.

In all of these the images x̃ are constants when the weights are updated: no gradient goes through
the attack. The sign is flat, so it would say nothing; and Danskin's theorem asks for none at a
maximum (Madry et al., 2018, appendix A). While it is attacked the model is in evaluation mode, so
that no batch statistics move and dropout does not hide the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import threat
from ..checks import check_number, check_whole
from ..models.preprocessing import check_backward
from .composed import Composed
from .inner import ascend, attacked, uniform

# The loss that one step raises: a sum over the batch of what the attacker takes for the label.
LABELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "true": lambda logits, y: F.cross_entropy(logits, y, reduction="sum"),
    "predicted": lambda logits, y: F.cross_entropy(logits, logits.argmax(1), reduction="sum"),
    "least-likely": lambda logits, y: -F.cross_entropy(logits, logits.argmin(1), reduction="sum"),
}


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """What the objectives with an attack inside share: its budget, and who is attacked.

    :param eps: ε ≥ 0, the budget (pixel values from 0 to 1).
    :param ramp: the share of training, from 0 to 1, in which ε rises from 0 to its value, in a
        straight line: :func:`advlab.training.fit` asks :meth:`at`. Against a large ε from the first
        step on, a network may settle on the same answer for all images.
    :param backward: how steps in front of the network are differentiated while it is attacked, see
        :class:`advlab.models.Preprocessing`: ``"substitute"`` trains a squeezed model on attacks
        that know of the squeezing. By default as the steps themselves say.
    :raises ValueError: a number out of its range, or another ``backward``.
    """

    eps: float = 0.3
    ramp: float = 0.0
    backward: str | Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        check_number(self, "eps")
        check_number(self, "ramp", high=1.0)
        check_backward(self.backward, unset=True)

    def at(self, progress: float) -> Adversarial:
        """This objective at a share of the training, from 0 to 1: ε · min(1, progress / ramp)."""
        now = self
        if progress < self.ramp:
            now = replace(self, eps=self.eps * progress / self.ramp, ramp=0.0)
        return Composed.at(now, progress) if isinstance(now, Composed) else now

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The images x̃ that it trains on. (N, C, H, W) in [0, 1] to the same, detached."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FGSMMix(Adversarial, Composed):
    """α J(x, y) + (1 − α) J(x̃, y), where x̃ = clip(x + ε sign ∇ₓJ(x, y)).

    Goodfellow et al. (2015), section 6, with their α = 1/2.

    **What to watch.** A network trained like this may learn to point the gradient at x where it
    does no harm: FGSM fails, R+FGSM and PGD do not (gradient masking, Tramèr et al., 2018). And x̃
    is made with the true label, and may tell it: accuracy on FGSM images then exceeds that on
    natural ones (label leaking, Kurakin et al., 2017). The other two values of ``label`` avoid it.

    :param alpha: α from 0 to 1, the weight of the natural images.
    :param label: whose loss the step raises: the ``"true"`` label's; the ``"predicted"`` one's; or
        ``"least-likely"``: it lowers the loss of the model's least likely class.
    :param objective: J, of the natural and of the adversarial images, each batch by itself. The
        attack always follows the cross-entropy.
    :raises ValueError: a number out of its range, or another label.
    """

    alpha: float = 0.5
    label: str = "true"

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "alpha", high=1.0)
        check_label(self.label)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv = self.adversarial(model, x, y)
        natural, adversarial = self.objective(model, x, y), self.objective(model, x_adv, y)
        return self.alpha * natural + (1 - self.alpha) * adversarial

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with attacked(model, self.backward):
            return one_step(model, x, y, self.eps, self.label)


@dataclass(frozen=True, kw_only=True)
class KurakinMix(Adversarial):
    """(Σ L(xᵢ, yᵢ) + λ Σ L(x̃ᵢ, yᵢ)) / ((m − k) + λk): of m images, the first k are adversarial.

    Kurakin et al. (2017), "Adversarial machine learning at scale", algorithm 1, with their λ = 0.3,
    k = m / 2 and one step toward the least likely class: x̃ = clip(x − ε sign ∇ₓL(x, argmin f(x))).
    That class does not tell the true one, so no label leaks. Natural and adversarial images go
    through the model in one batch, as the paper asks for the sake of batch normalization.

    :param k: how many of the batch are adversarial; by default half of it, rounded
        down. A batch of fewer images
        (the last of an epoch) becomes adversarial as a whole.
    :param lam: λ ≥ 0, the weight of an adversarial image.
    :param label: as for :class:`FGSMMix`.
    :param random_eps: each image has an ε of its own, \\|n\\| for n from N(0, (ε/2)²), drawn again
        while it exceeds ε, so that the model is not used to a single ε.
    :raises ValueError: a number out of its range, or another label.
    """

    k: int | None = None
    lam: float = 0.3
    label: str = "least-likely"
    random_eps: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "lam")
        if self.k is not None:
            check_whole(self, "k", least=0)
        check_label(self.label)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        k = len(x) // 2 if self.k is None else min(self.k, len(x))
        mixed = torch.cat([self.adversarial(model, x[:k], y[:k]), x[k:]])
        loss = F.cross_entropy(model(mixed), y, reduction="none").view(len(x), -1).mean(1)
        weight = torch.ones_like(loss)
        weight[:k] = self.lam
        # λ = 0 on a batch that is adversarial as a whole: nothing counts, and nothing is divided.
        return (weight * loss).sum() / weight.sum().clamp_min(torch.finfo(loss.dtype).tiny)

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not len(x):
            return x
        eps: float | Tensor = self.eps
        if self.random_eps:
            # By the inverse of the distribution function: none has to be drawn again.
            u = torch.rand_like(x[:, :1, :1, :1])
            eps = self.eps / math.sqrt(2) * torch.erfinv(u * math.erf(math.sqrt(2)))
        with attacked(model, self.backward):
            return one_step(model, x, y, eps, self.label)


@dataclass(frozen=True, kw_only=True)
class PGDTraining(Adversarial, Composed):
    """J(x̃, y), where x̃ is the end of T steps of projected gradient ascent from a random start.

    x₀ = clip(x + a random point of the ball), xₜ₊₁ = clip(x + P_ε(xₜ + α s(∇J(xₜ, y)) − x)).
    Madry et al. (2018), equation 2.1: min over θ of E[max over ‖δ‖ ≤ ε of J(x + δ, y)]. The paper
    trains on MNIST with ε = 0.3, α = 0.01 and T = 40. A step of training costs T + 1 plain ones.

    :param alpha: α ≥ 0, the step size; 2.5 ε / T by default.
    :param steps: T ≥ 1.
    :param norm: ``"Linf"`` or ``"L2"``; ε is in its unit.
    :param objective: J outside, of the adversarial images. Inside it is the cross-entropy.
    :raises ValueError: a number out of its range, or another norm.
    """

    alpha: float | None = None
    steps: int = 10
    norm: str = "Linf"

    def __post_init__(self):
        super().__post_init__()
        check_inner(self)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self.objective(model, self.adversarial(model, x, y), y)

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with attacked(model, self.backward):
            return ascend(
                model,
                x,
                lambda logits: LABELS["true"](logits, y),
                start=uniform(x, self.eps, self.norm),
                eps=self.eps,
                alpha=step_size(self),
                steps=self.steps,
                norm=self.norm,
            )


@dataclass(frozen=True, kw_only=True)
class FastTraining(Adversarial, Composed):
    """J(x̃, y), where x̃ is one long step of FGSM from a random start: FGSM-RS.

    δ₀ uniform in [−ε, ε], δ = P_ε(δ₀ + α sign ∇J(x + δ₀, y)), x̃ = clip(x + δ).
    Wong et al. (2020), algorithm 3, with their α = 1.25 ε. It costs two plain steps of training.

    **What to watch.** Catastrophic overfitting: within a few steps of training, accuracy against
    PGD may fall to 0 while accuracy against FGSM rises. Longer training, a larger ε, and a step of
    2 ε or no random start (α = ε from x itself is plain FGSM) make it likely. Watch PGD accuracy on
    a few held-out images, and stop when it falls.

    :param alpha: α ≥ 0, the step size; 1.25 ε by default.
    :param objective: J outside, of the adversarial images. Inside it is the cross-entropy.
    :raises ValueError: a number out of its range.
    """

    alpha: float | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.alpha is not None:
            check_number(self, "alpha")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self.objective(model, self.adversarial(model, x, y), y)

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with attacked(model, self.backward):
            return ascend(
                model,
                x,
                lambda logits: LABELS["true"](logits, y),
                start=uniform(x, self.eps),
                eps=self.eps,
                alpha=1.25 * self.eps if self.alpha is None else self.alpha,
                steps=1,
            )


def one_step(
    model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, label: str = "true"
) -> Tensor:
    """FGSM for training: clip(x + ε sign ∇ₓ loss), the loss by the label's name in ``LABELS``."""
    return ascend(
        model, x, lambda logits: LABELS[label](logits, y), start=x, eps=eps, alpha=eps, steps=1
    )


def step_size(objective) -> float:
    """Its α, or 2.5 ε / T: as :class:`advlab.attacks.PGD`."""
    return 2.5 * objective.eps / objective.steps if objective.alpha is None else objective.alpha


def check_inner(objective) -> None:
    """Check α, T and the norm of an inner walk, and give the norm its standard name.

    :raises ValueError: a number out of its range, or another norm.
    """
    if objective.alpha is not None:
        check_number(objective, "alpha")
    check_whole(objective, "steps")
    norm = threat.parse_norm(objective.norm)
    if norm not in ("Linf", "L2"):
        raise ValueError(f"norm: found {norm!r}, expected 'Linf' or 'L2'")
    object.__setattr__(objective, "norm", norm)


def check_label(label: str) -> None:
    """:raises ValueError: not one of ``LABELS``."""
    if label not in LABELS:
        raise ValueError(f"label: found {label!r}, expected one of {', '.join(LABELS)}")
