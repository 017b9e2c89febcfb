"""The adversarial patch: a sticker that any image can wear, anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..backend import generator
from ..checks import check_number, check_whole
from ..goals import TARGETED, UNTARGETED, logits_but
from ..models.contract import check_device, check_images, check_labels, forward_of, frozen
from ..models.preprocessing import check_backward, differentiated
from ..transforms import SharedDraws, Transformation
from .attacked import AttackedModel
from .base import GradientWarning, LearningInterrupted
from .patch import Patch, as_range, check_center, check_mask, check_where, circle
from .placement import Places


class PatchInterrupted(LearningInterrupted):
    """Ctrl-C came while a patch was learned; what was learned is not lost.

    Go on with ``attack(model, x, y, start=error.patch)``.

    :ivar patch: the patch as it stood.
    """


@dataclass(frozen=True, kw_only=True)
class AdversarialPatch:
    """A patch that makes the model answer ``target`` wherever it lies. Brown et al. (2017).

    p = argmax over p of E[log Pr(target | A(p, x, l, t))], over images x, places l, and rotations
    and scales t (equation 1), where A puts the patch there. Without a target it is
    log(1 − Pr(y | ...)), y being the true class. Each step takes the gradient over
    ``batch_size`` images, each with its own places, and Adam moves the pixels, which are clipped
    to [0, 1]; its step size falls linearly to 0.

    Where we differ from the paper: images of the class ``target`` are left out, they have nothing
    to teach; the untargeted goal is ours; with a ``camera``, it is the photograph of the patched
    image that the model is given. The paper also has patches that are held within ε of a picture,
    as a disguise, and patches for several networks at once; these have no setting here.

    :param target: the class wanted; None for any but the true one.
    :param area: (low, high), or one number: the patch's area as a fraction of the image's. Its
        scale is uniform between the two.
    :param rotation: the most degrees by which it is turned, either way; 0 to 180.
    :param shape: ``"circle"``, ``"square"``, or a mask (1, h, w) from 0 to 1.
    :param size: the patch's width and height in pixels of its own; by default as many as it has in
        the images at its largest. A mask has its own size.
    :param center: (u, v): learn for this place alone; by default anywhere.
    :param steps: at least 1.
    :param lr: Adam's first step size, > 0, in pixel values.
    :param batch_size: images a step.
    :param samples: places an image, in each step.
    :param camera: what lies between the patched image and the model; by default nothing.
    :param seed: of the order of the images, the places and the camera.
    :param backward: of steps in front of the network, see :class:`advlab.attacks.Attack`.
    :raises ValueError: a hyper-parameter out of its range.
    """

    target: int | None = None
    area: float | tuple[float, float] = (0.05, 0.2)
    rotation: float = 20.0
    shape: str | Tensor = field(default="circle", compare=False)
    size: int | None = None
    center: tuple[float, float] | None = None
    steps: int = 100
    lr: float = 0.1
    batch_size: int = 64
    samples: int = 1
    camera: Transformation | None = None
    seed: int = 0
    backward: str | Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        check_backward(self.backward, unset=True)
        if self.target is not None:
            check_whole(self, "target", 0)
        object.__setattr__(self, "area", as_range(self.area, least=1e-9))
        check_number(self, "rotation", 0, 180)
        if isinstance(self.shape, Tensor):
            check_mask(self.shape)
        elif self.shape not in ("circle", "square"):
            raise ValueError(
                f"shape: expected 'circle', 'square' or a mask (1, h, w), found {self.shape!r}"
            )
        if self.size is not None:
            check_whole(self, "size")
        if self.center is not None:
            check_center(self.center)
        for name in ("steps", "batch_size", "samples"):
            check_whole(self, name)
        check_number(self, "lr", 1e-30)
        if self.camera is not None and not isinstance(self.camera, Transformation):
            raise TypeError(
                f"camera: expected a transformation of advlab.transforms, "
                f"found {type(self.camera).__name__}"
            )

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        where: Tensor | None = None,
        start: Patch | None = None,
        progress: bool = False,
    ) -> Patch:
        """Learn the patch.

        :param model: maps (N, C, H, W) in [0, 1] to logits (N, K). It is attacked in evaluation
            mode and left exactly as it was found.
        :param x: (N, C, H, W) floating point, in [0, 1]: the images to learn from.
        :param y: (N,) int64, their true classes.
        :param where: (1 or N, 1, H, W), 1 where the patch may lie on each image, 0 elsewhere; by
            default anywhere.
        :param start: the patch to go on from; by default gray.
        :param progress: show a progress bar.
        :returns: the patch, of the dtype and on the device of x.
        :raises ValueError: images, labels, a mask or answers of the model that break the contract;
            no image to learn from; no room for the patch.
        :raises PatchInterrupted: on Ctrl-C, with what was learned.
        """
        check_images(x)
        check_labels(y, x)
        check_device(model, x)
        check_where(where, x)
        if self.center is not None and where is not None:
            raise ValueError("where: the patch has a fixed center; leave one of them out")
        useful = y != self.target if self.target is not None else torch.ones_like(y).bool()
        if not useful.any():
            raise ValueError(
                f"x: expected at least one image to learn from (of another class than the target), "
                f"found none among {len(x)}"
            )
        if where is not None and len(where) > 1:
            where = where[useful]
        x, y = x[useful].detach(), y[useful]
        mask = self._mask(x) if start is None else start.mask.to(x)
        gray = torch.full((x.shape[1], *mask.shape[1:]), 0.5, dtype=x.dtype, device=x.device)
        first = gray if start is None else start.pixels.to(x)
        if first.shape != gray.shape:
            raise ValueError(
                f"start: expected a patch of {x.shape[1]} channels, found {len(first)}"
            )
        with torch.inference_mode(False), frozen(model), differentiated(model, self.backward):
            # Clones: what was made in inference mode cannot take part in a gradient.
            pixels, slopes = self._learn(
                model, x.clone(), y.clone(), where, first.clone(), mask.clone(), progress
            )
        if not slopes:
            warnings.warn(
                "nothing was learned: the gradient is exactly zero. A saturated softmax, or a "
                "defense that masks gradients, is not robustness",
                GradientWarning,
                stacklevel=2,
            )
        return Patch(pixels, mask, self.target)

    def _mask(self, x: Tensor) -> Tensor:
        """(1, h, w), of the patch to be learned."""
        if isinstance(self.shape, Tensor):
            return self.shape.to(x)
        size = self.size
        if size is None:
            fills = torch.pi / 4 if self.shape == "circle" else 1
            size = max(2, round((self.area[1] * x[0, 0].numel() / fills) ** 0.5))
        if self.shape == "square":
            return torch.ones(1, size, size, dtype=x.dtype, device=x.device)
        return circle(size).to(x)

    def _learn(self, model, x, y, where, pixels, mask, progress) -> tuple[Tensor, bool]:
        """The pixels, and whether any step had a gradient."""
        places = Places(x.shape[2:], mask, self.area, self.rotation, self.center, where)
        forward, random = forward_of(model), generator(self.seed)
        draws = SharedDraws(self.seed)
        goal = UNTARGETED if self.target is None else TARGETED
        of = _log_other if self.target is None else None
        labels = y if self.target is None else torch.full_like(y, self.target)
        mean, square = torch.zeros_like(pixels), torch.zeros_like(pixels)
        rows, slopes = _batches(len(x), self.batch_size, random), False
        try:
            for t in tqdm(range(self.steps), desc="AdversarialPatch", disable=not progress):
                index = next(rows).repeat(self.samples).to(x.device)
                uniform = torch.rand(len(index), 4, generator=random, dtype=torch.float64)
                seen = forward
                if self.camera is not None:
                    draw = draws.for_copies(x[:1], len(index))
                    seen = lambda x: forward(self.camera.apply(x, draw))  # noqa: B023, E731
                leaf = pixels.requires_grad_(True)
                with torch.enable_grad():
                    patched = places.put(x[index], leaf, mask, uniform.to(x), index)
                images = patched.detach().clamp(0, 1)
                attacked = AttackedModel(seen, images, goal)
                slope, _, _ = attacked.gradient(images, labels[index], first=t == 0, of=of)
                (gradient,) = torch.autograd.grad(patched, leaf, slope / len(index))
                slopes = slopes or bool(gradient.any())
                mean = 0.9 * mean + 0.1 * gradient
                square = 0.999 * square + 0.001 * gradient.square()
                step = mean / (1 - 0.9 ** (t + 1))
                step = step / ((square / (1 - 0.999 ** (t + 1))).sqrt() + 1e-12)
                lr = self.lr * (1 - t / self.steps)
                pixels = (pixels.detach() + lr * step).clamp(0, 1)
        except KeyboardInterrupt as error:
            patch = Patch(pixels.detach(), mask, self.target)
            raise PatchInterrupted(patch=patch) from error
        return pixels, slopes


def _log_other(logits: Tensor, y: Tensor) -> Tensor:
    """log(1 − softmax(z)_y), (N,): unlike the cross-entropy of y, it does not grow without end."""
    return logits_but(logits, y).logsumexp(1) - logits.logsumexp(1)


def _batches(count: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Pass after pass over the images, each in another order."""
    while True:
        yield from torch.randperm(count, generator=random).split(size)
