"""A network trained on the labels of another, and attacked in its place."""

from __future__ import annotations

import pytest
import torch

from advlab.attacks import (
    FGSM,
    Noise,
    Oracle,
    QueryBudgetSpent,
    Substitute,
    SubstituteInterrupted,
    jacobian_augment,
    noise_augment,
    reservoir,
)
from advlab.data import load
from advlab.evaluation import oracle_error
from advlab.models import MLP, load_model, predict

from .conftest import images
from .test_oracle import Counting


def small(seed=3):
    """A substitute for the images of ``conftest``: 42 pixels, 3 classes."""
    return Counting(seed=seed)


SHORT = {"epochs": 2, "lr": 0.01, "batch_size": 16}


# The augmentation.


def test_augmentation_follows_the_row_of_the_label_and_stays_in_the_box():
    model, x = Counting(), images(30)
    labels = torch.arange(30) % 3  # not what the model itself says: the oracle's label decides
    new = jacobian_augment(model, x, labels, 0.1)
    rows = model.linear.weight.detach()[labels].view_as(x)
    assert torch.equal(new, (x + 0.1 * rows.sign()).clamp(0, 1))
    assert (x + 0.1 * rows.sign()).min() < 0 < (x + 0.1 * rows.sign()).max() - 1
    assert not new.requires_grad


def test_a_negative_step_goes_the_other_way():
    model, x = Counting(), 0.25 + images(5) / 2
    labels = torch.tensor([0, 1, 2, 0, 1])
    up, down = (jacobian_augment(model, x, labels, lam) for lam in (0.1, -0.1))
    torch.testing.assert_close(up - x, x - down)
    assert (up - x).abs().min() > 0.09


def test_augmentation_does_not_depend_on_the_batch():
    model, x, labels = Counting(), images(9), torch.arange(9) % 3
    alone = [jacobian_augment(model, x[i : i + 1], labels[i : i + 1], 0.2) for i in range(9)]
    assert torch.equal(torch.cat(alone), jacobian_augment(model, x, labels, 0.2))


def test_augmentation_leaves_the_model_as_it_was():
    model = small().train()
    jacobian_augment(model, images(3), torch.zeros(3, dtype=torch.int64), 0.1)
    assert model.training
    assert model.linear.weight.requires_grad
    assert model.linear.weight.grad is None


def test_augmentation_asks_the_model_in_evaluation_mode():
    model, x, labels = (
        torch.nn.Sequential(torch.nn.Dropout(0.9), small()),
        images(3),
        torch.arange(3),
    )
    expected = jacobian_augment(model.eval(), x, labels, 0.1)
    assert torch.equal(jacobian_augment(model.train(), x, labels, 0.1), expected)


def test_augmentation_refuses_a_label_that_the_substitute_does_not_have():
    with pytest.raises(ValueError, match="class numbers below 3"):
        jacobian_augment(small(), images(2), torch.tensor([0, 3]), 0.1)


def test_noise_moves_as_far_and_differs_by_seed():
    x = 0.25 + images(20) / 2
    first, again, other = (noise_augment(x, 0.1, seed) for seed in (0, 0, 1))
    torch.testing.assert_close((first - x).abs(), torch.full_like(x, 0.1))
    assert torch.equal(first, again)
    assert 0.4 < (first == other).double().mean() < 0.6
    assert noise_augment(images(20), 0.5, 0).max() <= 1


def test_every_row_is_as_likely_in_the_reservoir():
    n, kappa, draws = 20, 6, 3000
    counts = torch.zeros(n)
    for seed in range(draws):
        rows = reservoir(n, kappa, seed)
        assert len(set(rows.tolist())) == kappa
        assert rows.min() >= 0
        assert rows.max() < n
        counts[rows] += 1
    share = kappa / n
    deviation = (draws * share * (1 - share)) ** 0.5
    assert (counts - draws * share).abs().max() < 4 * deviation
    # Pairs too: rows 0 and 1 together, and the first with the last.
    pairs = sum({0, n - 1} <= set(reservoir(n, kappa, s).tolist()) for s in range(draws)) / draws
    expected = kappa * (kappa - 1) / (n * (n - 1))
    assert abs(pairs - expected) < 4 * (expected * (1 - expected) / draws) ** 0.5


def test_reservoir_by_hand():
    assert reservoir(4, 9, 0).tolist() == [0, 1, 2, 3]
    assert reservoir(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    assert reservoir(0, 5, 0).tolist() == []
    assert reservoir(5, 0, 0).tolist() == []
    assert torch.equal(reservoir(50, 7, 3), reservoir(50, 7, 3))
    assert not torch.equal(reservoir(50, 7, 3), reservoir(50, 7, 4))


def test_augmentation_works_on_what_was_made_in_inference_mode():
    model, labels = Counting(), torch.tensor([0, 1, 2])
    with torch.inference_mode():
        x = images(3) + 0
        new = jacobian_augment(model, x, labels, 0.1)
    assert torch.equal(new, jacobian_augment(model, images(3), labels, 0.1))


@pytest.mark.parametrize("lam", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_refused(lam):
    with pytest.raises(ValueError, match="lam: expected a finite number"):
        jacobian_augment(small(), images(2), torch.tensor([0, 1]), lam)
    with pytest.raises(ValueError, match="lam: expected a finite number"):
        noise_augment(images(2), lam, 0)


@pytest.mark.parametrize(("n", "kappa"), [(-1, 2), (5, -1)])
def test_a_reservoir_of_fewer_than_none_is_refused(n, kappa):
    with pytest.raises(ValueError, match="expected n and kappa from 0"):
        reservoir(n, kappa, 0)


# The substitute.


def test_the_set_doubles_each_round():
    x = images(5)
    oracle = Oracle(Counting(), 40)
    run = Substitute(rounds=3, **SHORT)(oracle, x, small())
    assert run.queries == [5, 10, 20, 40]
    assert oracle.left == 0
    assert run.ended == "rounds"
    assert Substitute(rounds=3).queries(5) == 40
    assert Substitute().queries(100) == 6400
    assert Substitute(rounds=2, kappa=99, sigma=0).queries(5) == 20, "κ of fewer images are all"
    assert len(run.loss) == len(run.agreement) == 4
    assert torch.equal(run.x[:5], x)
    assert torch.equal(run.y, predict(Counting(), run.x))


def test_the_noise_is_another_in_each_round():
    """With the same noise an image would give the same image again, about which nobody asks."""
    attack = Substitute(rounds=2, lam=0.05, augment="noise", **SHORT)
    assert attack(Oracle(Counting(), 99), images(4), small()).queries == [4, 8, 16]


def test_an_oracle_that_gives_no_labels_is_refused():
    with pytest.raises(ValueError, match=r"oracle: expected class numbers as torch.int64"):
        Substitute(rounds=0, **SHORT)(lambda x: torch.zeros(len(x)), images(4), small())


def test_the_reservoir_makes_the_growth_linear():
    attack = Substitute(rounds=6, kappa=8, sigma=2, **SHORT)
    oracle = Oracle(Counting(), 1000)
    run = attack(oracle, images(5), small())
    assert run.queries == [5, 10, 20, 28, 36, 44, 52]
    assert oracle.queries == attack.queries(5) == 5 * 2**2 + 8 * (6 - 2)


def test_the_reservoir_keeps_each_image_with_its_label():
    def augment(network, x, labels, lam):
        assert torch.equal(labels, predict(Counting(), x))
        assert len(x) == 9
        return jacobian_augment(network, x, labels, lam)

    attack = Substitute(rounds=3, kappa=9, sigma=0, augment=augment, **SHORT)
    assert attack(Oracle(Counting(), 999), images(20), small()).queries == [20, 29, 38, 47]


def test_the_seed_decides_on_the_order_of_training():
    first, other = small(), small()
    for network, seed in ((first, 0), (other, 5)):
        Substitute(rounds=0, seed=seed, **SHORT)(Oracle(Counting(), 40), images(40), network)
    assert not torch.equal(first.linear.weight, other.linear.weight)


def test_the_step_turns_around_every_tau_rounds():
    steps = [Substitute(lam=0.2, tau=2).step(round) for round in range(6)]
    assert steps == [0.2, 0.2, -0.2, -0.2, 0.2, 0.2]
    assert [Substitute(lam=0.2).step(round) for round in range(3)] == [0.2] * 3
    given = []

    def augment(network, x, labels, lam):
        given.append(lam)
        return jacobian_augment(network, x, labels, lam)

    attack = Substitute(rounds=4, lam=0.2, tau=1, augment=augment, **SHORT)
    attack(Oracle(Counting(), 99), images(4), small())
    assert given == [0.2, -0.2, 0.2, -0.2]


def test_new_images_are_those_of_the_labels_and_of_the_network_as_it_is():
    calls = []

    def augment(network, x, labels, lam):
        calls.append((x.clone(), labels.clone(), jacobian_augment(network, x, labels, lam)))
        return calls[-1][-1]

    x = images(6)
    run = Substitute(rounds=2, augment=augment, **SHORT)(Oracle(Counting(), 99), x, small())
    expected = Substitute(rounds=2, **SHORT)(Oracle(Counting(), 99), x, small())
    assert torch.equal(run.x, expected.x)
    assert torch.equal(run.x[6:12], calls[0][2])
    assert torch.equal(run.x[12:], calls[1][2])
    assert torch.equal(calls[1][1], predict(Counting(), calls[1][0]))


def test_no_image_is_asked_about_twice():
    model, x = Counting(), images(6)
    twice = torch.cat([x, x[:2]])
    # λ = 0 makes nothing new, and neither does a step that leaves a corner of the box.
    run = Substitute(rounds=3, lam=0.0, **SHORT)(Oracle(model, 99), twice, small())
    assert run.queries == [6] * 4
    assert torch.equal(run.x, x)
    run = Substitute(rounds=4, lam=0.4, tau=1, **SHORT)(Oracle(model, 999), twice, small())
    assert len(set(model.seen)) == 6 + run.queries[-1] - 6
    assert len(model.seen) == 6 + run.queries[-1]  # both runs, each image once


def test_of_no_new_images_nothing_is_asked():
    """Many a network cannot take a batch of none: ``x.view(len(x), -1)`` is ambiguous there."""
    model, asked = Counting(), []

    def oracle(x):
        asked.append(len(x))
        return predict(model, x)

    Substitute(rounds=2, lam=0.0, **SHORT)(oracle, images(4), small())
    assert asked == [4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_learns_in_half_precision(dtype):
    oracle = Oracle(Counting().to(dtype), 99)
    run = Substitute(rounds=2, **SHORT)(oracle, images(4).to(dtype), small().to(dtype))
    assert run.queries == [4, 8, 16]
    assert run.x.dtype == dtype


def test_a_budget_too_small_for_a_round_ends_the_run_and_keeps_what_was_learned():
    model, network = Counting(), small()
    oracle = Oracle(model, 39)
    run = Substitute(rounds=3, **SHORT)(oracle, images(5), network)
    assert run.queries == [5, 10, 20]
    assert run.ended == "budget"
    assert oracle.queries == 20
    assert len(model.seen) == 20
    assert run.agreement[-1] == (predict(network, run.x) == run.y).double().mean()


def test_a_budget_too_small_for_the_first_images_is_an_error():
    with pytest.raises(QueryBudgetSpent):
        Substitute()(Oracle(Counting(), 4), images(5), small())


def test_ctrl_c_keeps_what_was_learned():
    def stop(run):
        if len(run.loss) == 2:
            raise KeyboardInterrupt

    network = small().train()
    before = network.linear.weight.detach().clone()
    with pytest.raises(SubstituteInterrupted) as error:
        Substitute(rounds=4, **SHORT)(Oracle(Counting(), 999), images(5), network, after=stop)
    assert error.value.run.queries == [5, 10]
    assert len(error.value.run.y) == 10
    assert not network.training
    assert not torch.equal(network.linear.weight, before)


def test_ctrl_c_while_the_oracle_answers_keeps_the_labels_that_were_paid_for():
    class Stops(Counting):
        def forward(self, x):
            if len(self.seen) >= 8:
                raise KeyboardInterrupt
            return super().forward(x)

    oracle = Oracle(Stops(), 999, batch_size=2)
    with pytest.raises(SubstituteInterrupted) as error:
        Substitute(rounds=4, **SHORT)(oracle, images(5), small())
    run = error.value.run
    assert run.queries == [5]
    assert 5 < oracle.queries < 10
    assert len(run.x) == len(run.y) == oracle.queries
    assert torch.equal(run.y, predict(Counting(), run.x))


def test_ctrl_c_in_another_callable_keeps_only_labels():
    """What it was at need not be labels: here they are logits."""

    class Stops(Counting):
        def forward(self, x):
            if len(self.seen) >= 7:
                raise KeyboardInterrupt
            return super().forward(x)

    model = Stops()
    with pytest.raises(SubstituteInterrupted) as error:
        Substitute(rounds=4, **SHORT)(lambda x: predict(model, x, batch_size=2), images(5), small())
    assert error.value.run.y.shape == (5,)


@pytest.mark.parametrize("augment", ["jacobian", "noise"])
def test_the_seed_decides(augment):
    def weights(seed):
        network = small()
        attack = Substitute(rounds=3, kappa=6, sigma=1, augment=augment, seed=seed, **SHORT)
        run = attack(Oracle(Counting(), 999), images(5), network)
        return network.linear.weight.detach(), run.x

    torch.manual_seed(0)
    first = weights(1)
    torch.manual_seed(99)  # the global state plays no part
    again, other = weights(1), weights(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": -1}, "rounds: expected a whole number from 0"),
        ({"lam": float("nan")}, "lam: expected a finite number"),
        ({"tau": 0}, "tau: expected a whole number from 1"),
        ({"kappa": 2.5}, "kappa: expected a whole number from 1"),
        ({"epochs": 0}, "epochs: expected a whole number from 1"),
        ({"augment": "jacob"}, "augment: expected 'jacobian', 'noise' or a function"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Substitute(**wrong)


def test_no_image_to_start_from_is_an_error():
    with pytest.raises(ValueError, match="x0: expected at least one image"):
        Substitute()(Oracle(Counting(), 9), images(5)[:0], small())


# End to end: another model, of which only labels are seen, on digits.


def test_a_substitute_fools_the_oracle_and_noise_does_not():
    data = load("mnist5k", device="cpu")
    model = load_model("mnist-mlp", "cpu")
    (x0, _), (x, y) = data.train, data.test
    x, y = x[:300], y[:300]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MLP(hidden=(100,))
    oracle = Oracle(model, 1600)
    run = Substitute(rounds=4, lam=-0.1, lr=3e-3)(oracle, x0[:100], network)
    assert oracle.left == 0
    assert run.agreement[-1] > 0.95
    fgsm, noise = (
        oracle_error(model, x, attack(network, x, y), y).fooled
        for attack in (FGSM(eps=0.1), Noise(eps=0.1))
    )
    assert noise < 0.05
    assert fgsm > 0.3  # 0.40 against 0.025 when it was measured
