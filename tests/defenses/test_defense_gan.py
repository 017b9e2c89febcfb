"""Defense-GAN: the search is a search, its answer repeats itself, its gradient is blocked."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlab.attacks import EOT, FGSM, PGD, GradientWarning
from advlab.defenses import BitDepth, DefenseGAN, Generator, ManifoldAttack, Purified
from advlab.models import LogisticRegression
from advlab.training import fit


def rough(model: nn.Module, scale: float = 3.0) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


@pytest.fixture
def generator(device) -> Generator:
    torch.manual_seed(3)
    return rough(Generator(latent=3, hidden=(16, 32), size=8).to(device))


@pytest.fixture
def x(device) -> torch.Tensor:
    return torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)


def far(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().flatten(1).sum(1)


# The search --------------------------------------------------------------------------------------


def test_it_finds_as_near_an_image_as_looking_everywhere_does():
    """A generator with one code: a grid of 20,001 codes is brute force."""
    torch.manual_seed(1)
    generator = rough(Generator(latent=1, hidden=(8, 8), size=4))
    x = torch.rand(20, 1, 4, 4)
    with torch.no_grad():
        grid = generator(torch.linspace(-5, 5, 20_001)[:, None]).flatten(1)
    nearest = torch.cdist(x.flatten(1), grid).square().amin(1)
    found = far(DefenseGAN(generator, restarts=20, steps=200)(x), x)
    assert (found <= 1.002 * nearest).all()
    assert nearest.min() > 0.1, "none of them is an image of the generator"


def test_an_image_of_the_generator_is_found_again(generator):
    x = generator.sample(20, seed=5)
    found = far(DefenseGAN(generator, restarts=20, steps=300)(x), x)
    assert found.max() < 1e-3 * x.square().flatten(1).sum(1).mean()


def test_noise_on_an_image_of_the_generator_is_taken_away(generator):
    clean = generator.sample(20, seed=5)
    noisy = (clean + 0.3 * torch.randn(clean.shape).sign().to(clean)).clamp(0, 1)
    after = far(DefenseGAN(generator, restarts=20, steps=200)(noisy), clean)
    assert (after < 0.5 * far(noisy, clean)).all()


def test_more_restarts_and_more_steps_find_nearer_images(generator, x):
    few = far(DefenseGAN(generator, restarts=1, steps=20)(x), x)
    restarts = far(DefenseGAN(generator, restarts=10, steps=20)(x), x)
    steps = far(DefenseGAN(generator, restarts=1, steps=200)(x), x)
    assert restarts.mean() < few.mean()
    assert steps.mean() < few.mean()


# Its answer --------------------------------------------------------------------------------------


def test_an_answer_depends_on_the_image_alone(generator, x):
    step = DefenseGAN(generator, restarts=4, steps=20)
    together = step(x)
    assert torch.equal(step(x), together)
    alone = torch.cat([step(image[None]) for image in x])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    assert (together - DefenseGAN(generator, restarts=4, steps=20, seed=1)(x)).abs().max() > 1e-3


def test_without_a_seed_it_is_random_and_the_global_state_repeats_it(generator, x):
    step = DefenseGAN(generator, restarts=1, steps=3, seed=None)
    first, second = step(x), step(x)
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    first = step(x)
    torch.manual_seed(4)
    assert torch.equal(step(x), first)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_searches_in_every_mode_and_leaves_no_trace(generator, x, mode):
    step = DefenseGAN(generator, restarts=2, steps=5)
    before, expected = x.clone(), step.search(x)
    with mode():
        assert torch.equal(step(x), expected)
    assert torch.equal(x, before)
    assert all(p.grad is None and p.requires_grad for p in generator.parameters())


def test_no_images_are_no_error(generator, x):
    for seed in (0, None):
        assert DefenseGAN(generator, restarts=2, steps=2, seed=seed)(x[:0]).shape == (0, 1, 8, 8)


# Attacks -----------------------------------------------------------------------------------------


def test_a_plain_attack_sees_no_gradient_and_an_adaptive_one_sees_the_networks(generator, x):
    torch.manual_seed(0)
    linear = LogisticRegression(classes=2, size=8).to(x.device)
    model = nn.Sequential(DefenseGAN(generator, restarts=2, steps=5), linear)
    y = model(x).argmax(1)
    with pytest.warns(GradientWarning):
        assert torch.equal(FGSM(eps=0.1)(model, x, y), x)
    weight = linear.linear.weight.detach()
    up = (weight[1 - y] - weight[y]).sign().view_as(x)
    x_adv = FGSM(eps=0.1, backward="substitute")(model, x, y)
    torch.testing.assert_close(x_adv, (x + 0.1 * up).clamp(0, 1))


def test_it_composes_with_other_steps_and_with_eot(generator, x):
    torch.manual_seed(0)
    linear = LogisticRegression(classes=3, size=8).to(x.device)
    random = DefenseGAN(generator, restarts=1, steps=2, seed=None)
    model = nn.Sequential(BitDepth(bits=1), random, linear)
    y = model(x).argmax(1)
    attack = EOT(attack=PGD(eps=0.2, steps=2, backward="substitute"), samples=2)
    x_adv = attack(model, x, y)
    assert 0 < (x_adv - x).abs().max() <= 0.2 + 1e-6


def test_the_attack_on_the_manifold_gives_images_of_the_generator(generator, device):
    torch.manual_seed(0)
    classifier = rough(LogisticRegression(classes=3, size=8)).to(device)
    x = generator.sample(12, seed=2)
    y = classifier(x).argmax(1)
    projection = DefenseGAN(generator, restarts=10, steps=200)
    attack = ManifoldAttack(generator=generator, projection=projection, c=20.0)
    x_adv = attack(classifier, x, y)
    moved = (x_adv != x).flatten(1).any(1)
    fooled = classifier(x_adv).argmax(1) != y
    assert torch.equal(moved, fooled), "an image is changed exactly where that fools"
    assert fooled.sum() >= 6
    back = far(projection(x_adv[moved]), x_adv[moved])
    assert back.max() < 1e-2, "a good projection leaves them as they are"


# The whole ---------------------------------------------------------------------------------------


def test_a_defended_model_trains_its_parts_as_each_would_be_alone(x):
    def parts():
        torch.manual_seed(0)
        return Generator(latent=2, hidden=(8, 8), size=8).to(x.device), LogisticRegression(
            2, size=8
        )

    y = torch.arange(len(x), device=x.device) % 2
    generator, classifier = parts()
    model = Purified(DefenseGAN(generator), classifier)
    settings = {"generator": {"steps": 3, "lr": 1e-2}, "classifier": {"epochs": 2, "lr": 0.1}}
    assert model.fit(x, y, seed=1, **settings) is model
    generator, classifier = parts()
    generator.fit(x, seed=1, **settings["generator"])
    fit(classifier, (x, y), seed=1, progress=False, **settings["classifier"])
    for part, alone in zip((model[0].generator, model[1]), (generator, classifier), strict=True):
        for found, expected in zip(part.parameters(), alone.parameters(), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restarts": 0}, "restarts: expected a whole number, at least 1, found 0"),
        ({"steps": 2.5}, "steps"),
        ({"lr": 0}, "lr: expected a finite number above 0, found 0"),
        ({"momentum": 1}, "momentum: expected 0 <= m < 1, found 1"),
        ({"seed": -1}, "seed"),
        ({"backward": "bpda"}, "backward: found 'bpda'"),
    ],
)
def test_settings_out_of_range_are_refused(generator, settings, message):
    with pytest.raises(ValueError, match=message):
        DefenseGAN(generator, **settings)


def test_images_of_another_size_are_refused(generator):
    with pytest.raises(ValueError, match=r"DefenseGAN: expected images \(N, 1, 8, 8\).*found"):
        DefenseGAN(generator)(torch.zeros(2, 1, 9, 9))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr": -1.0}, {"c": -1.0}, {"confidence": -1}])
def test_settings_of_the_attack_out_of_range_are_refused(generator, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ManifoldAttack(generator=generator, **settings)
