"""Randomized smoothing: a certified L2 radius for any network, true with high probability."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from scipy.stats import beta, binomtest, norm
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..backend import Interrupted, generator, in_batches
from ..checks import check_count, check_number
from ..images import check_images
from ..models.contract import (
    check_device,
    check_labels,
    check_logits,
    check_model,
    forward_of,
    frozen,
)
from ..transforms.base import Draw, Transformation

ABSTAIN = -1
COPIES = 200  # noisy copies that go through the model at once: fixed, so that results are, too


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Transformation):
    """x + σn, n ~ N(0, I), not clipped to [0, 1]: the proof needs the noise as it is.

    To train: ``fit(model, data, augment=GaussianNoise(sigma=0.25), ...)``. To attack what it is
    averaged over: ``EOT(attack=PGD(norm="L2"), transformation=GaussianNoise(sigma=0.25),
    average="probability")``, the attack of Salman et al. (2019), section 2.2: theirs climbs
    −log E[softmax(f(x + σn))_y], whose gradient has the same direction.

    :param sigma: σ ≥ 0, in pixel values.
    :raises ValueError: a negative ``sigma``.
    """

    sigma: float = 0.25

    def __post_init__(self):
        check_number(self, "sigma")

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        return x + self.sigma * draw("normal", x.shape[1:])

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """As an augmentation for :func:`advlab.training.fit`: (N, C, H, W) to the same shape."""
        n = torch.randn(x.shape, generator=random, dtype=x.dtype)
        return x + self.sigma * n.to(x.device)


@dataclass(frozen=True)
class Certificates:
    """What was certified, a row an image.

    :param classes: (N,) int64, the class of the smoothed network, or −1 (``ABSTAIN``).
    :param radius: (N,) float64, in L2, in pixel values: inside it the class does not change. 0
        where it abstained.
    """

    classes: Tensor
    radius: Tensor

    @property
    def abstained(self) -> Tensor:
        """(N,) bool."""
        return self.classes == ABSTAIN

    def certified_accuracy(self, y: Tensor, radius: float = 0.0) -> float:
        """The fraction of images that are right at every distance up to ``radius``.

        An image counts where its class is y and its own radius is larger. One on which the
        network abstained does not count.

        :param y: (N,) int64, the true classes.
        :param radius: at least 0. For a curve call this for each radius: nothing is sampled again.
        :raises ValueError: a negative radius, labels of another shape, or no images.
        """
        check_labels(y, self.classes)
        if not radius >= 0:
            raise ValueError(f"radius: expected a number of at least 0, found {radius!r}")
        if not len(y):
            raise ValueError("y: expected at least one image, found none")
        return ((self.classes == y) & (self.radius > radius)).double().mean().item()


class SmoothingInterrupted(KeyboardInterrupt):
    """Ctrl-C came; the images that were done are in ``.done``, as the method returns them."""

    def __init__(self, done: Certificates | Tensor):
        count = len(done.classes if isinstance(done, Certificates) else done)
        super().__init__(f"interrupted after {count} images, which are in .done")
        self.done = done


@dataclass(frozen=True)
class Smoothed:
    """The smoothed classifier g(x) = argmax_c P(f(x + σn) = c), n ~ N(0, I).

    Cohen et al. (2019), section 3 (theorem 1, algorithms 1 and 2). If f gives class A with
    probability at least p > 1/2, then g is A at every x + δ with ‖δ‖₂ < σΦ⁻¹(p). Nothing is asked
    of f, so any network will do; one that was not trained on noise gives small radii.

    p is not known: it is estimated by drawing. So each answer may be wrong, with probability at
    most α for each image (not for all of them together). Where the draws do not decide, the answer
    is ``ABSTAIN``.

    An image's draws come from a generator of its own, keyed by the image and the seed. They are
    made on the CPU, and ``COPIES`` go through the network at once, so that the answer depends on
    neither the other images nor a batch size.

    :param model: f, maps (N, C, H, W) to logits (N, K); it sees images that leave [0, 1].
    :param sigma: σ > 0, in pixel values. Larger is a larger radius for fewer images.
    :param seed: at least 0.
    :raises ValueError: ``sigma`` that is not above 0, or another seed.
    """

    model: nn.Module
    sigma: float
    seed: int = 0

    def __post_init__(self):
        check_model(self.model)
        check_number(self, "sigma")
        if self.sigma == 0:
            raise ValueError("sigma: expected above 0, found 0: without noise nothing is certified")
        check_count("seed", self.seed)

    def predict(
        self, x: Tensor, *, n: int = 1000, alpha: float = 0.001, progress: bool = False
    ) -> Tensor:
        """The class of g for each image, or −1: algorithm 1 of the paper (PREDICT).

        Of n draws the two most frequent classes came n_A and n_B times. The answer is A where the
        two-sided binomial test of n_A among n_A + n_B against ½ has a p-value of at most α.

        :param x: (N, C, H, W) in [0, 1].
        :param n: draws an image, at least 1.
        :param alpha: in (0, 1): the probability that the answer is neither g(x) nor −1.
        :param progress: show a bar.
        :returns: (N,) int64, on the device of x.
        :raises ValueError: images, settings or answers of the model that break the contract.
        :raises SmoothingInterrupted: on Ctrl-C, with the images done.
        """
        _check(x, alpha, n=n)

        def answer(counts: list[Tensor]) -> tuple[int]:
            (first, second), classes = counts[0].topk(2)
            p_value = binomtest(first.item(), (first + second).item(), 0.5).pvalue
            return (classes[0].item() if p_value <= alpha else ABSTAIN,)

        done, whole = self._each(answer, x, (n,), progress)
        classes = done[:, 0].long().to(x.device)
        if not whole:
            raise SmoothingInterrupted(classes)
        return classes

    def certify(
        self,
        x: Tensor,
        *,
        n0: int = 100,
        n: int = 1000,
        alpha: float = 0.001,
        progress: bool = False,
    ) -> Certificates:
        """The class of g for each image and a radius around it: algorithm 2 (CERTIFY).

        The most frequent class of ``n0`` draws is A. Of ``n`` new draws it comes k times, and
        p = ``lower_bound(k, n, α)`` is at most P(f(x + σn) = A) with probability at least 1 − α.
        The radius is σΦ⁻¹(p) where p > ½, else the answer is −1. It is never above
        σΦ⁻¹(α^(1/n)), whatever the network: at n = 1,000 and α = 0.001 that is 2.46σ, at 10,000
        3.20σ.

        :param x: (N, C, H, W) in [0, 1].
        :param n0: draws to choose the class, at least 1.
        :param n: draws to estimate its probability, at least 1.
        :param alpha: in (0, 1): the probability that the certificate of an image is wrong.
        :param progress: show a bar.
        :raises ValueError: images, settings or answers of the model that break the contract.
        :raises SmoothingInterrupted: on Ctrl-C, with the images done.
        """
        _check(x, alpha, n0=n0, n=n)

        def answer(counts: list[Tensor]) -> tuple[int, float]:
            top = counts[0].argmax().item()
            p = lower_bound(counts[1][top].item(), n, alpha)
            return (top, self.sigma * norm.ppf(p)) if p > 0.5 else (ABSTAIN, 0.0)

        done, whole = self._each(answer, x, (n0, n), progress)
        done = Certificates(done[:, 0].long().to(x.device), done[:, 1].to(x.device))
        if not whole:
            raise SmoothingInterrupted(done)
        return done

    def _each(self, answer, x: Tensor, draws: tuple[int, ...], progress: bool):
        """For each image what ``answer`` makes of its counts, a row each; whether all were done."""
        check_device(self.model, x)
        forward = forward_of(self.model)

        def one(image: Tensor) -> Tensor:
            key = zlib.crc32(image.cpu().double().contiguous().numpy().tobytes())
            source = generator(zlib.crc32(str(self.seed).encode(), key))
            counts = [self._counts(forward, image, n, source) for n in draws]
            return torch.tensor([answer(counts)], dtype=torch.float64)

        if not len(x):
            return torch.zeros(0, 2, dtype=torch.float64), True
        name = f"Smoothed(sigma={self.sigma:g})"
        with (
            frozen(self.model),
            torch.no_grad(),
            tqdm(total=len(x), desc=name, disable=not progress) as bar,
        ):
            try:
                return in_batches(one, x.detach(), batch_size=1, bar=bar), True
            except Interrupted as error:
                none = torch.zeros(0, 2, dtype=torch.float64)
                return none if error.done is None else error.done, False

    def _counts(self, forward, image: Tensor, n: int, source: torch.Generator) -> Tensor:
        """How often each class came in n draws, (K,) int64, on the CPU."""
        counts = 0
        for start in range(0, n, COPIES):
            copies = min(COPIES, n - start)
            # On the CPU, so that every device sees the same numbers.
            noise = torch.randn((copies, *image.shape[1:]), generator=source)
            noisy = image + self.sigma * noise.to(image)
            logits = forward(noisy)
            check_logits(logits, noisy, probabilities=False)
            counts = counts + logits.argmax(1).bincount(minlength=logits.shape[1]).cpu()
        return counts


def lower_bound(k: int | Tensor, n: int | Tensor, alpha: float) -> float:
    """p such that P(p ≤ the true probability) ≥ 1 − α, when k of n draws came out: Clopper–Pearson.

    The α-quantile of Beta(k, n − k + 1), and 0 where k is 0. Clopper & Pearson (1934), one-sided:
    exact for every n, where the bell-shaped approximation fails near 1.

    :param k: from 0 to n: a whole number, or a tensor that holds one, as ``votes[label]`` does.
    :param n: at least 1, likewise.
    :param alpha: in (0, 1).
    :raises ValueError: a number out of its range.
    """
    k, n = (v.item() if isinstance(v, Tensor) and v.ndim == 0 else v for v in (k, n))
    check_count("n", n, 1)
    check_count("k", k)
    if k > n:
        raise ValueError(f"k: expected at most n = {n}, found {k}")
    _check_alpha(alpha)
    return float(beta.ppf(alpha, k, n - k + 1)) if k else 0.0


def _check(x: Tensor, alpha: float, **draws: int) -> None:
    check_images(x)
    _check_alpha(alpha)
    for name, value in draws.items():
        check_count(name, value, 1)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number between 0 and 1, found {alpha!r}")
