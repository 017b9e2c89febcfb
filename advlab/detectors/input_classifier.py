"""A network that looks at the image itself: Gong, Wang & Ku (2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from .activation_classifier import ActivationClassifier


class InputClassifier(ActivationClassifier):
    """s(x) = d₁(x) − d₀(x): the logits of a small network d for "adversarial" and "natural".

    Gong, Wang & Ku (2017), "Adversarial and clean data are not twins": a second network
    is trained on images and on adversarial images made of them; those that it calls adversarial
    never reach the first. It is an :class:`advlab.detectors.ActivationClassifier` at the image.

    It hardly misses the attack that it learned. The paper finds that it may miss the same attack
    at a smaller ε, or another attack. Digits are simpler: learned from ``FGSM(eps=0.3)``, it still
    tells that of ε = 0.1. But what it has learned is "not clean": without ``noisy`` the alarm rises
    at plain noise as well. It is a network like the first and can be fooled like the first: Carlini
    & Wagner (2017), "Adversarial examples are not easily detected".

    Where we differ: a smaller network; each channel is scaled by its range in training; only
    attacks that fool the model are learned; ``noisy``.

    :param attack: to learn from, any ``attack(model, x, y)``, or several; by default
        ``FGSM(eps=0.3)``, which suits digits.
    :param noisy: noisy images, as large in L2 as the attack's, are learned as natural too.
    :param width: filters of the first convolution; the second has twice as many.
    :param hidden: units of the hidden linear layer.
    :param epochs: of d's training, at least 1.
    :raises ValueError: a hyper-parameter out of its range; in ``fit``, an attack that fools the
        model on no image.
    """

    def __init__(
        self,
        attack: Callable | Sequence[Callable] | None = None,
        *,
        noisy: bool = False,
        width: int = 8,
        hidden: int = 64,
        epochs: int = 5,
    ):
        super().__init__(attack, noisy=noisy, width=width, hidden=hidden, epochs=epochs)

    def choose_layer(self, x: Tensor) -> None:
        """No layer: the image."""

    def look(self, x: Tensor) -> Tensor:
        return x
