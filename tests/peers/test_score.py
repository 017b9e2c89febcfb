"""Score attacks against torchattacks, at equal budget.

Universal perturbations have no peer here: one epoch of ART's on 16 images takes longer than all of
these tests, and a single run on so few images does not tell two methods apart.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.attacks import SPSA, Square
from advlab.models import predict

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def color():
    """A network trained for a minute's part on noisy images of ten colors, and such images."""
    source = torch.Generator().manual_seed(0)
    hues = torch.rand(10, 3, 1, 1, generator=source)

    def draw(n):
        y = torch.arange(n) % 10
        x = hues[y] + 0.25 * torch.randn(n, 3, 16, 16, generator=source)
        return x.clamp(0, 1), y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(432, 10)
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(60):
        x, y = draw(100)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    x, y = draw(100)
    right = predict(model, x) == y
    assert right.double().mean() > 0.9
    return model.eval(), x[right], y[right]


def stand(model, x_adv, y):
    """The robust accuracy. Clipped: some libraries leave the box by a rounding error."""
    return (predict(model, x_adv.clamp(0, 1)) == y).double().mean().item()


def assert_no_weaker(ours, theirs):
    """Robust accuracies, one for each seed: the mean difference, within two standard errors."""
    ours, theirs = torch.tensor([ours, theirs], dtype=torch.float64)
    assert 0 < theirs.mean() < 1  # a budget at which it can be told
    difference = ours - theirs
    assert difference.mean() <= 2 * difference.std() / len(difference) ** 0.5


@pytest.mark.parametrize(
    ("kind", "norm", "eps"),
    [
        ("digits", "Linf", 0.2),
        ("digits", "L2", 2.5),
        ("color", "Linf", 0.06),
        ("color", "L2", 1.0),
    ],
)
def test_square_is_no_weaker_than_torchattacks(kind, norm, eps, single, color):
    import torchattacks

    model, x, y = single if kind == "digits" else color
    x, y = x[::2], y[::2]
    ours, theirs = [], []
    for seed in range(5):
        attack = Square(eps=eps, norm=norm, queries=100, seed=seed)
        ours.append(stand(model, attack(model, x, y), y))
        peer = torchattacks.Square(model, eps=eps, norm=norm, n_queries=100, seed=seed)
        theirs.append(stand(model, peer(x, y), y))
    assert_no_weaker(ours, theirs)


@pytest.mark.parametrize("kind", ["digits", "color"])
def test_spsa_is_no_weaker_than_torchattacks(kind, single, color):
    import torchattacks

    model, x, y = single if kind == "digits" else color
    x, y = x[::2], y[::2]
    eps = 0.25 if kind == "digits" else 0.06
    ours, theirs = [], []
    for seed in range(5):
        attack = SPSA(eps=eps, queries=120, samples=4, lr=eps / 4, seed=seed)
        ours.append(stand(model, attack(model, x, y), y))
        torch.manual_seed(seed)
        # It looks at no iterate: the same differences are fewer queries.
        settings = {"delta": 0.01, "lr": eps / 4, "nb_iter": attack.steps, "nb_sample": 4}
        theirs.append(stand(model, torchattacks.SPSA(model, eps=eps, **settings)(x, y), y))
    assert_no_weaker(ours, theirs)
