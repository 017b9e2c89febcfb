"""The support vector machine with a Gaussian kernel: a classifier that compares, pixel by pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..images import check_images
from .contract import check_labels

LEVELS = 16  # of gray in a support vector: two pixels a byte


class KernelSVM(nn.Module):
    """zₖ(x) = Σᵢ aₖᵢ exp(−γ ‖x − sᵢ‖²) + bₖ. Images (N, C, H, W) to logits (N, K).

    One machine for each class against all others, with the kernel of Boser, Guyon and Vapnik
    (1992) and the soft margin of Cortes and Vapnik (1995). The sᵢ are those training images that
    are a support vector of at least one of the K machines; aₖᵢ = 0 where sᵢ is none of machine
    k's. A logit is the machine's decision value: above 1 well inside the class, below −1 well
    outside. It is not a log-probability: the softmax of these logits names the right class, and is
    less sure of it than a network's.

    It is differentiable, ∇ₓzₖ = −2γ Σᵢ aₖᵢ exp(−γ ‖x − sᵢ‖²) (x − sᵢ), so every attack runs on it.
    Far from all support vectors each exp(…) goes to 0, and with it the gradient: the logits there
    are b. With γ of some hundredths and images of 28 × 28 the gradient stays well above rounding
    in the whole box; with γ near 1 it vanishes a few units away from the data.

    Until :meth:`fit` there are no support vectors and all logits are 0.

    :param classes: K, the number of classes.
    :param channels: C of the images.
    :param size: H = W of the images.
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 28):
        super().__init__()
        pixels = channels * size**2
        # The support vectors: in a file as packed bytes, in memory as the numbers (M, C·H·W).
        self.register_buffer("packed", torch.zeros(0, (pixels + 1) // 2, dtype=torch.uint8))
        self.register_buffer("support", torch.zeros(0, pixels), persistent=False)
        self.register_buffer("gamma", torch.tensor(1.0))
        self.coefficients = nn.Parameter(torch.zeros(0, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        # ‖x − s‖² multiplied out: a single product of matrices, and, other than the root that
        # torch.cdist takes, with a gradient where an image is a support vector.
        lengths = (flat**2).sum(1, keepdim=True) + (self.support**2).sum(1)
        distance = lengths - 2 * flat @ self.support.T
        return (-self.gamma * distance).exp() @ self.coefficients + self.bias

    def fit(self, x: Tensor, y: Tensor, *, gamma: float = 0.01, C: float = 10.0) -> KernelSVM:
        """Find the K machines by scikit-learn's ``SVC``. There is nothing random in it.

        The pixels are rounded to 16 levels of gray before anything is learned. So the support
        vectors take half a byte a pixel in a file, and are exactly what was learned from.

        :param x: (N, C, H, W), in [0, 1].
        :param y: (N,) int64; every class from 0 to K − 1 must be there.
        :param gamma: γ > 0, one over the square of a distance in pixel values.
        :param C: > 0, what a training image on the wrong side of its margin costs.
        :returns: itself, in evaluation mode, of the dtype and on the device that it had.
        :raises ValueError: other images or labels, or a γ or C that is not above 0.
        """
        from sklearn.svm import SVC

        self._check(x, y, gamma, C)
        classes = len(self.bias)
        like = {"dtype": self.bias.dtype, "device": self.bias.device}
        levels = (x.detach().flatten(1).cpu() * (LEVELS - 1)).round()
        pixels = levels.double().numpy() / (LEVELS - 1)
        weights, bias = np.zeros((len(x), classes)), np.zeros(classes)
        for k in range(classes):
            machine = SVC(kernel="rbf", gamma=gamma, C=C, cache_size=500)
            machine.fit(pixels, (y == k).cpu().numpy())
            weights[machine.support_, k] = machine.dual_coef_[0]
            bias[k] = machine.intercept_[0]
        used = weights.any(axis=1)
        self.packed = _pack(levels[torch.from_numpy(used)].to(torch.uint8)).to(self.bias.device)
        self._unpack()
        self.gamma = torch.tensor(float(gamma), **like)
        self.coefficients = nn.Parameter(torch.tensor(weights[used], **like))
        self.bias = nn.Parameter(torch.tensor(bias, **like))
        return self.eval()

    def _check(self, x: Tensor, y: Tensor, gamma: float, C: float) -> None:
        check_images(x)
        check_labels(y, x)
        if x.shape[1:].numel() != self.support.shape[1]:
            raise ValueError(
                f"x: expected images of {self.support.shape[1]} numbers each, found shape "
                f"{tuple(x.shape)}"
            )
        for name, value in (("gamma", gamma), ("C", C)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name}: expected a finite number above 0, found {value!r}")
        found = y.unique().tolist()
        if found != list(range(len(self.bias))):
            raise ValueError(
                f"y: expected an image of every class from 0 to {len(self.bias) - 1}, found "
                f"classes {found}"
            )

    def _unpack(self) -> None:
        pairs = torch.stack([self.packed // LEVELS, self.packed % LEVELS], dim=2)
        pixels = pairs.flatten(1)[:, : self.support.shape[1]]
        self.support = pixels.to(self.bias.dtype) / (LEVELS - 1)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Only a fit decides on the number M of support vectors: make room for those that come.
        for name in ("packed", "coefficients"):
            saved, mine = state_dict.get(prefix + name), getattr(self, name)
            if saved is not None and saved.ndim == 2:
                mine.data = mine.new_zeros(len(saved), mine.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._unpack()

    def extra_repr(self) -> str:
        support, classes = self.coefficients.shape
        return f"gamma={self.gamma.item():.4g}, {support} support vectors, {classes} classes"


def _pack(levels: Tensor) -> Tensor:
    """Two numbers below 16 a byte. (M, D) to (M, ⌈D / 2⌉), all uint8."""
    even = nn.functional.pad(levels, (0, levels.shape[1] % 2))
    return even[:, ::2] * LEVELS + even[:, 1::2]
