"""What the model says of an image, and of the same image squeezed: Xu, Evans & Qi (2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import check_number
from ..defenses.squeezing import BitDepth, MedianSmoothing
from ..models.preprocessing import Preprocessing
from .base import Detector


class SqueezingL1(Detector):
    """s(x) = maxᵢ ‖softmax f(x) − softmax f(gᵢ(x))‖₁, from 0 to 2, over the squeezers gᵢ.

    Xu, Evans & Qi (2018), "Feature squeezing", section V, joint detection: a squeezer changes
    little of what a natural image means to the model, and much of what an adversarial one does.
    There is nothing to learn but the threshold.

    An attack decides how much it knows. With ``backward="own"`` a step that rounds has no gradient,
    and only f(x) and the smooth squeezers give one: so He et al. (2017), "Ensembles of weak
    defenses are not strong", attack it, and judge by the whole. But the softmax hides the way as
    well: where the model is sure of f(x) and of f(gᵢ(x)), it is 1 but for rounding, with a gradient
    of nearly 0. So ``backward="substitute"`` differentiates softmax(z / T) in place of softmax(z),
    and each squeezer by its own stand-in. And f(x) is held fixed: what lowers the score moves the
    squeezed images to the class of f(x). Else it also moves f(x) back to the class of the squeezed
    images, which is the right one. Forward, nothing changes.

    It sees the smallest perturbations best: they end just beyond the boundary, and a squeezer takes
    them back. An image deep in the wrong class stays there when it is squeezed. On ``mnist-cnn``
    and 30 test digits, at 5% of false positives, PGD on the network alone (L2, 20 steps) goes
    undetected for 10% at ε = 2.5 and 57% at ε = 4. PGD that follows the score's own gradient does
    worse, 3% and 7%.

    With the substitute, ``CWL2(goal="undetected", abort_early=False)``, 60 steps and 2 searches,
    goes undetected for all of 16 digits that ``BitDepth(1)`` and ``MedianSmoothing(3)`` guard, at a
    mean L2 of 3.6; the network alone falls at 1.7, behind the median at 1.8, behind one bit at 4.2
    (5 searches). With early abort, and f(x) not held fixed, it was none of the 16: a saturated
    score stands still for many steps, and a descent that gains nothing is ended.

    :param squeezers: :class:`advlab.models.Preprocessing` steps; by default ``BitDepth(1)`` and
        ``MedianSmoothing(2)``, the paper's for MNIST. He et al. take ``MedianSmoothing(3)``.
    :param temperature: T > 0, of the substitute alone. Some tens, where logits are some tens apart.
    :raises ValueError: no squeezers, or something else; a temperature that is not above 0.
    """

    exact = True

    def __init__(
        self, squeezers: Sequence[Preprocessing] | None = None, *, temperature: float = 20.0
    ):
        super().__init__()
        squeezers = (BitDepth(1), MedianSmoothing(2)) if squeezers is None else tuple(squeezers)
        wrong = [type(step).__name__ for step in squeezers if not isinstance(step, Preprocessing)]
        if wrong or not squeezers:
            raise ValueError(
                "squeezers: expected steps such as advlab.defenses.BitDepth(1), at least one, "
                f"found {', '.join(wrong) or 'none'}"
            )
        self.squeezers = nn.ModuleList(squeezers)
        self.temperature = temperature
        check_number(self, "temperature", 1e-6)

    def process(self, x: Tensor) -> Tensor:
        return _furthest(*self.answers(x))

    def substitute(self, x: Tensor) -> Tensor:
        logits, squeezed = self.answers(x)
        soft = _furthest(logits.detach() / self.temperature, squeezed / self.temperature)
        score = _furthest(logits.detach(), squeezed.detach())
        return score + (soft - soft.detach())  # what is added is exactly 0

    def answers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x), (N, K), and the f(gᵢ(x)), (number of squeezers, N, K)."""
        model = self.fitted()
        squeezed = [model(squeeze(x)) for squeeze in self.squeezers]
        return model(x.clone()), torch.stack(squeezed)


def _furthest(logits: Tensor, squeezed: Tensor) -> Tensor:
    """maxᵢ ‖softmax(z) − softmax(zᵢ)‖₁. (N, K), (n, N, K) to (N,)."""
    return (logits.softmax(-1) - squeezed.softmax(-1)).abs().sum(-1).amax(0)
