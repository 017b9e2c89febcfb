"""What Defense-GAN and PixelDefend share: an image is replaced by one that a generator finds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models.preprocessing import Preprocessing
from ..training import fit


class Purifier(Preprocessing):
    """A step that searches for a natural image near x, with the help of a generative model.

    Autograd is told that the derivative of the search is 0: a plain attack finds nothing to follow.
    ``backward="substitute"`` takes the identity in its place, since the image found is close to x:
    Athalye et al. (2018), "Obfuscated gradients give a false sense of security", section 4.1.1.

    A subclass holds the search in :meth:`search`.

    :param generator: the generative model, with a method ``fit(x, **settings)``.
    :param backward: see :class:`advlab.models.Preprocessing`.
    """

    def __init__(self, generator: nn.Module, backward: str | Callable[[Tensor], Tensor] = "own"):
        super().__init__(backward)
        self.generator = generator

    def search(self, x: Tensor) -> Tensor:
        """Images (N, 1, H, W) in [0, 1] to natural ones, of the same shape."""
        raise NotImplementedError

    def process(self, x: Tensor) -> Tensor:
        size = self.generator.size
        if x.shape[1:] != (1, size, size):
            raise ValueError(
                f"{type(self).__name__}: expected images (N, 1, {size}, {size}), as its generator "
                f"makes them, found {tuple(x.shape)}"
            )
        # What is made in inference mode cannot take part in a gradient, and a search may need one.
        with torch.inference_mode(False):
            found = self.search(x.detach().clone())
        return found + 0 * x


class Purified(nn.Sequential):
    """A classifier behind a :class:`Purifier`: ``Purified(DefenseGAN(Generator()), CNN())``.

    It is ``nn.Sequential(purifier, classifier)`` that knows how to train its two parts.

    :param purifier: the step in front.
    :param classifier: any network from images (N, 1, H, W) in [0, 1] to logits (N, K).
    """

    def __init__(self, purifier: Purifier, classifier: nn.Module):
        super().__init__(purifier, classifier)

    def fit(
        self, x: Tensor, y: Tensor, *, generator: dict, classifier: dict, seed: int = 0
    ) -> Purified:
        """Train the generator on the images, and the classifier on images and labels.

        Neither sees the other: the classifier is the one that would be used without a defense. In
        their papers both defenses are put in front of networks that were trained as ever.

        :param x: (N, 1, H, W) in [0, 1].
        :param y: (N,) int64.
        :param generator: settings of the generator's own ``fit``.
        :param classifier: settings of :func:`advlab.training.fit`.
        :param seed: of both.
        """
        purifier, network = self
        purifier.generator.fit(x, seed=seed, **generator)
        fit(network, (x, y), seed=seed, progress=False, **classifier)
        return self
