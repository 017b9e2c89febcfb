"""One perturbation for all images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..backend import generator, in_batches
from ..goals import UNTARGETED
from ..models.contract import check_device, check_images, forward_of, frozen, predict
from ..models.preprocessing import check_backward, differentiated
from .attacked import AttackedModel
from .base import GradientWarning, LearningInterrupted, check_number, check_whole, set_norm
from .deepfool import DeepFool


class UAPInterrupted(LearningInterrupted):
    """Ctrl-C came while a universal perturbation was learned; what was learned is not lost.

    Go on with ``uap(model, x, start=error.v)``.

    :ivar v: (1, C, H, W), the perturbation as it stood.
    """


@dataclass(frozen=True, kw_only=True)
class UAP:
    """A universal adversarial perturbation. Moosavi-Dezfooli et al. (2017), algorithm 1.

    One v, of norm at most ε, that changes the model's answer k for as many images as it can:
    k(clip(x + v)) ≠ k(x). It is learned from images and needs no labels. v₀ = 0; then, a batch of
    images at a time:

    - ``"deepfool"``: v ← P_ε(v + Σᵢ Δvᵢ), over the images i that v does not fool yet, with Δvᵢ the
      step by which DeepFool (in L2) takes clip(xᵢ + v) across the nearest boundary.
    - ``"sgd"``: v ← P_ε(v + α s(Σᵢ ∇_v min(J(clip(xᵢ + v), k(xᵢ)), β))), with J the cross-entropy
      and s the steepest direction of the norm. Shafahi et al. (2020), algorithm 1. Beyond β an
      image is fooled well enough and leaves the step to the others.

    Before the first epoch and after each, the images that v fools are counted. It ends when that is
    the fraction ``fooling``, and returns the v that fooled most: a ``start`` that fools enough
    comes back as it is.

    Learned from 500 digits, at ε = 0.3 in L∞, against the zoo's ``mnist-cnn``: of 500 unseen digits
    ``"sgd"`` fools 72%; ``"deepfool"`` from 41 to 66%, depending on ``batch_size`` (41% at 1 after
    4 epochs, 51% at 4, 66% at 64, 51% at 500, after 10).

    Where we differ from the papers: images are clipped to the box, as a model would be given them;
    in ``"deepfool"`` the paper takes an image at a time, which is ``batch_size=1`` here; it
    returns the last v. In ``"sgd"`` k(x) stands in the place of the true class.

    :param eps: ε ≥ 0, the budget, in the norm's own unit (pixel values from 0 to 1).
    :param norm: ``"Linf"`` or ``"L2"``.
    :param method: ``"deepfool"`` or ``"sgd"``.
    :param fooling: from 0 to 1: the fraction of the images to fool; the paper's 1 − δ, which it has
        to surpass.
    :param epochs: passes over the images, at most; at least 1.
    :param alpha: α ≥ 0, the step size of ``"sgd"``; ε / 5 by default.
    :param beta: β > 0, the highest loss that counts in ``"sgd"``; log K is the loss of a guess
        among K classes, and β should be above it.
    :param batch_size: images a step. Their steps, or gradients, are summed over parts of the size
        that suits the device, so that a large batch needs no more memory than a few copies of its
        images.
    :param seed: of the order of the images.
    :param backward: of steps in front of the network, see :class:`advlab.attacks.Attack`.
    :raises ValueError: a hyper-parameter out of its range.
    """

    eps: float = 0.3
    norm: str = "Linf"
    method: str = "deepfool"
    fooling: float = 0.8
    epochs: int = 10
    alpha: float | None = None
    beta: float = 9.0
    batch_size: int = 64
    seed: int = 0
    backward: str | Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        check_backward(self.backward, unset=True)
        check_number(self, "eps")
        set_norm(self, "Linf", "L2")
        if self.method not in ("deepfool", "sgd"):
            raise ValueError(f"method: expected 'deepfool' or 'sgd', found {self.method!r}")
        check_number(self, "fooling", high=1)
        check_whole(self, "epochs")
        if self.alpha is not None:
            check_number(self, "alpha")
        check_number(self, "beta", low=1e-30)
        check_whole(self, "batch_size")

    def __call__(
        self, model: nn.Module, x: Tensor, *, start: Tensor | None = None, progress: bool = False
    ) -> Tensor:
        """Learn the perturbation; it is applied as ``(x + v).clamp(0, 1)``, to any images.

        :param model: maps (N, C, H, W) in [0, 1] to logits (N, K). It is attacked in evaluation
            mode and left exactly as it was found.
        :param x: (N, C, H, W) floating point, in [0, 1]: the images to learn from, N at least 1.
        :param start: (1, C, H, W), the v to go on from; by default 0.
        :param progress: show a progress bar.
        :returns: v, (1, C, H, W), of the dtype and on the device of x.
        :raises ValueError: images, a start or answers of the model that break the contract.
        :raises UAPInterrupted: on Ctrl-C, with what was learned.
        """
        check_images(x)
        check_device(model, x)
        if not len(x):
            raise ValueError("x: expected at least one image to learn from, found none")
        if start is not None and start.shape != x[:1].shape:
            raise ValueError(
                f"start: expected {tuple(x[:1].shape)} as an image, found {tuple(start.shape)}"
            )
        if start is not None and not start.isfinite().all():
            raise ValueError("start: expected finite values, found NaN or infinity")
        with torch.inference_mode(False), frozen(model), differentiated(model, self.backward):
            x = x.detach().clone()
            v = torch.zeros_like(x[:1]) if start is None else start.detach().to(x)
            v = self._learn(model, x, threat.project(v, self.eps, self.norm), progress)
        if self.eps and self.fooling and not v.any():
            warnings.warn(
                "nothing was learned: no step changed any answer of the model. A gradient that is "
                "exactly zero (a saturated softmax, a defense that masks gradients) is not "
                "robustness",
                GradientWarning,
                stacklevel=2,
            )
        return v

    def _learn(self, model: nn.Module, x: Tensor, v: Tensor, progress: bool) -> Tensor:
        forward, random = forward_of(model), generator(self.seed)
        step = self.deepfool_step if self.method == "deepfool" else self.sgd_step

        def fooled(v: Tensor) -> float:
            changed = in_batches(lambda x, y: predict(model, (x + v).clamp(0, 1)) != y, x, answers)
            return changed.double().mean().item()

        form = "{l_bar}{bar}| {n:.0f}/{total} images [{elapsed}<{remaining}]{postfix}"
        total = self.epochs * len(x)
        with tqdm(total=total, desc="UAP", disable=not progress, bar_format=form) as bar:
            try:
                answers = predict(model, x)
                best, most = v, fooled(v)
                for _ in range(self.epochs):
                    if most >= self.fooling:
                        break
                    order = torch.randperm(len(x), generator=random).to(x.device)
                    for rows in order.split(self.batch_size):
                        v = v + step(forward, x[rows], answers[rows], v)
                        v = threat.project(v, self.eps, self.norm)
                        bar.update(len(rows))
                    rate = fooled(v)
                    bar.set_postfix(fooling=f"{rate:.0%}")
                    if rate >= most:
                        best, most = v, rate
            except KeyboardInterrupt as error:
                raise UAPInterrupted(v=v) from error
        return best

    def deepfool_step(
        self, forward: Callable[[Tensor], Tensor], x: Tensor, answers: Tensor, v: Tensor
    ) -> Tensor:
        """The sum of Δvᵢ over the images of the batch that v does not fool, (1, C, H, W)."""

        def fooled(x: Tensor, y: Tensor) -> Tensor:
            return AttackedModel(forward, x, UNTARGETED).reached(x, y)

        def move(x: Tensor, y: Tensor) -> Tensor:
            return DeepFool().perturb(AttackedModel(forward, x, UNTARGETED), x, y) - x

        x = (x + v).clamp(0, 1)
        stands = ~in_batches(fooled, x, answers)
        if not stands.any():
            return torch.zeros_like(v)
        return in_batches(move, x[stands], answers[stands]).sum(0, keepdim=True)

    def sgd_step(
        self, forward: Callable[[Tensor], Tensor], x: Tensor, answers: Tensor, v: Tensor
    ) -> Tensor:
        """α times the direction in which the clipped loss of the batch rises, (1, C, H, W)."""

        def clipped(logits: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(logits, y, reduction="none").clamp_max(self.beta)

        def slope(x: Tensor, y: Tensor) -> Tensor:
            outer = x + v
            x = outer.clamp(0, 1)
            gradient, _, _ = AttackedModel(forward, x, UNTARGETED).gradient(x, y, of=clipped)
            return gradient * (outer == x)  # a pixel that was clipped does not follow v

        gradient = in_batches(slope, x, answers)
        alpha = self.eps / 5 if self.alpha is None else self.alpha
        return alpha * threat.step(gradient.sum(0, keepdim=True), self.norm)
