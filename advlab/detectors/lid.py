"""Local intrinsic dimensionality: how fast the neighborhood of an image fills, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..checks import check_count
from ..models.activations import activations, layers
from .combined import LogisticDetector
from .kernel_density import squared_distances

SAME = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
NEAREST = 1e-3  # of the radius: neighbors that are nearer count as this near


class LID(LogisticDetector):
    """A logistic regression on the local intrinsic dimensionality of x at each layer.

    Among natural images, rᵢ is the distance from what a layer makes of x to what it makes of the
    i-th nearest of them. The maximum likelihood estimate is

        LID(x) = −(1/k Σᵢ log(rᵢ / r_k))⁻¹,   i = 1 … k.

    In d dimensions the number of neighbors within r grows as rᵈ, and LID is about d. Adversarial
    images leave the surface on which natural ones lie, in more directions than that surface has.
    Ma et al. (2018), "Characterizing adversarial subspaces using local intrinsic dimensionality",
    equation 4 and algorithm 1.

    The score is differentiable but where neighbors tie.

    Where we differ: the paper looks for neighbors among the 100 natural images of a minibatch, one
    of which is the original that the noisy or attacked image was made of. Who judges an image has
    no original. Ours are one batch of natural images that is drawn in ``fit`` and kept, so that a
    score depends on its image alone, and it is larger. On ``mnist-cnn``, natural and noisy digits
    against those of ``FGSM(eps=0.3)``, k = 20, the area under the ROC is 77% with 100 kept, 88%
    with 500 and 91% with 1,000; the paper's minibatches give 85%. An image that is itself in the
    batch is no neighbor of its own, as in the paper. Neighbors within a thousandth of r_k count as
    that far: else one copy of an image would give an LID of 0. Layers that only reshape are left
    out, and a softmax behind the logits, which changes none of these figures.

    :param attack: ``attack(model, x, y)``, from which the weights are learned.
    :param layers: names, as in ``model.named_modules()``; by default all without parts.
    :param k: the number of neighbors, at least 2; the paper's is 20 for MNIST.
    :param reference: the number of natural images that are kept, if there are so many, above k. The
        time and the memory that they take grow with it.
    :param images: at most so many natural images are attacked to learn from.
    :raises ValueError: numbers outside of these ranges, no layers, or no attack; in ``fit``, a
        layer that is not there, fewer than k + 1 natural images, or an attack that fools the model
        nowhere.
    """

    def __init__(
        self,
        *,
        attack: Callable,
        layers: Sequence[str] | None = None,
        k: int = 20,
        reference: int = 500,
        images: int = 500,
    ):
        super().__init__(attack=attack, images=images)
        check_count("k", k, 2)
        check_count("reference", reference, k + 1)
        if layers is not None and not layers:
            raise ValueError("layers: expected at least one name, found none")
        self.layers, self.k, self.reference = layers, k, reference
        self.register_buffer("natural", torch.empty(0))  # (R, C, H, W), the batch
        self._known = None, None, {}

    def prepare(self, x: Tensor, y: Tensor, seed: int) -> None:
        if len(x) <= self.k:
            raise ValueError(
                f"x: expected at least k + 1 = {self.k + 1} natural images to keep, found {len(x)};"
                " give more images, or a lower k"
            )
        self.natural = x[: self.reference].clone()

    def names(self, x: Tensor) -> list[str]:
        """The layers at which LID is estimated."""
        if self.layers is not None:
            return list(self.layers)
        modules = dict(self.model.named_modules())
        return [n for n in layers(self.model, x[:1]) if not isinstance(modules[n], SAME)]

    def features(self, x: Tensor) -> Tensor:
        """The LID of each image at each layer, (N, layers)."""
        known = self.known()
        with torch.no_grad():
            itself = equal(x.flatten(1), self.natural.flatten(1))
        found = activations(self.model, x.clone(), list(known))
        return torch.stack([self.estimate(found[n], known[n], itself) for n in known], 1)

    def known(self) -> dict[str, Tensor]:
        """What each layer makes of the batch: computed once, and again where it was moved."""
        if self._known[0] is not self.natural or self._known[1] is not self.model:
            with torch.inference_mode(False), torch.no_grad():
                found = activations(self.model, self.natural.clone(), self.names(self.natural))
            self._known = self.natural, self.model, found
        return self._known[2]

    def estimate(self, h: Tensor, known: Tensor, itself: Tensor) -> Tensor:
        """LID at one layer: (N, ...), (R, ...) and (N, R), where both are one image, to (N,)."""
        squared = squared_distances(h.flatten(1), known.flatten(1)).masked_fill(itself, math.inf)
        return lid(squared.topk(self.k, 1, largest=False).values)

    def extra_repr(self) -> str:
        return f"layers={self.layers!r}, k={self.k}, reference={self.reference}"


def equal(a: Tensor, b: Tensor) -> Tensor:
    """Which images are one: (N, D) and (M, D) to (N, M) bool."""
    close = squared_distances(a, b) <= 1e-2 * (a * a).sum(1, keepdim=True)  # but for rounding
    row, column = close.nonzero(as_tuple=True)
    close[row, column] = (a[row] == b[column]).all(1)
    return close


def lid(squared: Tensor) -> Tensor:
    """−(1/k Σᵢ log(rᵢ / r_k))⁻¹ of r₁² ≤ … ≤ r_k², (N, k) to (N,)."""
    radius = squared[:, -1:].clamp_min(torch.finfo(squared.dtype).tiny)
    ratios = (squared / radius).clamp_min(NEAREST**2)
    # All k at one distance would be infinitely many dimensions.
    return -1 / (ratios.log().mean(1) / 2).clamp_max(-NEAREST)
