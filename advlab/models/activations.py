"""What a network computes on its way: the outputs of any of its layers, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .contract import frozen


def activations(model: nn.Module, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """The outputs of the named layers, as the model computes them for x; differentiable.

    :param model: called once, as it is: put it in evaluation mode yourself, or use it inside
        :func:`advlab.models.frozen`.
    :param x: (N, C, H, W), in [0, 1].
    :param names: as :func:`layers` and ``model.named_modules()`` have them, such as
        ``"features.1"``. The empty name is the model itself: its logits.
    :returns: name → (N, ...). Of a layer that is used several times, the last output.
    :raises ValueError: a name that is not there, or of a layer that this model never calls.
    """
    modules = dict(model.named_modules())
    if unknown := [name for name in names if name not in modules]:
        known = ", ".join(name for name in modules if name)
        raise ValueError(f"names: found {unknown[0]!r}, expected among {known}")
    found: dict[str, Tensor] = {}

    def keep(name: str):
        # A copy: a ReLU that works in place would change what was kept.
        return lambda module, given, out: found.update({name: out.clone()})

    hooks = [modules[name].register_forward_hook(keep(name)) for name in dict.fromkeys(names)]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"names: the model never calls its layer {missing[0]!r}")
    return {name: found[name] for name in names}


def layers(model: nn.Module, x: Tensor) -> list[str]:
    """The names of the layers without parts of their own, in the order in which they are called.

    :param x: (N, C, H, W), in [0, 1], images that the model takes; one will do.
    """
    called: list[str] = []
    with _noted(model, called), frozen(model), torch.no_grad():
        model(x.clone())
    return list(dict.fromkeys(called))


@contextmanager
def _noted(model: nn.Module, called: list[str]) -> Iterator[None]:
    leaves = [(n, m) for n, m in model.named_modules() if not list(m.children())]
    hooks = [
        m.register_forward_hook(lambda *_, name=name: called.append(name)) for name, m in leaves
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def penultimate(model: nn.Module, x: Tensor) -> str:
    """The layer before the last linear one: its output is the last hidden layer's.

    :param x: (N, C, H, W), in [0, 1], images that the model takes; one will do.
    :raises ValueError: a model without a layer in front of a linear one; name a layer yourself.
    """
    modules = dict(model.named_modules())
    names = layers(model, x)
    linear = [i for i, name in enumerate(names) if isinstance(modules[name], nn.Linear)]
    if not linear or not linear[-1]:
        raise ValueError(
            "model: found no layer in front of a linear one; name the layer to look at, one of "
            f"{', '.join(names) or 'none'}"
        )
    return names[linear[-1] - 1]
