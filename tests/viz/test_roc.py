"""ROC curves and thresholds: what is drawn are the numbers, and the slider needs no kernel."""

import re
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from advlab import backend, viz
from advlab.evaluation import roc_curve

RANDOM = backend.generator(0)
NATURAL = torch.randn(80, generator=RANDOM)
ADVERSARIAL = 1.5 + torch.randn(50, generator=RANDOM)
CURVE = roc_curve(NATURAL, ADVERSARIAL)
OUTCOMES = {"no attack": (0.93, 0.05, 0.02), "PGD": (0.1, 0.2, 0.7)}
EVERY = {
    "roc": lambda: viz.roc({"a": CURVE, "b": roc_curve(ADVERSARIAL, NATURAL)}, title="FGSM"),
    "threshold_figure": lambda: viz.threshold_figure(NATURAL, ADVERSARIAL, 1.0, title="a"),
    "outcome_bars": lambda: viz.outcome_bars(OUTCOMES),
}


def texts(figure):
    return " | ".join(t.get_text() for t in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_the_same_twice_labeled_and_inside(name):
    plt.get_backend()  # decided on at the first look
    figure = EVERY[name]()
    assert viz.png(figure) == viz.png(EVERY[name]())
    assert all(ax.get_xlabel() for ax in figure.axes)
    box = figure.get_tightbbox()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= figure.get_figwidth() + 0.02
    assert box.y1 <= figure.get_figheight() + 0.02
    sizes = [t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()]
    assert min(sizes) >= 8
    before = mpl.rcParams.copy()
    with mpl.rc_context({"savefig.transparent": True}):
        assert viz.png(EVERY[name]()) == viz.png(figure)
    assert mpl.rcParams == before


def test_the_curves_are_those_given():
    ax = EVERY["roc"]().axes[0]
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert list(lines) == [f"a\n{CURVE.auc:.1%}", f"b\n{1 - CURVE.auc:.1%}"]
    drawn = lines[f"a\n{CURVE.auc:.1%}"]
    np.testing.assert_allclose(drawn.get_xdata(), 100 * CURVE.false_positive_rate)
    np.testing.assert_allclose(drawn.get_ydata(), 100 * CURVE.true_positive_rate)
    assert len({line.get_linestyle() for line in lines.values()}) == 2
    given = viz.Figure().add_subplot()
    assert viz.roc({"a": CURVE}, ax=given) is given


def test_the_threshold_stands_in_both_pictures():
    left, right = EVERY["threshold_figure"]().axes
    assert left.lines[0].get_xdata() == [1.0, 1.0]
    (alarms,), (caught,) = right.lines[-1].get_data()
    assert alarms == pytest.approx(100 * (NATURAL > 1).double().mean().item())
    assert caught == pytest.approx(100 * (ADVERSARIAL > 1).double().mean().item())
    filled = [patch for patch in left.patches if patch.get_fill()]
    assert [mpl.colors.to_hex(p.get_facecolor()).upper() for p in filled] == [
        viz.NATURAL,
        viz.ADVERSARIAL,
    ]
    for patch in filled:  # every image is in some bar, those of the tails too
        assert patch.get_data().values.sum() == pytest.approx(100)
    assert filled[1].get_hatch(), "not by color alone"


def test_a_score_at_the_threshold_raises_no_alarm():
    scores = torch.tensor([0.0, 1, 1, 2]), torch.tensor([1.0, 2])
    right = viz.threshold_figure(*scores, 1.0).axes[1]
    (alarms,), (caught,) = right.lines[-1].get_data()
    assert (alarms, caught) == (25, 50)


def test_the_bars_are_the_fractions():
    ax = EVERY["outcome_bars"]().axes[0]
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(3, 2).T
    np.testing.assert_allclose(widths, 100 * np.array(list(OUTCOMES.values())))
    assert [t.get_text() for t in ax.texts] == ["93%", "10%", "20%", "70%"]
    assert "wrong and undetected" in texts(ax.figure)


def labels(widget):
    return [re.search(r"<figcaption[^>]*>(.*?)</fig", c.value).group(1) for c in widget.children]


def test_frames_go_from_all_rejected_to_none():
    box = viz.threshold_frames(NATURAL, ADVERSARIAL, steps=8)
    stack = box.children[1]
    said = labels(stack)
    assert len(said) == 8
    assert said[0].endswith(": 100% false alarms, 100% caught")
    assert said[-1].endswith(": 0% false alarms, 0% caught")
    thresholds = []
    for label, frame in zip(said, stack.children, strict=True):
        tau = float(re.match(r"τ = (\S+):", label).group(1).replace("−", "-"))
        thresholds.append(tau)
        alarms = (tau < NATURAL).double().mean().item()
        shown = re.search(r": (&lt;|&gt;)?(\d+)% false", label).group(2)
        assert abs(100 * alarms - int(shown)) < 2  # τ is rounded
        assert 'alt="Two histograms' in frame.value
        assert f"τ = {label.split()[2][:-1]}" in frame.value
    assert thresholds == sorted(thresholds)
    first = re.search(r": (?:&lt;)?(\d+)% false", said[stack.selected_index]).group(1)
    assert int(first) <= 15


def test_long_scores_have_room():
    """Log-densities of thousands: no two numbers below the axis touch, and τ is read as one."""
    scores = -4500 + 800 * NATURAL, -3300 + 1500 * ADVERSARIAL
    figure = viz.threshold_figure(*scores, -4000.0)
    viz.png(figure)
    boxes = [t.get_window_extent() for t in figure.axes[0].get_xticklabels() if t.get_text()]
    boxes = sorted((b for b in boxes if b.width), key=lambda b: b.x0)
    assert len(boxes) > 2
    assert all(a.x1 + 4 < b.x0 for a, b in pairwise(boxes))
    said = labels(viz.threshold_frames(*scores, steps=5).children[1])
    assert not any("e+" in label for label in said), said


def test_equal_scores_leave_fewer_thresholds():
    box = viz.threshold_frames(torch.zeros(5), torch.tensor([0.0, 1, 1]), steps=9)
    assert [label.split(": ")[1] for label in labels(box.children[1])] == [
        "100% false alarms, 100% caught",
        "0% false alarms, 67% caught",
        "0% false alarms, 0% caught",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.roc({}), "1 to 7 curves"),
        (lambda: viz.threshold_figure(NATURAL, ADVERSARIAL[:0], 0), "adversarial: expected scores"),
        (lambda: viz.threshold_figure(NATURAL / 0, ADVERSARIAL, 0), "natural: expected finite"),
        (lambda: viz.threshold_frames(NATURAL, ADVERSARIAL, steps=1), "steps: expected at least 2"),
        (lambda: viz.threshold_frames(torch.ones(3), torch.ones(2)), "two different ones"),
        (lambda: viz.outcome_bars({"a": (0.5, 0.4, 0.3)}), "sum 1"),
        (lambda: viz.outcome_bars({"a": (0.5, 0.5)}), "three fractions"),
        (lambda: viz.outcome_bars({}), "three fractions"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
