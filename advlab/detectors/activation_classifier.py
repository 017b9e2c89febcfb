"""A second network that watches the first: Metzen, Genewein, Fischer & Bischoff (2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .. import training
from ..backend import seeded
from ..checks import check_whole
from .learned import LearnedDetector


class ActivationClassifier(LearnedDetector):
    """s(x) = d₁(a(x)) − d₀(a(x)): the logits of a small network d for "adversarial" and "natural".

    Metzen et al. (2017), "On detecting adversarial perturbations", section 3: a(x) is what one
    layer of the model says of x, and d is trained by cross-entropy while the model stays as it is.
    On feature maps (C, H, W) d is two convolutions with pooling and two linear layers, on flat
    outputs the linear layers alone. Each channel of a(x) is first scaled by the range that it has
    in training. The score is differentiable through both networks.

    It knows the attacks that it was shown. What it says of others is to be measured: not every
    attack teaches it every other. And whoever has its gradient fools both networks at once:
    Carlini & Wagner (2017), "Adversarial examples are not easily detected".

    Where we differ: their d is larger and stands on a ResNet; the scaling of channels is ours;
    their "dynamic" training, in which the adversary attacks d while it learns, is not here. We
    learn only from attacks that fool the model, and not from all.

    :param attack: to learn from, any ``attack(model, x, y)``, or several; by default
        ``FGSM(eps=0.3)``, which suits digits.
    :param layer: the name of the layer, such as ``"features.2"``; by default that before the last
        linear one, see :func:`advlab.models.penultimate`.
    :param noisy: noisy images, as large in L2 as the attack's, are learned as natural too.
    :param width: filters of the first convolution; the second has twice as many.
    :param hidden: units of the hidden linear layer.
    :param epochs: of d's training, at least 1.
    :raises ValueError: a hyper-parameter out of its range; in ``fit``, an attack that fools the
        model on no image, or a layer that the model has not.
    """

    def __init__(
        self,
        attack: Callable | Sequence[Callable] | None = None,
        *,
        layer: str | None = None,
        noisy: bool = False,
        width: int = 8,
        hidden: int = 64,
        epochs: int = 5,
    ):
        super().__init__(attack, layer=layer, noisy=noisy)
        self.width, self.hidden, self.epochs = width, hidden, epochs
        for name in ("width", "hidden", "epochs"):
            check_whole(self, name)
        self.network = None
        self.register_buffer("shape", torch.zeros(3, dtype=torch.int64))  # (C, H, W) of a(x)
        self.register_buffer("low", torch.zeros(1))
        self.register_buffer("range", torch.ones(1))

    def process(self, x: Tensor) -> Tensor:
        natural, adversarial = self.network(self.scaled(self.look(x))).unbind(1)
        return adversarial - natural

    def scaled(self, seen: Tensor) -> Tensor:
        """As images (N, C, H, W), each channel divided by its range in training."""
        return (_maps(seen) - self.low) / self.range

    def learn_from(self, seen: Tensor, labels: Tensor, seed: int) -> None:
        maps = _maps(seen)
        self.low = maps.amin((0, 2, 3), keepdim=True)
        spread = maps.amax((0, 2, 3), keepdim=True) - self.low
        self.range = torch.where(spread > 0, spread, 1)  # of a unit that never fires
        self.shape = torch.tensor(maps.shape[1:], device=maps.device)
        self.build(seed)
        # Rounding may lead a hair out of [0, 1], which training insists on.
        data = (self.scaled(seen).clamp(0, 1), labels)
        training.fit(self.network, data, epochs=self.epochs, seed=seed, progress=False)
        self.network.zero_grad()

    def build(self, seed: int) -> None:
        """An untrained d for outputs of that shape, where the other buffers are."""
        with seeded(self.low.device, seed):
            network = detecting_network(self.shape.tolist(), self.width, self.hidden)
        self.network = network.to(self.low)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        if (shape := state_dict.get(prefix + "shape")) is not None and shape.all():
            self.shape = shape.to(self.shape)
            self.build(0)  # its weights come next
        super()._load_from_state_dict(state_dict, prefix, *args)


def detecting_network(shape: tuple[int, int, int], width: int, hidden: int) -> nn.Sequential:
    """From (N, C, H, W) to the logits (N, 2) for natural and adversarial."""
    channels, height, size = shape
    if height == size == 1:
        features, flat = [], channels
    else:
        features, flat = [], 2 * width * -(-height // 4) * -(-size // 4)
        for before, after in ((channels, width), (width, 2 * width)):
            features += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            features += [nn.MaxPool2d(2, ceil_mode=True)]
    head = [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 2)]
    return nn.Sequential(*features, *head)


def _maps(seen: Tensor) -> Tensor:
    """(N, C, H, W) as it is, anything else as (N, D, 1, 1)."""
    return seen if seen.ndim == 4 else seen.flatten(1)[:, :, None, None]
