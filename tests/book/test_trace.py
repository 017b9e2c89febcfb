"""Chapter 2's claim: gradient descent on our points gives the 20 frames that the source prints."""

from __future__ import annotations

import pytest
import torch

from advlab.data.points import SOURCE_TRACE, Frame, line_points, xor_points


def descend(x, y, a=-2.0, b=1.0, lr=0.05, frames=20, every=50) -> list[Frame]:
    """The textbook loop, apart from the chapter's own, in plain Python."""
    x, y, trace = x.tolist(), y.tolist(), []
    for update in range(frames * every):
        wrong = [a * xi + b - yi for xi, yi in zip(x, y)]
        da = sum(2 * xi * e for xi, e in zip(x, wrong)) / len(x)
        db = sum(2 * e for e in wrong) / len(x)
        if update % every == 0:
            trace.append(Frame(a, b, da, db, sum(e * e for e in wrong) / len(x)))
        a, b = a - lr * da, b - lr * db
    return trace


def far(ours: list[Frame]) -> list[str]:
    """The entries that differ from the source's by more than 0.006, or 0.0004 in the loss."""
    return [
        f"frame {i}, {name}: {getattr(frame, name):.6f}, source {getattr(source, name)}"
        for i, (frame, source) in enumerate(zip(ours, SOURCE_TRACE, strict=True))
        for name in Frame._fields
        if abs(getattr(frame, name) - getattr(source, name)) > (4e-4 if name == "loss" else 6e-3)
    ]


def test_the_points_lie_on_the_line_with_the_moments_that_are_stated():
    x, y = line_points()
    assert x.dtype == y.dtype == torch.float64
    assert x.shape == y.shape == (7,)
    assert torch.allclose(y, 0.25 * x + 0.5, rtol=0, atol=1e-15)
    assert x.mean().item() == pytest.approx(0.5279, abs=5e-5)
    assert x.square().mean().item() == pytest.approx(0.3552, abs=5e-5)
    assert x[0].item() == pytest.approx(0.113)
    assert x[-1].item() == pytest.approx(0.9428)


def test_every_number_of_the_sources_trace_comes_out():
    assert len(SOURCE_TRACE) == 20
    assert far(descend(*line_points())) == []


def test_the_losses_agree_in_proportion_too():
    # What is left beyond the last digit printed (half of 1e-6) is below 0.4% in every frame.
    for frame, source in zip(descend(*line_points()), SOURCE_TRACE, strict=True):
        assert abs(frame.loss - source.loss) <= 0.5e-6 + 0.004 * source.loss


@pytest.mark.parametrize("change", [{"lr": 0.06}, {"every": 40}, {"a": -1.9}, {"b": 1.1}])
def test_another_descent_does_not_give_it(change):
    assert far(descend(*line_points(), **change))


def test_other_points_on_the_same_line_do_not_give_it():
    x = torch.linspace(0, 1, 7, dtype=torch.float64)
    assert far(descend(x, 0.25 * x + 0.5))


def test_points_with_the_same_two_means_give_the_same_trace():
    """Two points with the mean and the mean square of all seven: the trace knows no more."""
    x, _ = line_points()
    spread = x.std(correction=0)
    two = torch.stack([x.mean() - spread, x.mean() + spread])
    for ours, theirs in zip(descend(two, 0.25 * two + 0.5), descend(*line_points())):
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_xor_points():
    x, y = xor_points()
    assert x.dtype == y.dtype == torch.float32
    assert [int(a) ^ int(b) for a, b in x.tolist()] == y.int().tolist() == [0, 1, 1, 0]
