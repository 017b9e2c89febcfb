"""A support vector machine on coarse codes of a late layer: Lu, Issaranon & Forsyth (2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..checks import check_number, check_whole
from .kernel_density import squared_distances
from .learned import LearnedDetector


class SafetyNet(LearnedDetector):
    """s(x) = Σᵢ aᵢ exp(−γ ‖c(x) − sᵢ‖²) + b, on codes c(x) of a late ReLU layer.

    Lu, Issaranon & Forsyth (2017), "SafetyNet: detecting and rejecting adversarial examples
    robustly": the activation of each unit is replaced by the bin that it falls in,
    cⱼ = #{t : aⱼ(x) > t}, and a support vector machine with a Gaussian kernel tells the codes of
    natural images from those of adversarial ones. The score is its decision value, above 0 where
    it says adversarial. The machine is found by scikit-learn's ``SVC``; the score is computed
    in torch.

    The idea is that of the locked door: codes are constant almost everywhere, so their gradient is
    0, and an attack that follows it sees no detector. That hides the way and does not close it.
    ``substitute`` keeps the codes as they are, and differentiates each step at t as a soft one,
    σ((aⱼ − t) / w).

    Where we differ: thresholds are 0 and, equally many activations apart, quantiles of what is
    above 0 in natural images, the same for all units. w is their mean over bins − 1.

    :param attack: to learn from, any ``attack(model, x, y)``, or several; by default
        ``FGSM(eps=0.3)``, which suits digits.
    :param layer: the name of the layer, such as ``"classifier.1"``; by default that before the last
        linear one, see :func:`advlab.models.penultimate`.
    :param noisy: noisy images, as large in L2 as the attack's, are learned as natural too.
    :param bins: of an activation, at least 2; 2 leave on and off.
    :param gamma: γ > 0; by default one over the number of units times the variance of the codes.
    :param C: > 0, what a code on the wrong side of its margin costs.
    :raises ValueError: a hyper-parameter out of its range; in ``fit``, an attack that fools the
        model on no image, a layer that the model has not, or one without an activation above 0.
    """

    exact = True

    def __init__(
        self,
        attack: Callable | Sequence[Callable] | None = None,
        *,
        layer: str | None = None,
        noisy: bool = False,
        bins: int = 4,
        gamma: float | None = None,
        C: float = 1.0,
    ):
        super().__init__(attack, layer=layer, noisy=noisy)
        self.bins, self.gamma, self.C = bins, gamma, C
        check_whole(self, "bins", 2)
        check_number(self, "C", 1e-30)
        if gamma is not None:
            check_number(self, "gamma", 1e-30)
        for name in ("thresholds", "width", "support", "coefficients", "bias", "scale"):
            self.register_buffer(name, torch.empty(0))

    def process(self, x: Tensor) -> Tensor:
        return self.decision(self.codes(self.look(x)))

    def substitute(self, x: Tensor) -> Tensor:
        seen = self.look(x).flatten(1)
        codes = self.codes(seen)
        soft = ((seen[:, :, None] - self.thresholds) / self.width).sigmoid().sum(2)
        return self.decision(codes + (soft - soft.detach()))  # what is added is exactly 0

    def codes(self, seen: Tensor) -> Tensor:
        """The bin of each unit's activation, from 0 to bins − 1. (N, ...) to (N, D)."""
        return (seen.flatten(1)[:, :, None] > self.thresholds).sum(2).to(seen.dtype)

    def decision(self, codes: Tensor) -> Tensor:
        """The machine's decision values for codes, (N, D) to (N,)."""
        distance = squared_distances(codes, self.support)
        return (-self.scale * distance).exp() @ self.coefficients + self.bias

    def learn_from(self, seen: Tensor, labels: Tensor, seed: int) -> None:
        from sklearn.svm import SVC

        natural = seen[labels == 0]
        fired = natural[natural > 0].sort().values
        if not len(fired):
            raise ValueError(
                f"layer: {self.looks_at!r} has no output above 0 on natural images; name another"
            )
        at = [len(fired) * k // (self.bins - 1) for k in range(1, self.bins - 1)]
        self.thresholds = torch.cat((fired.new_zeros(1), fired[at]))
        self.width = fired.mean() / (self.bins - 1)
        codes = self.codes(seen)
        gamma = self.gamma or 1 / (codes.shape[1] * codes.var().clamp_min(1e-6).item())
        machine = SVC(kernel="rbf", gamma=gamma, C=self.C)
        machine.fit(codes.cpu().double().numpy(), labels.cpu().numpy())
        self.support = codes[torch.from_numpy(machine.support_).to(codes.device)]
        self.coefficients = codes.new_tensor(machine.dual_coef_[0])
        self.bias = codes.new_tensor(machine.intercept_[0])
        self.scale = codes.new_tensor(gamma)
