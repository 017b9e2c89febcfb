"""What every attack does around its own few lines: check, freeze, batch, differentiate."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor, nn

from ..backend import in_batches
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    check_logits,
    forward_of,
    frozen,
)
from ..threat import attack_loss


class GradientWarning(UserWarning):
    """The gradient of the loss is exactly zero for some images: the attack cannot see a way."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack is its hyper-parameters; calling it on a model attacks images.

    :param targeted: ``y`` is the class wanted, not the class to leave.
    :param batch_size: images at a time; by default what suits the device.

    A subclass holds the method in :meth:`perturb`.
    """

    targeted: bool = False
    batch_size: int | None = None

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, progress: bool = False) -> Tensor:
        """Adversarial images x_adv for the images x.

        :param model: maps (N, C, H, W) in [0, 1] to logits (N, K). It is attacked in evaluation
            mode and left exactly as it was found.
        :param x: (N, C, H, W) floating point, in [0, 1].
        :param y: (N,) int64: the true classes, or the classes wanted if ``targeted``.
        :param progress: show a progress bar.
        :returns: (N, C, H, W), detached, in [0, 1], of the dtype and on the device of x.
        :raises ValueError: images, labels or answers of the model that break the contract.
        """
        check_images(x)
        check_labels(y, x)
        check_device(model, x)
        x = x.detach()
        if not len(x):
            return x.clone()
        forward = forward_of(model)

        def attack(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            batch = _Differentiable(forward, x, self.targeted)
            return self.perturb(batch, x, y), batch.stuck

        label = str(self) if progress else None
        with torch.inference_mode(False), frozen(model):
            # Tensors made in inference mode cannot take part in a gradient; their copies can.
            x, y = (t.clone() if t.is_inference() else t for t in (x, y))
            x_adv, stuck = in_batches(attack, x, y, batch_size=self.batch_size, progress=label)
        if stuck.any():
            warnings.warn(
                f"the gradient is exactly zero for {int(stuck.sum())} of {len(x)} images where the "
                "attack starts, so it cannot tell where to go: a saturated softmax or a defense "
                "that masks gradients, not robustness",
                GradientWarning,
                stacklevel=2,
            )
        return x_adv

    def perturb(self, model: _Differentiable, x: Tensor, y: Tensor) -> Tensor:
        """Attack one batch."""
        raise NotImplementedError

    def __str__(self) -> str:
        """The name with what differs from the defaults: ``PGD(eps=0.1, steps=10)``."""
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if f.repr and (f.name == "eps" or getattr(self, f.name) != f.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class _Differentiable:
    """A frozen model in front of one batch, and the gradient of what the attacker raises."""

    def __init__(self, forward: Callable[[Tensor], Tensor], x: Tensor, targeted: bool):
        self.forward, self.targeted = forward, targeted
        self.stuck = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def logits(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.forward(x)
        check_logits(logits, x)
        return logits

    def gradient(self, x: Tensor, y: Tensor, *, first: bool = False) -> tuple[Tensor, ...]:
        """∇ₓ of the attacker's loss, the loss (N,), and the logits (N, K), all detached.

        The loss is summed over images: each gets its own gradient, whatever the batch.

        :param first: the attack's first look at its batch: check the answer and the gradient.
        """
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.forward(x)
            if first:
                check_logits(logits, x, y)
            loss = attack_loss(logits, y, self.targeted)
            gradient = None
            if loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
        if gradient is None:
            raise ValueError(
                "model: its logits do not depend on x by any differentiable path "
                "(detach() or no_grad() inside?); use a black-box attack"
            )
        if not gradient.isfinite().all():  # at every step: sign() would make zeros of NaN
            raise ValueError("model: the gradient of the loss in x is NaN or infinite")
        if first:
            self.stuck = (gradient.flatten(1) == 0).all(1)
        return gradient, loss.detach(), logits.detach()


def check_eps(attack: Attack, name: str = "eps") -> None:
    """Check the budget (or the step size) of that name, and make a plain number of it.

    :raises ValueError: not a number from 0 to 1e30 (beyond, float32 overflows).
    """
    value = getattr(attack, name)
    if not (isinstance(value, Real) and 0 <= value <= 1e30):
        raise ValueError(f"{name}: expected a finite number, at least 0, found {value!r}")
    if not isinstance(value, (int, float)):  # NumPy's, or a Fraction
        object.__setattr__(attack, name, float(value))
