"""A semidefinite bound on a network of two linear layers, and training that makes it small.

f(x) = V σ(Wx + b) + a, with σ the ReLU. Between x and x + δ the ReLU of neuron k rises by t_k W_k·δ
with a slope t_k in [0, 1]. So with v = V_i − V_j the logit i gains on the logit j

    v·(σ(W(x + δ) + b) − σ(Wx + b)) = Σ_k v_k t_k W_k·δ ≤ ε max over s, t of sᵀ Wᵀ diag(v) t,

for ‖δ‖∞ ≤ ε and s = δ/ε in [−1, 1]ᵈ. The slopes t = (1 + u)/2 with u in [−1, 1]ᵐ, and
y = (1, s, u), make of it (ε/4) max yᵀMy, with

    M = [0 pᵀ 0; p 0 A; 0 Aᵀ 0],   A = Wᵀ diag(v),   p = Wᵀv.

Put P ⪰ 0 with diag(P) ≤ 1 in the place of yyᵀ: the maximum of ⟨M, P⟩ is a semidefinite program,
and never smaller. It does not look at x: one number bounds a pair of classes for all images.
Raghunathan, Steinhardt & Liang (2018), sections 3 and 4.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import check_count
from .layers import leaves


class MissingSolver(ValueError):
    """cvxpy or SCS is not installed."""


class TwoLayers(NamedTuple):
    """The numbers of f(x) = V relu(Wx + b) + a, in float64."""

    W: Tensor
    b: Tensor
    V: Tensor
    a: Tensor


def two_layers(model: nn.Module) -> TwoLayers:
    """The two linear layers of ``Sequential(Flatten, Linear, ReLU, Linear)``, nested or not.

    :raises ValueError: another network; the message lists what was found.
    """
    layers = [layer for _, layer in leaves(model) if type(layer) is not nn.Identity]
    if [type(layer) for layer in layers] != [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]:
        found = ", ".join(type(layer).__name__ for layer in layers)
        raise ValueError(
            f"model: expected Flatten, Linear, ReLU, Linear, found {found}; "
            "for deeper networks use interval bounds or smoothing"
        )
    _, first, _, last = layers
    numbers = []
    for layer in (first, last):
        bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
        numbers += [layer.weight.detach().double(), bias.detach().double()]
    return TwoLayers(*numbers)


def pairs(classes: int) -> Tensor:
    """(2, K(K − 1)/2), all i < j. Swapping a pair changes the sign of v, and no bound."""
    return torch.triu_indices(classes, classes, 1)


def pair_matrix(model: nn.Module, i: int, j: int) -> Tensor:
    """M for the pair of classes i and j: (1 + d + m)², symmetric, float64.

    With v = V_i − V_j, A = Wᵀ diag(v) and p = Wᵀv it is

        M = [0 pᵀ 0; p 0 A; 0 Aᵀ 0],

    and for ‖δ‖∞ ≤ ε the logit i gains on the logit j at most (ε/4) max yᵀMy over y in [−1, 1]^D:
    y = (1, s, u), with s = δ/ε, and (1 + u)/2 the slopes of the ReLUs between x and x + δ: they
    lie in [0, 1] whatever x is.

    :param i: the class that gains.
    :param j: the class that loses.
    :raises ValueError: another network than of two layers, or a class that it does not have.
    """
    W, _, V, _ = two_layers(model)
    for name, value in (("i", i), ("j", j)):
        check_count(name, value)
        if value >= len(V):
            raise ValueError(f"{name}: expected a class below {len(V)}, found {value}")
    m, d = W.shape
    B = coupling(W, V[i] - V[j])
    M = W.new_zeros(1 + d + m, 1 + d + m)
    M[1 : 1 + d, 0], M[1 : 1 + d, 1 + d :] = B[:, 0], B[:, 1:]
    return M + M.T


def coupling(W: Tensor, v: Tensor) -> Tensor:
    """[p A], (d, 1 + m). M has nothing else, and yᵀMy = 2 sᵀ[p A](1, u)."""
    A = W.T * v
    return torch.cat([A.sum(1, keepdim=True), A], 1)


def dual_value(M: Tensor, c: Tensor) -> Tensor:
    """D λ⁺(M − diag(c)) + Σ max(c, 0) ≥ max {⟨M, P⟩ : P ⪰ 0, diag(P) ≤ 1}, for every c.

    λ⁺ is the largest eigenvalue, or 0 where that is negative. The smallest value over all c is
    the maximum itself. Section 4 of the paper.

    :param M: (D, D), symmetric.
    :param c: (D,), any numbers.
    """
    largest = torch.linalg.eigvalsh(M - torch.diag(c))[-1]
    return len(M) * largest.clamp_min(0) + c.clamp_min(0).sum()


def feasible_prices(M: Tensor, c: Tensor) -> Tensor:
    """c scaled so that it just holds: γc with diag(γc) ⪰ M.

    Then λ⁺ in :func:`advlab.guarantees.dual_value` is 0. A solver stops when λ⁺ is small, and D λ⁺
    need not be: this takes away what is left. Entries of c below a
    millionth of the largest are raised to that.

    :param M: (D, D), symmetric.
    :param c: (D,), any numbers.
    """
    c = c.clamp_min(max(1e-6 * c.max().item(), 1e-30))
    scale = c.rsqrt()
    return torch.linalg.eigvalsh(scale[:, None] * M * scale)[-1].clamp_min(0) * c


def semidefinite_program(
    M: Tensor, *, tolerance: float = 1e-4, max_steps: int = 5000
) -> tuple[float, Tensor]:
    """max {⟨M, P⟩ : P ⪰ 0, diag(P) ≤ 1} by cvxpy and SCS: (its value, c).

    Raghunathan, Steinhardt & Liang (2018), section 3: P stands for yyᵀ, see
    :func:`advlab.guarantees.pair_matrix`; so a quarter of the maximum is G_ij.

    The value is as precise as the solver. c are the prices of diag(P) ≤ 1: ``dual_value(M,
    feasible_prices(M, c))`` is a bound, whatever the solver's precision.

    :param M: (D, D), symmetric.
    :param tolerance: SCS's tolerance.
    :param max_steps: of SCS; where they do not suffice, the bound is looser, and still a bound.
        Where SCS has nothing yet, the value is NaN, and c_i = Σ_j abs(M_ij), which holds.
    :raises MissingSolver: with the command that installs cvxpy and SCS.
    """
    try:
        import cvxpy as cp
        import scs  # noqa: F401
    except ImportError as error:
        raise MissingSolver(
            f'the semidefinite program needs cvxpy and SCS ({error}): pip install "advlab[certify]"'
        ) from error
    scale = M.abs().max().item() or 1.0
    P = cp.Variable(M.shape, PSD=True)
    diagonal = cp.diag(P) <= 1
    program = cp.Problem(cp.Maximize(cp.sum(cp.multiply((M / scale).cpu().numpy(), P))), [diagonal])
    with warnings.catch_warnings():  # that it may be inaccurate: the dual value does not mind
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        program.solve(solver=cp.SCS, eps_abs=tolerance, eps_rel=tolerance, max_iters=max_steps)
    if diagonal.dual_value is None or not np.isfinite(diagonal.dual_value).all():
        return math.nan, M.abs().sum(1)  # stopped with nothing: Gershgorin's c holds
    return program.value * scale, torch.as_tensor(diagonal.dual_value).to(M) * scale
