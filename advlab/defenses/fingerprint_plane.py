"""Fingerprints of networks small enough to see: what a linear classifier accepts, and landscapes.

Zheng (2018) draws both in the plane: images of two pixels, (1, 1, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.contract import device_of, frozen
from .fingerprints import Fingerprints


def linear_classifier(w: Tensor, b: float) -> nn.Module:
    """The logits (−g, g) of g(x) = ⟨w, x⟩ + b: class 1 where g is above 0.

    Normalized they are φ(x) = sign g(x) · (−1, 1)/√2: nothing is left of g but its sign.

    :param w: (C, H, W).
    """
    model = nn.Sequential(nn.Flatten(), nn.Linear(w.numel(), 2)).to(w)
    with torch.no_grad():
        model[1].weight.copy_(torch.stack((-w, w)).flatten(1))
        model[1].bias.copy_(torch.tensor((-b, b)))
    return model.eval()


def band_fingerprints(
    w: Tensor, b: float, x: Tensor, y: Tensor, *, slack: float = 0.01
) -> Fingerprints:
    """Four fingerprints that accept a band on each side of the boundary, where the data are.

    Let the images of class 1 be at distances from r to R from the boundary, and those of class 0
    from r′ to R′. With s the slack and ŵ = w/‖w‖,

    - Δx¹ = −(r − s) ŵ: no image of class 1 gets across. One nearer than r − s does.
    - Δx² = −(R + s) ŵ: every image of class 1 gets across. One further than R + s does not.
    - Δx³ = (r′ − s) ŵ and Δx⁴ = (R′ + s) ŵ: likewise for class 0.

    Δyⁱʲ is the change of φ that the images of class j make; moved away from the boundary they make
    none. So algorithm 1 of Dathathri et al. (2018) rejects what is too near, and what is too far:
    see the linear models there, and in Zheng (2018). Of an image inside the band D is 0 for its
    class. Outside, one of the four is wrong by ‖(−√2, √2)‖₂ = 2, and D is at least 2/4: any τ from
    0 to below ½ will do.

    :param w: (C, H, W), of :func:`linear_classifier`.
    :param b: its bias.
    :param x: (M, C, H, W), images that it has right.
    :param y: (M,) int64, 0 or 1; of each at least one.
    :param slack: s > 0, how much wider the bands are than the data.
    :raises ValueError: an image on the wrong side, or nearer to the boundary than the slack.
    """
    signed = ((x * w).flatten(1).sum(1) + b) / w.norm() * (2 * y - 1)
    if not {0, 1} <= set(y.tolist()) or not 0 < slack < signed.min():
        raise ValueError(
            "x: expected images of both classes, right, and further from the boundary than the "
            f"slack, {slack!r}; found classes {sorted(set(y.tolist()))}, the nearest image "
            f"{signed.min().item():.4g} on its side"
        )
    steps, changes = [], torch.zeros(4, 2, 2).to(w)
    across = torch.tensor((-1.0, 1.0)).to(w) * 2**0.5  # φ of class 1 minus φ of class 0
    for side, toward in ((1, -1), (0, 1)):
        distance = signed[y == side]
        steps += [toward * (distance.min() - slack), toward * (distance.max() + slack)]
        changes[len(steps) - 1, side] = toward * across
    return Fingerprints(torch.stack(steps).view(4, 1, 1, 1) * w / w.norm(), changes)


def linear_distances(w: Tensor, b: float, fingerprints: Fingerprints, x: Tensor) -> Tensor:
    """D(x, χʲ) of :func:`linear_classifier` in closed form: (M, 2).

    With g(x) = ⟨w, x⟩ + b, F(x, Δx) = (sign(g(x) + ⟨w, Δx⟩) − sign g(x)) · (−1, 1)/√2. The network
    is not asked: g(x) and the ⟨w, Δxⁱ⟩ say all.

    :param w: (C, H, W).
    :param b: the bias.
    :param fingerprints: of K = 2 classes.
    :param x: (M, C, H, W).
    """
    g = (x * w).flatten(1).sum(1) + b
    moved = g[:, None] + (fingerprints.dx * w).flatten(1).sum(1)
    change = moved.sign() - g.sign()[:, None]  # (M, N): −2, 0 or 2
    response = change[:, :, None] * torch.tensor((-1.0, 1.0)).to(w) / 2**0.5
    return (response[:, :, None] - fingerprints.dy).norm(dim=3).mean(1)


def plane(steps: int = 101, low: float = 0.0, high: float = 1.0) -> Tensor:
    """A grid of two-pixel images, (steps², 1, 1, 2): the first pixel grows fastest.

    ``.view(steps, steps)`` of what a model says about them is a picture whose rows go along the
    second pixel, as ``contourf`` takes it.
    """
    axis = torch.linspace(low, high, steps)
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((first, second), 2).view(-1, 1, 1, 2)


def landscape(
    model: nn.Module,
    fingerprints: Fingerprints,
    *,
    steps: int = 101,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """The fingerprint loss over the plane: minⱼ Σᵢ ‖F(x, Δxⁱ) − Δyⁱʲ‖₂², (steps, steps).

    Of a network trained with fingerprints it is low around the data and high elsewhere: Zheng
    (2018). Of one that was not, it says nothing about where the data are.

    :param model: two-pixel images (N, 1, 1, 2) to logits (N, K).
    :param fingerprints: for such images.
    :param steps: grid points along an axis, see :func:`plane`.
    :param low: the lowest value of each pixel.
    :param high: the highest.
    """
    x = plane(steps, low, high).to(device_of(model) or "cpu")
    with frozen(model), torch.no_grad():
        return fingerprints.losses(model, x).amin(1).view(steps, steps)
