"""Stickers on a road sign: perturbations that stand on an object, in any pose."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..goals import TARGETED
from ..models.contract import check_device, check_images, check_labels, forward_of, frozen
from ..models.preprocessing import check_backward, differentiated
from ..transforms.base import Transformation
from .attacked import AttackedModel
from .base import GradientWarning, LearningInterrupted, check_number, check_whole, set_norm
from .eot import ExpectedModel
from .printable import check_mask, nearest_printable, non_printability, palette_for


class RP2Interrupted(LearningInterrupted):
    """Ctrl-C came while a sign was painted; the paint so far is not lost.

    :ivar painted: (1, C, S, S), the face as it stood.
    """


@dataclass(frozen=True, kw_only=True)
class RP2:
    """Robust physical perturbations. Eykholt et al. (2018), section 3.2, equation 3:

    argmin_δ λ ‖M·δ‖_p + ν NPS(x + M·δ) + E_t[J(f(t(x + M·δ)), y*)]

    by Adam. M is 1 where a sticker may be, t photographs the sign in a random pose and light, J is
    the cross-entropy, y* the class that the sign is to be read as, and NPS says how far the colors
    are from those that a printer has (:func:`advlab.attacks.non_printability`).

    What the paper calls a poster covers the sign: M is the sign, and λ keeps δ small. Its stickers
    cover a small part, and δ may be large: M is :func:`advlab.attacks.sticker_mask`, or what
    :func:`advlab.attacks.vulnerable_mask` finds from a first run with ``norm="L1"``.

    Where we differ from the paper: the photographs are made from the face, sticker and sign
    together, where the paper adds the transformed sticker to real photographs; ν is 1 there, NPS
    sums over the different colors of δ, ours is a mean over the pixels that are painted, and it is
    scaled otherwise; colors may be held to a palette at every step (``printed``), and
    stickers be made of squares (``cell``).

    :param target: y*, the class number that the sign is to be read as.
    :param mask: (1, 1, S, S) of 0 and 1: M; by default 1 everywhere.
    :param transformation: t, such as ``advlab.data.Roadside()``; by default the face itself is
        what the model sees: one frontal view.
    :param lam: λ ≥ 0.
    :param norm: of the size ‖M·δ‖_p: ``"L2"`` or ``"L1"``.
    :param nps: ν ≥ 0, the weight of the non-printability score.
    :param palette: (P, C), the printable colors; by default
        :func:`advlab.attacks.printable_colors`.
    :param printed: the model is shown, and the result has, the nearest printable colors; the
        gradient passes as if they were what was asked for.
    :param cell: the sticker is made of squares of that many pixels, each of one color.
    :param steps: of Adam, at least 1.
    :param lr: Adam's learning rate, ≥ 0, in pixel values.
    :param samples: photographs a step, at least 1.
    :param seed: of the poses.
    :param backward: of steps in front of the network, see :class:`advlab.attacks.Attack`.
    :raises ValueError: a hyper-parameter out of its range.
    """

    target: int
    mask: Tensor | None = field(default=None, repr=False, compare=False)
    transformation: Transformation | None = None
    lam: float = 0.0
    norm: str = "L2"
    nps: float = 0.1
    palette: Tensor | None = field(default=None, repr=False, compare=False)
    printed: bool = False
    cell: int = 1
    steps: int = 100
    lr: float = 0.1
    samples: int = 16
    seed: int = 0
    backward: str | Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        check_backward(self.backward, unset=True)
        check_whole(self, "target", least=0)
        for name in ("lam", "nps", "lr"):
            check_number(self, name)
        set_norm(self, "L2", "L1")
        for name in ("cell", "steps", "samples"):
            check_whole(self, name)
        if self.transformation is not None and not isinstance(self.transformation, Transformation):
            raise ValueError(
                "transformation: expected one of advlab.transforms or advlab.data.Roadside(), "
                f"found {type(self.transformation).__name__}"
            )

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor | None = None, *, progress: bool = False
    ) -> Tensor:
        """Paint one sign.

        :param model: maps photographs (N, C, H, W) in [0, 1] to logits (N, K). It is attacked in
            evaluation mode and left exactly as it was found.
        :param x: (1, C, S, S) floating point, in [0, 1]: the plain face of the sign.
        :param y: (1,) int64, the true class; only to check that the target is another.
        :param progress: show a progress bar.
        :returns: the painted face, as x, which differs from it only under the mask.
        :raises ValueError: a face, mask, palette, class or answers that break the contract.
        :raises RP2Interrupted: on Ctrl-C, with the face as it stood.
        """
        check_images(x)
        check_device(model, x)
        if len(x) != 1:
            raise ValueError(f"x: expected one face, (1, C, S, S), found {tuple(x.shape)}")
        if y is not None:
            check_labels(y, x)
            if int(y) == self.target:
                raise ValueError(f"target: expected another class than the true one, {int(y)}")
        mask = self._mask(x)
        palette = palette_for(x, self.palette) if self.nps or self.printed else None
        with torch.inference_mode(False), frozen(model), differentiated(model, self.backward):
            # Clones: what was made in inference mode cannot take part in a gradient.
            x, mask = x.detach().clone(), mask.clone()
            palette = palette if palette is None else palette.clone()
            front = AttackedModel(forward_of(model), x, TARGETED)
            samples = 1 if self.transformation is None else self.samples
            expected = ExpectedModel(front, x, self.transformation, samples, self.seed)
            painted = self._paint(expected, x, mask, palette, progress)
        if expected.stuck.any():
            warnings.warn(
                "the gradient is exactly zero at the plain sign, so it cannot tell where to go",
                GradientWarning,
                stacklevel=2,
            )
        return painted

    def _paint(self, model: ExpectedModel, x: Tensor, mask: Tensor, palette, progress) -> Tensor:
        y = torch.full((1,), self.target, device=x.device)
        colors = F.avg_pool2d(x, self.cell, ceil_mode=True).requires_grad_(True)
        adam = torch.optim.Adam([colors], self.lr)

        def face() -> Tensor:
            return self._print(self._cover(x, colors.detach().clamp(0, 1), mask), mask, palette)

        try:
            for t in tqdm(range(self.steps), desc="RP2", disable=not progress):
                with torch.enable_grad():
                    painted = self._cover(x, colors, mask)
                    seen = self._print(painted, mask, palette)
                    slope, _, _ = model.gradient(seen, y, first=t == 0)
                    # Its gradient is that of the objective: ``slope`` is −∇J.
                    objective = -(slope * painted).sum()
                    if self.lam:
                        objective = objective + self.lam * _size(painted - x, self.norm)
                    if self.nps:
                        score = non_printability(painted, mask, palette)[0]
                        objective = objective + self.nps * score
                    (colors.grad,) = torch.autograd.grad(objective, colors)
                adam.step()
                with torch.no_grad():
                    colors.clamp_(0, 1)
        except KeyboardInterrupt as error:
            raise RP2Interrupted(painted=face()) from error
        return face()

    def _cover(self, x: Tensor, colors: Tensor, mask: Tensor) -> Tensor:
        """The sign with squares of these colors where the mask is 1."""
        squares = colors.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)
        return torch.where(mask, squares[..., : x.shape[2], : x.shape[3]], x)

    def _print(self, painted: Tensor, mask: Tensor, palette: Tensor | None) -> Tensor:
        painted = painted.detach()
        return nearest_printable(painted, mask, palette) if self.printed else painted

    def _mask(self, x: Tensor) -> Tensor:
        if self.mask is None:
            return torch.ones_like(x[:, :1], dtype=torch.bool)
        check_mask(self.mask, x)
        if not self.mask.any():
            raise ValueError("mask: expected some pixels that are 1, found none")
        return self.mask.to(x.device) != 0


def _size(delta: Tensor, norm: str) -> Tensor:
    """The norm of the one δ, with the gradient 0 at 0."""
    return torch.linalg.vector_norm(delta, 2 if norm == "L2" else 1)
