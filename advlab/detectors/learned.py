"""What detectors share that learn natural from adversarial images at a layer of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..attacks.fgsm import FGSM
from ..backend import in_batches
from ..models.activations import activations, penultimate
from .base import Detector
from .examples import check_attack, examples


class LearnedDetector(Detector):
    """A machine that tells natural from adversarial images by the output of one layer.

    Every image that the model has right is natural, and those that an attack made of them, where
    it fooled the model, are adversarial. A subclass holds ``learn_from(seen, labels, seed)``, with
    label 1 for adversarial, and ``process``, in which ``look(x)`` gives what it sees.

    :param attack: to learn from, any ``attack(model, x, y)``, or several; by default
        ``FGSM(eps=0.3)``, which suits digits.
    :param layer: the name of the layer, such as ``"features.2"``; by default that before the last
        linear one, see :func:`advlab.models.penultimate`.
    :param noisy: noisy images, as large in L2 as the attack's, are learned as natural too.
    :raises ValueError: no attack; in ``fit``, an attack that fools the model on no image, or a
        layer that the model has not.
    """

    def __init__(
        self,
        attack: Callable | Sequence[Callable] | None = None,
        *,
        layer: str | None = None,
        noisy: bool = False,
    ):
        super().__init__()
        attack = FGSM(eps=0.3) if attack is None else attack
        self.attacks = tuple(attack) if isinstance(attack, (list, tuple)) else (attack,)
        for one in self.attacks or (attack,):
            check_attack(one)
        self.layer, self.noisy = layer, noisy
        self.looks_at = layer

    def look(self, x: Tensor) -> Tensor:
        """What the layer says of the images, (N, ...), with gradients."""
        model = self.fitted()
        if self.looks_at is None:  # what it learned was loaded
            self.looks_at = self.choose_layer(x)
        return activations(model, x.clone(), [self.looks_at])[self.looks_at]

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        self.looks_at = self.choose_layer(x)
        natural, adversarial = [x], []
        for attack in self.attacks:
            made = examples(self.model, attack, x, y, seed=seed)
            adversarial.append(made.adversarial)
            if self.noisy:
                natural.append(made.noisy)
        images = torch.cat(natural + adversarial)
        labels = torch.zeros(len(images), dtype=torch.int64, device=x.device)
        labels[sum(map(len, natural)) :] = 1
        with torch.no_grad():
            seen = in_batches(self.look, images)
        self.learn_from(seen, labels, seed)

    def choose_layer(self, x: Tensor) -> str:
        """The name of the layer that it looks at."""
        return penultimate(self.model, x[:1]) if self.layer is None else self.layer

    def learn_from(self, seen: Tensor, labels: Tensor, seed: int) -> None:
        """Learn to tell what the layer says of natural images, 0, from that of others, 1.

        :param seen: (n, ...), as ``look`` gives it, without gradients.
        :param labels: (n,) int64.
        """
        raise NotImplementedError
