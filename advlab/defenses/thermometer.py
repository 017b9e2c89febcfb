"""Thermometer encoding: each pixel as a column of bits. Buckman et al. (2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_whole
from ..models.preprocessing import Preprocessing


class Thermometer(Preprocessing):
    """τ(x)ₖ = 1 where x ≥ k / l, else 0, for k = 1 … l. (N, C, H, W) to (N, C·l, H, W).

    Like the mercury of a thermometer, the ones reach up to the pixel's value: with ten levels 0.66
    is 1111110000. Buckman et al. (2018); written as in Athalye et al. (2018), section 5. The
    network that follows takes C·l channels, level k of channel c being number c·l + k − 1, and is
    trained behind the step: ``CNN(channels=levels)`` for gray images.

    This is the encoding alone. Buckman et al. also train adversarially, with an attack of their own
    that walks among the codes; :class:`advlab.defenses.PGDTraining` with ``backward="substitute"``
    is what comes nearest here. The zoo's ``mnist-thermometer`` is trained on natural images.

    The gradient is 0 almost everywhere. What stands for it is a ramp of slope 1 around each
    threshold, min(max(x − k/l + ½, 0), 1): raising a pixel raises every level that ½ can reach.

    Where we differ: the papers have x > k / l, so that a pixel of 1 lacks its last bit, and no
    pixel ever has it. The ramp of Athalye et al. is min(max(x − k/l, 0), 1): it has no slope
    below the threshold, none at all for a black pixel, and most pixels of a digit are black.

    :param levels: l ≥ 1; Buckman et al. use 16. l levels tell l + 1 values apart.
    :param backward: how it is differentiated, see :class:`advlab.models.Preprocessing`;
        ``"identity"`` does not fit, since the channels are others.
    :raises ValueError: levels below 1.
    """

    def __init__(self, levels: int = 16, backward="own"):
        super().__init__(backward)
        self.levels = levels
        check_whole(self, "levels")

    def process(self, x: Tensor) -> Tensor:
        # By sign, −1, 0 or 1: it has the true gradient, 0, where a comparison would have none.
        return (self._above(x).sign() + 1).clamp(0, 1).flatten(1, 2)

    def substitute(self, x: Tensor) -> Tensor:
        return (self._above(x) + 0.5).clamp(0, 1).flatten(1, 2)

    def _above(self, x: Tensor) -> Tensor:
        """(N, C, l, H, W): x − k / l."""
        k = torch.arange(1, self.levels + 1, device=x.device, dtype=x.dtype)
        return x[:, :, None] - (k / self.levels).view(-1, 1, 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
