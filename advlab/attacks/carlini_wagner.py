"""Carlini and Wagner: the smallest perturbation that reaches the goal, by gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..threat import per_image
from .base import check_number, check_whole
from .penalty import C_MAX, Patience, PenaltyAttack, Smallest, squared

# Adam, as Kingma & Ba (2015) recommend.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
ROOM = 0.05  # ε of footnote 8


@dataclass(frozen=True, kw_only=True)
class _Descent(PenaltyAttack):
    """Adam on D(x′, x) + c f(x′), the inner loop of all three attacks."""

    def distance(self, delta: Tensor, tau: Tensor | None) -> tuple[Tensor, Tensor]:
        """D, (N,), and its gradient. Here ‖δ‖₂²."""
        return squared(delta), 2 * delta

    def variable(self, x: Tensor) -> tuple[Tensor, float, float]:
        """The variable w that Adam moves, and its bounds. Here the pixels themselves."""
        return x.clone(), 0.0, 1.0

    def image(self, w: Tensor) -> tuple[Tensor, Tensor | float]:
        """x′(w), and its slope."""
        return w, 1.0

    def descend(
        self, model, x, y, c, best, index, *, start=None, allowed=None, tau=None, ends=None
    ):
        """Adam from ``start``, by default x, with the pixels that are ``allowed``.

        With ``tau`` an image is done at its first success no larger than τ. ``ends`` is filled
        with the last x′ of each image.
        """
        succeeded = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        rows = torch.arange(len(x), device=x.device)
        w, low, high = self.variable(x if start is None else start)
        state = [rows, x, y, c, w, torch.zeros_like(w), torch.zeros_like(w), allowed, tau]
        patience = Patience(self.steps)
        for t in range(1, self.steps + 1):
            rows, x, y, c, w, m, v, allowed, tau = state
            x_adv, slope = self.image(w)
            # The look that gives the gradient also judges the iterate.
            gradient, f = self.gradient(model, x_adv, y)
            if ends is not None:
                ends[rows] = x_adv
            delta = x_adv - x
            size, pull = self.distance(delta, tau)
            loss, reached = size + c * f, f == 0
            if tau is not None:
                size = delta.abs().flatten(1).amax(1)
                reached &= size <= tau
            best.offer(index[rows], x_adv, size, reached)
            succeeded[rows[reached]] = True
            gradient = (gradient * per_image(c, x) + pull) * slope
            if allowed is not None:
                gradient = gradient * allowed
            m.lerp_(gradient, 1 - BETA1)
            v.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            rate = self.lr * math.sqrt(1 - BETA2**t) / (1 - BETA1**t)
            w.addcdiv_(m, v.sqrt().add_(EPSILON), value=-rate).clamp_(low, high)
            ended = patience.ended(loss) if self.abort_early else torch.zeros_like(reached)
            if tau is not None:
                ended = ended | reached
            if ended.any():
                going = (~ended).nonzero().squeeze(1)
                if not len(going):
                    break
                state = [None if s is None else s[going] for s in state]
                if self.abort_early:
                    patience.keep(going)
        return succeeded


@dataclass(frozen=True, kw_only=True)
class CWL2(_Descent):
    """C&W's L2 attack. Carlini & Wagner (2017), sections V and VI-A.

    Minimizes ‖x′ − x‖₂² + c f(x′) over the box by Adam, f(x′) = max(κ − margin(x′), 0): the paper's
    f₆ plus κ, with the margin of the goal (:mod:`advlab.goals`; z_t − max over j ≠ t of z_j if
    targeted). For each image c grows tenfold until a descent succeeds, then its range is halved.
    Every descent starts at x. The smallest iterate of all that succeeded is returned; x where
    there is none, or where the goal is reached (by κ) from the start.

    The paper keeps x′ in the box by x′ = ½(tanh w + 1), and shrinks x a little so that w is
    finite. At pixels of exactly 0 or 1, most of MNIST, the slope of tanh is then so close to 0
    that they cannot move: with the factor 0.999999, 100 steps of 0.01 and 5 searches, 6 of 20
    digits fall on the course's network. We have two ways out:

    - ``space="pixels"``, the default: Adam moves the pixels themselves, and each step is clipped
      to the box (the paper's projected gradient descent, section V-B): 20 of 20, mean L2 1.76.
    - ``space="tanh"``: the paper's footnote 8 taken at its word, x′ = ½ + (½ + ε) tanh w with
      ε = 0.05, and w bounded so that x′ stays in the box: 20 of 20, mean L2 1.87.

    Early abort, which the paper's code decides for the whole batch, is decided for each image: its
    descent ends when a tenth of its steps brought no gain of 1/10,000 of its loss.
    Adam's first step moves every pixel by ``lr``: a size below lr √(number of pixels) is found
    roughly.

    :param kappa: κ ≥ 0, the margin in logits by which the goal must be reached.
    :param steps: of a descent, at least 1.
    :param lr: Adam's learning rate, ≥ 0, in pixel values (or in w).
    :param searches: descents, each with another c, at least 1.
    :param c: the first c, above 0.
    :param abort_early: end an image's descent that gains no more.
    :param space: ``"pixels"`` or ``"tanh"``.
    :raises ValueError: a hyper-parameter out of its range.
    """

    norm = "L2"
    space: str = "pixels"

    def __post_init__(self):
        super().__post_init__()
        if self.space not in ("pixels", "tanh"):
            raise ValueError(f"space: expected 'pixels' or 'tanh', found {self.space!r}")

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        return self.search(model, x, y)[0].x

    def variable(self, x: Tensor) -> tuple[Tensor, float, float]:
        if self.space == "pixels":
            return super().variable(x)
        edge = math.atanh(0.5 / (0.5 + ROOM))
        return ((x - 0.5) / (0.5 + ROOM)).atanh(), -edge, edge

    def image(self, w: Tensor) -> tuple[Tensor, Tensor | float]:
        if self.space == "pixels":
            return super().image(w)
        t = w.tanh()
        return (0.5 + (0.5 + ROOM) * t).clamp(0, 1), (0.5 + ROOM) * (1 - t * t)


@dataclass(frozen=True, kw_only=True)
class CWL0(_Descent):
    """C&W's L0 attack: few pixels, changed as far as need be. Carlini & Wagner (2017), VI-B.

    Starts from the L2 attack's x′ = x + δ with all pixels allowed. Then, in rounds: with
    g = ∇margin(x′), the pixels that matter least, those of smallest gᵢδᵢ (summed over channels),
    are put back to x and kept there; from what is left of δ, the L2 descent looks for success
    again. A pixel that x′ left as in x goes at once. The last success is returned; x where there
    is none, or where the goal is reached from the start.

    Where we differ from the paper: it takes one pixel a round, we take a share of those left; a
    round that fails is undone and half the share tried, down to one pixel. And a set of pixels is
    given up only when raising the margin alone, without L2, fails too. c goes on from where the
    L2 attack succeeded, and grows tenfold where it fails.

    :param shrink: the share of the changed pixels taken away in a round, from 0 (one pixel a
        round, as in the paper) to 1.
    :param rounds: at most so many, at least 1.
    :param kappa: κ ≥ 0, the margin in logits by which the goal must be reached.
    :param steps: of a descent, at least 1.
    :param lr: Adam's learning rate, ≥ 0.
    :param searches: descents of the L2 attack at the start, at least 1.
    :param c: the first c, above 0.
    :param abort_early: as in :class:`advlab.attacks.CWL2`.
    :raises ValueError: a hyper-parameter out of its range.
    """

    norm = "L0"
    steps: int = 200
    searches: int = 5
    c: float = 1e-2
    rounds: int = 100
    shrink: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "rounds")
        check_number(self, "shrink", 0.0, 1.0)

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        best, alive, c = self.search(model, x, y)
        out = best.x
        alive, c = alive[c.isfinite()], c[c.isfinite()]
        share = torch.full_like(c, self.shrink)
        for _ in model.steps(self.rounds):
            if not len(alive):
                break
            natural, labels, found = x[alive], y[alive], out[alive]
            allowed, count = self.fewer(model, natural, found, labels, share)
            start = torch.where(allowed, found, natural)
            smaller = Smallest(found)
            rows = torch.arange(len(alive), device=x.device)
            won = self.descend(
                model, natural, labels, c, smaller, rows, start=start, allowed=allowed
            )
            lost = rows[~won]
            if len(lost):
                # L2 may have held it back: raise the margin alone, to any success.
                top, any_size = torch.full_like(c, C_MAX)[lost], torch.ones_like(c)[lost]
                won[lost] = self.descend(
                    model,
                    natural[lost],
                    labels[lost],
                    top,
                    smaller,
                    lost,
                    start=start[lost],
                    allowed=allowed[lost],
                    tau=any_size,
                )
                c[lost] = (10 * c[lost]).clamp_max(C_MAX)
            out[alive[won]] = smaller.x[won]
            # A round that fails is undone, and half as many pixels tried.
            share = torch.where(won, share, share / 2)
            going = won | (count > 1)
            alive, c, share = alive[going], c[going], share[going]
        return out

    def fewer(self, model, x, x_adv, y, share) -> tuple[Tensor, Tensor]:
        """The pixels still allowed, (N, 1, H, W) bool, and how many were taken away, (N,)."""
        gradient, _, _ = model.gradient(x_adv, y, of=model.goal.margin)
        delta = x_adv - x
        changed = (delta != 0).any(1)
        worth = (gradient * delta).sum(1).masked_fill(~changed, -torch.inf).flatten(1)
        unchanged = (~changed).flatten(1).sum(1)
        count = (share * changed.flatten(1).sum(1)).long().clamp_min(1)
        rank = worth.argsort(dim=1, stable=True).argsort(1)
        allowed = rank >= (unchanged + count)[:, None]
        return allowed.view_as(changed).unsqueeze(1), count


@dataclass(frozen=True, kw_only=True)
class CWLinf(_Descent):
    """C&W's L∞ attack. Carlini & Wagner (2017), section VI-C.

    Minimizes Σᵢ max(\\|δᵢ\\| − τ, 0) + c f(x + δ) over the box by Adam, in the pixels themselves,
    with the f of :class:`advlab.attacks.CWL2`. τ starts at 1. A descent that succeeds with all
    \\|δᵢ\\| ≤ τ is over at once: τ becomes ``shrink`` (the paper: 0.9) times the largest \\|δᵢ\\|,
    and the next starts from there. One that fails goes on from where it ended, with c ten times as
    large (the paper: twice); an image ends when it fails ``searches`` times in a row. The smallest
    success is returned; x where there is none, or where the goal is reached from the start.
    Sizes near ``lr`` are found roughly: lower it for them. None is found beyond about
    ``lr`` × ``steps`` × ``searches``.

    :param shrink: what τ is multiplied by, from 0 to 1. Nearer to 1 is finer, and takes longer.
    :param rounds: descents, at least 1: also of an image that still shrinks.
    :param searches: failures in a row that end an image, at least 1.
    :param kappa: κ ≥ 0, the margin in logits by which the goal must be reached.
    :param steps: of a descent, at least 1.
    :param lr: Adam's learning rate, ≥ 0, in pixel values.
    :param c: the first c, above 0.
    :param abort_early: as in :class:`advlab.attacks.CWL2`.
    :raises ValueError: a hyper-parameter out of its range.
    """

    norm = "Linf"
    steps: int = 200
    lr: float = 0.005
    searches: int = 3
    c: float = 0.1
    rounds: int = 50
    shrink: float = 0.9

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "rounds")
        check_number(self, "shrink", 0.0, 1.0)

    def distance(self, delta: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        over = delta.abs() - per_image(tau, delta)
        return over.clamp_min(0).flatten(1).sum(1), delta.sign() * (over > 0)

    def perturb(self, model, x: Tensor, y: Tensor) -> Tensor:
        best = Smallest(x)
        alive = self.begin(model, x, y)
        tau = torch.ones_like(best.size[alive])
        c, failures = self.c * tau, 0 * tau
        start = x[alive]
        for _ in model.steps(self.rounds):
            if not len(alive):
                break
            ends = start.clone()
            won = self.descend(
                model, x[alive], y[alive], c, best, alive, start=start, tau=tau, ends=ends
            )
            start = torch.where(per_image(won, ends), best.x[alive], ends)
            tau = torch.where(won, self.shrink * best.size[alive], tau)
            c = torch.where(won, c, 10 * c).clamp_max(C_MAX)
            failures = torch.where(won, 0, failures + 1)
            going = failures < self.searches
            alive, start, tau = alive[going], start[going], tau[going]
            c, failures = c[going], failures[going]
        return best.x
