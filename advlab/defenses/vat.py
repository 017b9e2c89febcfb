"""Virtual adversarial training: the answer should not change near an image, label or no label."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import threat
from ..checks import check_number, check_whole
from ..images import check_images
from .composed import Composed, divergence
from .inner import evaluating


@dataclass(frozen=True, kw_only=True)
class VAT(Composed):
    """L₀ + λ LDS, the loss and how much the answer can change nearby. Miyato et al. (2019).

    With p(x) = softmax f(x), the local distributional smoothness of an image is (equations 5, 6)

        LDS(x) = KL(p(x) ‖ p(x + r)), where r = argmax over ‖r‖₂ ≤ ε of KL(p(x) ‖ p(x + r)).

    The first p(x) counts as a constant; its parameters take no gradient. It stands where a label
    would, so LDS needs none: :meth:`advlab.defenses.VAT.lds` takes images alone, and ``unlabeled``
    images take part in training. The whole loss is the paper's equation 8.

    At r = 0 the divergence and its slope are 0, and its curvature is the Hessian H. So r is ε times
    the eigenvector of H with the largest eigenvalue, and power iteration finds it without H
    (equations 12 to 14): from a random d of length 1, d ← g / ‖g‖₂ with g = ∇_r KL at r = ξd.

    Where we differ from the paper: LDS is that of the network as it will be used, in evaluation
    mode, p(x) as well as p(x + r): it moves no batch statistics, and is 0 where r is, with dropout
    and batch normalization too; x + r is clipped to [0, 1], where the paper has no bounds; and ξ
    is 0.1, not 10⁻⁶, at which float32 rounds the change of p(x) away. On six digits and the zoo's
    ``mnist-cnn``, the cosine between r and the true eigenvector is 0.90 on average after one
    iteration and 0.97 after three; with ξ = 10⁻⁶ it is 0.60 and 0.69.

    :param eps: ε ≥ 0, the length of r in L2 (pixel values from 0 to 1).
    :param xi: ξ, the step of the finite difference, at least 10⁻⁶.
    :param iterations: of the power method, at least 1; the paper finds 1 to be enough.
    :param weight: λ ≥ 0, the paper's α.
    :param clip: clip x + r to [0, 1].
    :param objective: L₀, ``objective(model, x, y)``.
    :param unlabeled: (M, C, H, W) in [0, 1], images without labels, or None. Each step draws from
        them as many as the batch has, and LDS is the mean over both. They are not copied. Neither
        the representation nor a checkpoint tells one pool from another.
    :raises ValueError: a number out of its range, or ``unlabeled`` that are no images.
    """

    eps: float = 2.0
    xi: float = 0.1
    iterations: int = 1
    weight: float = 1.0
    clip: bool = True
    unlabeled: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        check_number(self, "eps")
        check_number(self, "xi", 1e-6)
        check_whole(self, "iterations")
        check_number(self, "weight")
        if self.unlabeled is not None:
            check_images(self.unlabeled, "unlabeled")
            if not len(self.unlabeled):
                raise ValueError("unlabeled: expected at least one image, found none; give None")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        images = x
        if self.unlabeled is not None:
            if self.unlabeled.shape[1:] != x.shape[1:]:
                found, wanted = (tuple(t.shape[1:]) for t in (self.unlabeled, x))
                raise ValueError(f"unlabeled: expected images of shape {wanted}, found {found}")
            rows = torch.randint(len(self.unlabeled), (len(x),)).to(self.unlabeled.device)
            images = torch.cat((x, self.unlabeled[rows].to(x)))
        return self.objective(model, x, y) + self.weight * self.lds(model, images)

    def lds(self, model: nn.Module, x: Tensor) -> Tensor:
        """The mean of LDS(x) over the images (N, C, H, W), at least 0. No labels.

        Of a model of maps, (N, K, H, W), the mean over the pixels as well.
        """
        p = _log_softmax(model, x)
        moved = x + self._perturbation(model, x, p)
        with evaluating(model):
            q = model(moved.clamp(0, 1) if self.clip else moved).log_softmax(1)
        return divergence(p, q)

    def perturbation(self, model: nn.Module, x: Tensor) -> Tensor:
        """r for each image, (N, C, H, W), of length ε, before any clipping.

        It is 0 for an image around which the answer does not change at all.
        """
        return self._perturbation(model, x, _log_softmax(model, x))

    def _perturbation(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        d = threat.step(torch.randn_like(x), "L2")
        with evaluating(model):
            for _ in range(self.iterations):
                r = (self.xi * d).requires_grad_(True)
                q = model(x + r).log_softmax(1)
                (gradient,) = torch.autograd.grad(
                    F.kl_div(q, p, log_target=True, reduction="sum"), r
                )
                d = threat.step(gradient, "L2")
        return self.eps * d


def _log_softmax(model: nn.Module, x: Tensor) -> Tensor:
    """log p(x), (N, K, ...), a constant: in evaluation mode, without gradients."""
    with torch.no_grad(), evaluating(model):
        return model(x).log_softmax(1)
