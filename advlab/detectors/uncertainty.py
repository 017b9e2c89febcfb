"""Bayesian uncertainty: networks of which parts are dropped agree on natural images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..backend import generator
from ..checks import check_count
from ..models.activations import activations, penultimate
from .base import Detector

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # the last three by channels
FLOOR = 1e-12  # an uncertainty below this says nothing more: single precision ends there


class BayesianUncertainty(Detector):
    """s(x) = log U(x), where U is how much T networks with dropout disagree.

    With pₜ(x) ∈ ℝᴷ the softmax of the t-th,

        U(x) = 1/T Σₜ pₜ·pₜ − p̄·p̄ = 1/T Σₜ ‖pₜ − p̄‖²,   p̄ = 1/T Σₜ pₜ,

    the trace of their covariance, from 0 to 1. Feinman et al. (2017), "Detecting adversarial
    samples from artifacts", section 4.2. It sees attacks that stop at a boundary, where the
    networks part. Far beyond it they agree again, on the wrong class: of an attack that goes on,
    such as BIM-b with a large budget, U is lower than of noise of the same size.

    Where we differ. The paper draws new masks for each image. Ours are drawn from the seed of
    ``fit`` and are the same T for all images, so that the score is a function, with a gradient, of
    the image alone. The paper reports U. Ours is log(U + 10⁻¹²), in the same order: on natural
    images U runs over many powers of ten, and a threshold, a logistic regression and an attack see
    differences better in the logarithm.

    :param layers: at whose outputs units are dropped. By default the model's own ``nn.Dropout``
        layers, each at its own rate. Where it has none, the layer before the last linear one.
        Dropout that a model calls as a function, not a layer, is not seen.
    :param rate: of units dropped at named layers, above 0 and below 1; the model's own dropout
        layers keep theirs.
    :param samples: T, at least 2.
    :raises ValueError: numbers outside of these ranges, or no layers; in ``fit``, a layer that is
        not there, or a model without dropout and without a layer in front of a linear one.
    """

    def __init__(
        self, *, layers: Sequence[str] | None = None, rate: float = 0.5, samples: int = 50
    ):
        super().__init__()
        if not 0 < rate < 1:
            raise ValueError(f"rate: expected a number above 0 and below 1, found {rate!r}")
        check_count("samples", samples, 2)
        if layers is not None and not layers:
            raise ValueError("layers: expected at least one name, found none")
        self.layers, self.rate, self.samples = layers, rate, samples
        self.register_buffer("seed", torch.tensor(0))  # of the masks
        self.register_buffer("whole", torch.tensor(False))  # whether all of the model runs T times

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        activations(self.model, x[:1].clone(), list(self.rates(x)))  # are they there, and called?
        self.seed, self.whole = torch.tensor(seed).to(x.device), self.whole.new_tensor(False)
        two = torch.cat((x[:1], x[:1]))
        try:
            self.probabilities(two)
        except RuntimeError:  # something goes around the first of the layers, not copied
            self.whole = self.whole.new_tensor(True)
            self.probabilities(two)

    def rates(self, x: Tensor) -> dict[str, float]:
        """The layers at whose outputs units are dropped, with the rate of each."""
        if self.layers is not None:
            return dict.fromkeys(self.layers, self.rate)
        named = self.model.named_modules()
        own = {name: m.p for name, m in named if isinstance(m, DROPOUT) and 0 < m.p < 1}
        return own or {penultimate(self.model, x[:1]): self.rate}

    def probabilities(self, x: Tensor) -> Tensor:
        """pₜ, what each of the T networks answers, (T, N, K)."""
        x = x.repeat(self.samples, 1, 1, 1) if self.whole else x.clone()
        with self.dropping(self.rates(x)):
            logits = self.model(x)
        return logits.view(self.samples, -1, logits.shape[1]).softmax(2)

    @contextmanager
    def dropping(self, rates: dict[str, float]) -> Iterator[None]:
        """Inside, the T masks lie on the outputs of these layers of the model.

        The first of them makes T copies of what comes in, if the images were not copied: what is
        in front of it runs once.
        """
        modules = dict(self.model.named_modules())
        source, masks = generator(int(self.seed)), {}
        copied = bool(self.whole)

        def hook(name: str, rate: float):
            def drop(module: nn.Module, given, out: Tensor) -> Tensor:
                nonlocal copied
                if name not in masks:  # in the order of the calls
                    channels = isinstance(module, DROPOUT[1:])
                    units = (out.shape[1], *[1] * (out.ndim - 2)) if channels else out.shape[1:]
                    kept = torch.rand(self.samples, 1, *units, generator=source) >= rate
                    masks[name] = kept.to(out) / (1 - rate)
                ways = out.view(self.samples, -1, *out.shape[1:]) if copied else out[None]
                copied = True
                return (ways * masks[name]).flatten(0, 1)

            return drop

        hooks = [
            modules[name].register_forward_hook(hook(name, rate)) for name, rate in rates.items()
        ]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def process(self, x: Tensor) -> Tensor:
        answers = self.probabilities(x)
        return ((answers - answers.mean(0)) ** 2).sum(2).mean(0).add(FLOOR).log()

    def extra_repr(self) -> str:
        return f"layers={self.layers!r}, rate={self.rate}, samples={self.samples}"
