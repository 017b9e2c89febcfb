"""Decision attacks by others: as many queries, counted by a hook, and no smaller distances."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import Boundary, HopSkipJump
from advlab.models import predict

from .conftest import art_run, foolbox_run

pytestmark = pytest.mark.peers


@contextmanager
def counted(model):
    """How many images the model is shown in the meantime."""
    count = {"rows": 0}

    def add(module, inputs, output):
        count["rows"] += len(output)

    handle = model.register_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()


@pytest.fixture
def few(single):
    """Twelve images that the model has right."""
    model, x, y = single
    right = (predict(model, x) == y).nonzero().squeeze(1)[::6][:12]
    assert len(right) == 12
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (ART draws from it)
    return model, x[right], y[right]


class Single(nn.Module):
    """ART's bisection hands the model float64 images, whatever it was given."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.float())


def measured(model, x, y, x_adv, norm):
    """Success and the median distance, a failure being infinitely far."""
    fooled = predict(model, x_adv) != y
    size = threat.size(x_adv - x, norm).masked_fill(~fooled, torch.inf)
    return fooled.double().mean().item(), size.median().item()


def assert_no_worse(model, x, y, run, attack):
    """With at most the peer's queries: as many successes, and a median that is no larger."""
    with counted(model) as theirs:
        found = run()
    queries = theirs["rows"] // len(x)
    assert queries > 400
    with counted(model) as mine:
        x_adv = attack(queries)(model, x, y)
    assert mine["rows"] <= theirs["rows"]
    norm = attack(1).norm
    (success, median), (peer_success, peer_median) = (
        measured(model, x, y, images, norm) for images in (x_adv, found)
    )
    assert success == 1
    assert peer_success > 0.5  # a peer that fails shows nothing
    assert median <= peer_median


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_hopskipjump_beside_foolbox(norm, few):
    """Foolbox divides the direction by a length taken over the batch: one image at a time."""
    import foolbox

    model, x, y = few
    peer = foolbox.attacks.HopSkipJumpAttack(steps=3, constraint=norm.lower())

    def run():
        rows = range(len(x))
        return torch.cat([foolbox_run(peer, None, model, x[[i]], y[[i]]) for i in rows])

    assert_no_worse(model, x, y, run, lambda queries: HopSkipJump(queries=queries, norm=norm))


@pytest.mark.parametrize(("norm", "p"), [("L2", 2), ("Linf", "inf")])
def test_hopskipjump_beside_art(norm, p, few):
    from art.attacks.evasion import HopSkipJump as Peer

    model, x, y = few

    def run():
        return art_run(Peer, Single(model), x, y, norm=p, max_iter=3, verbose=False)

    assert_no_worse(model, x, y, run, lambda queries: HopSkipJump(queries=queries, norm=norm))


def test_boundary_beside_foolbox(few):
    import foolbox

    model, x, y = few
    peer = foolbox.attacks.BoundaryAttack(steps=700)

    def run():
        return foolbox_run(peer, None, model, x, y)

    assert_no_worse(model, x, y, run, lambda queries: Boundary(queries=queries))


def test_boundary_beside_art(few):
    from art.attacks.evasion import BoundaryAttack as Peer

    model, x, y = few

    def run():
        settings = {"targeted": False, "max_iter": 15, "verbose": False}
        return art_run(Peer, Single(model), x, y, **settings)

    assert_no_worse(model, x, y, run, lambda queries: Boundary(queries=queries))
