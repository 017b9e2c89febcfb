"""Ensemble adversarial training: attacks on other networks, which the model cannot mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..models.contract import check_model
from .adversarial import FGSMMix


@dataclass(frozen=True, kw_only=True)
class EnsembleTraining(FGSMMix):
    """α J(x, y) + (1 − α) J(x̃, y), where x̃ is FGSM on another network, or on the model itself.

    Tramèr et al. (2018): for each batch one of the static sources and the model is
    drawn, all with the same chance, and x̃ = clip(x + ε sign ∇ₓJ(g(x), ŷ)) for that network g. The
    model has no say in the gradients of a source, so it cannot make them harmless by bending its
    own. As in the authors' code α = 1/2, and ŷ is what g itself predicts, so that x̃ does not tell
    the label.

    A source is drawn from torch's global random state, which :func:`advlab.training.fit` seeds. The
    sources are attacked in evaluation mode, get no gradients, and are moved to where the images
    are. Choose them from the recipe's own data: sources trained on test images would tell them.

    :param sources: name → network that is trained already: images (N, C, H, W) to logits of the
        model's classes. At least one. Only the names are shown, and compared by checkpoints.
    :param label: ŷ, as for :class:`FGSMMix`.
    :raises ValueError: no sources, a number out of its range, or another label.
    :raises TypeError: something else than a mapping of networks.
    """

    sources: Mapping[str, nn.Module] = field(repr=False, compare=False)
    names: tuple[str, ...] = field(init=False)
    label: str = "predicted"

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.sources, Mapping):
            found = type(self.sources).__name__
            raise TypeError(f"sources: expected a mapping of names to networks, found {found}")
        if not self.sources:
            raise ValueError("sources: expected at least one trained network, found none")
        for source in self.sources.values():
            check_model(source)
        object.__setattr__(self, "names", tuple(self.sources))

    def adversarial(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attacked_one = self.draw(model).to(x.device)
        return super().adversarial(attacked_one, x, y)

    def draw(self, model: nn.Module) -> nn.Module:
        """One of the sources, or the model, all with the same chance."""
        networks = (*self.sources.values(), model)
        return networks[torch.randint(len(networks), ()).item()]
