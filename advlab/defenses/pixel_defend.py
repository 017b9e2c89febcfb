"""PixelDefend: change every pixel, within a budget, to what a PixelCNN finds most likely there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .generators import PixelCNN
from .purify import Purifier


class PixelDefend(Purifier):
    """Greedily raises p(x′) over ‖x′ − x‖∞ ≤ ε_defend. Song et al. (2018), algorithm 1.

    Pixel by pixel, in raster order, each given the pixels before it as they are by now:

        x′ᵢ = argmax over v in [xᵢ − ε_defend, xᵢ + ε_defend] of p(v | x′₁, …, x′ᵢ₋₁).

    No pixel becomes less likely, given those before it, than it would be left as it was. Of the
    image as a whole that is not so: a greedy choice may make later pixels unlikely.

    Where we differ: p knows the :class:`~advlab.defenses.PixelCNN`'s 16 levels of gray.
    Of the levels that the budget touches, the most likely is chosen, and of the values that count
    as this level, the one in the budget nearest to its middle. The paper chooses the budget of its
    attacker, or a little more, and so should you.

    ``mnist-pixel-defend`` in the zoo has 97 of the first 100 test digits right, as its CNN alone.
    At ε = 0.3 in L∞, 74 stay right under 20 steps of PGD that attack the CNN alone, and 61 under 20
    steps with ``backward="substitute"``. White on black, most pixels of a digit are 0 or 1, and
    0.3 does not reach the other side of the middle; at ε = 0.4 the adaptive attack leaves none of
    the first 30 right, in 15 steps. At 0.3 nothing that we tried gets much further. Of the first
    30, PGD leaves 18 right. So do APGD by the margin of logits and a stand-in that gives the pixels
    at the edge of the budget four times the slope; APGD by cross-entropy leaves 17, and all of them
    together leave 17. Walking 40 steps on the CNN alone at ε = 0.6, clipped to 0.3, leaves 26. The
    mean gradient over noisy copies fools none of the 18, and neither do 150 queries of Square.
    That is no proof.

    :param generator: a PixelCNN of images of that kind.
    :param eps_defend: ε_defend, from 0, which changes nothing, to 1.
    :param backward: see :class:`advlab.defenses.Purifier`.
    :raises ValueError: an ``eps_defend`` out of its range; when called, images of another size
        than the PixelCNN's.
    """

    def __init__(
        self,
        generator: PixelCNN,
        *,
        eps_defend: float = 0.3,
        backward: str | Callable[[Tensor], Tensor] = "own",
    ):
        super().__init__(generator, backward)
        if not 0 <= eps_defend <= 1:
            raise ValueError(f"eps_defend: expected in [0, 1], found {eps_defend!r}")
        self.eps_defend = eps_defend

    def search(self, x: Tensor) -> Tensor:
        model = self.generator
        low, high = (x - self.eps_defend).clamp_min(0), (x + self.eps_defend).clamp_max(1)
        bottom, top = model.quantize(low).squeeze(1), model.quantize(high).squeeze(1)
        levels = torch.arange(model.levels, device=x.device)

        def likeliest(i: int, j: int, logits: Tensor) -> Tensor:
            outside = (levels < bottom[:, i, j, None]) | (levels > top[:, i, j, None])
            return logits.masked_fill(outside, -torch.inf).argmax(1)

        level = model.walk(len(x), likeliest)
        return torch.clamp(model.gray(level).unsqueeze(1).to(x.dtype), low, high)

    def bits_per_dimension(self, x: Tensor) -> Tensor:
        """The anomaly score of x as it comes in, not purified; see the PixelCNN's own. (N,)."""
        return self.generator.bits_per_dimension(x)

    def extra_repr(self) -> str:
        return f"eps_defend={self.eps_defend}"
