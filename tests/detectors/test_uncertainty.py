"""Bayesian uncertainty by dropout."""

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from advlab import data
from advlab.attacks import BIM, FGSM
from advlab.backend import generator
from advlab.detectors import BayesianUncertainty, examples
from advlab.detectors.uncertainty import FLOOR
from advlab.models import load_model


@pytest.fixture(scope="module")
def digits():
    model, found = load_model("mnist-dropout", "cpu"), data.load("mnist5k", device="cpu")
    return model, found.train.x[:300], found.train.y[:300], found.test.x[:60], found.test.y[:60]


@pytest.fixture(scope="module")
def doubt(digits):
    model, x, y, *_ = digits
    return BayesianUncertainty().fit(model, (x, y))


def test_it_is_the_trace_of_the_covariance(digits, doubt):
    x = digits[3]
    with torch.no_grad():
        answers = doubt.probabilities(x).double()
    assert answers.shape == (50, 60, 10)
    both = (answers**2).sum(2).mean(0) - (answers.mean(0) ** 2).sum(1)  # the paper's
    torch.testing.assert_close(doubt.score(x).exp().double() - FLOOR, both, rtol=1e-3, atol=1e-7)


def off_ties(x):
    """Black pixels tie in max-pooling, which has no slope there."""
    return (0.1 + 0.8 * x + 0.1 * torch.rand(x.shape, generator=generator(9))).double()


def linear(rate, classes=2, size=2):
    """Dropout on the pixels, and a linear layer."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Dropout(rate), nn.Linear(size * size, classes)).eval()


def test_a_mask_drops_units_and_scales_those_that_are_left():
    """Through the identity the T networks answer with their masks."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.75), nn.Identity())
    found = BayesianUncertainty(samples=400)
    object.__setattr__(found, "model", model.eval())
    x = torch.full((3, 1, 2, 2), 0.5)
    with found.dropping(found.rates(x)):
        answers = model(x).view(400, 3, 4)
    assert answers.unique().tolist() == [0.0, 2.0], "0.5 / (1 - 0.75)"
    assert (answers == answers[:, :1]).all(), "the same masks for all images"
    dropped = (answers[:, 0] == 0).double().mean(0)
    # 400 draws: 0.75 within 4.5 standard deviations.
    assert (dropped - 0.75).abs().max() < 4.5 * (0.75 * 0.25 / 400) ** 0.5
    assert torch.equal(model(x), torch.full((3, 4), 0.5)), "the hooks are gone"


def test_channels_are_dropped_as_one():
    model = nn.Sequential(nn.Dropout2d(0.5), nn.Flatten())
    found = BayesianUncertainty(samples=8)
    object.__setattr__(found, "model", model.eval())
    x = torch.ones(2, 6, 4, 4)
    with found.dropping(found.rates(x)):
        answers = model(x).view(8, 2, 6, 16)
    assert (answers == answers[..., :1]).all()
    assert answers.unique().tolist() == [0.0, 2.0]


class Around(nn.Module):
    """Something goes around the dropout, so that its copies do not fit."""

    def __init__(self):
        super().__init__()
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(4, 2)

    def forward(self, x):
        h = x.flatten(1)
        return self.last(h + self.drop(h))


def test_where_something_goes_around_all_of_the_model_runs():
    torch.manual_seed(3)
    model = Around().eval()
    x = torch.rand(40, 1, 2, 2, generator=generator(2))
    y = model(x).argmax(1)
    found = BayesianUncertainty(samples=30).fit(model, (x, y))
    assert found.whole
    with torch.no_grad():
        together, first = found.probabilities(x), found.probabilities(x[:1])
    torch.testing.assert_close(together[:, :1], first)
    assert together.std(0).min() > 0


def test_copies_made_late_or_early_give_the_same(digits, doubt):
    x = digits[3][:5]
    assert not doubt.whole
    late = doubt.score(x)
    doubt.whole.fill_(True)
    try:
        torch.testing.assert_close(doubt.score(x), late, rtol=1e-4, atol=1e-4)
    finally:
        doubt.whole.fill_(False)


def test_nothing_is_drawn_from_the_global_state_and_the_seed_counts(digits, doubt):
    model, x, y, unseen, _ = digits
    state = torch.get_rng_state()
    again = BayesianUncertainty().fit(model, (x, y))
    assert torch.equal(again.score(unseen), doubt.score(unseen))
    assert torch.equal(torch.get_rng_state(), state)
    other = BayesianUncertainty().fit(model, (x, y), seed=1).score(unseen)
    assert not torch.allclose(other, doubt.score(unseen))


def test_the_score_depends_on_the_image_alone(digits, doubt):
    x = digits[3][:12]
    together = doubt.score(x)
    alone = torch.cat([doubt.score(image[None]) for image in x])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


def test_a_network_without_dropout_gets_it_at_the_last_hidden_layer(digits):
    _, x, y, unseen, _ = digits
    plain = load_model("mnist-cnn", "cpu")
    found = BayesianUncertainty(rate=0.3).fit(plain, (x, y))
    named = BayesianUncertainty(layers=["classifier.1"], rate=0.3).fit(plain, (x, y))
    assert found.rates(unseen) == {"classifier.1": 0.3}
    assert torch.equal(found.score(unseen), named.score(unseen))
    assert found.score(unseen).std() > 0.1


def test_its_own_layers_keep_their_rates(digits, doubt):
    assert doubt.rates(digits[3]) == {"1": 0.5, "4": 0.5}


def test_where_networks_agree_entirely_the_score_is_the_floor():
    model = linear(0.5)
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor([3.0, 0.0]))
    x = torch.rand(8, 1, 2, 2, generator=generator(0))
    found = BayesianUncertainty().fit(model, (x, torch.zeros(8, dtype=torch.int64)))
    torch.testing.assert_close(found.score(x).exp(), torch.full((8,), FLOOR))


def test_the_gradient_is_that_of_differences(digits, doubt):
    model, x = digits[0].double(), off_ties(digits[3][:1]).requires_grad_(True)
    try:
        gradient = torch.autograd.grad(doubt(x).sum(), x)[0]
        way = gradient / gradient.norm()
        with torch.no_grad():
            slope = (doubt(x + 1e-6 * way) - doubt(x - 1e-6 * way)) / 2e-6
        assert slope.item() == pytest.approx(gradient.norm().item(), rel=1e-3)
    finally:
        model.float()


def test_it_sees_one_large_step_and_not_an_attack_that_goes_on(digits, doubt):
    """Far beyond the boundary all T networks agree again, more than on noise of the same size."""
    model, _, _, x, y = digits

    def seen(attack):
        found = examples(model, attack, x, y)
        rows = (found.natural, found.noisy, found.adversarial)
        scores = torch.cat([doubt.score(images) for images in rows])
        return roc_auc_score(torch.arange(len(scores)) >= 2 * len(found.y), scores)

    assert seen(FGSM(eps=0.3)) > 0.7
    assert seen(BIM(eps=1.0, steps=40, alpha=0.05)) < 0.4


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rate": 0.0}, "rate: expected a number above 0 and below 1, found 0.0"),
        ({"rate": 1.0}, "rate: expected"),
        ({"layers": []}, "layers: expected at least one name, found none"),
        ({"samples": 1}, "samples: expected a whole number, at least 2, found 1"),
    ],
)
def test_bad_numbers_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        BayesianUncertainty(**fields)


def test_a_layer_that_is_not_there_is_named(digits):
    model, x, y, *_ = digits
    with pytest.raises(ValueError, match="names: found 'nowhere', expected among"):
        BayesianUncertainty(layers=["nowhere"]).fit(model, (x, y))
