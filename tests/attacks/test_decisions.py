"""What holds for every attack that sees only decisions: queries, starts, goals."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from advlab import threat
from advlab.attacks import Boundary, HopSkipJump

from .conftest import BinaryLinear, images, small_cnn

DECISION_ATTACKS = [
    HopSkipJump(queries=300, evals=30),
    HopSkipJump(queries=300, evals=30, norm="Linf"),
    Boundary(queries=300),
]
every_attack = pytest.mark.parametrize("attack", DECISION_ATTACKS, ids=str)


class Counting(nn.Module):
    """Counts the rows shown, and writes down which of the images x each one is nearest to."""

    def __init__(self, model, x):
        super().__init__()
        self.model, self.x = model, x
        self.counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def forward(self, x):
        whose = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1)
        self.counts += whose.bincount(minlength=len(self.x))
        return self.model(x)


class OneHot(nn.Module):
    """The class and nothing else: the logits are 1 at the model's class and 0 elsewhere."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        # −2 in place of 0, or the rows would be probabilities.
        return torch.full_like(logits, -2.0).scatter(1, logits.argmax(1, keepdim=True), 1.0)


@every_attack
@pytest.mark.parametrize("queries", [1, 2, 3, 17, 40, 41, 150])
def test_never_more_queries_than_allowed_alone(attack, queries, cnn, x, y):
    attack = dataclasses.replace(attack, queries=queries)
    for i in range(6):
        counting = Counting(cnn, x[i : i + 1])
        attack(counting, x[i : i + 1], y[i : i + 1])
        assert counting.counts.item() <= queries
        # All are used, up to what does not do for a further step.
        assert counting.counts.item() >= queries - 16


@every_attack
def test_never_more_queries_than_allowed_in_a_batch(attack, cnn, x, y):
    """The sum is what each image has alone: no image asks in another's place."""
    alone = []
    for i in range(8):
        counting = Counting(cnn, x[i : i + 1])
        attack(counting, x[i : i + 1], y[i : i + 1])
        alone.append(counting.counts.item())
    counting = Counting(cnn, x[:8])
    attack(counting, x[:8], y[:8])
    assert max(alone) <= attack.queries
    assert counting.counts.sum().item() == sum(alone)


@every_attack
def test_an_image_that_is_wrong_already_asks_once(attack, cnn, x, y):
    wrong = (y[:5] + 1) % 3
    counting = Counting(cnn, x[:5])
    assert torch.equal(attack(counting, x[:5], wrong), x[:5])
    assert counting.counts.tolist() == [1] * 5
    mixed = torch.where(torch.arange(5, device=y.device) == 2, wrong, y[:5])
    found = attack(cnn, x[:5], mixed)
    assert torch.equal(found[2], x[2])
    rest = [0, 1, 3, 4]
    torch.testing.assert_close(found[rest], attack(cnn, x[rest], y[rest]), rtol=0, atol=1e-9)


@every_attack
def test_decisions_are_all_that_it_sees(attack, cnn, x, y):
    expected = attack(cnn, x[:10], y[:10])
    assert torch.equal(attack(OneHot(cnn), x[:10], y[:10]), expected)
    assert (expected != x[:10]).flatten(1).any(1).all()


@every_attack
def test_a_model_without_gradients_is_as_good(attack, cnn, x, y, recwarn):
    class Detached(nn.Module):
        def forward(self, x):
            with torch.no_grad():
                return cnn(x.detach())

    assert torch.equal(attack(Detached(), x[:4], y[:4]), attack(cnn, x[:4], y[:4]))
    assert not recwarn.list


@every_attack
def test_more_queries_come_closer(attack, cnn, x, y):
    sizes = []
    for queries in (30, 100, 300, 1000):
        x_adv = dataclasses.replace(attack, queries=queries)(cnn, x, y)
        with torch.no_grad():
            assert (cnn(x_adv).argmax(1) != y).all()
        sizes.append(threat.size(x_adv - x, attack.norm).mean().item())
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.5 * sizes[0]


class Odd(nn.Module):
    """Class 1 only for an image with its first pixel at 0.123456; noise never has it."""

    def forward(self, x):
        hit = ((x[:, 0, 0, 0] - 0.123456).abs() < 1e-9).to(x)
        return torch.stack([1 - 3 * hit, 3 * hit], 1) - 1


@every_attack
def test_where_no_start_is_found_x_comes_back(attack, x):
    x = x[:3]
    y = torch.zeros(3, dtype=torch.int64, device=x.device)
    counting = Counting(Odd(), x)
    found = dataclasses.replace(attack, tries=20)(counting, x, y)
    assert torch.equal(found, x)
    assert counting.counts.sum().item() == 3 * (1 + 20)


@every_attack
def test_a_start_that_was_given_is_used(attack, x):
    x = x[:3]
    y = torch.zeros(3, dtype=torch.int64, device=x.device)
    start = torch.full_like(x[:1], 0.5)
    start[:, :, 0, 0] = 0.123456
    given = dataclasses.replace(attack, starts=torch.cat([x[:2], start]))
    found = given(Odd(), x, y)
    with torch.no_grad():
        assert (Odd()(found).argmax(1) == 1).all()
    with pytest.raises(ValueError, match=r"starts: expected images of shape \(1, 6, 7\), found"):
        dataclasses.replace(attack, starts=torch.zeros(2, 1, 5, 5))(Odd(), x, y)
    with pytest.raises(ValueError, match=r"starts: expected values in \[0, 1\]"):
        dataclasses.replace(attack, starts=3 * start)


@every_attack
def test_starts_are_tried_nearest_first(attack, device):
    """With queries for the first look and one start, the start is what comes back."""
    x = torch.full((2, 1, 3, 3), 0.1, dtype=torch.float64, device=device)
    x[1] = 0.9
    levels = torch.tensor([1.0, 0.6, 0.4, 0.0], dtype=torch.float64, device=device)
    starts = levels.view(-1, 1, 1, 1).expand(4, 1, 3, 3)

    class Bright(nn.Module):
        def forward(self, x):
            return torch.stack([0.5 + 0 * x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1) * 20

    y = torch.tensor([0, 1], device=device)
    for queries, first, second in [(2, 0.1, 0.9), (3, 0.1, 0.9), (4, 0.6, 0.4)]:
        given = dataclasses.replace(attack, starts=starts, queries=queries)
        found = given(Bright(), x, y)
        # Nearest to 0.1 are 0.0 and 0.4, on its own side; then comes 0.6.
        assert torch.allclose(found[0], torch.full_like(x[0], first))
        assert torch.allclose(found[1], torch.full_like(x[1], second))


@every_attack
def test_targeted_reaches_the_class_from_starts_of_it(attack, device):
    model = small_cnn(1, (6, 7), 10).to(device)
    pool, x = images(300, seed=7).to(device), images(12).to(device)
    with torch.no_grad():
        of_pool, y = model(pool).argmax(1), model(x).argmax(1)
    # The rarest class of the pool that it has: one that noise does not find easily.
    counts = of_pool.bincount(minlength=10).masked_fill(of_pool.bincount(minlength=10) == 0, 999)
    wanted = torch.full_like(y, counts.argmin().item())
    chosen = dataclasses.replace(attack, targeted=True, tries=0, starts=pool[of_pool == wanted[0]])
    found = chosen(model, x, wanted)
    with torch.no_grad():
        assert (model(found).argmax(1) == wanted).all()
    alone = chosen(model, x[4:5], wanted[4:5])
    torch.testing.assert_close(alone, found[4:5], rtol=0, atol=1e-9)
    start = threat.size(pool[of_pool == wanted[0]][:1] - x, attack.norm)
    moved = y != wanted
    assert (threat.size(found - x, attack.norm) < start)[moved].all()


@every_attack
def test_another_seed_another_walk_as_good(attack, cnn, x, y):
    first = attack(cnn, x, y)
    second = dataclasses.replace(attack, seed=1)(cnn, x, y)
    assert (first != second).flatten(1).any(1).all()
    means = [threat.size(found - x, attack.norm).mean().item() for found in (first, second)]
    assert max(means) < 1.2 * min(means)


@every_attack
def test_what_comes_back_is_what_was_judged(attack, device):
    """On a boundary so close that rounding decides: float32, far from the origin."""
    model = BinaryLinear((1, 6, 7)).to(device).float()
    x = (0.3 + 0.4 * images(30)).float().to(device)
    with torch.no_grad():
        y = model(x).argmax(1)
        found = dataclasses.replace(attack, queries=1000)(model, x, y)
        assert (model(found).argmax(1) != y).all()


@every_attack
def test_one_pixel_images(attack, device):
    model = BinaryLinear((1, 1, 1)).to(device)
    x = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64, device=device).view(4, 1, 1, 1)
    with torch.no_grad():
        model.w.fill_(-1.0)
        y = model(x).argmax(1)  # the boundary is at 0.3
        found = attack(model, x, y)
        assert (model(found).argmax(1) != y).all()
    assert ((found - 0.3).abs() < 1e-3).all()


@every_attack
def test_labels_that_the_model_does_not_have_are_refused(attack, cnn, x, y):
    with pytest.raises(ValueError, match=r"y: expected class numbers below 3, .* found 3"):
        attack(cnn, x, y * 0 + 3)


@pytest.mark.parametrize("kind", [HopSkipJump, Boundary])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": 0}, "queries: expected a whole number from 1, found 0"),
        ({"queries": 1.5}, "queries: expected a whole number"),
        ({"tries": -1}, "tries: expected a whole number from 0"),
        ({"norm": "L1"}, "norm: found 'L1', expected L2"),
        ({"starts": torch.zeros(1, 28, 28)}, r"starts: expected shape \(N, C, H, W\)"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_starts_are_no_part_of_the_name_or_of_equality():
    starts = torch.rand(3, 1, 2, 2)
    assert str(Boundary(starts=starts)) == "Boundary()"
    assert Boundary(starts=starts) == Boundary()


@every_attack
@pytest.mark.parametrize("seed", range(3))
def test_float32_images_are_adversarial_when_judged_again(attack, seed, device):
    """One by one, and in another memory layout: the model then rounds in another way."""
    model = small_cnn(3, (12, 12), dtype=torch.float32, seed=seed).to(device)
    x = images(25, 3, (12, 12), torch.float32, seed=seed + 1).to(device)
    with torch.no_grad():
        y = model(x).argmax(1)
        found = dataclasses.replace(attack, queries=1500)(model, x, y)
        for again in (found, found.contiguous(memory_format=torch.channels_last)):
            one_by_one = torch.cat([model(image[None]) for image in again])
            assert (one_by_one.argmax(1) != y).all()


class Shell(nn.Module):
    """Class 1 in a shell of the pixel: from 0.5 on, no farther than ``width``."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        pixel = x[:, 0, 0, 0]
        inside = ((pixel >= 0.5) & (pixel <= 0.5 + self.width)).to(x)
        return torch.stack([1 - 3 * inside, 3 * inside - 2], 1)


@every_attack
def test_what_comes_back_is_a_few_roundings_from_the_boundary(attack):
    x = torch.full((1, 1, 1, 1), 0.25, dtype=torch.float32)
    y = torch.zeros(1, dtype=torch.int64)
    rounding = torch.finfo(torch.float32).eps
    found = attack(Shell(1.0), x, y).item()
    assert 3 * rounding < found - 0.5 < 1e-3
    # Where nothing farther has reached the goal, the nearest comes back.
    start = torch.full_like(x, 0.5)
    counting = Counting(Shell(0.5 * rounding), x)
    found = dataclasses.replace(attack, starts=start)(counting, x, y)
    assert found.item() == 0.5
    assert counting.counts.item() <= attack.queries


@every_attack
def test_starts_are_noise_in_cells_that_grow(attack):
    """1, 2, 4 and 8 pixels; after the first round black or white."""
    shown = []

    class Never(nn.Module):
        def forward(self, x):
            shown.append(x[0])
            return torch.tensor([[1.0, -1.0]]).to(x).expand(len(x), 2)

    x = torch.full((1, 2, 16, 24), 0.5, dtype=torch.float64)
    dataclasses.replace(attack, tries=8)(Never(), x, torch.zeros(1, dtype=torch.int64))
    assert len(shown) == 1 + 8
    for k, image in enumerate(shown[1:]):
        cell = (1, 2, 4, 8, 1, 2, 4, 8)[k]
        cells = image[:, ::cell, ::cell]
        assert torch.equal(cells.repeat_interleave(cell, 1).repeat_interleave(cell, 2), image)
        different = len(cells.unique())
        assert different == (cells.numel() if k < 4 else 2)
