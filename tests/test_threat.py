"""Norms, steps and projections: each is checked against its definition, not against itself."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from advlab import threat

NORMS = ("Linf", "L2", "L1")
examples = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**31 - 1)
shapes = st.tuples(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)
)  # (N, C, H, W): up to 243 numbers an image, so that 1% of them is one or two
radii = st.floats(0, 20)


def normal(shape, seed, device="cpu", scale=1.0):
    source = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=source, dtype=torch.float64)).to(device)


def point_in_ball(delta, eps, norm, seed):
    """A point of the ball, drawn without the code under test: a random one, scaled to fit."""
    z = normal(delta.shape, seed, delta.device).flatten(1)
    p = {"Linf": math.inf, "L2": 2, "L1": 1}[norm]
    if norm == "L1":  # the ball is mostly thin corners: try the sparse points too
        z = z * (torch.arange(z.shape[1], device=z.device) % 3 == seed % 3)
    length = torch.linalg.vector_norm(z, p, dim=1, keepdim=True).clamp_min(1e-300)
    radius = eps * torch.rand(len(z), 1, generator=torch.Generator().manual_seed(seed)).double()
    return (z / length * radius.to(z.device)).view_as(delta)


@pytest.mark.parametrize("norm", NORMS)
@examples
@given(shape=shapes, eps=radii, seed=seeds, scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_projection_is_inside_idempotent_and_nearest(norm, device, shape, eps, seed, scale):
    delta = normal(shape, seed, device, scale)
    nearest = threat.project(delta, eps, norm)
    assert (threat.size(nearest, norm) <= eps * (1 + 1e-12)).all()
    torch.testing.assert_close(threat.project(nearest, eps, norm), nearest, rtol=1e-11, atol=1e-12)
    unmoved = threat.size(delta, norm) <= eps
    assert torch.equal(nearest[unmoved], delta[unmoved])
    distance = (delta - nearest).flatten(1).norm(dim=1)
    for other in range(5):
        z = point_in_ball(delta, eps, norm, seed + other)
        assert ((delta - z).flatten(1).norm(dim=1) >= distance - 1e-9).all()
        # The exact condition for a nearest point of a convex set: no point of it lies "beyond".
        beyond = ((delta - nearest) * (z - nearest)).flatten(1).sum(1)
        assert (beyond <= 1e-9 * (1 + scale * 20)).all()


@examples
@given(shape=shapes, eps=st.floats(0.01, 20), seed=seeds)
def test_l1_projection_is_the_soft_threshold_found_by_bisection(device, shape, eps, seed):
    delta = normal(shape, seed, device)
    expected = delta.clone()
    for image in expected:
        low, high = 0.0, image.abs().max().item()
        if image.abs().sum() > eps:
            for _ in range(100):
                middle = (low + high) / 2
                if (image.abs() - middle).clamp_min(0).sum() > eps:
                    low = middle
                else:
                    high = middle
            image.copy_(image.sign() * (image.abs() - high).clamp_min(0))
    torch.testing.assert_close(threat.project(delta, eps, "L1"), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@examples
@given(shape=shapes, seed=seeds, scale=st.sampled_from([1e-300, 1e-40, 1e-8, 1.0, 1e8]))
def test_step_has_length_one_and_no_other_climbs_faster(norm, device, shape, seed, scale):
    gradient = normal(shape, seed, device, scale)
    direction = threat.step(gradient, norm)
    torch.testing.assert_close(threat.size(direction, norm), torch.ones_like(gradient[:, 0, 0, 0]))
    climb = (gradient / scale * direction).flatten(1).sum(1)
    flat = (gradient / scale).flatten(1).abs()
    # Hölder: the most that a step of length 1 can climb is the dual norm of the gradient.
    count = max(1, round(0.01 * flat.shape[1]))
    most = {"Linf": flat.sum(1), "L2": flat.norm(dim=1), "L1": flat.topk(count).values.mean(1)}
    torch.testing.assert_close(climb, most[norm])


def test_step_of_a_small_float32_gradient_still_has_length_one(device):
    for scale in (1e-25, 1e-38, 1e-44):  # the squares of these are 0 in float32
        gradient = torch.full((2, 1, 3, 3), scale, device=device)
        length = threat.size(threat.step(gradient, "L2"), "L2")
        assert torch.allclose(length, torch.ones_like(length), atol=1e-5), scale


@pytest.mark.parametrize("norm", NORMS)
def test_step_leaves_an_image_without_gradient_where_it_is(norm, device):
    gradient = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]).to(device)
    direction = threat.step(gradient, norm)
    assert (direction[0] == 0).all()
    assert (direction[1] != 0).any()


def test_l1_step_shares_evenly_among_one_percent_of_the_pixels(device):
    gradient = torch.linspace(-3, 5, 3 * 20 * 20, device=device).view(1, 3, 20, 20)
    direction = threat.step(gradient, "L1").flatten()
    assert direction[-12:].tolist() == pytest.approx([1 / 12] * 12)
    assert (direction[:-12] == 0).all()


@pytest.mark.parametrize(("norm", "expected"), [("Linf", 4.0), ("L2", 5.0), ("L1", 7.0), ("L0", 2)])
def test_size_of_three_and_four(norm, expected, device):
    delta = torch.zeros(2, 1, 2, 2, device=device)
    delta[0, 0, 0, 1], delta[0, 0, 1, 0] = 3.0, -4.0
    assert threat.size(delta, norm).tolist() == [expected, 0.0]


def test_l0_counts_a_pixel_once_whatever_its_channels(device):
    delta = torch.zeros(1, 3, 2, 2, device=device)
    delta[0, :, 0, 0] = 0.1
    delta[0, 1, 1, 1] = -0.1
    assert threat.size(delta, "L0").tolist() == [2.0]
    assert threat.size(delta.flatten(1), "L0").tolist() == [4.0]  # points have no channels


def test_parse_norm_takes_the_usual_spellings():
    spellings = {
        "Linf": ["Linf", "linf", "LINF", "inf", float("inf"), math.inf, torch.inf],
        "L2": ["L2", "l2", 2, 2.0, "2"],
        "L1": ["L1", "l1", 1, 1.0],
        "L0": ["L0", "l0", 0, 0.0],
    }
    for name, ways in spellings.items():
        assert [threat.parse_norm(way) for way in ways] == [name] * len(ways)


@pytest.mark.parametrize("norm", ["L3", 3, "euclid", None, "", -1, 0.5, "L"])
def test_parse_norm_refuses_and_says_what_it_expected(norm):
    with pytest.raises(ValueError, match=r"norm: found .*expected one of Linf, L2, L1, L0"):
        threat.parse_norm(norm)


def test_functions_of_a_norm_refuse_one_that_they_do_not_know(device):
    x = torch.rand(2, 1, 3, 3, device=device)
    for call in (
        lambda: threat.size(x, "l2"),
        lambda: threat.step(x, "L0"),
        lambda: threat.project(x, 1.0, "L0"),
        lambda: threat.random_in_ball(x, 1.0, "L0", 0),
    ):
        with pytest.raises(ValueError, match="norm: found"):
            call()
    with pytest.raises(ValueError, match="kind: found 'cauchy'"):
        threat.noise(x, 0, "cauchy")


@pytest.mark.parametrize("norm", NORMS)
def test_random_in_ball_follows_its_law(norm, device):
    eps, shape = 3.0, (1, 2, 3)
    x = torch.rand(3000, *shape, generator=torch.Generator().manual_seed(5)).double().to(device)
    delta = threat.random_in_ball(x, eps, norm, seed=11)
    assert delta.shape == x.shape
    assert delta.dtype == x.dtype
    assert delta.device == x.device
    length = threat.size(delta, norm).cpu()
    assert (length <= eps * (1 + 1e-12)).all()
    d = x[0].numel()
    # By volume, P(‖δ‖ ≤ t ε) = t^d; in L2 and L1 the radius itself is uniform.
    radius = (length / eps) ** (d if norm == "Linf" else 1)
    assert stats.kstest(radius, "uniform").pvalue > 0.01
    flat = delta.flatten(1).cpu()
    share = {
        "Linf": ((flat + eps) / (2 * eps), stats.uniform()),
        "L2": ((flat / length[:, None]) ** 2, stats.beta(0.5, (d - 1) / 2)),
        "L1": ((flat / length[:, None]).abs(), stats.beta(1, d - 1)),
    }
    values, law = share[norm]
    for pixel in range(d):
        assert stats.kstest(values[:, pixel], law.cdf).pvalue > 0.001, pixel
        positive = (flat[:, pixel] > 0).double().mean()
        assert abs(positive - 0.5) < 4 * 0.5 / math.sqrt(len(x))


@pytest.mark.parametrize(
    ("kind", "law"),
    [("uniform", stats.uniform()), ("normal", stats.norm()), ("laplace", stats.laplace())],
)
def test_noise_follows_its_law(kind, law, device):
    x = torch.rand(2, 1, 60, 60, device=device)
    first, second = threat.noise(x, 3, kind).flatten(1).cpu()
    assert stats.kstest(first, law.cdf).pvalue > 0.01
    assert abs(stats.pearsonr(first, second).statistic) < 0.06


@pytest.mark.parametrize("kind", ["uniform", "normal", "laplace"])
def test_noise_depends_on_the_image_and_the_seed_alone(kind, device):
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(2)).to(device)
    state = torch.get_rng_state()
    noise = threat.noise(x, 7, kind)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noise, threat.noise(x, 7, kind))
    assert torch.equal(noise.flip(0), threat.noise(x.flip(0), 7, kind))
    assert torch.equal(noise[3:4], threat.noise(x[3:4], 7, kind))
    assert torch.equal(noise.cpu(), threat.noise(x.cpu(), 7, kind))
    assert not torch.equal(noise, threat.noise(x, 8, kind))
    assert not torch.equal(noise[0], noise[1])
    assert threat.noise(x, 7, kind, shape=(1, 1, 1)).shape == (5, 1, 1, 1)
    assert threat.noise(x, -3, kind).isfinite().all()
    assert threat.noise(x, 2**40, kind).isfinite().all()
