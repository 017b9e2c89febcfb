"""Neural fingerprinting: does the network respond to small changes as it was trained to?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..backend import batch_size_on, in_batches
from ..defenses.fingerprints import Fingerprints
from ..images import check_images
from ..models.contract import check_device, forward_of, frozen
from .base import Detector


class NeuralFingerprint(Detector):
    """s(x) = minⱼ D(x, χʲ), D(x, χʲ) = 1/N Σᵢ ‖F(x, Δxⁱ) − Δyⁱʲ‖₂: low where the network responds
    to the fingerprints as it was trained to respond around images of some class.

    Dathathri et al. (2018), algorithm 1: accept x if D(x, χʲ) ≤ τ for any class j. It needs a
    network trained by :class:`advlab.defenses.FingerprintTraining`; one that was not responds alike
    everywhere. It learns nothing from attacks.

    It costs N + 1 passes of the network, and is differentiable: an attacker who knows the
    fingerprints can lower it. The class j of the least distance need not be the class that the
    network answers; the paper does not ask for it, nor do we.

    :param fingerprints: that the network was trained with; by default those that it carries, see
        :class:`advlab.defenses.Fingerprinted`.
    :param n: use the first n only; by default all.
    :raises ValueError: something else than fingerprints, or fewer than n of them; in ``fit``, a
        model that carries none where none were given.
    """

    def __init__(self, fingerprints: Fingerprints | None = None, *, n: int | None = None):
        super().__init__()
        self.n, self.given = n, fingerprints is not None
        self.register_module("fingerprints", None)
        if fingerprints is not None:
            self._take(fingerprints)

    def _take(self, fingerprints: Fingerprints) -> None:
        """Keep a copy: it moves with the detector, and not with the model."""
        if not isinstance(fingerprints, Fingerprints):
            raise ValueError(
                "fingerprints: expected advlab.defenses.Fingerprints, found "
                f"{type(fingerprints).__name__}"
            )
        n = len(fingerprints) if self.n is None else self.n
        if not 1 <= n <= len(fingerprints):
            raise ValueError(f"n: expected from 1 to {len(fingerprints)}, found {n!r}")
        self.fingerprints = fingerprints[:n]

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        """There is nothing to learn but where the fingerprints are."""
        if not self.given:  # of this model, not of one that it was fitted on before
            carried = (m for m in self.model.modules() if isinstance(m, Fingerprints))
            found = next(carried, None)
            if found is None:
                raise ValueError(
                    "model: carries no fingerprints; train one with "
                    "advlab.defenses.FingerprintTraining and give "
                    "NeuralFingerprint(fingerprints), or load_model('mnist-fingerprint')"
                )
            self._take(found)

    def process(self, x: Tensor) -> Tensor:
        return self._distances(x).amin(1)

    def _distances(self, x: Tensor) -> Tensor:
        forward = forward_of(self.model)
        # As many images at once as suit the device, the N copies counted: 1.6 times faster on a
        # CPU than N + 1 times as many.
        size = max(1, batch_size_on(x.device) // (len(self.fingerprints) + 1))
        return in_batches(lambda x: self.fingerprints.distances(forward, x), x, batch_size=size)

    def distances(self, x: Tensor, *, batch_size: int | None = None) -> Tensor:
        """D(x, χʲ) for each class j, (N, K), without gradients: the least of a row is the score.

        :param x: (N, C, H, W), in [0, 1].
        :raises ValueError: images that break the contract, or a detector that is not fitted.
        """
        check_images(x)
        model = self.fitted()
        check_device(model, x)
        with frozen(model), torch.no_grad():
            return in_batches(self._distances, x, batch_size=batch_size)
