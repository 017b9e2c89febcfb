"""Defense-GAN: classify the nearest image that a generator can make; and attacks on its range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attacks.attacked import AttackedModel
from ..attacks.base import Attack
from ..backend import generator as seeded
from ..checks import check_count, check_number, check_whole
from ..threat import per_image, size
from .generators import Generator
from .purify import Purifier


class DefenseGAN(Purifier):
    """x becomes G(z*), z* = argmin over z of ‖G(z) − x‖². Samangouei et al. (2018), section 3.

    R times, z starts at random and takes L steps of gradient descent with momentum m,

        v ← m v − lr ∇_z ‖G(z) − x‖²,  z ← z + v,

    and the best of the R ends is z*. A perturbation that no image of G has is gone. So is whatever
    of x the generator cannot make: the defense is as good as G. An answer costs R·L passes through
    G, forth and back.

    ‖·‖² is the sum over pixels, as it is written: the step size for their mean would be H·W times
    as large.

    Where we differ: the paper draws the R starts anew for each image and each look; so do we with
    ``seed=None``, from torch's global state. With a seed all images start from the same R codes,
    always, so that an answer can be repeated and depends, but for rounding, on no other image of
    its batch. The default R = 8 and L = 50 are fewer than the paper's 10 and 200.

    ``mnist-defense-gan`` in the zoo has 91 of the first 100 test digits right, its CNN alone 97. At
    ε = 0.3 in L∞, 27 stay right under 20 steps of PGD that attack the CNN alone, and 7 under 8
    steps with ``backward="substitute"``. With 4,000 digits to learn from, this G is a weak one.

    :param generator: G.
    :param restarts: R, at least 1.
    :param steps: L, at least 1.
    :param lr: the step size, above 0.
    :param momentum: m, from 0 up to, but not including, 1.
    :param seed: of the starts; None draws them anew each time, a defense that is random.
    :param backward: see :class:`advlab.defenses.Purifier`.
    :raises ValueError: a parameter out of its range; when called, images of another size than G's.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        restarts: int = 8,
        steps: int = 50,
        lr: float = 0.02,
        momentum: float = 0.7,
        seed: int | None = 0,
        backward: str | Callable[[Tensor], Tensor] = "own",
    ):
        super().__init__(generator, backward)
        check_count("restarts", restarts, 1)
        check_count("steps", steps, 1)
        if seed is not None:
            check_count("seed", seed)
        if not 0 < lr < float("inf"):
            raise ValueError(f"lr: expected a finite number above 0, found {lr!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected 0 <= m < 1, found {momentum!r}")
        self.restarts, self.steps, self.lr, self.momentum = restarts, steps, lr, momentum
        self.seed = seed

    def search(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.generator(self.invert(x))

    def invert(self, x: Tensor) -> Tensor:
        """z*, the code of the image nearest to x that was found. (N, 1, H, W) to (N, latent)."""
        target, z = x.repeat_interleave(self.restarts, 0), self._starts(x)
        speed = torch.zeros_like(z)
        for _ in range(self.steps):
            with torch.enable_grad():
                z.requires_grad_()
                far = (self.generator(z) - target).square().sum()
                (gradient,) = torch.autograd.grad(far, z)
            speed = self.momentum * speed - self.lr * gradient
            z = z.detach() + speed
        with torch.no_grad():
            far = (self.generator(z) - target).square().flatten(1).sum(1)
        best = far.view(len(x), self.restarts).argmin(1)
        z = z.view(len(x), *self._shape)
        return z[torch.arange(len(x), device=x.device), best]

    @property
    def _shape(self) -> tuple[int, int]:
        return self.restarts, self.generator.latent

    def _starts(self, x: Tensor) -> Tensor:
        """R codes for each image, one image after the other, (N R, latent)."""
        if self.seed is None:
            codes = torch.randn(len(x), *self._shape).flatten(0, 1)
        else:
            codes = torch.randn(self._shape, generator=seeded(self.seed)).repeat(len(x), 1)
        return codes.to(x)

    def extra_repr(self) -> str:
        return (
            f"restarts={self.restarts}, steps={self.steps}, lr={self.lr}, "
            f"momentum={self.momentum}, seed={self.seed}"
        )


@dataclass(frozen=True, kw_only=True)
class ManifoldAttack(Attack):
    """x_adv = G(z), near x and misclassified: what no projection onto the range of G can undo.

    Athalye et al. (2018), "Obfuscated gradients give a false sense of security", section 5.4.2.
    From the code that Defense-GAN finds for x, ``steps`` steps of Adam lower

        ‖G(z) − x‖² + c max(κ − margin, 0),

    where the margin is how far f(G(z)) is beyond the goal (:meth:`advlab.goals.Goal.margin`). The
    nearest G(z) that reaches the goal is returned; where there is none, x as it was.

    Attack the bare classifier with it, and a perfect projection leaves x_adv as it is. That of
    Defense-GAN is not perfect: it may land on another image of G. Attack the whole defended model
    with ``backward="identity"``, and only what survives the projection counts.

    The paper gives no formula; this is Carlini & Wagner's, in z in place of x, with one c.

    :param generator: G.
    :param projection: finds the codes to start from; by default ``DefenseGAN(generator)``.
    :param steps: at least 1.
    :param lr: of Adam, above 0.
    :param c: the weight of being misclassified, above 0.
    :param confidence: κ ≥ 0.
    :raises ValueError: a hyper-parameter out of its range.
    """

    generator: Generator = field(repr=False)
    projection: DefenseGAN | None = field(default=None, repr=False)
    steps: int = 100
    lr: float = 0.05
    c: float = 5.0
    confidence: float = 1.0
    norm = "L2"

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, "steps")
        for name in ("lr", "c", "confidence"):
            check_number(self, name)

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        z = (self.projection or DefenseGAN(self.generator)).invert(x).requires_grad_()
        optimizer = torch.optim.Adam([z], self.lr)
        best, least = x.clone(), x.new_full((len(x),), float("inf"))

        def short(logits: Tensor, y: Tensor) -> Tensor:
            return F.relu(self.confidence - model.goal.margin(logits, y))

        for t in model.steps(self.steps):
            made = self.generator(z)
            upward, _, logits = model.gradient(made, y, first=t == 0, of=short)
            far = size(made.detach() - x, "L2")
            nearer = model.goal.reached(logits, y) & (far < least)
            best = torch.where(per_image(nearer, x), made.detach(), best)
            least = torch.where(nearer, far, least)
            loss = (made - x).square().sum() + self.c * (made * upward).sum()
            (z.grad,) = torch.autograd.grad(loss, z)
            optimizer.step()
        return best
