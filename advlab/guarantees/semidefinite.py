"""Bounds on a network of two linear layers for all images at once, by semidefinite programming.

The program itself is derived in ``semidefinite_program.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_count
from ..images import check_images
from ..models.contract import check_device, check_labels
from .certificates import SLACK
from .semidefinite_program import (
    coupling,
    dual_value,
    feasible_prices,
    pair_matrix,
    pairs,
    semidefinite_program,
    two_layers,
)

METHODS = ("semidefinite", "trained", "scs", "spectral", "frobenius")
ROUNDING = 1e-9  # of a bound: what float64 may have lost, many times over
RANK = 16  # of the vectors whose products are P: more changes nothing that we could measure


def semidefinite_bound(
    model: nn.Module, *, method: str = "semidefinite", steps: int = 50
) -> Tensor:
    """G, (K, K) float64: how fast the logit i can gain on the logit j. Symmetric, 0 at i = j.

    f_i(x + δ) − f_j(x + δ) ≤ f_i(x) − f_j(x) + ε G_ij, for every x and ‖δ‖∞ ≤ ε. In units of the
    logits, per unit of a pixel value.

    - ``"semidefinite"``: a quarter of max ⟨M, P⟩ over P ⪰ 0, diag(P) ≤ 1, with M of
      :func:`advlab.guarantees.pair_matrix`. Raghunathan et al. (2018), section 3. No solver: the
      entries of P are products of unit vectors. When those of (1, u) are fixed, the best ones of s
      are known in closed form, and the other way round: take turns (the mixing method of Wang,
      Chang & Kolter, 2017). Their lengths before they are made 1 are the prices c. What is returned
      is the dual value of c, so that it is a bound after any number of steps.
    - ``"trained"``: the dual value of the c of an :class:`advlab.guarantees.TwoLayer`.
    - ``"scs"``: the dual value of the c that SCS finds, a pair at a time: minutes at 784 pixels.
    - ``"spectral"``: √d ‖W‖₂ ‖v‖₂, and ``"frobenius"``: √d ‖W‖_F ‖v‖₂, with v = V_i − V_j, the two
      that the paper compares with. The optimum is never above the first, nor that above the second.

    Where we differ from the paper: its dual value D λ⁺(M − diag(c)) + Σ max(c, 0) pays D times for
    a c that does not quite hold. We scale c until it holds. M couples s with (1, u) and nothing
    else, so that the two parts of c can be scaled apart, and the best scaling gives
    G = ½ √(Σ c_s Σ c_u) ‖diag(c_s)^(−½) [p A] diag(c_u)^(−½)‖₂: the spectral bound of a network
    whose pixels and neurons are measured in units of their own. The optimum is the same.

    :param model: Flatten, Linear, ReLU, Linear.
    :param method: one of those above.
    :param steps: at least 1, of ``"semidefinite"``.
    :raises ValueError: another network, another method, or ``"trained"`` of a model without c.
    :raises MissingSolver: ``"scs"`` where it is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")
    check_count("steps", steps, 1)
    W, _, V, _ = two_layers(model)
    i, j = pairs(len(V)).to(V.device)
    v, d = V[i] - V[j], W.shape[1]
    if method in ("spectral", "frobenius"):
        norm = torch.linalg.matrix_norm(W, 2 if method == "spectral" else "fro")
        bound = d**0.5 * norm * v.norm(dim=1)
    elif method == "scs":
        matrices = (pair_matrix(model, *pair) for pair in zip(i.tolist(), j.tolist()))
        bound = torch.stack(
            [dual_value(M, feasible_prices(M, semidefinite_program(M)[1])) / 4 for M in matrices]
        )
    else:
        c = _taking_turns(W, v, steps) if method == "semidefinite" else _own_prices(model)
        c = [part.clamp_min(1e-6 * part.amax(1, keepdim=True)).clamp_min(1e-30) for part in c]
        bound = torch.stack([_dual(coupling(W, row), *parts) for row, *parts in zip(v, *c)])
    G = W.new_zeros(len(V), len(V))
    G[i, j] = G[j, i] = bound * (1 + ROUNDING)
    return G


def _dual(B: Tensor, c_s: Tensor, c_u: Tensor) -> Tensor:
    scaled = c_s.rsqrt()[:, None] * B * c_u.rsqrt()
    # The smaller of the two products: its largest eigenvalue is the norm's square.
    small = scaled.T @ scaled if B.shape[0] > B.shape[1] else scaled @ scaled.T
    norm = torch.linalg.eigvalsh(small)[-1].clamp_min(0).sqrt()
    return (c_s.sum() * c_u.sum()).sqrt() * norm / 2


def _taking_turns(W: Tensor, v: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Prices c_s (pairs, d) and c_u (pairs, 1 + m), nearly the best."""
    random = torch.Generator().manual_seed(0)
    u = torch.randn(1 + len(W), RANK, generator=random, dtype=W.dtype).to(W.device)
    u = F.normalize(u, dim=1).expand(len(v), -1, -1)
    for _ in range(steps):
        s = through(W, v, u)
        c_s, s = s.norm(dim=2), F.normalize(s, dim=2)
        u = back(W, v, s)
        c_u, u = u.norm(dim=2), F.normalize(u, dim=2)
    return c_s, c_u


def _own_prices(model: nn.Module) -> tuple[Tensor, Tensor]:
    if not hasattr(model, "prices"):
        raise ValueError(
            f"model: expected a TwoLayer, which carries prices c, found {type(model).__name__}"
        )
    return tuple(c.detach().double() for c in model.prices())


def through(W: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """[p A] u for each pair, without the matrix: (pairs, 1 + m, R) to (pairs, d, R)."""
    return W.T @ (v[:, :, None] * (u[:, :1] + u[:, 1:]))


def back(W: Tensor, v: Tensor, s: Tensor) -> Tensor:
    """[p A]ᵀ s for each pair: (pairs, d, R) to (pairs, 1 + m, R)."""
    hidden = v[:, :, None] * (W @ s)
    return torch.cat([hidden.sum(1, keepdim=True), hidden], 1)


def semidefinite_certified(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    bound: Tensor | None = None,
    slack: float = SLACK,
) -> Tensor:
    """Where no ‖δ‖∞ ≤ ε changes the class from y: f_y − f_j > ε G_yj for all j ≠ y.

    The box [0, 1] is not used: x + δ may leave it, which makes the bound a little looser.

    :param model: Flatten, Linear, ReLU, Linear.
    :param x: (N, C, H, W) in [0, 1].
    :param y: (N,) int64, the true classes.
    :param eps: ε ≥ 0, in pixel values.
    :param bound: G, by default :func:`advlab.guarantees.semidefinite_bound` of the model. It holds
        for all images: compute it once.
    :param slack: what a margin must exceed, in units of logits: it covers the rounding of the
        float32 network, see :func:`advlab.guarantees.certified`.
    :returns: (N,) bool. False says nothing: the image may be safe all the same.
    :raises ValueError: images, labels, a network or a bound of another form.
    """
    check_images(x)
    check_labels(y, x)
    check_device(model, x)
    if not eps >= 0:
        raise ValueError(f"eps: expected a number of at least 0, found {eps!r}")
    W, b, V, a = two_layers(model)
    if len(y) and y.max() >= len(V):
        raise ValueError(f"y: expected class numbers below {len(V)}, found {y.max().item()}")
    G = semidefinite_bound(model) if bound is None else bound
    if G.shape != (len(V), len(V)):
        raise ValueError(f"bound: expected shape {(len(V), len(V))}, found {tuple(G.shape)}")
    z = F.relu(x.detach().flatten(1).double() @ W.T + b) @ V.T + a
    least = z.gather(1, y[:, None]) - z - eps * G[y]
    return least.scatter(1, y[:, None], torch.inf).amin(1) > slack
