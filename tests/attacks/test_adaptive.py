"""Every attack of the package takes ``backward``, and sees through a step that hides its slope."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from advlab.attacks import (
    RP2,
    SPSA,
    UAP,
    AdversarialPatch,
    Boundary,
    GradientWarning,
    HopSkipJump,
    Noise,
    SegmentationUAP,
    Square,
)
from advlab.models import Preprocessing

from .conftest import ATTACKS, MINIMUM_ATTACKS, images, small_cnn

# They ask for answers and for no gradient: there is nothing to hide from them.
WITHOUT_GRADIENTS = (Noise, Square, SPSA, Boundary, HopSkipJump)


class Veil(Preprocessing):
    """g(x) = x, with the gradient 0: behind it, seen through, is the bare network."""

    def process(self, x):
        return x.detach() + 0 * x


def brief(attack):
    """Fewer steps and searches tell as much here."""
    most = {"steps": 30, "searches": 7, "queries": 100}
    had = {name: getattr(attack, name, 0) for name in most}
    return attack.changed(**{n: min(had[n], most[n]) for n in most if had[n]})


def same(found, expected):
    """But for rounding: the network's input may lie in memory in another order."""
    return torch.allclose(found, expected, rtol=0, atol=1e-6)


def blind(attack, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientWarning)
        return attack(*given)


@pytest.mark.parametrize("attack", [*ATTACKS, *map(brief, MINIMUM_ATTACKS)], ids=str)
def test_seen_through_a_step_the_attack_is_the_one_on_the_bare_network(attack):
    bare = small_cnn(classes=4)
    model = nn.Sequential(Veil(), bare)
    x = images(3)
    y = bare(x).argmax(1)
    expected = attack(bare, x, y)
    knowing = attack.changed(backward="identity")
    assert same(knowing(model, x, y), expected)
    assert model[0].backward == "own", "the model is left as it was found"
    harmless = isinstance(attack, WITHOUT_GRADIENTS)
    assert same(blind(attack, model, x, y), expected) == harmless


def learned(attack, model):
    """What an attack that is no :class:`advlab.attacks.Attack` learns, as a tensor."""
    x = images(1 if isinstance(attack, RP2) else 4, size=(8, 8))
    if isinstance(attack, SegmentationUAP):
        return attack(model, x, (x[0, 0] > 0.5).long())
    if isinstance(attack, AdversarialPatch):
        return attack(model, x, torch.zeros(len(x), dtype=torch.int64)).pixels
    return attack(model, x)


LEARNING = [
    UAP(eps=0.1, epochs=2, fooling=1.0),
    UAP(eps=0.1, epochs=2, fooling=1.0, method="sgd"),
    AdversarialPatch(area=0.2, steps=3),
    SegmentationUAP(eps=0.1, steps=3),
    RP2(target=1, nps=0.0, steps=3),
]


@pytest.mark.parametrize("attack", LEARNING, ids=lambda a: type(a).__name__)
def test_so_is_what_learns_one_perturbation_for_all_images(attack):
    bare = small_cnn(size=(8, 8))
    if isinstance(attack, SegmentationUAP):
        bare = nn.Conv2d(1, 3, 3, padding=1).double()
    model = nn.Sequential(Veil(), bare)
    expected = learned(attack, bare)
    knowing = type(attack)(**{**vars(attack), "backward": "identity"})
    assert same(learned(knowing, model), expected)
    assert model[0].backward == "own"
    assert not same(blind(learned, attack, model), expected)
    with pytest.raises(ValueError, match="backward: found 'bpda'"):
        type(attack)(**{**vars(attack), "backward": "bpda"})
