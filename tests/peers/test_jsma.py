"""JSMA, written by others: none reaches more classes, or the same with fewer pixels."""

from __future__ import annotations

import pytest
import torch

from advlab import threat
from advlab.attacks import JSMA
from advlab.models import predict

from .conftest import art_run

pytestmark = pytest.mark.peers


@pytest.fixture
def few(single):
    """Two images of each digit, and the next digit as the class wanted."""
    model, x, y = single
    chosen = torch.cat([torch.arange(0, 80, 8), torch.arange(1, 80, 8)]).to(x.device)
    return model, x[chosen], (y[chosen] + 1) % 10


def measure(model, x, wanted, x_adv):
    """How many images reach the class wanted, and with how many pixels, in the mean."""
    reached = predict(model, x_adv) == wanted
    return int(reached.sum()), threat.size(x_adv - x, "L0")[reached].mean().item()


def assert_no_weaker(ours, theirs):
    assert ours[0] >= theirs[0]
    assert ours[1] <= theirs[1]
    assert ours[0] >= 16


def test_no_weaker_than_art(few):
    from art.attacks.evasion import SaliencyMapMethod

    model, x, wanted = few
    settings = {"theta": 1.0, "gamma": 0.145, "batch_size": 20, "verbose": False}
    theirs = art_run(SaliencyMapMethod, model, x, wanted, **settings)
    x_adv = JSMA(theta=1.0, gamma=0.145, targeted=True)(model, x, wanted)
    assert_no_weaker(measure(model, x, wanted, x_adv), measure(model, x, wanted, theirs))


def test_no_weaker_than_torchattacks(few):
    import torchattacks

    # 28 steps: torchattacks looks at all pairs of one image at a time, for half a second or so.
    model, x, wanted = (part[:10] if isinstance(part, torch.Tensor) else part for part in few)
    peer = torchattacks.JSMA(model, theta=1.0, gamma=56 / 784)
    peer.set_mode_targeted_by_label(quiet=True)
    theirs = measure(model, x, wanted, peer(x.clone(), wanted).detach())
    for outputs in ("probabilities", "logits"):
        x_adv = JSMA(gamma=56 / 784, targeted=True, outputs=outputs)(model, x, wanted)
        assert measure(model, x, wanted, x_adv)[0] >= theirs[0]
        if outputs == "probabilities":
            assert measure(model, x, wanted, x_adv)[0] >= 7


def test_with_logits_it_makes_the_steps_of_torchattacks(few):
    """Of black and white images, where both agree on which features have room."""
    import torchattacks

    model, x, wanted = (part[:4] if isinstance(part, torch.Tensor) else part for part in few)
    model, x = model.double(), x.round().double()
    peer = torchattacks.JSMA(model, theta=1.0, gamma=20 / 784)
    peer.set_mode_targeted_by_label(quiet=True)
    theirs = peer(x.clone(), wanted).detach()
    # Ours gives back what fails; the longest walk that is wanted is the first that reaches.
    reached = predict(model, theirs) == wanted
    x_adv = JSMA(gamma=20 / 784, targeted=True, outputs="logits")(model, x, wanted)
    assert torch.equal(predict(model, x_adv) == wanted, reached)
    torch.testing.assert_close(x_adv[reached], theirs[reached], rtol=0, atol=0)
