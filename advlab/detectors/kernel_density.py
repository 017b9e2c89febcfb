"""Kernel density: natural images of one class lie close together in the last hidden layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..backend import in_batches
from ..checks import check_count
from ..models.activations import activations, penultimate
from .base import Detector


class KernelDensity(Detector):
    """s(x) = −log p(h(x) | c): how far x lies from what is known of the class that it is given.

    Here h(x) ∈ ℝᴰ is what a hidden layer makes of x, c = argmax z(x) the predicted class, and

        p(h | c) = 1/n_c Σᵢ (2π b²)^(−D/2) exp(−‖h − hᵢ‖² / (2 b²))

    over n_c natural images of class c. Feinman et al. (2017), "Detecting adversarial samples from
    artifacts", section 4.1. Equal to −``score_samples`` of scikit-learn's ``KernelDensity``. Far
    from all images s grows as the squared distance to the nearest one over 2b².

    The score is differentiable. The class alone is not: where it changes, the score jumps. An
    attack that lowers the score brings h(x) near natural images of the class that it wants.

    Where we differ: the paper chooses the bandwidth b by hand (1.20 for its MNIST network), which
    fits one network's scale. Ours is by default that under which each image is the likeliest given
    the others of its class, on the activations of the network at hand.

    :param layer: the name of the layer h, as in ``model.named_modules()``; by default the one
        before the last linear layer.
    :param bandwidth: b > 0, in units of the activations; by default the likeliest.
    :param references: at most so many natural images of each class are kept.
    :raises ValueError: a bandwidth not above 0, or a number of references below 1; in ``fit``, a
        layer that is not there, or a class of the model without images.
    """

    def __init__(
        self, *, layer: str | None = None, bandwidth: float | None = None, references: int = 1000
    ):
        super().__init__()
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            raise ValueError(f"bandwidth: expected a finite number above 0, found {bandwidth!r}")
        check_count("references", references, 1)
        self.layer, self.bandwidth, self.references = layer, bandwidth, references
        self.register_buffer("hidden", torch.empty(0, 0))  # (M, D), the hᵢ of all classes
        self.register_buffer("classes", torch.empty(0, dtype=torch.int64))  # (M,), theirs
        self.register_buffer("width", torch.tensor(math.nan))  # b

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        with torch.no_grad():
            hidden, logits = in_batches(self.see, x)
        kept = [(y == k).nonzero().squeeze(1)[: self.references] for k in range(logits.shape[1])]
        if missing := [k for k, rows in enumerate(kept) if not len(rows)]:
            raise ValueError(
                f"y: expected images of each of the model's {len(kept)} classes that it has right, "
                f"found none of class {missing[0]}; give more images"
            )
        self.hidden, self.classes = hidden[torch.cat(kept)], y[torch.cat(kept)]
        width = self.bandwidth or likeliest_bandwidth([hidden[rows] for rows in kept])
        self.width = hidden.new_tensor(width)

    def see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the hidden layer and the last one make of x: (N, D) and (N, K)."""
        layer = penultimate(self.model, x[:1]) if self.layer is None else self.layer
        found = activations(self.model, x.clone(), [layer, ""])
        return found[layer].flatten(1), found[""]

    def process(self, x: Tensor) -> Tensor:
        h, logits = self.see(x)
        # Where h is long and b short, what rounding takes from float32 would show in the score.
        wide = torch.float32 if h.device.type == "mps" else torch.float64
        distance = squared_distances(h.to(wide), self.hidden.to(wide)).to(h.dtype)
        exponent = -distance / (2 * self.width**2)
        own = logits.argmax(1)[:, None] == self.classes
        kernels = exponent.where(own, -math.inf).logsumexp(1)
        scale = own.sum(1).log() + h.shape[1] / 2 * (2 * math.pi * self.width**2).log()
        return scale - kernels

    def extra_repr(self) -> str:
        return f"layer={self.layer!r}, bandwidth={self.bandwidth}, references={self.references}"


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖aᵢ − bⱼ‖², of (N, D) and (M, D) as (N, M), with gradients also where it is 0."""
    # Multiplied out it is a product of matrices, and the squares are never stored.
    lengths = torch.einsum("nd,nd->n", a, a)[:, None] + torch.einsum("md,md->m", b, b)
    return (lengths - 2 * a @ b.T).clamp_min(0)


def likeliest_bandwidth(groups: list[Tensor], *, steps: int = 100) -> float:
    """The bandwidth b under which each point is the likeliest given the others of its group.

    It raises Σᵢ log 1/(n − 1) Σ_{j≠i} N(hᵢ; hⱼ, b² I) to a maximum over b, one b for all groups, by
    expectation maximization: with wᵢⱼ the share of j in i's density, b² ← mean over i of
    Σⱼ wᵢⱼ ‖hᵢ − hⱼ‖² / D.

    :param groups: of points, each (n, D).
    :param steps: at most.
    :raises ValueError: no two different points in any group.
    """
    # Seen from one of them, so that equal points are at a distance of exactly 0.
    groups = [(group - group[:1]).double() for group in groups if len(group) > 1]
    squared = []
    for group in groups:
        distances = squared_distances(group, group)
        others = ~torch.eye(len(group), dtype=torch.bool, device=group.device)
        squared.append(distances[others].view(len(group), -1))
    points = sum(map(len, squared))
    variance = sum(d.mean(1).sum().item() for d in squared) / max(points, 1)
    if not variance > 0:
        raise ValueError(
            "x: expected at least two images of a class that differ in the hidden layer, found "
            "none; give more images, or a bandwidth"
        )
    dimensions = groups[0].shape[1]
    variance /= dimensions
    for _ in range(steps):
        shares = ((-d / (2 * variance)).softmax(1) for d in squared)
        spread = sum((w * d).sum().item() for w, d in zip(shares, squared, strict=True))
        before, variance = variance, max(spread / points / dimensions, 1e-12 * variance)
        if abs(variance / before - 1) < 1e-4:
            break
    return math.sqrt(variance)
